"""T-RecX: one early exit, and a final exit that sees the last feature map through the early exit's own filter.

Source: N. P. Ghanathe and S. J. E. Wilton, "T-RECX: Tiny-Resource Efficient Convolutional neural networks with
early-eXit", CF 2023, arXiv:2207.06613, and the layers of the authors' released models.

    early: tap -> PCONV_e (1x1, linear; or the first channels) -> DCONV_e (ReLU) -> average pool -> Dense -> softmax
    final: features -> first channels -> DCONV_f (ReLU) -> average pool -+
           features -> the backbone's own pooling -----------------------+-> Dense -> softmax

DCONV_f has the kernel shape of DCONV_e and carries its weights for most of the training ("early view"). At run time
the final exit reads nothing that the early exit computed: both depend on the tap only.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from mlperf_tiny.attachment import Attachment, EarlyExit, EarlyView
from mlperf_tiny.recipe import Recipe
from mlperf_tiny.task import Backbone, Task
from trecx import exits as door
from trecx.errors import TrecxError
from trecx.learn.exits.layers import L2, blocks, point
from trecx.learn.exits.losses import weighted
from trecx.learn.exits.method import EARLY, FINAL, Choice, Head, Phase, joined, listed, reachable, specs, tap_problems
from trecx.learn.keras import keras
from trecx.learn.settings import TrainSettings

FILTER, VIEW = "early_filter", "early_view"  # DCONV_e and DCONV_f


@dataclass(frozen=True)
class TRecX:
    """The method with one attachment; without its `view` the final exit keeps the backbone's own head."""

    name: ClassVar[str] = "trecx"
    taps: ClassVar[tuple[int, int]] = (1, 1)
    grows: ClassVar[bool] = True
    untunable: ClassVar[str] = ""
    otherwise: ClassVar[str] = "final"
    options: ClassVar[tuple[str, ...]] = ()
    gated: ClassVar[bool] = False
    exits: ClassVar[tuple[str, ...]] = (EARLY, FINAL)
    outputs: ClassVar[tuple[str, ...]] = exits
    attachment: Attachment

    @classmethod
    def of(cls, task: Task, choice: Choice) -> "TRecX":
        """The method with the task's attachment that was chosen, or at a tap; TrecxError where it reads too much."""
        found, backbone = attachment(task, choice.exit, choice.early_view, choice.taps), task.backbone(keras())
        if problems := _channel_problems(found, backbone):
            raise TrecxError(problems, f"An exit at a tap takes its shape. {listed(backbone)}")
        return cls(found)

    @property
    def tuning(self) -> Recipe | None:
        """The attachment's own."""
        return self.attachment.tuning

    def exit_specs(self) -> tuple[door.ExitSpec, ...]:
        """The early exit decides by its highest score."""
        return specs(self.exits)

    def about(self) -> dict[str, object]:
        """Whether the final exit has an early view."""
        return {"early_view": self.attachment.view is not None}

    def attach(self, task: str, backbone: Backbone) -> Any:
        """The two-exit Keras model, outputs `early` and `final`; raise TrecxError for an unknown tap."""
        attachment = self.attachment
        problems = tap_problems(task, self, backbone, (attachment.early.tap,))
        if problems:
            raise TrecxError(problems, listed(backbone))

        def assisted(logits: Any, classes: int) -> Any:
            dense = logits._keras_history.layer  # the head's last layer; the vector it reads is what EV merges with
            if not isinstance(dense, keras().layers.Dense) or len(dense.input.shape) != 2:
                problem = f"The head of {task} does not end in a Dense layer on a vector, which the early view needs."
                raise TrecxError(problem, "Leave the final exit as it is: --no-early-view.")
            return _assisted(backbone.features, dense.input, attachment, classes)

        head = Head(EARLY, attachment.early.tap, lambda tap, classes: (_early(tap, attachment, classes),))
        return joined(f"{task}_{self.name}", backbone, (head,), assisted if attachment.view is not None else None)

    def start(self, model: Any, head: Any) -> None:
        """The final Dense begins as the backbone's own head: nothing from the early view yet."""
        if self.attachment.view is not None:
            merged = model.get_layer("final_logits")
            kernel, bias = (*head.get_weights(), np.zeros(merged.units, np.float32))[:2]
            rows = merged.input_shape[-1] - len(kernel)
            merged.set_weights([np.concatenate([kernel, np.zeros((rows, kernel.shape[1]), kernel.dtype)]), bias])

    def phases(self, _: Any, settings: TrainSettings) -> tuple[Phase, ...]:
        """Both exits at once: w CE(early) + CE(final), while DCONV_f follows DCONV_e up to the release."""
        view = self.attachment.view is not None
        early = self.attachment.early_weight if settings.early_weight is None else settings.early_weight
        weights = (early, 1.0)
        # On a frozen backbone a plain final exit has nothing that could learn.
        count = 2 if view or not settings.frozen else 1
        loss = weighted(self.exits[:count], weights[:count], settings)
        copies = ((FILTER, VIEW),) if view else ()
        return (Phase("joint", settings.epochs, loss, settings.frozen, copies, copied_epochs(settings)),)


def copied_epochs(settings: TrainSettings) -> int:
    """How many joint epochs the copied filters follow their originals."""
    return round(settings.release * settings.epochs)


