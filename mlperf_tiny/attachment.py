"""Where an early exit attaches to a task's backbone, and how large its layers are: data of the task."""

from dataclasses import dataclass

from mlperf_tiny.recipe import Recipe

# Of rows and columns; one number is both.
Size = int | tuple[int, int]


@dataclass(frozen=True)
class Block:
    """A block of an exit's head: depthwise with `kernel`, then 1x1 with `filters`; each with normalization and ReLU.

    One that is not `separable` is a full convolution instead, as a head that reads the input begins with: there is
    little to separate in one channel. `padding` is "same" or "valid".
    """

    filters: int
    stride: Size
    kernel: Size = 3
    separable: bool = True
    padding: str = "same"


@dataclass(frozen=True)
class EarlyExit:
    """The early exit's layers between the tap and its Dense layer. `kernel`, `stride`, `pool` are square.

    As in T-RecX: `point_filters` filters of a linear 1x1 convolution, or None for the first `width` channels of the tap
    instead; then a depthwise convolution; then an average pool. Where `blocks` are given they come instead of these
    convolutions. `pool` None averages over the whole map.
    """

    tap: str
    width: int = 0
    kernel: int = 0
    stride: int = 0
    pool: int | None = None
    point_filters: int | None = None
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class EarlyView:
    """How the final exit looks at the features through the early exit's depthwise kernel.

    `pool` is the size of the average pool behind it or None; `keep` cuts its output to that many channels.
    """

    stride: int
    pool: tuple[int, int] | None = None
    keep: int | None = None


@dataclass(frozen=True)
class Attachment:
    """An early exit on a backbone: layers, initial weights, and the early exit's weight in the loss.

    Without `view` the final exit is the backbone's own head. `tuning` is how it is trained on a trained backbone; None
    leaves that to the task.
    """

    name: str
    early: EarlyExit
    view: EarlyView | None
    initializer: str
    early_weight: float
    tuning: Recipe | None = None
