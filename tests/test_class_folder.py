"""A user's own samples, in one folder per class: images or recordings, with splits of their own or without."""

import shutil
import struct

import numpy as np
import pytest
from PIL import Image
from speech import tone, write_wav

from mlperf_tiny import DataError, class_folder, front_end

SHAPE = (6, 5, 3)
SPEECH = front_end.SHAPE


def picture(path, seed, size=SHAPE[:2]):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)
    return path


def pictures(root, counts, first=0):
    for k, (name, count) in enumerate(counts.items()):
        for n in range(count):
            picture(root / name / f"{n}.png", first + 1000 * k + n)
    return root


def splits(root, **counts):
    """Folders of splits with as many pictures of cats and of dogs each."""
    for k, (split, count) in enumerate(counts.items()):
        pictures(root / split, {"dog": count, "cat": count}, 10_000 * k)
    return root


def sizes(data):
    return [np.bincount(split.y, minlength=2).tolist() for split in (data.train, data.validation, data.test)]


def rows(split):
    return {x.tobytes() for x in split.x}


def refused(folder, shape=SHAPE, **options):
    with pytest.raises(DataError) as caught:
        class_folder.load(folder, shape, **options)
    return caught.value.problems


def test_each_class_is_split_70_15_15_and_no_sample_is_lost(tmp_path):
    names, data = class_folder.load(pictures(tmp_path, {"dog": 20, "cat": 40}), SHAPE)
    assert names == ("cat", "dog")
    assert sizes(data) == [[28, 14], [6, 3], [6, 3]]
    assert len(rows(data.train) | rows(data.validation) | rows(data.test)) == 60
    for split in (data.train, data.validation, data.test):
        assert split.x.shape == (len(split), *SHAPE) and split.x.dtype == np.float32 and split.y.dtype == np.int32
        assert split.source is None


def test_labels_follow_the_folders(tmp_path):
    for k, name in enumerate(("b", "c", "a")):
        for n in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (5, 6), (10 * k, n, 0)).save(tmp_path / name / f"{n}.png")
    names, data = class_folder.load(tmp_path, SHAPE)
    assert names == ("a", "b", "c")
    for split in (data.train, data.validation, data.test):
        assert sorted(zip(split.y.tolist(), split.x[:, 0, 0, 0].tolist(), strict=True)) == [(0, 20), (1, 0), (2, 10)]


def test_neither_names_nor_order_change_the_splits(tmp_path):
    pictures(tmp_path / "one", {"dog": 12, "cat": 12})
    for name in ("dog", "cat"):
        for n in range(12):
            target = tmp_path / "two" / name / f"deep{n % 3}" / f"{(7 * n) % 12}.PNG"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "one" / name / f"{n}.png", target)
    _, one = class_folder.load(tmp_path / "one", SHAPE)
    _, two = class_folder.load(tmp_path / "two", SHAPE)
    assert one.sources == two.sources
    assert np.array_equal(one.test.x, two.test.x)


def test_equal_files_of_a_class_are_in_one_split(tmp_path):
    pictures(tmp_path, {"dog": 6, "cat": 6})
    for n in range(6):
        for k in range(3):
            shutil.copy(tmp_path / "cat" / f"{n}.png", tmp_path / "cat" / f"copy{k}-{n}.png")
    _, data = class_folder.load(tmp_path, SHAPE)
    assert sizes(data) == [[16, 4], [4, 1], [4, 1]]
    assert not rows(data.train) & rows(data.test) and not rows(data.train) & rows(data.validation)


