"""Reference weights of a backbone, from the files in which they are published."""

from pathlib import Path
from typing import Any

from trecx.errors import TrecxError
from trecx.learn.keras import keras, quiet

KINDS = "a SavedModel folder, a .h5 file or a .keras file"


def load_into(model: Any, path: Path) -> None:
    """Give `model` the weights of the Keras model at `path`, layer by layer.

    Raise TrecxError where `path` is none of the supported kinds, cannot be read, or has another topology.
    """
    found, expected = _layers(_read(path)), _layers(model)
    problems = [
        f"Layer {number} with weights is {a}, expected {b}."
        for number, (a, b) in enumerate(zip(map(_describe, found), map(_describe, expected), strict=False), 1)
        if a != b
    ]
    if len(found) != len(expected):
        problems.insert(0, f"{path} has {len(found)} layers with weights, the backbone has {len(expected)}.")
    if problems:
        raise TrecxError(problems[:20], f"{path} does not hold weights of this task's backbone.")
    for source, target in zip(found, expected, strict=True):
        target.set_weights(source.get_weights())


def _read(path: Path) -> Any:
    hint = f"Reference weights are {KINDS} of the plain backbone."
    if not path.exists():
        raise TrecxError(f"There is no {path}.", hint)
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise TrecxError(f"The folder {path} has no saved_model.pb.", hint)
    if path.is_file() and path.suffix not in (".h5", ".keras"):
        raise TrecxError(f"{path} is neither a .h5 nor a .keras file.", hint)
    try:
        with quiet():
            model = keras().models.load_model(path, compile=False)
    except Exception as error:  # tf_keras raises whatever its readers raise
        raise TrecxError(f"{path} is not a Keras model: {str(error).splitlines()[0][:200]}.", hint) from error
    if not isinstance(model, keras().Model):  # a SavedModel without Keras' own description loads as something else
        raise TrecxError(f"{path} does not describe a Keras model.", hint)
    return model


def _layers(model: Any) -> list[Any]:
    return [layer for layer in model.layers if layer.weights]


def _describe(layer: Any) -> str:
    shapes = " ".join("x".join(map(str, weight.shape)) for weight in layer.get_weights())
    return f"{type(layer).__name__} with weights {shapes}"
