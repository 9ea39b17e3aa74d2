"""A narrower network: the same graph with a share of the filters everywhere, to be trained from scratch.

It is the static way to a cheaper network, and so a control for early exits: what would a smaller one do at their mean
cost? Source: the width multiplier of MobileNets, Howard et al., arXiv:1704.04861, section 3.2.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mlperf_tiny.task import Backbone, Task
from trecx.errors import TrecxError
from trecx.learn.keras import keras

# Kernels compute so many channels at once: who has a multiple of it keeps one.
STEP = 4
_SIZES = ("filters", "units")


@dataclass(frozen=True)
class Narrow:
    """A backbone at `width` of the filters and units of the `whole` one, above 0 and below 1; weights are fresh.

    Layers and taps keep their names and their order. The classes stay as they are, and what has no filters of its own,
    as normalization and depthwise convolutions, follows its input. Raise TrecxError where the graph does not fit
    together any more: where a shape is written down, where one of two sides that are added is the image, or where a
    model inside reads a hidden map.
    """

    whole: Callable[[Any], Backbone]
    width: float

    def __call__(self, _: Any) -> Backbone:
        """Build it."""
        whole = self.whole(keras())
        logits = whole.head(whole.features)
        kept = _answering(logits)
        graph = keras().Model(whole.input, [*whole.taps.values(), whole.features, logits])

        def copied(layer: Any) -> Any:
            if hasattr(layer, "layers"):
                return keras().models.clone_model(layer, clone_function=copied)
            config = layer.get_config()
            if layer not in kept and (size := _size(config)):
                config[size] = narrowed(config[size], self.width)
            return type(layer).from_config(config)

        try:
            made = keras().models.clone_model(graph, clone_function=copied)
        except Exception as error:  # whatever a layer raises that does not fit to what it reads
            told = " ".join([line for line in str(error).splitlines() if line][:2] or [type(error).__name__])[:300]
            problem = f"The network does not fit together with {self.width:g} of its filters: {told}"
            raise TrecxError(problem, "Train it as it is, without --width.") from error
        *taps, features, answer = made.outputs
        # The graph is whole already: what follows its features leads to its logits.
        return Backbone(made.input, dict(zip(whole.taps, taps, strict=True)), features, lambda _: answer)


def narrow(task: Task, width: float) -> Task:
    """The task with this share of its network's filters; 1 is the task itself."""
    return task if width == 1 else replace(task, backbone=Narrow(task.backbone, width))


def whole(task: Task) -> Task:
    """The task with its network at full width."""
    return replace(task, backbone=task.backbone.whole) if isinstance(task.backbone, Narrow) else task


def narrowed(count: int, width: float) -> int:
    """So many filters at `width`: the nearest number, or multiple of 4 where it was one, that is not 0."""
    step = 1 if count % STEP else STEP
    return max(1, int(count * width / step + 0.5)) * step


def _size(config: dict[str, Any]) -> str | None:
    """What the number of a layer's outputs is called, if it has one of its own."""
    return next((name for name in _SIZES if isinstance(config.get(name), int)), None)


def _answering(tensor: Any) -> set[Any]:
    """The layers whose filters or units are the classes: the last ones that have any before `tensor`."""
    layer, node, _ = tensor._keras_history
    if hasattr(layer, "layers"):
        found = {one for output in layer.outputs for one in _answering(output)}
    else:
        found = {layer} if _size(layer.get_config()) else set()
    return found or {one for source in layer.inbound_nodes[node].keras_inputs for one in _answering(source)}