@pytest.mark.parametrize(
    ("pixels", "low", "high"), [("0..255", 0, 255), ("0..1", 0, 1), ("-1..1", -1, 1)], ids=lambda v: str(v)
)
def test_pixels_have_the_range_asked_for(tmp_path, pixels, low, high):
    for k, name in enumerate(("dark", "light")):
        for n in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("L", (9, 9), 255 * k).save(tmp_path / name / f"{n}.png", pnginfo=None, compress_level=n)
            (tmp_path / name / f"{n}.png").open("ab").write(bytes([n]))  # other contents, equal pixels
    _, data = class_folder.load(tmp_path, (4, 4, 1), pixels=pixels)
    assert set(data.train.x[data.train.y == 0].ravel()) == {low}
    assert set(data.train.x[data.train.y == 1].ravel()) == {high}


def test_given_splits_stay_as_they_are(tmp_path):
    names, data = class_folder.load(splits(tmp_path, train=5, validation=2, test=3), SHAPE)
    assert names == ("cat", "dog") and sizes(data) == [[5, 5], [2, 2], [3, 3]]
    with Image.open(tmp_path / "validation" / "dog" / "0.png") as image:
        assert np.asarray(image, np.float32).tobytes() in rows(data.validation)


def test_a_tenth_of_train_is_held_out_where_there_is_no_validation(tmp_path):
    _, data = class_folder.load(splits(tmp_path, train=30, test=2), SHAPE)
    assert sizes(data) == [[27, 27], [3, 3], [2, 2]]
    assert not rows(data.train) & rows(data.validation)


def test_a_class_may_be_called_train_or_test(tmp_path):
    names, data = class_folder.load(pictures(tmp_path / "a", {"train": 7, "bus": 7}), SHAPE)
    assert names == ("bus", "train") and sizes(data) == [[5, 5], [1, 1], [1, 1]]
    assert class_folder.load(pictures(tmp_path / "b", {"test": 7, "control": 7}), SHAPE)[0] == ("control", "test")


def test_without_training_only_the_test_is_read(tmp_path):
    _, whole = class_folder.load(pictures(tmp_path / "a", {"dog": 9, "cat": 9}), SHAPE)
    _, data = class_folder.load(tmp_path / "a", SHAPE, training=False)
    assert sizes(data)[:2] == [[0, 0], [0, 0]] and data.train.x.shape == (0, *SHAPE)
    assert data.sources == {"test": whole.sources["test"]}
    names, data = class_folder.load(splits(tmp_path / "b", test=2), SHAPE, training=False)
    assert names == ("cat", "dog") and sizes(data)[2] == [2, 2]
    (picture(tmp_path / "b" / "train" / "cat" / "broken.png", 0)).write_bytes(b"")
    assert class_folder.load(tmp_path / "b", SHAPE, training=False)[1].sources == data.sources


def test_the_models_classes_give_the_order_and_must_all_be_there(tmp_path):
    pictures(tmp_path, {"dog": 4, "cat": 4, "cow": 4})
    names, data = class_folder.load(tmp_path, SHAPE, classes=("dog", "cow", "cat"))
    assert names == ("dog", "cow", "cat")
    with Image.open(tmp_path / "cow" / "0.png") as image:
        cow = np.asarray(image, np.float32)
    labels = {x.tobytes(): y for s in (data.train, data.validation, data.test) for x, y in zip(s.x, s.y, strict=True)}
    assert labels[cow.tobytes()] == 1
    problems = refused(tmp_path, classes=("dog", "cat", "pig"))
    assert any("cow: the model has no such class" in p for p in problems)
    assert any("pig: no samples" in p for p in problems)
    assert "not all different" in refused(tmp_path, classes=("dog", "cat", "cow", "cow"))[0]


def test_splits_say_how_many_of_each_class_and_a_hash(tmp_path):
    _, data = class_folder.load(pictures(tmp_path / "a", {"dog": 10, "cat": 10}), SHAPE)
    assert data.sources["train"].startswith("6 cat, 6 dog; sha256 ")
    _, other = class_folder.load(pictures(tmp_path / "b", {"dog": 10, "cat": 10}, first=5000), SHAPE)
    assert not set(data.sources.values()) & set(other.sources.values())


