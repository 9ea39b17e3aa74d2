"""A Keras model of the user's own: what it is, and a backbone with taps, or the exits that it has already.

A plain classifier becomes a `Backbone`: a copy of its graph up to the logits, with its weights. Every map that a layer
puts out is a tap; the last one of more than a pixel is what the early view reads. A model with several outputs is
complete: its outputs are its exits, in the order of what they cost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from mlperf_tiny.recipe import Recipe
from mlperf_tiny.task import Backbone, Data
from trecx import exits as door
from trecx.errors import TrecxError
from trecx.files import write_json
from trecx.learn import weights
from trecx.learn.cost import cost
from trecx.learn.exits.method import FINAL, Phase, exit_names, specs
from trecx.learn.keras import keras, save
from trecx.learn.settings import TrainSettings
from trecx.learn.train import HISTORY, MODEL, SCORES, exit_scores, write_scores

HINT = f"A model is {weights.KINDS}; with one 4-D input of known size (rows, columns, channels) and scores of classes."
# The names of the layers that exits add, and that Keras gives where a graph is cut; a model's own layers of such names
# are renamed.
_RESERVED, _PREFIXES = (FINAL, "merge"), ("early", "view_", "final_", "input_")
# It starts from what it has learned and is its own teacher, so it needs little.
RECIPE = Recipe(epochs=20, learning_rate=5e-4, schedule="cosine", release=0.8, distillation=0.9)
_PASSING = ("BatchNormalization", "ReLU", "Activation", "Dropout", "SpatialDropout2D", "ZeroPadding2D", "Softmax")


@dataclass(frozen=True)
class Tap:
    """A layer that an exit may read: its map's shape, and the share of the model's MACs that it takes to get there."""

    name: str
    shape: tuple[int, ...]
    share: float

    def __str__(self) -> str:
        return f"{self.name} {self.shape}, {self.share:.0%} of the MACs"


@dataclass(frozen=True)
class Facts:
    """What a model is: its input's shape, its classes, its outputs, and layers that suit an exit."""

    shape: tuple[int, ...]
    classes: int
    exits: tuple[str, ...]
    taps: tuple[Tap, ...]

    @property
    def complete(self) -> bool:
        """Whether it has its exits already."""
        return len(self.exits) > 1


