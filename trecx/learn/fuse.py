"""A linear 1x1 convolution and the depthwise convolution behind it as one convolution, before quantization.

    depthwise(point(x))[o] = sum over k of D[k, o] * (bP[o] + sum over i of P[i, o] * x[k, i]) + bD[o]
                           = sum over k, i of W[k, i, o] * x[k, i] + b[o]
    with W[k, i, o] = D[k, o] * P[i, o] and b[o] = bD[o] + bP[o] * sum over k of D[k, o]

The same in real numbers, and what lies between the two is no longer stored, nor rounded to int8. It holds where no
window reaches into the padding, where the depthwise convolution would see 0 and the fused one bP; and it saves
multiplications where windows do not overlap. Elsewhere both stay as they are. Of the exits of T-RecX those of ic and
vww begin with such a pair (2x2, stride 2, on even sizes); that of kws has no 1x1 convolution.
"""

from typing import Any

import numpy as np

from trecx.learn.keras import keras


def fuse(model: Any) -> tuple[Any, tuple[str, ...]]:
    """The model with every such pair as one Conv2D, and the names of these; `model` itself where there is none.

    A model in which operators of the framework are called like layers, such as slices, is left as it is: what reads
    what is not told in its description in the same way.
    """
    calls = [call for entry in model.get_config()["layers"] for call in entry["inbound_nodes"]]
    pairs = _pairs(model) if all(isinstance(call[0], list) for call in calls) else []
    if not pairs:
        return model, ()
    made = {point.name: _fused(point, depthwise) for point, depthwise in pairs}
    fused = type(model).from_config(_config(model, pairs, made))
    for layer in fused.layers:
        if layer.weights and layer.name not in {one.name for one in made.values()}:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    for point, depthwise in pairs:
        fused.get_layer(made[point.name].name).set_weights(_weights(point, depthwise))
    return fused, tuple(one.name for one in made.values())


def _pairs(model: Any) -> list[tuple[Any, Any]]:
    """The pairs (1x1 convolution, depthwise convolution) that are one convolution."""
    nodes = {entry["name"]: entry["inbound_nodes"] for entry in model.get_config()["layers"]}
    outputs = {tensor._keras_history.layer.name for tensor in model.outputs}
    readers: dict[str, list[str]] = {}
    for name, calls in nodes.items():
        for parent in _parents(calls):
            readers.setdefault(parent, []).append(name)
    found = []
    for point in model.layers:
        read = readers.get(point.name, [])
        if len(read) == len(nodes[point.name]) == 1 and point.name not in outputs and len(nodes[read[0]]) == 1:
            depthwise = model.get_layer(read[0])
            if _is_point(point) and _is_apart(depthwise):
                found.append((point, depthwise))
    return found


def _parents(calls: Any) -> list[str]:
    """Names of the layers that a layer reads, from its `inbound_nodes`."""
    return [parent[0] for call in calls for parent in call]


def _is_point(layer: Any) -> bool:
    """Whether a layer is a linear 1x1 convolution of every pixel."""
    layers, activations = keras().layers, keras().activations
    if type(layer) is not layers.Conv2D or layer.data_format != "channels_last" or layer.groups != 1:
        return False
    return layer.kernel_size == layer.strides == (1, 1) and layer.activation is activations.linear


def _is_apart(layer: Any) -> bool:
    """Whether a layer is a depthwise convolution whose windows meet neither each other nor the padding."""
    if type(layer) is not keras().layers.DepthwiseConv2D or layer.data_format != "channels_last":
        return False
    if layer.depth_multiplier != 1 or layer.dilation_rate != (1, 1):
        return False
    axes = list(zip(layer.input_shape[1:3], layer.kernel_size, layer.strides, strict=True))
    inside = layer.padding == "valid" or all((-(-size // s) - 1) * s + k <= size for size, k, s in axes)
    return inside and all(k <= s for _, k, s in axes)


def _fused(point: Any, depthwise: Any) -> Any:
    """The layer that replaces the pair, without weights yet."""
    return keras().layers.Conv2D(
        point.filters,
        depthwise.kernel_size,
        strides=depthwise.strides,
        padding=depthwise.padding,
        activation=depthwise.activation,
        kernel_regularizer=depthwise.depthwise_regularizer,
        name=f"{point.name}_{depthwise.name}",
    )


def _config(model: Any, pairs: list[tuple[Any, Any]], made: dict[str, Any]) -> dict[str, Any]:
    """The model's configuration with the pairs replaced."""
    config = model.get_config()
    entries = {entry["name"]: entry for entry in config["layers"]}
    renamed = {depthwise.name: made[point.name].name for point, depthwise in pairs}
    for point, depthwise in pairs:
        layer = made[point.name]
        inbound = entries.pop(point.name)["inbound_nodes"]
        entries[depthwise.name] = keras().layers.serialize(layer) | {"name": layer.name, "inbound_nodes": inbound}
    for entry in entries.values():
        for call in entry["inbound_nodes"]:
            for parent in call:
                parent[0] = renamed.get(parent[0], parent[0])
    for end in config["output_layers"]:
        end[0] = renamed.get(end[0], end[0])
    return config | {"layers": list(entries.values())}


def _weights(point: Any, depthwise: Any) -> list[np.ndarray]:
    """Kernel and bias of the fused convolution, computed in double precision."""
    p = point.kernel.numpy().astype(np.float64)[0, 0]
    d = depthwise.depthwise_kernel.numpy().astype(np.float64)[..., 0]
    bias = point.bias.numpy() * d.sum(axis=(0, 1)) if point.use_bias else np.zeros(p.shape[1])
    bias = bias + (depthwise.bias.numpy() if depthwise.use_bias else 0.0)
    return [(d[:, :, None, :] * p).astype(np.float32), bias.astype(np.float32)]