def test_equal_files_in_two_classes_or_in_two_splits_are_refused(tmp_path):
    pictures(tmp_path / "a", {"dog": 4, "cat": 4})
    shutil.copy(tmp_path / "a" / "dog" / "0.png", tmp_path / "a" / "cat" / "9.png")
    assert "equal files in two classes" in refused(tmp_path / "a")[0]
    splits(tmp_path / "b", train=4, validation=2, test=2)
    shutil.copy(tmp_path / "b" / "train" / "dog" / "0.png", tmp_path / "b" / "test" / "dog" / "9.png")
    shutil.copy(tmp_path / "b" / "train" / "cat" / "0.png", tmp_path / "b" / "validation" / "cat" / "9.png")
    problems = refused(tmp_path / "b")
    assert len(problems) == 2 and any("equal files in train and test" in p for p in problems)


def test_every_class_needs_a_sample_in_each_split(tmp_path):
    problems = refused(pictures(tmp_path / "a", {"dog": 1, "cat": 2, "cow": 3}))
    assert sum("is left for train" in p for p in problems) == 2
    assert sum("class dog is left for validation" in p for p in problems) == 1
    assert not any("cow" in p for p in problems)
    splits(tmp_path / "b", train=4, validation=2, test=2)
    shutil.rmtree(tmp_path / "b" / "test" / "dog")
    shutil.rmtree(tmp_path / "b" / "validation" / "cat")
    problems = refused(tmp_path / "b")
    assert [sum(name in p for p in problems) for name in ("test/dog", "validation/cat")] == [1, 1]


def test_folders_that_are_no_classes_are_refused(tmp_path):
    assert "is not a folder" in refused(tmp_path / "missing")[0]
    assert "at least two classes" in refused(tmp_path)[0]
    assert "at least two classes" in refused(pictures(tmp_path / "one", {"dog": 3}))[0]
    assert any("no name for a class" in p for p in refused(pictures(tmp_path / "odd", {"a\nb": 3, "c": 3})))
    splits(tmp_path / "more", train=2, test=2, extra=2)
    assert "lies beside train and test" in refused(tmp_path / "more")[0]
    assert "call it validation" in refused(splits(tmp_path / "val", train=2, val=2, test=2))[0]
    assert "no test/" in refused(splits(tmp_path / "only", train=2))[0]
    assert "no train/" in refused(splits(tmp_path / "judged", test=2))[0]


def test_files_that_cannot_be_samples_are_all_named(tmp_path):
    pictures(tmp_path, {"dog": 4, "cat": 4})
    (tmp_path / "dog" / "a.webp").write_bytes(b"RIFF")
    (tmp_path / "dog" / "b.png").write_bytes(b"")
    (tmp_path / "cat" / "notes.txt").write_text("left alone")
    with (tmp_path / "cat" / "c.png").open("wb") as file:
        file.truncate(10**11)  # sparse
    problems = refused(tmp_path)
    assert [sum(name in p for p in problems) for name in ("a.webp", "b.png", "c.png", "notes")] == [1, 1, 1, 0]


def test_unreadable_images_of_all_splits_are_told_at_once(tmp_path):
    splits(tmp_path, train=2, validation=2, test=2)
    for split in ("train", "validation", "test"):
        (tmp_path / split / "dog" / "0.png").write_bytes(f"no image of {split}".encode())
    assert [
        f"{split}/dog/0.png" in p for split, p in zip(("train", "validation", "test"), refused(tmp_path), strict=True)
    ] == [True] * 3


@pytest.mark.parametrize("shape", [(6, 5, 2), (6, 5), (96,), (1, 6, 5, 3), (0, 5, 3)])
def test_images_need_a_model_that_takes_images(tmp_path, shape):
    assert "images become height x width x 1 or 3" in refused(pictures(tmp_path, {"dog": 4, "cat": 4}), shape)[0]