@dataclass(frozen=True)
class Ready:
    """The method of a complete model at `path`: it has its exits already and trains nothing."""

    name: ClassVar[str] = "own"
    taps: ClassVar[tuple[int, int]] = (0, 0)
    grows: ClassVar[bool] = False
    untunable: ClassVar[str] = "A model that came with its exits is not trained here."
    otherwise: ClassVar[str] = "final"
    options: ClassVar[tuple[str, ...]] = ()
    gated: ClassVar[bool] = False
    tuning: ClassVar[Recipe | None] = None

    exits: tuple[str, ...]
    path: Path = Path()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Its exits."""
        return self.exits

    def exit_specs(self) -> tuple[door.ExitSpec, ...]:
        """All but the last decide by their highest score."""
        return specs(self.exits)

    def about(self) -> dict[str, object]:
        """What its final exit looks at is not known."""
        return {"early_view": None}

    def attach(self, task: str, backbone: Backbone | None) -> Any:
        """The model as it is."""
        return complete(self.path)

    def start(self, model: Any, head: Any) -> None:
        """Nothing: everything has its weights."""

    def phases(self, model: Any, settings: TrainSettings) -> tuple[Phase, ...]:
        """None."""
        return ()


def facts(path: Path) -> Facts:
    """What the model at `path` is; raise TrecxError with everything that keeps it from being used."""
    model = _read(path)
    names = exit_names(len(model.outputs))
    taps = _taps(model) if len(names) == 1 else ()
    return Facts(tuple(model.input_shape[1:]), int(model.outputs[0].shape[-1]), names, taps)


def backbone(path: Path) -> Callable[[Any], Backbone]:
    """A function from Keras to the backbone of the plain classifier at `path`, with its weights."""

    def build(_: Any) -> Backbone:
        model = _copy(_read(path))
        *maps, last = [layer for layer in model.layers if _is_map(layer)]
        taps = {_original(layer.name): layer.output for layer in maps}
        # The graph is whole already: what follows its last map leads to its logits.
        return Backbone(model.input, taps, last.output, lambda _: model.output)

    return build


def complete(path: Path) -> Any:
    """The model at `path` with its outputs in the order of what they cost, each of them scores."""
    model = _read(path)
    names = exit_names(len(model.outputs))
    answers = []
    for name, output in zip(names, sorted(model.outputs, key=lambda end: cost(model, end)), strict=True):
        softmax = keras().layers.Softmax(name=f"scores_{name}")
        answers.append(output if _activation(output) == "softmax" else softmax(output))
    return keras().Model(model.input, answers)


def adopt(ready: Ready, data: Data, folder: Path) -> None:
    """Leave in `folder` what `train` would: the complete model, its scores, and that nothing was trained."""
    model = complete(ready.path)
    folder.mkdir(parents=True, exist_ok=True)
    save(model, folder / MODEL)
    write_scores(folder / SCORES, data, exit_scores(ready, model))
    write_json(folder / HISTORY, {"settings": {"model": ready.path.name}, "backbone": [], "joint": []})


def _read(path: Path) -> Any:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return _held(path, tuple((str(file), file.stat().st_mtime_ns) for file in files if file.is_file()))


@cache
def _held(path: Path, _: tuple[tuple[str, int], ...]) -> Any:
    """The checked model as a graph of layers; it is only read."""
    model = weights.read(path, HINT)
    found = [f"{path}: {problem}" for problem in _problems(model)]
    if found:
        raise TrecxError(found, HINT)
    return keras().Model(model.input, model.outputs if len(model.outputs) > 1 else model.output)


def _problems(model: Any) -> list[str]:
    """Everything that keeps a model from being used."""
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        return ["it is not a graph of layers (Sequential or functional), so nothing can attach to it."]
    found = []
    if len(model.inputs) > 1:
        found.append(f"it has {len(model.inputs)} inputs; supported: one.")
    for entry in model.inputs:
        shape = tuple(entry.shape[1:])
        if len(shape) != 3 or None in shape:
            found.append(f"its input {entry.name!r} has shape {shape}; supported: rows, columns, channels, all known.")
    return found + _output_problems(model)


def _output_problems(model: Any) -> list[str]:
    found = []
    for output in model.outputs:
        layer, shape = output._keras_history.layer, tuple(output.shape[1:])
        told = f"its output {layer.name!r}"
        if len(shape) != 1 or shape[0] is None:
            found.append(f"{told} has shape {shape}; supported: one score per class.")
        elif shape[0] == 1:
            found.append(f"{told} has one unit; train it with two classes and softmax instead of sigmoid.")
        elif _activation(output) not in ("softmax", "linear"):
            found.append(f"{told} ends in {_activation(output)}; supported: softmax, or none (logits).")
    sizes = {tuple(output.shape[1:]) for output in model.outputs}
    if len(sizes) > 1:
        found.append(f"its outputs have different shapes, {sorted(sizes)}; each exit must score the same classes.")
    return found


def _activation(output: Any) -> str:
    """What the layer behind an output applies last."""
    layer = output._keras_history.layer
    if type(layer).__name__ == "Softmax":
        return "softmax"
    activation = getattr(layer, "activation", None)
    return "linear" if activation is None else str(getattr(activation, "__name__", activation))


def _copy(model: Any) -> Any:
    """The same graph up to the logits, with the same weights and layers of its own."""
    last, logits = model.output._keras_history.layer, model.output
    if _activation(logits) == "softmax" and type(last).__name__ in ("Softmax", "Activation"):
        logits = last.input
    graph = keras().Model(model.input, logits, name=f"{model.name}_logits")
    config = graph.get_config()
    for entry in config["layers"]:
        if entry["name"] == last.name and entry["config"].get("activation") is not None:
            entry["config"]["activation"] = "linear"
    _rename(config)
    made = keras().Model.from_config(config)
    for layer in graph.layers:
        if layer.weights:
            made.get_layer(_safe(layer.name)).set_weights(layer.get_weights())
    return made


def _rename(config: dict[str, Any]) -> None:
    """Give layers other names where an exit's layers have these."""
    names = {entry["name"] for entry in config["layers"]}
    for entry in config["layers"]:
        entry["name"] = entry["config"]["name"] = _safe(entry["name"])
        _rename_parents(entry["inbound_nodes"], names)
    for ends in (config["input_layers"], config["output_layers"]):
        _rename_parents(ends, names)


def _rename_parents(nested: Any, names: set[str]) -> None:
    """The same for references [layer, node, tensor, ...], wherever in lists and keyword arguments they are."""
    if isinstance(nested, list) and len(nested) > 2 and isinstance(nested[0], str) and nested[0] in names:
        nested[0] = _safe(nested[0])
    for inner in nested.values() if isinstance(nested, dict) else nested if isinstance(nested, list | tuple) else ():
        _rename_parents(inner, names)


def _safe(name: str) -> str:
    return f"own_{name}" if name in _RESERVED or name.startswith(_PREFIXES) else name


def _original(name: str) -> str:
    plain = name.removeprefix("own_")
    return plain if _safe(plain) == name else name


def _is_map(layer: Any) -> bool:
    """Whether a layer puts out one map of more than a pixel."""
    if type(layer).__name__ == "InputLayer" or len(layer.inbound_nodes) < 1:
        return False
    try:
        shape = layer.output.shape
    except AttributeError:  # used more than once
        return False
    return len(shape) == 4 and None not in shape[1:] and shape[1] * shape[2] > 1


def _taps(model: Any) -> tuple[Tap, ...]:
    """The maps that suit an exit: those behind normalization and activation, and before the last."""
    readers: dict[str, list[Any]] = {}
    for layer in model.layers:
        for node in layer.inbound_nodes:
            for parent in _many(node.inbound_layers):
                readers.setdefault(parent.name, []).append(layer)
    whole = cost(model, model.output)[0]
    maps = [layer for layer in model.layers if _is_map(layer)]
    chosen = [m for m in maps if any(type(r).__name__ not in _PASSING for r in readers.get(m.name, []))]
    shapes = [(m, tuple(int(n) for n in m.output.shape[1:])) for m in chosen if m is not maps[-1]]
    return tuple(Tap(m.name, shape, cost(model, m.output)[0] / max(whole, 1)) for m, shape in shapes)


def _many(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
