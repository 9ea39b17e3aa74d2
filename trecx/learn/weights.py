"""Reference weights of a backbone, from the files in which they are published."""

import json
import re
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

from trecx.errors import TrecxError
from trecx.learn.keras import keras, quiet

# Classes in which a file carries Python code of its own.
_CODE = {"Lambda", "__lambda__"}
KINDS = "a SavedModel folder, a .h5 file or a .keras file"


def load_into(model: Any, path: Path) -> None:
    """Give `model` the weights of the Keras model at `path`, layer by layer.

    Raise TrecxError where `path` is none of the supported kinds, cannot be read, or has another topology.
    """
    found, expected = _layers(read(path)), _layers(model)
    names = [layer.name for layer in found]
    if sorted(names) == sorted(layer.name for layer in expected):
        found = [found[names.index(layer.name)] for layer in expected]  # by name where names say it all
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


def read(path: Path, hint: str = f"Reference weights are {KINDS} of the plain backbone.") -> Any:
    """The Keras model at `path`; raise TrecxError with this hint where there is none that can be read."""
    if not path.exists():
        raise TrecxError(f"There is no {path}.", hint)
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise TrecxError(f"The folder {path} has no saved_model.pb.", hint)
    if path.is_file() and path.suffix not in (".h5", ".keras"):
        raise TrecxError(f"{path} is neither a .h5 nor a .keras file.", hint)
    if _CODE & _classes(path):
        told = "a Lambda layer: Python code inside the file, which would run when it is read"
        raise TrecxError(f"{path} has {told}.", "Replace the Lambda by stock layers and save the model again.")
    try:
        with quiet():
            model = keras().models.load_model(path, compile=False)
    except Exception as error:  # tf_keras raises whatever its readers raise
        version = _version(path)
        if version.startswith("3"):
            problem = f"{path} was saved by Keras {version}, and tf_keras, which trains here, cannot read it."
            raise TrecxError(
                problem, "Build the same model in tf_keras, load its weights, and save that one."
            ) from error
        told = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise TrecxError(f"{path} cannot be read as a Keras model: {told}.", hint) from error
    if not isinstance(model, keras().Model):  # a SavedModel without Keras' own description loads as something else
        raise TrecxError(f"{path} does not describe a Keras model.", hint)
    return model


def _classes(path: Path) -> set[str]:
    """The classes that a model's description names, before anything in it is believed or run."""
    found = re.findall(r'"class_name"\s*:\s*"((?:[^"\\]|\\.)*)"', _description(path))
    return {str(json.loads(f'"{name}"', strict=False)) for name in found}


def _description(path: Path) -> str:
    """The JSON, or several in a row, in which Keras describes a model; empty where there is none."""
    try:
        if path.is_dir():
            return (path / "keras_metadata.pb").read_bytes().decode("latin-1")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return archive.read("config.json").decode("utf-8", "replace")
        with import_module("h5py").File(path) as file:
            told = file.attrs.get("model_config", "")
            return told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
    except Exception:  # a damaged file says nothing; reading it says why
        return ""


def _version(path: Path) -> str:
    """The version of Keras that wrote a file, as far as it says so."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
        with import_module("h5py").File(path) as file:
            return str(file.attrs.get("keras_version", ""))
    except Exception:  # a damaged file says nothing
        return ""


def _layers(model: Any) -> list[Any]:
    return [layer for layer in model.layers if layer.weights]


def _describe(layer: Any) -> str:
    shapes = " ".join("x".join(map(str, weight.shape)) for weight in layer.get_weights())
    return f"{type(layer).__name__} with weights {shapes}"
