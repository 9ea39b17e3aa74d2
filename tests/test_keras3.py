"""Models that Keras 3 saved: read with the same answers, or refused by the name of what cannot be read."""

import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tf_keras")
if importlib.util.find_spec("keras") is None:
    pytest.skip("needs Keras 3", allow_module_level=True)

from trecx.errors import TrecxError
from trecx.learn import keras3, own_model, weights

SUFFIXES = (".keras", ".h5")
REFUSED = {
    "operation": ("the operation 'Add'", "the operation 'Softmax'"),
    "hard_sigmoid": ("the activation 'hard_sigmoid', which tf_keras computes otherwise",),
    "as_activation": ("the layer 'ReLU' as an activation",),
    "mixed": ("'mixed_float16', not float32",),
    "renorm": ("BatchNormalization with renorm True",),
    "inside": ("a model 'inner' inside the model",),
    "lambda": ("a Lambda layer: Python code",),
    "normalization": ("the class 'Normalization'",),
    "by_name": ("output_layers by name",),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras3")
    script = Path(__file__).with_name("models_of_keras_3.py")
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def rewrite(path, target, change):
    """A copy of a .keras file whose description `change` edits."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    told = json.loads(members["config.json"])
    change(told)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in (members | {"config.json": json.dumps(told)}).items():
            archive.writestr(name, content)
    return target


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["sequential", "graph", "activations", "mobilenet"])
def test_a_model_of_keras_3_answers_as_there(name, suffix, saved):
    model = weights.read(saved / f"{name}{suffix}")
    with np.load(saved / f"{name}.npz") as told:
        x, *expected = (told[key] for key in told.files)
    answers = model(x, training=False)
    answers = answers if isinstance(answers, list) else [answers]
    assert len(answers) == len(expected) and all(np.ptp(one) > 1e-3 for one in expected)
    for answer, one in zip(answers, expected, strict=True):
        # The same arithmetic, but Keras 3 may fuse or order it otherwise (batch normalization): some last bits differ.
        np.testing.assert_allclose(answer, one, rtol=1e-5, atol=1e-6)


def test_a_model_of_keras_3_has_taps(saved):
    facts = own_model.facts(saved / "mobilenet.keras")
    assert facts.shape == (96, 96, 3) and facts.classes == 2 and len(facts.taps) > 10


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_regularizers_and_constraints_are_kept(suffix, saved):
    layer = weights.read(saved / f"sequential{suffix}").layers[1]
    assert type(layer.kernel_regularizer).__name__ == "L2" and type(layer.kernel_constraint).__name__ == "MaxNorm"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", REFUSED)
def test_what_tf_keras_has_not_is_refused_by_name(name, suffix, saved):
    with pytest.raises(TrecxError) as caught:
        weights.read(saved / f"{name}{suffix}")
    told = "\n".join(caught.value.problems)
    assert all(part in told for part in REFUSED[name]) and len(caught.value.problems) == len(REFUSED[name]), told
    assert caught.value.hint


def test_an_exported_model_says_how_to_save_it(saved):
    with pytest.raises(TrecxError, match="does not describe a Keras model") as caught:
        weights.read(saved / "exported")
    assert "as a .keras file" in caught.value.hint


@pytest.mark.parametrize(("key", "value"), [("filters", 5), ("use_bias", False)])
def test_weights_of_another_shape_are_an_error(key, value, saved, tmp_path):
    def change(told):
        told["config"]["layers"][1]["config"][key] = value

    with pytest.raises(TrecxError, match="cannot be read as a Keras model"):
        weights.read(rewrite(saved / "graph.keras", tmp_path / "m.keras", change))


def test_layers_in_another_order_than_the_weights_are_an_error(saved, tmp_path):
    def change(told):
        layers = told["config"]["layers"]
        layers[1], layers[2] = layers[2], layers[1]

    with pytest.raises(TrecxError, match="order in which its weights are not"):
        weights.read(rewrite(saved / "graph.keras", tmp_path / "m.keras", change))


@pytest.mark.parametrize(
    "entry",
    [
        {"class_name": "Dense", "module": "keras", "config": {"name": "d", "dtype": "float32"}},
        {"class_name": "Dense", "module": "keras.src.layers", "config": {"name": "d", "dtype": "float32"}},
        {"class_name": "Dense", "module": "os", "config": {"name": "d", "dtype": "float32"}},
        {"class_name": "Dense", "registered_name": "mine>Dense", "config": {"name": "d", "dtype": "float32"}},
        {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "d", "dtype": "float32"}},
        {"class_name": "__lambda__", "module": "builtins", "config": {"value": "x"}},
        {"class_name": "Dense", "config": {"dtype": "float32", "kernel_regularizer": {"class_name": "Lambda"}}},
        {"class_name": "Dense", "config": {"dtype": "float32", "kernel_constraint": "os.system"}},
    ],
)
def test_nothing_slips_by_the_checks(entry, saved, tmp_path):
    path = rewrite(
        saved / "sequential.keras", tmp_path / "m.keras", lambda told: told["config"]["layers"].append(entry)
    )
    with pytest.raises(TrecxError) as caught:
        weights.read(path)
    assert " has " in caught.value.problems[0] and "cannot be read" not in str(caught.value), caught.value.problems


def test_a_description_of_no_model_is_refused():
    told, problems = keras3.translated({"class_name": "Dense", "module": "keras.layers", "config": {}})
    assert problems and told["class_name"] == "Dense"
