"""Photographs with and without persons, in the layout of vw_coco2014_96 and vww01."""

import numpy as np
import pytest
from PIL import Image

from mlperf_tiny import DataError, person_data

HEADER = "file,label,source,split\n"


def photo(folder, name, seed, size=(96, 96)):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)


def images(folder, pattern, first, count, **options):
    for label, name in enumerate(person_data.CLASSES):
        for k in range(count):
            photo(folder, f"{name}/{pattern.format(1000 * label + first + k)}", 5000 * label + first + k, **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Corpus and test side by side; about one in ten of the 60 images is validation by its name."""
    root = tmp_path_factory.mktemp("vww")
    images(root / "vw_coco2014_96", "COCO_train2014_{:012}.png", 100, 30)
    images(root / "vww01", "{:012}.jpg", 500, 2)
    return root


@pytest.fixture
def small(tmp_path):
    """The same with few images and a labels.csv, whose rows can be added to."""
    corpus = tmp_path / "vww_train_96"
    images(corpus, "{:06}.png", 0, 3)
    images(tmp_path / "vww01", "{:012}.png", 500, 1)
    rows = [
        f"{name}/{1000 * k + n:06}.png,{k},home,{'val' if n == 2 else 'train'}"
        for k, name in enumerate(person_data.CLASSES)
        for n in range(3)
    ]
    (corpus / "labels.csv").write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return tmp_path


def sizes(data):
    return [len(split) for split in (data.train, data.validation, data.test)]


def test_pixels_are_shares_of_255_with_the_label_of_their_folder(made):
    data = person_data.load(made)
    assert sum(sizes(data)[:2]) == 60 and len(data.test) == 4
    assert data.test.y.tolist() == [0, 0, 1, 1]
    with Image.open(made / "vww01" / "person" / f"{1501:012}.jpg") as image:
        assert np.array_equal(np.rint(data.test.x[3] * 255), np.asarray(image))
    for split in (data.train, data.validation, data.test):
        assert split.x.dtype == np.float32 and split.y.dtype == np.int32
        assert split.x.min() >= 0 and 0.9 < split.x.max() <= 1


def test_without_a_list_some_of_each_class_are_validation_by_their_names(made):
    data = person_data.load(made)
    names = [f"COCO_train2014_{1000 * label + 100 + k:012}.png" for label in range(2) for k in range(30)]
    held = [person_data.held_out(name) for name in names]
    assert len(data.validation) == sum(held)
    assert np.array_equal(data.validation.y, np.repeat([0, 1], 30)[held])
    assert 0.05 < np.mean([person_data.held_out(f"{k}.jpg") for k in range(2000)]) < 0.15


def test_splits_say_where_they_come_from(made, small):
    official, own = person_data.load(made), person_data.load(small)
    assert set(official.train.source) == {"vw_coco2014_96"} and set(official.test.source) == {"vww01"}
    assert set(own.train.source) == set(own.validation.source) == {"home"}
    assert own.sources["train"].startswith("4 home; sha256 ")
    assert official.sources["test"].startswith("4 vww01; sha256 ") and "MLPerf" in official.test.description
    assert len({*official.sources.values(), *own.sources.values()}) == 6


def test_labels_csv_decides_source_and_validation(small):
    data = person_data.load(small)
    assert sizes(data) == [4, 2, 2]
    assert data.validation.y.tolist() == [0, 1]
    path = small / "vww_train_96" / "labels.csv"
    path.write_text(path.read_text().replace("000001.png,0,home,train", "000001.png,0,away,val"))
    data = person_data.load(small)
    assert sizes(data) == [3, 3, 2] and sorted(data.validation.source) == ["away", "home", "home"]


def test_photographs_like_the_tests_are_all_validation_and_thresholds_are_chosen_on_them(small):
    path = small / "vww_train_96" / "labels.csv"
    plain = person_data.load(small)
    assert plain.calibration == ()  # nothing is more like the test than the rest
    path.write_text(path.read_text().replace("000001.png,0,home,train", "000001.png,0,coco_val2017,train"))
    one_class = person_data.load(small)
    assert sizes(one_class) == [3, 3, 2] and one_class.calibration == ()
    path.write_text(path.read_text().replace("001001.png,1,home,train", "001001.png,1,coco_train2017,train"))
    both = person_data.load(small)
    assert sizes(both) == [2, 4, 2]
    assert both.calibration == ("coco_train2017", "coco_val2017")
    assert sorted(both.validation.of(both.calibration).y.tolist()) == [0, 1]


@pytest.mark.parametrize("inside", [".", "vw_coco2014_96", "vww01"])
def test_the_folder_of_both_or_either_is_found(made, inside, monkeypatch):
    assert person_data.load(made / inside).sources == person_data.load(made).sources
    monkeypatch.chdir(made / inside)
    assert person_data.load(type(made)(".")).sources == person_data.load(made).sources


def test_without_training_only_the_test_is_read(made, tmp_path):
    data = person_data.load(made / "vw_coco2014_96", training=False)
    assert sizes(data) == [0, 0, 4] and list(data.sources) == ["test"]
    own = tmp_path / "mine"
    images(own, "{}.png", 0, 1, size=(40, 30))
    data = person_data.load(own, training=False)
    assert sizes(data) == [0, 0, 2] and data.test.description == "photographs of mine"
    with pytest.raises(DataError):
        person_data.load(own)


def test_a_photograph_of_the_test_is_in_no_other_split(made, tmp_path):
    images(tmp_path / "vw_coco2014_96", "COCO_train2014_{:012}.png", 100, 30)
    images(tmp_path / "vw_coco2014_96", "COCO_val2014_{:012}.jpg", 500, 2)
    images(tmp_path / "vww01", "{:012}.jpg", 500, 2)
    assert person_data.load(tmp_path).sources == person_data.load(made).sources


def test_the_benchmarks_list_names_the_test_among_the_corpus(made, tmp_path):
    images(tmp_path / "vw_coco2014_96", "COCO_train2014_{:012}.png", 100, 30)
    images(tmp_path / "vw_coco2014_96", "COCO_val2014_{:012}.jpg", 500, 2)
    rows = [f"{1000 * label + 500 + k:012}.bin,2,{label}\n" for label in range(2) for k in range(2)]
    (tmp_path / "vww01").mkdir()
    (tmp_path / "vww01" / "y_labels.csv").write_text("".join(rows))
    assert person_data.load(tmp_path).sources == person_data.load(made).sources
    only = person_data.load(tmp_path, training=False)
    assert sizes(only) == [0, 0, 4] and only.sources["test"] == person_data.load(made).sources["test"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("000000000999.bin,2,0", "no image COCO_val2014_000000000999"),
        ("000000000500.bin,2,1", "no image COCO_val2014_000000000500.jpg of class 1"),
        ("000000000100.bin,2,0", "no image COCO_val2014_000000000100"),
        ("../../secret.bin,2,0", "is not a new"),
        ("000000000500.bin,3,0", "is not a new"),
        ("000000000500.bin", "is not a new"),
        ("", "lists no images"),
    ],
)
def test_a_bad_row_of_the_benchmarks_list_is_named(tmp_path, row, says):
    images(tmp_path / "vw_coco2014_96", "COCO_train2014_{:012}.png", 100, 1)
    images(tmp_path / "vw_coco2014_96", "COCO_val2014_{:012}.png", 500, 1)
    (tmp_path / "vww01").mkdir()
    (tmp_path / "vww01" / "y_labels.csv").write_text(f"{row}\n")
    with pytest.raises(DataError, match=says):
        person_data.load(tmp_path)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("person/999.png,1,home,train", "no image in this folder"),
        ("../vww01/person/000000001500.png,1,home,train", "no image in this folder"),
        ("/etc/passwd,1,home,train", "no image in this folder"),
        ("person/001000.png,0,home,train", "does not belong to its folder"),
        ("person/001000.png,x,home,train", "does not belong to its folder"),
        ("person/001000.png,1,home,test", "is not file,label,source,split"),
        ("person/001000.png,1,,train", "is not file,label,source,split"),
        ("person/001000.png,1", "is not file,label,source,split"),
        ("person/001000.png,1,home,train,more", "is not file,label,source,split"),
        ("person/001000.png,1,home,train", "listed twice"),
    ],
)
def test_a_bad_row_of_labels_csv_is_named(small, row, says):
    path = small / "vww_train_96" / "labels.csv"
    path.write_text(path.read_text() + f"{row}\nperson/none.png,1,home,val\n")
    with pytest.raises(DataError, match=says) as caught:
        person_data.load(small)
    assert ["line 8" in caught.value.problems[0], "line 9" in caught.value.problems[1]] == [True, True]


@pytest.mark.parametrize(
    "content",
    [b"", b"file,label\n", b"\xff\xfe\x00\x00", b"a,b,c,d\n", b'"' + b"x" * 200_000, b"file;label;source;split\n"],
)
def test_a_labels_csv_that_is_no_such_table_is_refused(small, content):
    (small / "vww_train_96" / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"labels\.csv"):
        person_data.load(small)


def test_a_class_without_validation_is_refused(small):
    path = small / "vww_train_96" / "labels.csv"
    path.write_text(path.read_text().replace("1,home,val", "1,home,train"))
    with pytest.raises(DataError, match="no image of person is for validation"):
        person_data.load(small)


def test_unreadable_images_of_all_splits_are_told_at_once(small):
    for name in (
        "vww_train_96/person/001000.png",
        "vww_train_96/non_person/000002.png",
        "vww01/person/000000001500.png",
    ):
        (small / name).write_bytes(b"nothing")
    with pytest.raises(DataError) as caught:
        person_data.load(small)
    assert len(caught.value.problems) == 3


def test_missing_folders_are_told_with_where_to_get_them(tmp_path):
    with pytest.raises(DataError) as caught:
        person_data.load(tmp_path)
    assert len(caught.value.problems) == 2
    assert person_data.URL in caught.value.hint and person_data.TEST_URL in caught.value.hint
    with pytest.raises(DataError, match="is not a folder"):
        person_data.load(tmp_path / "missing")
    for name in ("vw_coco2014_96", "vww01"):
        for each in person_data.CLASSES:
            (tmp_path / name / each).mkdir(parents=True)
    with pytest.raises(DataError, match="no images"):
        person_data.load(tmp_path)


def test_progress_runs_once_over_all_splits(small):
    seen = []
    person_data.load(small, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (8, 8) and seen == sorted(seen)


def test_fetch_takes_the_first_usual_place_that_has_both(made, small, tmp_path_factory, monkeypatch):
    empty = tmp_path_factory.mktemp("empty")
    monkeypatch.setattr("mlperf_tiny.download.usual_places", lambda: (empty / "none", empty, small, made))
    assert person_data.fetch() == small
    monkeypatch.setattr("mlperf_tiny.download.usual_places", lambda: (empty / "none", empty))
    with pytest.raises(DataError) as caught:
        person_data.fetch()
    missing = (f"{empty / 'none'} is not", f"{empty}: no vw_coco2014_96", f"{empty}: no vww01")
    assert [told.startswith(one) for told, one in zip(caught.value.problems, missing, strict=True)] == [True] * 3
    assert person_data.URL in caught.value.hint
