"""T-RecX: one early exit, and a final exit that sees the last feature map through the early exit's own filter.

Source: N. P. Ghanathe and S. J. E. Wilton, "T-RECX: Tiny-Resource Efficient Convolutional neural networks with
early-eXit", CF 2023, arXiv:2207.06613, and the layers of the authors' released models.

    early: tap -> PCONV_e (1x1, linear; or the first channels) -> DCONV_e (ReLU) -> average pool -> Dense -> softmax
    final: features -> first channels -> DCONV_f (ReLU) -> average pool -+
           features -> the backbone's own pooling -----------------------+-> Dense -> softmax

DCONV_f has the kernel shape of DCONV_e and carries its weights for most of the training ("early view"). At run time
the final exit reads nothing that the early exit computed: both depend on the tap only.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mlperf_tiny.attachment import Attachment, EarlyExit, EarlyView
from mlperf_tiny.task import Backbone
from trecx.errors import TrecxError
from trecx.learn.keras import keras

EARLY, FINAL = "early", "final"
L2 = 1e-4  # on convolution kernels
FILTER, VIEW = "early_filter", "early_view"  # DCONV_e and DCONV_f


@dataclass(frozen=True)
class TRecX:
    """The method with one attachment; without its `view` the final exit keeps the backbone's own head."""

    name: ClassVar[str] = "trecx"
    exits: ClassVar[tuple[str, ...]] = (EARLY, FINAL)
    attachment: Attachment

    def attach(self, task: str, backbone: Backbone) -> Any:
        """The two-exit Keras model, outputs `early` and `final`; raise TrecxError for an unknown tap."""
        attachment = self.attachment
        if attachment.early.tap not in backbone.taps:
            problem = f"The backbone of {task} has no tap {attachment.early.tap!r}."
            raise TrecxError(problem, f"Its taps are {', '.join(backbone.taps)}.")
        logits = backbone.head(backbone.features)
        classes = int(logits.shape[-1])
        early = _early(backbone.taps[attachment.early.tap], attachment, classes)
        if attachment.view is not None:
            dense = logits._keras_history.layer  # the head's last layer; the vector it reads is what EV merges with
            if not isinstance(dense, keras().layers.Dense) or len(dense.input.shape) != 2:
                problem = f"The head of {task} does not end in a Dense layer on a vector, which the early view needs."
                raise TrecxError(problem, "Leave the final exit as it is: --no-early-view.")
            logits = _assisted(backbone.features, dense.input, attachment, classes)
        layers = keras().layers
        outputs = [layers.Softmax(name=EARLY)(early), layers.Softmax(name=FINAL)(logits)]
        return keras().Model(backbone.input, outputs, name=f"{task}_{self.name}")

    def start(self, model: Any, head: Any) -> None:
        """The final Dense begins as the backbone's own head: nothing from the early view yet."""
        if self.attachment.view is not None:
            merged = model.get_layer("final_logits")
            kernel, bias = (*head.get_weights(), np.zeros(merged.units, np.float32))[:2]
            rows = merged.input_shape[-1] - len(kernel)
            merged.set_weights([np.concatenate([kernel, np.zeros((rows, kernel.shape[1]), kernel.dtype)]), bias])

    def loss_weights(self) -> tuple[float, ...]:
        """(weight of the early cross-entropy, 1)."""
        return self.attachment.early_weight, 1.0

    def copies(self, model: Any) -> tuple[tuple[Any, Any], ...]:
        """((DCONV_e, DCONV_f),), or nothing without early view."""
        return ((model.get_layer(FILTER), model.get_layer(VIEW)),) if self.attachment.view is not None else ()


def suggested(backbone: Backbone, tap: str) -> Attachment:
    """The paper's exit for a tap of any shape, which must be one of the backbone's.

    Channels are doubled by the 1x1 convolution where the tap has fewer than 64, and otherwise its first 32 taken; never
    more than the final map has, because the early view reads as many of it. The depthwise kernel is 2x2, or 3x3 where
    the tap's sides are not even; the pool behind it is 4x4 or as much of that as there is.
    """
    height, width, channels = (int(n) for n in backbone.taps[tap].shape[1:])
    rows, columns, last = (int(n) for n in backbone.features.shape[1:])
    point = min(2 * channels, last) if channels < 64 else None
    kernel = 2 if height % 2 == width % 2 == 0 else 3
    pool = min(4, -(-height // 2), -(-width // 2))
    early = EarlyExit(tap, point or min(32, last), kernel, 2, pool, point)
    return Attachment(f"at {tap}", early, EarlyView(1, (rows, columns)), "he_normal", 0.4)


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
    x = _blocks(tap, attachment) if early.blocks else _filtered(tap, attachment)
    x = layers.AveragePooling2D(early.pool or x.shape[1:3], padding="valid", name="early_pool")(x)
    return layers.Dense(classes, name="early_logits")(layers.Flatten(name="early_flat")(x))


def _filtered(tap: Any, attachment: Attachment) -> Any:
    """PCONV_e or the first channels, and DCONV_e."""
    early = attachment.early
    if early.point_filters is None:
        return _depthwise(_first_channels(tap, early.width, "early_channels"), attachment, early.stride, FILTER)
    x = _point(tap, early.point_filters, attachment, "early_point")
    return _depthwise(x, attachment, early.stride, FILTER)


def _blocks(x: Any, attachment: Attachment) -> Any:
    """Separable blocks as in MobileNet, in place of PCONV_e and DCONV_e."""
    layers = keras().layers
    for number, block in enumerate(attachment.early.blocks, 1):
        name = f"early_block{number}"
        x = layers.DepthwiseConv2D(
            3,
            strides=block.stride,
            padding="same",
            depthwise_initializer=attachment.initializer,
            depthwise_regularizer=keras().regularizers.l2(L2),
            name=f"{name}_dw",
        )(x)
        x = layers.ReLU(name=f"{name}_dw_relu")(layers.BatchNormalization(name=f"{name}_dw_bn")(x))
        x = _point(x, block.filters, attachment, f"{name}_pw")
        x = layers.ReLU(name=f"{name}_pw_relu")(layers.BatchNormalization(name=f"{name}_pw_bn")(x))
    return x


def _point(x: Any, filters: int, attachment: Attachment, name: str) -> Any:
    return keras().layers.Conv2D(
        filters,
        1,
        kernel_initializer=attachment.initializer,
        kernel_regularizer=keras().regularizers.l2(L2),
        name=name,
    )(x)


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