def attachment(task: Task, name: str | None = None, early_view: bool = True, taps: tuple[str, ...] = ()) -> Attachment:
    """The task's attachment of this name, or its first; without `early_view` the final exit keeps its own head.

    With a tap, or for a task without attachments, it is the paper's for that tap's shape. Raise TrecxError where the
    task has no attachment of this name, or its backbone no such tap or several to choose from.
    """
    if taps or (name is None and not task.attachments):
        found = _derived(task, taps)
    else:
        known = [one for one in task.attachments if name in (None, one.name)]
        if not known:
            names = ", ".join(one.name for one in task.attachments) or "none"
            raise TrecxError(f"The task {task.name} has no exit {name!r}.", f"Exits that it names: {names}.")
        found = known[0]
    return found if early_view else replace(found, view=None)


def _derived(task: Task, taps: tuple[str, ...]) -> Attachment:
    """The paper's exit at a tap of the task's backbone, the only one where none is named."""
    backbone = task.backbone(keras())
    if not taps and len(backbone.taps) != 1:
        raise TrecxError(f"The task {task.name} does not say where its exit attaches.", listed(backbone))
    problems = tap_problems(task.name, TRecX, backbone, taps) if taps else []
    if problems:
        raise TrecxError(problems, listed(backbone))
    return suggested(backbone, taps[0] if taps else next(iter(backbone.taps)))


def suggested(backbone: Backbone, tap: str) -> Attachment:
    """The paper's exit for a tap of any shape, which must be one of the backbone's.

    Channels are doubled by the 1x1 convolution where the tap has fewer than 64, and otherwise its first 32 taken; never
    more than the final map has, because the early view reads as many of it. The depthwise kernel is 2x2, or 3x3 where
    the tap's sides are not even; the pool behind it is 4x4 or as much of that as there is.
    """
    height, width, channels = (int(n) for n in reachable(backbone)[tap].shape[1:])
    rows, columns, last = (int(n) for n in backbone.features.shape[1:])
    point = min(2 * channels, last) if channels < 64 else None
    kernel = 2 if height % 2 == width % 2 == 0 else 3
    pool = min(4, -(-height // 2), -(-width // 2))
    early = EarlyExit(tap, point or min(32, last), kernel, 2, pool, point)
    return Attachment(f"at {tap}", early, EarlyView(1, (rows, columns)), "he_normal", 0.4)


def _channel_problems(attachment: Attachment, backbone: Backbone) -> list[str]:
    """Where an exit reads more channels than there are, as in a network that was made narrower."""
    early, maps = attachment.early, {}
    if early.point_filters is None and not early.blocks and early.tap in reachable(backbone):
        maps[f"the tap {early.tap!r}"] = reachable(backbone)[early.tap]
    if attachment.view is not None:
        maps["the final map"] = backbone.features
    return [
        f"The exit {attachment.name!r} reads {early.width} channels of {what}, which has {int(one.shape[-1])}."
        for what, one in maps.items()
        if early.width > int(one.shape[-1])
    ]


def _first_channels(x: Any, width: int, name: str) -> Any:
    """The first `width` channels of an NHWC map.

    Cropping's channels_first crops the two last axes, which for an NHWC map are width (by nothing) and channels. It is
    a stock layer, so models load without custom objects and TFMOT can quantize them, which a Lambda would not.
    """
    surplus = int(x.shape[-1]) - width
    if not surplus:
        return x
    return keras().layers.Cropping2D(((0, 0), (0, surplus)), data_format="channels_first", name=name)(x)


def _depthwise(x: Any, attachment: Attachment, stride: int, name: str) -> Any:
    return keras().layers.DepthwiseConv2D(
        attachment.early.kernel,
        strides=stride,
        padding="same",
        activation="relu",
        depthwise_initializer=attachment.initializer,
        depthwise_regularizer=keras().regularizers.l2(L2),
        name=name,
    )(x)


def _early(tap: Any, attachment: Attachment, classes: int) -> Any:
    """Logits of the early exit."""
    layers, early = keras().layers, attachment.early
    x = blocks(tap, early.blocks, attachment.initializer, EARLY) if early.blocks else _filtered(tap, attachment)
    x = layers.AveragePooling2D(early.pool or x.shape[1:3], padding="valid", name="early_pool")(x)
    return layers.Dense(classes, name="early_logits")(layers.Flatten(name="early_flat")(x))


def _filtered(tap: Any, attachment: Attachment) -> Any:
    """PCONV_e or the first channels, and DCONV_e."""
    early = attachment.early
    if early.point_filters is None:
        return _depthwise(_first_channels(tap, early.width, "early_channels"), attachment, early.stride, FILTER)
    x = point(tap, early.point_filters, attachment.initializer, "early_point")
    return _depthwise(x, attachment, early.stride, FILTER)


def _assisted(features: Any, pooled: Any, attachment: Attachment, classes: int) -> Any:
    """Logits of the final exit from `[pooled, early view]`."""
    layers, view = keras().layers, attachment.view
    assert view is not None
    x = _depthwise(_first_channels(features, attachment.early.width, "view_channels"), attachment, view.stride, VIEW)
    if view.keep is not None:
        x = _first_channels(x, view.keep, "view_keep")
    if view.pool is not None:
        x = layers.AveragePooling2D(view.pool, padding="valid", name="view_pool")(x)
    merged = layers.Concatenate(name="merge")([pooled, layers.Flatten(name="view_flat")(x)])
    return layers.Dense(classes, name="final_logits")(merged)
