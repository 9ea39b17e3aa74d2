"""What can be known before a training: whether its result converts, and what a model of the user's own can do."""

from pathlib import Path

import numpy as np

from mlperf_tiny.task import Split, Task
from trecx.errors import TrecxError
from trecx.learn import own_model, weights
from trecx.learn.exits import Method
from trecx.learn.fuse import fuse
from trecx.learn.narrow import whole
from trecx.learn.quantize import convert, representative
from trecx.learn.settings import QuantizeSettings
from trecx.learn.train import attach, plain, scores

OPERATORS = (
    "Supported are convolutions, Dense, ReLU, pooling, Add, Concatenate, and normalization behind a convolution."
)
_SAMPLES = 8


def trial(task: Task, method: Method, split: Split | None = None, start: Path | None = None) -> bytes:
    """The `.tflite` of the model before it is trained, with the weights at `start` where its training begins with some.

    Ranges are those of samples of `split`, or of random inputs. Raise TrecxError where there can be none.
    """
    backbone = plain(task) if method.grows else None
    if start is not None:
        weights.load_into(backbone, start)
    model = attach(task, method, backbone) if method.grows else method.attach(task.name, None)
    if split is None:
        x = np.random.default_rng(0).uniform(0, 255, (_SAMPLES, *task.input_shape)).astype(np.float32)
        split = Split("random", "", x, np.zeros(_SAMPLES, np.int32))
    samples = representative(task, split, QuantizeSettings())
    try:
        return convert(fuse(model)[0], task, method.outputs, samples)
    except TrecxError as error:
        raise TrecxError(error.problems, OPERATORS) from error
    except Exception as error:  # the converter's, for layers that it does not know
        told = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise TrecxError(f"The model cannot be converted: {told}.", OPERATORS) from error


def accuracies(task: Task, exits: tuple[str, ...], split: Split, own: Path) -> dict[str, float]:
    """Share of a split's samples that each exit of the float model at `own` gets right, or the plain model there."""
    model = own_model.complete(own) if len(exits) > 1 else plain(whole(task))
    found = scores(model, split.x)
    return {name: float((one.argmax(-1) == split.y).mean()) for name, one in zip(exits, found, strict=True)}
