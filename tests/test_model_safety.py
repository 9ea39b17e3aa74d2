"""Keras models whose files ask for more than layers: nothing of them runs, and each is refused by name."""

import json
import zipfile
from pathlib import Path

import numpy as np
import own_things
import pytest
from click.testing import CliRunner

pytest.importorskip("tf_keras")

from trecx.cli import main
from trecx.errors import TrecxError
from trecx.learn import description, weights
from trecx.learn.keras import keras, tensorflow

CASES = Path(__file__).parent / "cases"
KINDS = ("m.h5", "m.keras", "saved", "saved_of_keras_2.4")


def nested():
    """A classifier with a model in it, and a function of TensorFlow as a layer."""
    layers = keras().layers
    inner = keras().Sequential([layers.Conv2D(4, 3, input_shape=(8, 8, 3)), layers.ReLU()], name="inner")
    x = image = keras().Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(tensorflow().nn.relu6(inner(x)))
    return keras().Model(image, layers.Dense(3, activation="softmax", name="last")(x))


def save(model, path):
    if path.name == KINDS[-1]:
        model.save(path)
        move_metadata(path)
    else:
        model.save(path)
    return path


def move_metadata(folder):
    """Where Keras 2.4 and earlier kept what newer ones write to a file of its own."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
    from tf_keras.protobuf.saved_metadata_pb2 import SavedMetadata

    told = SavedMetadata.FromString((folder / "keras_metadata.pb").read_bytes())
    saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for node in told.nodes:
        saved.meta_graphs[0].object_graph_def.nodes[node.node_id].user_object.metadata = node.metadata
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    (folder / "keras_metadata.pb").unlink()


def rewrite(path, change):
    """Let `change` edit the layers that a saved model tells of."""

    def changed(text):
        told = json.loads(text)
        change(told["config"]["layers"])
        return json.dumps(told)

    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = changed(file.attrs["model_config"])
    elif path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        members["config.json"] = changed(members["config.json"]).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    elif (path / "keras_metadata.pb").exists():
        from tf_keras.protobuf.saved_metadata_pb2 import SavedMetadata

        told = SavedMetadata.FromString((path / "keras_metadata.pb").read_bytes())
        (root,) = (node for node in told.nodes if node.node_path == "root")
        root.metadata = changed(root.metadata)
        (path / "keras_metadata.pb").write_bytes(told.SerializeToString())
    else:
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        saved = SavedModel.FromString((path / "saved_model.pb").read_bytes())
        root = saved.meta_graphs[0].object_graph_def.nodes[0].user_object
        root.metadata = changed(root.metadata)
        (path / "saved_model.pb").write_bytes(saved.SerializeToString())


@pytest.fixture(scope="module")
def model():
    return nested()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_the_same_when_it_is_built_of_its_description(kind, model, tmp_path):
    path, x = save(model, tmp_path / kind), np.random.default_rng(0).uniform(0, 1, (4, 8, 8, 3))
    assert np.array_equal(weights.read(path).predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_that_writes_a_file_is_refused_before_it_is_called(kind, model, tmp_path):
    mark = tmp_path / "written"

    def add(layers):
        config = {"name": "writes", "trainable": True, "dtype": "float32", "function": "io.write_file"}
        call = [["_CONSTANT_VALUE", -1, str(mark), {"contents": "x"}]]
        layers.append({"class_name": "TFOpLambda", "config": config, "name": "writes", "inbound_nodes": call})

    path = save(model, tmp_path / kind)
    rewrite(path, add)
    with pytest.raises(TrecxError, match=r"layer 'writes' that calls 'tf\.io\.write_file'") as caught:
        weights.read(path)
    assert "nn.relu6" in caught.value.hint and "Conv2D" in caught.value.hint
    assert not mark.exists()
    with pytest.raises(TrecxError, match=r"io\.write_file"):
        weights.load_into(model, path)
    result = CliRunner().invoke(main, ["build", "--model", str(path), "--data", str(tmp_path)])
    assert result.exit_code == 2 and "io.write_file" in result.output and not mark.exists()


def test_a_lambda_in_the_layout_of_keras_2_4_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    x = image = keras().Input((4,))
    x = keras().layers.Lambda(lambda v, ran=str(mark): (__import__("pathlib").Path(ran).touch(), v)[1])(x)
    path = save(keras().Model(image, keras().layers.Dense(2)(x)), tmp_path / KINDS[-1])
    mark.unlink()  # it ran when it was made
    with pytest.raises(TrecxError, match="Lambda layer: Python code inside the file"):
        weights.read(path)
    assert not mark.exists()


def test_what_a_saved_model_does_when_it_is_loaded_does_not_run(tmp_path):
    from tensorflow.python.trackable.resource import TrackableResource

    tf, mark = tensorflow(), tmp_path / "written"

    class Writes(TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)

        def _initialize(self):
            tf.io.write_file(str(mark), "x")

    model = own_things.plain(keras())
    model.resource = Writes()
    model.save(tmp_path / "saved")
    keras().models.load_model(tmp_path / "saved")
    assert mark.exists()  # the file is one that would write
    mark.unlink()
    found = weights.read(tmp_path / "saved")
    assert not mark.exists()
    for a, b in zip(found.get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(a, b)


def edit(**changes):
    return lambda layers: layers[-1].update(changes)


def configure(**changes):
    return lambda layers: layers[-1]["config"].update(changes)


def operator(node):
    config = {"name": "x", "trainable": True, "dtype": "float32", "node_def": node, "constants": {}}
    return edit(class_name="TensorFlowOpLayer", config=config)


def inside(layers):
    (inner,) = (entry for entry in layers if entry["class_name"] == "Sequential")
    inner["config"]["layers"][-1]["class_name"] = "Mine"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (edit(class_name="Mine"), "class 'Mine'"),
        (edit(class_name=["Dense"]), "class ['Dense']"),
        (edit(class_name="Mine>Dense"), "class 'Mine>Dense'"),
        (edit(registered_name="Mine>Dense"), "class 'Mine>Dense'"),
        (edit(module="os"), "class 'Dense' of the module 'os'"),
        (edit(module="kerasx.layers"), "class 'Dense' of the module 'kerasx.layers'"),
        (edit(class_name="TimeDistributed"), "class 'TimeDistributed'"),
        (inside, "class 'Mine'"),
        (configure(activation="mine"), "activation 'mine'"),
        (configure(activation={"class_name": "function", "module": "os", "config": "system"}), "function 'system'"),
        (configure(kernel_initializer={"class_name": "Mine", "config": {}}), "class 'Mine'"),
        (configure(kernel_constraint="mine"), "kernel_constraint 'mine'"),
        (operator({"name": "x", "op": "WriteFile", "input": []}), "layer 'x' with the operator 'WriteFile'"),
        (operator("\n\x01x\x12\tWriteFile"), "with the operator"),
        (edit(class_name="TFOpLambda", config={"function": "compat.v1.py_func"}), "calls 'tf.compat.v1.py_func'"),
        (edit(class_name="TFOpLambda", config=None), "calls 'tf.None'"),
    ],
)
def test_what_is_not_listed_is_refused_by_name(change, told, model, tmp_path):
    path = save(model, tmp_path / "m.h5")
    rewrite(path, change)
    with pytest.raises(TrecxError) as caught:
        weights.read(path)
    assert any(told in problem for problem in caught.value.problems), caught.value.problems
    assert "Conv2D" in caught.value.hint


def test_all_that_is_refused_is_told_at_once(model, tmp_path):
    path = save(model, tmp_path / "m.keras")
    rewrite(path, lambda layers: (inside(layers), edit(class_name="Yours")(layers)))
    with pytest.raises(TrecxError) as caught:
        weights.read(path)
    assert [problem.split()[-1] for problem in caught.value.problems] == ["'Mine'.", "'Yours'."]


def test_a_description_that_names_what_is_listed_and_is_no_model_is_told(model, tmp_path):
    for number, change in enumerate((edit(class_name="L2"), edit(config={}), lambda layers: layers.clear())):
        path = save(model, tmp_path / f"{number}.h5")
        rewrite(path, change)
        with pytest.raises(TrecxError, match="cannot be read as a Keras model"):
            weights.read(path)


def test_models_inside_each_other_are_counted_before_they_are_made():
    with pytest.raises(TrecxError, match="25,165,823 layers where nested models count as often as they are called"):
        weights.read(CASES / "nested_24.h5")


@pytest.mark.parametrize("size", [{"units": 10**9}, {"units": 1e9}, {"target_shape": [5000, 5000]}])
def test_a_layer_that_asks_for_more_than_a_microcontroller_has_is_refused_before_it_is_made(size, model, tmp_path):
    path = save(model, tmp_path / "m.h5")
    rewrite(path, lambda layers: layers[-1]["config"].update(size))
    with pytest.raises(TrecxError, match=f"with the {next(iter(size))} .*; supported: up to 16,777,216"):
        weights.read(path)


@pytest.mark.parametrize("member", ["config.json", "metadata.json", "model.weights.h5", "assets/more"])
def test_an_archive_that_unpacks_to_much_more_is_refused_before_it_is_unpacked(member, model, tmp_path, monkeypatch):
    path = save(model, tmp_path / "m.keras")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    monkeypatch.setattr(description, "LARGEST", 1 << 20)
    members[member] = members.get(member, b"") + b" " * (1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(TrecxError, match=r"bytes when unpacked; supported: up to 1,048,576"):
        weights.read(path)


def test_arrays_that_only_claim_to_be_large_or_lie_elsewhere_are_refused(model, tmp_path):
    import h5py

    save(model, tmp_path / "m.h5")
    content = (tmp_path / "m.h5").read_bytes()
    (tmp_path / "secret").write_bytes(b"x" * 64)
    (tmp_path / "large.h5").write_bytes(content)
    with h5py.File(tmp_path / "large.h5", "r+") as file:
        file.create_dataset("more", (1 << 20, 1 << 20), "f4", chunks=True)  # no byte of it is in the file
    (tmp_path / "link.h5").write_bytes(content)
    with h5py.File(tmp_path / "link.h5", "r+") as file:
        file["more"] = h5py.ExternalLink("m.h5", "/model_weights")
    (tmp_path / "raw.h5").write_bytes(content)
    with h5py.File(tmp_path / "raw.h5", "r+") as file:
        file.create_dataset("more", (16,), "f4", external=[(str(tmp_path / "secret"), 0, 64)])
    for name, told in (("large", "bytes when unpacked"), ("link", "from another file"), ("raw", "from another file")):
        with pytest.raises(TrecxError, match=told):
            weights.read(tmp_path / f"{name}.h5")


@pytest.mark.parametrize("name", ["saved_model.pb", "keras_metadata.pb", "variables/variables.index"])
def test_a_damaged_folder_is_told(name, model, tmp_path):
    path = save(model, tmp_path / (KINDS[-1] if name == "saved_model.pb" else "saved"))
    (path / name).write_bytes(b"\x0f nonsense")
    with pytest.raises(TrecxError, match=r"cannot be read as a Keras model|does not describe"):
        weights.read(path)


def test_a_folder_without_the_weights_of_a_layer_is_refused(model, tmp_path):
    path, tf = save(model, tmp_path / "saved"), tensorflow()
    tf.train.Checkpoint(layer=model.layers[1]).write(str(path / "variables" / "variables"))
    with pytest.raises(TrecxError, match="cannot be read as a Keras model"):
        weights.read(path)
