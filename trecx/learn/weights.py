"""Reference weights of a backbone, from the files in which they are published."""

from pathlib import Path
from typing import Any

from trecx.errors import TrecxError
from trecx.learn import description
from trecx.learn.keras import keras, quiet, tensorflow

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
    if not path.is_dir() and not (path.is_file() and path.suffix in (".h5", ".keras")):
        raise TrecxError(f"{path} is neither a .h5 nor a .keras file.", hint)
    try:
        with quiet():
            return _restored(path, description.read(path))
    except TrecxError:
        raise
    except Exception as error:  # tf_keras raises whatever its readers raise
        told = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise TrecxError(f"{path} cannot be read as a Keras model: {told}.", hint) from error


def _restored(path: Path, told: dict[str, Any]) -> Any:
    """The model of a checked description, with the weights at `path`; no function that a file holds is run."""
    build = keras().saving.deserialize_keras_object if "module" in told else keras().models.model_from_config
    model = build(told)
    if not isinstance(model, keras().Model):
        raise TrecxError(f"{path} describes a {type(model).__name__}, which is no Keras model.")
    _check_order(path, model, told["config"])
    if path.is_dir():
        status = tensorflow().train.Checkpoint(root=model).read(str(path / "variables" / "variables"))
        status.expect_partial().assert_existing_objects_matched()  # more than its layers need is no harm
    else:
        model.load_weights(path)
    return model


def _check_order(path: Path, model: Any, config: Any) -> None:
    """Weights are told apart by the order of their layers, so a model in another order would get them wrong."""
    entries = config["layers"] if isinstance(config, dict) else config
    told = [entry["config"].get("name") for entry in entries]
    names = [layer.name for layer in _layers(model)]
    if None not in told and names != [name for name in told if name in names]:
        raise TrecxError(f"{path} describes its layers in an order in which its weights are not.", "Save it again.")


def _layers(model: Any) -> list[Any]:
    return [layer for layer in model.layers if layer.weights]


def _describe(layer: Any) -> str:
    shapes = " ".join("x".join(map(str, weight.shape)) for weight in layer.get_weights())
    return f"{type(layer).__name__} with weights {shapes}"
