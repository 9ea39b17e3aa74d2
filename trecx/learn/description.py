"""What a file says of a Keras model, checked before anything is built of it.

A description names classes and functions, and to build the model is to call them with what the file says. So what may
be named is listed here. A SavedModel's own functions are not read at all: its description and its variables suffice.
"""

import io
import json
import math
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from trecx.errors import TrecxError
from trecx.learn import keras3
from trecx.learn.keras import keras

_CALLS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")
LAYERS = (
    *("InputLayer", "Functional", "Model", "Sequential", "Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense"),
    *("BatchNormalization", "LayerNormalization", "Rescaling", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU"),
    *("Softmax", "MaxPooling2D", "AveragePooling2D", "GlobalMaxPooling2D", "GlobalAveragePooling2D", "Flatten"),
    *("Reshape", "Permute", "ZeroPadding2D", "Cropping2D", "UpSampling2D", "Add", "Subtract", "Multiply", "Average"),
    *("Maximum", "Minimum", "Concatenate", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"),
    "ActivityRegularization",
    *_CALLS,
)
# What layers are made with: initializers, regularizers, constraints and a policy of numbers.
PARTS = (
    *("Zeros", "Ones", "Constant", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Identity"),
    *("Orthogonal", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform", "L1"),
    *("L2", "L1L2", "OrthogonalRegularizer", "MaxNorm", "NonNeg", "UnitNorm", "MinMaxNorm", "RadialConstraint"),
    "Policy",
)
ACTIVATIONS = (
    *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "swish", "silu", "mish", "sigmoid"),
    *("hard_sigmoid", "tanh", "softmax", "softplus", "softsign", "exponential"),
)
# Functions of TensorFlow that layers of Keras 2.5 and later call: they compute their answer and do nothing else.
FUNCTIONS = (
    *("__operators__.add", "__operators__.getitem", "math.add", "math.subtract", "math.multiply", "math.divide"),
    *("math.truediv", "math.maximum", "math.minimum", "math.negative", "math.abs", "math.square", "math.sqrt"),
    *("math.exp", "math.sigmoid", "math.tanh", "math.reduce_mean", "math.reduce_max", "math.reduce_sum", "nn.relu"),
    *("nn.relu6", "nn.leaky_relu", "nn.elu", "nn.selu", "nn.silu", "nn.softmax", "nn.bias_add", "nn.avg_pool"),
    *("nn.avg_pool2d", "nn.max_pool", "nn.max_pool2d", "concat", "reshape", "squeeze", "expand_dims", "transpose"),
    *("strided_slice", "slice", "split", "stack", "identity", "cast", "pad", "clip_by_value"),
)
# The same as operators in a graph, as Keras 2.4 and earlier wrote them.
OPERATORS = (
    *("Add", "AddV2", "Sub", "Mul", "RealDiv", "Maximum", "Minimum", "Neg", "Abs", "Square", "Sqrt", "Exp", "Sigmoid"),
    *("Tanh", "Mean", "Max", "Sum", "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Softmax", "BiasAdd", "AvgPool"),
    *("MaxPool", "ConcatV2", "Reshape", "Squeeze", "ExpandDims", "Transpose", "StridedSlice", "Slice", "Split", "Pack"),
    *("Identity", "Cast", "Pad", "PadV2"),
)
LARGEST = 256 << 20  # bytes of a model, unpacked; one for a microcontroller has a hundredth
_LONGEST = 4 << 20  # characters of a description; MobileNetV1's has 100 thousand
MOST_LAYERS = 10_000  # of a model, a nested one's as often as it is called
MOST_VALUES = 1 << 24  # of one number in a layer's description, or of the numbers of a shape multiplied
_SIZES = (
    *("units", "filters", "depth_multiplier", "kernel_size", "pool_size", "strides", "size", "padding", "cropping"),
    *("target_shape", "batch_input_shape", "batch_shape"),
)
_UNTOLD = "Save it with model.save as a .keras file: model.export and save_weights do not say what the layers are."
_SUPPORTED = (
    f"Use stock layers and save the model again. Layers that are read: {', '.join(LAYERS)}. Activations: "
    f"{', '.join(ACTIVATIONS)}. TensorFlow's functions in layers: {', '.join(FUNCTIONS)}."
)


def read(path: Path) -> dict[str, Any]:
    """The description of the Keras model at `path`: its class, its layers, and how they are connected.

    One of Keras 3 is translated. Raise TrecxError where it has none, is too large, or names what is not read; and where
    a file is damaged, whatever its reader raises.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise TrecxError(f"{path} is not a regular file.")
    packed = path.suffix == ".keras" and zipfile.is_zipfile(path)
    text, version = _folder(path) if path.is_dir() else _archive(path) if packed else _hdf5(path)
    _refuse_more(path, len(text), _LONGEST, "characters of description")
    told = json.loads(text, object_hook=_plain) if text else None
    if not isinstance(told, dict) or not isinstance(told.get("config"), dict | list):
        raise TrecxError(f"{path} does not describe a Keras model.", _UNTOLD)
    if path.is_dir():  # beside these it says how functions that are not read were traced
        told = {key: told.get(key) for key in ("class_name", "config")}
    told, found = keras3.translated(told) if version.startswith("3") else (told, [])
    found += [problem for part in _dictionaries(told) for problem in _problems(part)]
    if not found and (layers := _layers(told)) > MOST_LAYERS:
        found = [f"{layers:,} layers where nested models count as often as they are called; supported: {MOST_LAYERS:,}"]
    if found:
        raise TrecxError([f"{path} has {problem}." for problem in dict.fromkeys(found)][:20], _SUPPORTED)
    return told


def _folder(path: Path) -> tuple[str, str]:
    """The root's description in a SavedModel; Keras 2.4 and earlier kept it in the model itself."""
    keras()
    file = path / "keras_metadata.pb"
    if file.is_file():
        _refuse_more(path, file.stat().st_size, LARGEST)
        metadata = import_module("tf_keras.protobuf.saved_metadata_pb2").SavedMetadata
        nodes = metadata.FromString(file.read_bytes()).nodes
        return next((str(node.metadata) for node in nodes if node.node_path == "root"), ""), ""
    file = path / "saved_model.pb"
    _refuse_more(path, file.stat().st_size, LARGEST)
    saved = import_module("tensorflow.core.protobuf.saved_model_pb2").SavedModel.FromString(file.read_bytes())
    roots = [node for graph in saved.meta_graphs for node in graph.object_graph_def.nodes[:1]]
    return next((str(root.user_object.metadata) for root in roots), ""), ""


def _archive(path: Path) -> tuple[str, str]:
    """The description and the version in a .keras file."""
    with zipfile.ZipFile(path) as archive:
        _refuse_more(path, sum(info.file_size for info in archive.infolist()), LARGEST)
        with import_module("h5py").File(io.BytesIO(archive.read("model.weights.h5"))) as file:
            _check_arrays(path, file)
        version = str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
        return archive.read("config.json").decode("utf-8"), version


def _hdf5(path: Path) -> tuple[str, str]:
    """The same in a .h5 file."""
    _refuse_more(path, path.stat().st_size, LARGEST)
    with import_module("h5py").File(path) as file:
        _check_arrays(path, file)
        text, version = (file.attrs.get(key, "") for key in ("model_config", "keras_version"))
        return text.decode("utf-8") if isinstance(text, bytes) else str(text), str(version)


def _check_arrays(path: Path, file: Any) -> None:
    """Refuse arrays that only claim to be large, or that are parts of other files."""
    h5py, sizes, outside = import_module("h5py"), [0], []

    def count(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            sizes.append(int(item.size or 0) * item.dtype.itemsize)
            if item.external or item.is_virtual:
                outside.append(name)

    file.visititems(count)
    file.visititems_links(lambda name, link: outside.append(name) if isinstance(link, h5py.ExternalLink) else None)
    if outside:
        raise TrecxError(f"{path} takes {outside[0]!r:.100} from another file; supported: weights in the file itself.")
    _refuse_more(path, sum(sizes), LARGEST)


def _refuse_more(path: Path, size: int, most: int, what: str = "bytes when unpacked") -> None:
    if size > most:
        raise TrecxError(f"{path} has {size:,} {what}; supported: up to {most:,}.", "Is it the model that you mean?")


def _plain(part: dict[str, Any]) -> Any:
    """A part of a description without what Keras writes for Python's own types and for training."""
    match part.get("class_name"):
        case "__tuple__" | "TensorShape":
            return tuple(part["items"])
        case "__ellipsis__":
            return ...
    return {key: value for key, value in part.items() if key != "compile_config"}


def _dictionaries(told: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary in a description, nested models' too."""
    if isinstance(told, dict):
        yield told
    if isinstance(told, dict | list | tuple):
        for inner in told.values() if isinstance(told, dict) else told:
            yield from _dictionaries(inner)


def _problems(part: dict[str, Any]) -> Iterator[str]:
    """What a dictionary in a description names that is not read."""
    if "class_name" in part:
        yield from _class_problems(part)
    for key, value in part.items():
        if key in _SIZES and _size(value) > MOST_VALUES:
            yield f"a layer {_short(part.get('name'))} with the {key} {_short(value)}; supported: up to {MOST_VALUES:,}"
        if isinstance(value, dict) or value is None:  # a dictionary is judged by itself
            continue
        if key.endswith("activation") and value not in ACTIVATIONS:
            yield f"the activation {_short(value)}"
        if key.endswith(("_initializer", "_regularizer", "_constraint")) and not _is_part(value):
            yield f"the {key} {_short(value)}"


def _layers(part: dict[str, Any]) -> int:
    """Layers of a description, those of a nested model once for each call of it."""
    config = part.get("config")
    inner = config.get("layers") if isinstance(config, dict) else config
    layers = [layer for layer in inner if isinstance(layer, dict)] if isinstance(inner, list | tuple) else []
    calls = part.get("inbound_nodes")
    times = len(calls) if isinstance(calls, list | tuple) and calls else 1
    return times * max(1, sum(map(_layers, layers)))


def _size(value: Any) -> float:
    """A number, or those of a shape multiplied; what is no number counts as 1."""
    if isinstance(value, list | tuple):
        return math.prod(map(_size, value))
    return abs(value) if isinstance(value, int | float) and value else 1


def _class_problems(part: dict[str, Any]) -> Iterator[str]:
    name, module, registered = (part.get(key) for key in ("class_name", "module", "registered_name"))
    if name in ("Lambda", "__lambda__"):
        yield "a Lambda layer: Python code inside the file, which would run when it is read"
    elif name == "function":
        yield f"the function {_short(part.get('config'))} of the module {_short(module)}"
    elif name not in LAYERS + PARTS or registered not in (None, name):
        yield f"the class {_short(name if registered is None else registered)}"
    elif module is not None and str(module).split(".")[0] not in ("keras", "tf_keras"):
        yield f"the class {_short(name)} of the module {_short(module)}"
    elif name in _CALLS:
        yield from _call_problems(part)


def _call_problems(part: dict[str, Any]) -> Iterator[str]:
    """The same of a layer that is a function or an operator of TensorFlow."""
    config = part.get("config")
    config = config if isinstance(config, dict) else {}
    layer = f"a layer {_short(config.get('name'))}"
    if part["class_name"] != "TensorFlowOpLayer":
        called = str(config.get("function"))
        if called.removeprefix("compat.v1.") not in FUNCTIONS:
            yield f"{layer} that calls {_short('tf.' + called)}"
        return
    node = config.get("node_def")
    operator = node.get("op") if isinstance(node, dict) else node
    if operator not in OPERATORS:
        yield f"{layer} with the operator {_short(operator)}"


def _is_part(value: Any) -> bool:
    """Whether a string names a part, as in glorot_uniform for GlorotUniform."""
    return isinstance(value, str) and value.replace("_", "").lower() in {name.lower() for name in PARTS}


def _short(value: Any) -> str:
    return f"{value!r:.80}"
