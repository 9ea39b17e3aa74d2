"""CIFAR-10: batches in the publisher's layout, and files that only look like them."""

import io
import os
import pickle
import struct

import numpy as np
import pytest

from mlperf_tiny import DataError, cifar10, plain_pickle

PER_BATCH = 40  # four of each class in a batch, twenty in all of them
HELD_OUT = [12, 17, 25, 43, 56, 58, 66, 73, 74, 81, 84, 87, 99, 102, 109, 118, 131, 180, 185, 190]


def batch(seed: int, count: int = PER_BATCH) -> dict:
    random = np.random.default_rng(seed)
    return {
        b"batch_label": b"training batch",
        b"labels": [k % 10 for k in range(count)],
        b"data": random.integers(0, 256, (count, 3072), np.uint8),
        b"filenames": [f"{k}.png".encode() for k in range(count)],
    }


def write(folder, change=None, name="data_batch_2"):
    """A tiny cifar-10-batches-py; `change` makes the pickled bytes of the batch `name` from its content."""
    folder.mkdir(parents=True)
    for seed, each in enumerate((*cifar10.TRAIN, cifar10.TEST)):
        made = pickle.dumps(batch(seed), protocol=2)
        (folder / each).write_bytes(change(batch(seed)) if change and each == name else made)
    return folder