def test_pixels_in_another_range_are_refused(tmp_path):
    assert "not supported" in refused(pictures(tmp_path, {"dog": 4, "cat": 4}), pixels="0..2")[0]


def test_progress_runs_once_over_all_splits(tmp_path):
    seen = []
    class_folder.load(pictures(tmp_path, {"dog": 9, "cat": 9}), SHAPE, progress=lambda *each: seen.append(each))
    assert seen[-1] == (18, 18) and seen == sorted(seen)


def recordings(root, count=4, length=16_000):
    for k, name in enumerate(("no", "yes")):
        for n in range(count):
            write_wav(root / name / f"{n}.wav", tone(50 * k + n, length))
    return root


def test_recordings_become_the_features_of_keyword_spotting(tmp_path, monkeypatch):
    monkeypatch.setattr(class_folder, "_BLOCK", 3)  # so that a split takes more than one
    names, data = class_folder.load(recordings(tmp_path), SPEECH)
    assert names == ("no", "yes") and sizes(data) == [[2, 2], [1, 1], [1, 1]]
    expected = {front_end.mfcc(tone(50 * k + n)[None])[0].tobytes(): k for k in range(2) for n in range(4)}
    for split in (data.train, data.validation, data.test):
        assert split.x.dtype == np.float32 and split.x.shape[1:] == SPEECH
        for x, y in zip(split.x, split.y, strict=True):
            near = {
                label
                for key, label in expected.items()
                if np.allclose(np.frombuffer(key, np.float32), x.ravel(), atol=1e-3)
            }
            assert near == {y}


@pytest.mark.parametrize("length", [8_000, 24_000])
def test_recordings_are_cut_or_padded_to_a_second(tmp_path, length):
    _, data = class_folder.load(recordings(tmp_path, length=length), SPEECH, training=False)
    clips = [front_end.fit(tone(50 * data.test.y[0] + n, length)) for n in range(4)]
    assert np.abs(front_end.mfcc(np.stack(clips)) - data.test.x[0]).max(axis=(1, 2, 3)).min() < 1e-3


def test_recordings_need_a_model_of_these_features(tmp_path):
    recordings(tmp_path)
    for shape in ((16_000, 1, 1), (1, 16_000, 1), (96, 96, 3), (49, 10), (98, 40, 1)):
        assert "recordings become features of 49 x 10 x 1" in refused(tmp_path, shape)[0]


def test_images_and_recordings_in_one_folder_are_refused(tmp_path):
    recordings(tmp_path)
    picture(tmp_path / "yes" / "a.png", 0)
    (problem,) = refused(tmp_path, SPEECH)
    assert "holds recordings" in problem and "a.png" in problem


def test_recordings_that_cannot_be_used_are_all_named(tmp_path):
    recordings(tmp_path)
    good = (tmp_path / "yes" / "0.wav").read_bytes()
    claim = struct.pack("<I", 0xFFFF_FFF0)
    bad = {
        "claims.wav": good[:4] + claim + good[8:40] + claim + good[44:2000],
        "header.wav": good[:20],
        "empty.wav": good[:40] + bytes(4),
        "text.wav": b"no recording",
        "cut.wav": good[:20_000],
    }
    for name, content in bad.items():
        (tmp_path / "no" / name).write_bytes(content)
    write_wav(tmp_path / "no" / "rate.wav", tone(1), rate=8_000)
    write_wav(tmp_path / "no" / "stereo.wav", tone(2), channels=2)
    write_wav(tmp_path / "no" / "narrow.wav", tone(3), width=1)
    problems = refused(tmp_path, SPEECH)
    for name in (*bad, "rate.wav", "stereo.wav", "narrow.wav"):
        assert sum(name in problem for problem in problems) == 1, name
    assert len(problems) == 8
    (tmp_path / "no" / "zero.wav").write_bytes(b"")
    assert "zero.wav: 0 bytes" in refused(tmp_path, SPEECH)[0]
