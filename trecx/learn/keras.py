"""The one door to TensorFlow: tf_keras and TFMOT, imported when first asked for and without their start-up chatter.

tf_keras rather than Keras 3, because TFMOT refuses Keras 3 models and the benchmark's reference models load here.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from trecx.errors import ToolMissing
from trecx.files import whole

HINT = 'Install it with: pip install "trecx[train]"'


@contextmanager
def quiet() -> Iterator[None]:
    """Send what C++ code writes to stderr to nowhere: TensorFlow logs before its own log level is read."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # no stderr at all: nothing to silence
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


@cache
def tensorflow() -> Any:
    """The module `tensorflow`; raise ToolMissing where it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # TFMOT sets it too late if anything touched tf.keras before
    try:
        with quiet():
            import tensorflow

            tensorflow.zeros(1)  # creates the device context, which logs
    except ImportError as error:
        raise ToolMissing(f"This step needs TensorFlow, which cannot be imported: {error}.", HINT) from error
    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


@cache
def keras() -> Any:
    """The module `tf_keras`; raise ToolMissing where it is not installed.

    Dropout draws from generators with a state of their own, so that an interrupted training can be continued exactly.
    """
    tensorflow()
    try:
        import tf_keras
    except ImportError as error:
        raise ToolMissing(f"This step needs tf_keras, which cannot be imported: {error}.", HINT) from error
    tf_keras.backend.experimental.enable_tf_random_generator()
    return tf_keras


@cache
def quantization() -> Any:
    """TFMOT's `quantization.keras`; raise ToolMissing where it is not installed."""
    keras()
    try:
        with quiet():
            from tensorflow_model_optimization.quantization import keras as quantization
    except ImportError as error:
        problem = f"Quantization-aware training needs tensorflow-model-optimization, which cannot be imported: {error}."
        raise ToolMissing(problem, HINT) from error
    return quantization


def save(model: Any, path: Path) -> None:
    """Write a model; no half-written file stays."""
    with whole(path) as partial:
        model.save(partial)


def seed(value: int) -> None:
    """Seed Python, numpy and TensorFlow, and let equal inputs give equal bits from here on.

    Initial weights of layers built afterwards follow from the seed. Without deterministic ops TensorFlow may add up
    the parts of a sum in the order in which its threads finish them.
    """
    keras().utils.set_random_seed(value)
    tensorflow().config.experimental.enable_op_determinism()