def python2(content: dict) -> bytes:
    """A batch as Python 2's cPickle wrote it: byte strings, and numpy's names of that time."""
    out = io.BytesIO()
    number = iter(range(100_000))

    def put():
        k = next(number)
        out.write(b"q" + bytes([k]) if k < 256 else b"r" + struct.pack("<I", k))

    def string(value: bytes):
        short = len(value) < 256
        out.write((b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))) + value)
        put()

    def array(x):
        out.write(b"cnumpy.core.multiarray\n_reconstruct\n")
        put()
        out.write(b"cnumpy\nndarray\n")
        put()
        out.write(b"K\x00\x85")
        put()
        string(b"b")
        out.write(b"\x87R(K\x01" + b"".join(b"M" + struct.pack("<H", n) for n in x.shape) + b"\x86cnumpy\ndtype\n")
        string(b"u1")
        out.write(b"K\x00K\x01\x87R(K\x03")
        string(b"|")
        out.write(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89")
        string(x.tobytes())
        out.write(b"tb")

    out.write(b"\x80\x02}")
    put()
    out.write(b"(")
    string(b"data")
    array(content[b"data"])
    string(b"labels")
    out.write(b"](" + b"".join(b"K" + bytes([label]) for label in content[b"labels"]) + b"e")
    string(b"filenames")
    out.write(b"](")
    for name in content[b"filenames"]:
        string(name)
    out.write(b"eu.")
    return out.getvalue()


def test_every_image_is_in_one_split_with_its_own_label(tmp_path):
    data = cifar10.load(write(tmp_path / cifar10.FOLDER).parent)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [180, 20, 40]
    content = [batch(seed) for seed in range(6)]
    planes = np.concatenate([each[b"data"] for each in content[:5]]).reshape(-1, 3, 32, 32)
    expected = {x.transpose(1, 2, 0).astype(np.float32).tobytes(): k % 10 for k, x in enumerate(planes)}
    for split in (data.train, data.validation):
        assert split.x.dtype == np.float32 and split.y.dtype == np.int32
        for x, y in zip(split.x, split.y, strict=True):
            assert expected.pop(x.tobytes()) == y
    assert not expected
    assert np.array_equal(data.test.x[3, :, :, 1].ravel(), content[5][b"data"][3, 1024:2048])
    assert data.test.y.tolist() == content[5][b"labels"]


def test_validation_has_a_tenth_of_each_class_and_is_the_same_in_each_run(tmp_path):
    folder = write(tmp_path / cifar10.FOLDER)
    once, again = cifar10.load(folder), cifar10.load(folder)
    assert np.bincount(once.validation.y).tolist() == [2] * 10
    assert np.array_equal(once.validation.x, again.validation.x)
    assert once.sources == again.sources
    # A new choice would let models that were trained before be judged on what they have seen.
    assert np.flatnonzero(cifar10.held_out(np.arange(200) % 10)).tolist() == HELD_OUT


def test_splits_say_where_they_come_from(tmp_path):
    data = cifar10.load(write(tmp_path / cifar10.FOLDER))
    for split in (data.train, data.validation, data.test):
        assert set(split.source) == {"cifar10"} and len(split.source) == len(split)
        assert data.sources[split.name].startswith(f"{len(split)} CIFAR-10; sha256 ")
    assert len(set(data.sources.values())) == 3


def test_its_own_folder_and_the_one_above_are_found(tmp_path, monkeypatch):
    folder = write(tmp_path / cifar10.FOLDER)
    assert cifar10.load(folder).sources == cifar10.load(tmp_path).sources
    monkeypatch.chdir(folder)
    assert len(cifar10.load(folder.relative_to(folder)).test) == 40


def test_without_training_only_the_test_is_read(tmp_path):
    folder = write(tmp_path / cifar10.FOLDER)
    for name in cifar10.TRAIN:
        (folder / name).unlink()
    data = cifar10.load(folder, training=False)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [0, 0, 40]
    assert data.train.x.shape == (0, 32, 32, 3)
    assert list(data.sources) == ["test"]


@pytest.mark.parametrize("written", [python2, *(lambda c, p=p: pickle.dumps(c, protocol=p) for p in (2, 3, 4))])
def test_batches_of_python_2_and_3_are_the_same(tmp_path, written):
    plain = cifar10.load(write(tmp_path / "a"))
    assert cifar10.load(write(tmp_path / "b", written)).sources == plain.sources


def test_arrays_by_columns_are_read_as_such(tmp_path):
    def turned(content):
        return pickle.dumps(content | {b"data": np.asfortranarray(content[b"data"])}, protocol=2)

    assert cifar10.load(write(tmp_path / "b", turned)).sources == cifar10.load(write(tmp_path / "a")).sources


class Runs:
    """Pickled, it is a call of os.system."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_pickle_that_runs_a_command_is_refused_without_running_it(tmp_path):
    mark = tmp_path / "ran"
    for key in (b"data", b"labels"):
        folder = write(tmp_path / key.decode(), lambda c, key=key: pickle.dumps(c | {key: Runs(f"touch {mark}")}, 2))
        with pytest.raises(DataError):
            cifar10.load(folder)
    assert not mark.exists()


def test_a_command_beside_good_data_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    cifar10.load(write(tmp_path / "a", lambda c: pickle.dumps(c | {b"more": Runs(f"touch {mark}")}, 2)))
    assert not mark.exists()


def replaced(**changes):
    return lambda content: pickle.dumps(content | {k.encode(): v for k, v in changes.items()}, protocol=2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: b"", "not a batch"),
        (lambda c: b"no pickle at all", "not a batch"),
        (lambda c: pickle.dumps(c, 2)[:70_000], "not a batch"),
        (lambda c: pickle.dumps([1, 2], 2), "no data and no labels"),
        (lambda c: pickle.dumps(3, 2), "not a batch"),
        (lambda c: pickle.dumps({b"labels": []}, 2), "no data"),
        (replaced(data=np.zeros((40, 3071), np.uint8)), "3,072 bytes"),
        (replaced(data=np.zeros((39, 3072), np.uint8)), "3,072 bytes"),
        (replaced(data=np.zeros((40, 32, 32, 3), np.uint8)), "3,072 bytes"),
        (replaced(data=np.zeros((40, 3072), np.float32)), "other than bytes"),
        (replaced(data=np.array([[b"x"] * 3] * 40, object)), "other than bytes"),
        (replaced(data=[[0] * 3072] * 40), "no numpy array"),
        (replaced(labels=[0] * 39 + [10]), "0 to 9"),
        (replaced(labels=[0] * 39 + [-1]), "0 to 9"),
        (replaced(labels=[0] * 39 + [True]), "0 to 9"),
        (replaced(labels=[0] * 39 + ["1"]), "0 to 9"),
        (replaced(labels="0123456789" * 4), "a label each"),
        (lambda c: pickle.dumps({b"data": np.zeros((0, 3072), np.uint8), b"labels": []}, 3), "or none"),
    ],
)
def test_what_is_no_batch_is_refused_by_name(tmp_path, change, says):
    with pytest.raises(DataError, match=says) as caught:
        cifar10.load(write(tmp_path / cifar10.FOLDER, change))
    assert len(caught.value.problems) == 1 and "data_batch_2" in caught.value.problems[0]
    assert cifar10.URL in caught.value.hint


def test_sizes_that_a_pickle_only_claims_take_no_memory(tmp_path):
    honest = pickle.dumps(batch(1), protocol=2)
    shape = b"K\x28M\x00\x0c\x86"  # (40, 3072)
    assert honest.count(shape) == 1
    absurd = honest.replace(shape, b"\x8a\x06\x00\x00\x00\x00\x00\x01M\x00\x0c\x86")  # (2^40, 3072)
    with pytest.raises(DataError, match="not a batch"):
        cifar10.load(write(tmp_path / "shape", lambda c: absurd))
    for hostile in (
        b"\x80\x04\x8e\x00\x00\x00\x00\x01\x00\x00\x00.",  # a byte string of 4 GiB
        b"\x80\x05\x96\x00\x00\x00\x00\x01\x00\x00\x00.",  # a byte array of 4 GiB
        b"\x80\x02" + b"]" * 300_000 + b".",  # empty lists, each fifty times as large as its byte
    ):
        with pytest.raises(Exception, match=r"too many parts|bytes"):
            plain_pickle.read(hostile)


DOUBLED = b")\x94" + b"".join(b"h%ch%c\x86\x94" % (k, k) for k in range(20))  # a tuple twice in a tuple, 20 times


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x80\x04}" + DOUBLED + b"K\x01s.",  # one item
        b"\x80\x04}(" + DOUBLED + b"K\x01u.",  # several
        b"\x80\x04(" + DOUBLED + b"K\x01d.",  # a whole dictionary
        b"\x80\x04\x8f(" + DOUBLED + b"\x90.",  # a set
        b"\x80\x04(" + DOUBLED + b"\x91.",  # a frozen set
        b"\x80\x04}cos\nsystem\n(" + DOUBLED + b"tRK\x01s.",  # what is made of it
        b"\x80\x04}("
        + b"".join(b"\x8a\x09" + (k * (2**61 - 1)).to_bytes(9, "little") + b"N" for k in range(9))
        + b"u.",
    ],
)
def test_keys_whose_hash_could_take_for_ever_are_refused(hostile):
    with pytest.raises(ValueError, match=r"keys other than strings|step (EMPTY_SET|FROZENSET)"):
        plain_pickle.read(hostile)


def test_a_file_much_larger_than_the_publishers_is_not_read(tmp_path):
    folder = write(tmp_path / cifar10.FOLDER)
    with (folder / "data_batch_3").open("r+b") as file:
        file.truncate(10**12)  # sparse
    with pytest.raises(DataError, match=r"data_batch_3 has 1,000,000,000,000 bytes"):
        cifar10.load(folder)


def test_all_problems_are_told_at_once(tmp_path):
    folder = write(tmp_path / cifar10.FOLDER)
    (folder / "data_batch_1").unlink()
    (folder / "data_batch_4").write_bytes(b"")
    (folder / "test_batch").unlink()
    (folder / "test_batch").mkdir()
    with pytest.raises(DataError) as caught:
        cifar10.load(folder)
    assert [any(n in p for p in caught.value.problems) for n in ("data_batch_1", "data_batch_4", "test_batch")] == [
        True
    ] * 3


def test_too_few_images_for_validation_are_refused(tmp_path):
    folder = write(tmp_path / cifar10.FOLDER)
    for k, name in enumerate(cifar10.TRAIN):
        (folder / name).write_bytes(pickle.dumps(batch(k, 5), protocol=2))
    with pytest.raises(DataError, match="too few"):
        cifar10.load(folder)


def test_a_folder_without_batches_or_none_at_all_says_where_to_get_them(tmp_path):
    with pytest.raises(DataError, match=r"no cifar-10-batches-py\.") as caught:
        cifar10.load(tmp_path)
    assert cifar10.URL in caught.value.hint
    with pytest.raises(DataError, match="is not a folder"):
        cifar10.load(tmp_path / "missing")


def test_fetch_takes_the_first_usual_place_that_has_every_batch(tmp_path, monkeypatch):
    places = tuple(tmp_path / name for name in ("none", "part", "all", "also"))
    monkeypatch.setattr("mlperf_tiny.download.usual_places", lambda: places)
    with pytest.raises(DataError) as caught:
        cifar10.fetch()
    assert len(caught.value.problems) == 4 and cifar10.URL in caught.value.hint
    for place in places[1:]:
        write(place / cifar10.FOLDER)
    (places[1] / cifar10.FOLDER / "data_batch_5").unlink()
    assert cifar10.fetch() == places[2]
