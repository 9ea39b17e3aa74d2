"""Samples without labels: read whatever folders they lie in, answered by the model, refused clearly."""

import json

import numpy as np
import own_things
import pytest
from click.testing import CliRunner
from speech import tone, write_wav

from mlperf_tiny import IC, KWS, VWW, class_folder, front_end
from mlperf_tiny.task import DataError
from trecx.cli import main
from trecx.judge.trace import Trace


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def picture(path, seed):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def read(task, folder):
    return list(task.unlabelled(folder))


def test_recordings_anywhere_below_a_folder_become_what_the_task_is_fed_with(tmp_path, monkeypatch):
    monkeypatch.setattr(class_folder, "_BLOCK", 2)
    for k, name in enumerate(("a.wav", "deep/er/b.wav", "yes/c.wav", "yes/d.WAV", ".hidden/e.wav")):
        write_wav(tmp_path / name, tone(k, 16_000 - 4000 * (k == 2)))
    (tmp_path / "cover.png").write_bytes(b"not looked at")
    seen = []
    blocks = list(KWS.unlabelled(tmp_path, progress=lambda *each: seen.append(each)))
    assert [len(x) for x in blocks] == [2, 2] and seen[-1] == (4, 4)
    clips = np.stack([front_end.fit(tone(k, 16_000 - 4000 * (k == 2))) for k in range(4)])
    expected = front_end.dequantize(front_end.quantize(front_end.mfcc(clips)))
    assert np.concatenate(blocks) == pytest.approx(expected) and blocks[0].dtype == np.float32


@pytest.mark.parametrize(("task", "high"), [(IC, 255), (VWW, 1)])
def test_images_have_the_range_of_the_task(task, high, tmp_path):
    picture(tmp_path / "x.png", 1)
    picture(tmp_path / "some" / "y.png", 2)
    (x,) = read(task, tmp_path)
    assert x.shape == (2, *task.input_shape) and 0.7 * high < x.max() <= high


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ((), "no samples (.wav)"),
        (("a.png",), "no samples (.wav)"),
        (("a.wav", "b.mp3"), "b.mp3: .mp3 is not read"),
    ],
)
def test_a_folder_without_samples_or_with_other_formats_is_refused(files, told, tmp_path):
    for name in files:
        write_wav(tmp_path / name, tone(1))
    with pytest.raises(DataError) as caught:
        read(KWS, tmp_path)
    assert told in caught.value.problems[0]


def test_all_unreadable_files_are_told_at_once_and_nothing_is_given_after_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(class_folder, "_BLOCK", 2)
    for k in range(6):
        write_wav(tmp_path / f"{k}.wav", tone(k))
    for k in (3, 5):
        (tmp_path / f"{k}.wav").write_bytes(b"RIFF????")
    given = []
    with pytest.raises(DataError) as caught:
        given.extend(KWS.unlabelled(tmp_path))
    assert [f"{k}.wav" in problem for k, problem in zip((3, 5), caught.value.problems, strict=True)] == [True, True]
    assert len(given) == 1
    for k in (0, 1):
        picture(tmp_path / "images" / f"{k}.png", k)
    (tmp_path / "images" / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png"):
        read(IC, tmp_path / "images")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model of one's own, trained for a moment and calibrated with samples without labels too."""
    pytest.importorskip("tf_keras")
    from trecx.learn.keras import keras

    folder = tmp_path_factory.mktemp("unlabelled")
    images = own_things.write_images(folder / "images")
    own_things.write_images(folder / "more", count=30)
    own_things.plain(keras()).save(folder / "Net")
    arguments = ("--tap", "first", "--data", images, "--out", folder / "run", "--epochs", 1, "--target", "host")
    more = ("--samples", 20, "--unlabelled", folder / "more", "--points", 30, "--json")
    done = invoke("build", "--model", folder / "Net", *arguments, *more)
    assert done.exit_code == 0, done.output
    return folder, json.loads(done.stdout)


def calibrated(folder):
    return json.loads((folder / "run/model/calibration.json").read_text())


def test_a_build_answers_samples_without_labels_and_says_so(made):
    folder, report = made
    answers = Trace.load(folder / "run/model/unlabelled.npz")
    assert len(answers) == 90 and answers.labels is None
    assert (report["calibration"]["unlabelled"], report["calibration"]["promise"]) == (90, "confidence")
    assert "90 samples without labels" in report["provenance"]["promise"]
    assert "and 90 without labels" in (folder / "run/report/report.txt").read_text()


def test_what_they_are_is_what_counts_and_a_changed_one_is_answered_again(made):
    folder, _ = made
    assert "unchanged" in invoke("calibrate", folder / "run").output
    own_things.write_images(folder / "others", names=("red",), count=1)
    (folder / "others/red/0.png").rename(folder / "more/new.png")
    done = invoke("calibrate", folder / "run")
    assert done.exit_code == 0 and "unchanged" not in done.output, done.output
    assert calibrated(folder)["unlabelled"] == 91


def test_a_promise_of_the_mean_leaves_them_and_the_confidence_alone(made):
    folder, _ = made
    for option in (("--confidence", 0.8), ("--unlabelled", folder / "more")):
        done = invoke("calibrate", folder / "run", "--promise", "mean", *option)
        assert done.exit_code == 2 and f"{option[0]} does not apply to --promise mean" in done.output
    done = invoke("calibrate", folder / "run", "--promise", "mean")
    assert done.exit_code == 0 and "in the mean" in " ".join(done.output.split()), done.output
    found = calibrated(folder)
    assert (found["promise"], found["confidence"], found["unlabelled"]) == ("mean", None, 0)
    assert not (folder / "run/model/unlabelled.npz").exists()
    assert invoke("report", folder / "run").exit_code == 0
    done = invoke("calibrate", folder / "run", "--confidence", 0.8)
    assert done.exit_code == 2 and "does not apply" in done.output
    assert invoke("calibrate", folder / "run", "--promise", "confidence", "--confidence", 0.8).exit_code == 0
    assert calibrated(folder)["unlabelled"] == 91


@pytest.mark.parametrize("damage", ["nowhere", "empty", "unreadable"])
def test_samples_that_cannot_be_used_leave_the_run_as_it_was(damage, made, tmp_path):
    folder, _ = made
    before, kept = calibrated(folder), (folder / "run/run.json").read_text()
    if damage == "unreadable":
        (tmp_path / "x").mkdir()
        (tmp_path / "x/bad.png").write_bytes(b"no image")
    where = tmp_path / "nowhere" if damage == "nowhere" else tmp_path
    done = invoke("calibrate", folder / "run", "--unlabelled", where)
    told = {"nowhere": "is not a folder", "empty": "no samples", "unreadable": "bad.png"}[damage]
    assert done.exit_code == 2 and told in done.output and "Traceback" not in done.output
    assert calibrated(folder) == before and (folder / "run/run.json").read_text() == kept
    assert not list((folder / "run").glob(".*.partial"))
    fresh = ("--data", folder / "images", "--out", tmp_path / "run", "--epochs", 1, "--unlabelled", where)
    done = invoke("build", "--model", folder / "Net", "--tap", "first", *fresh)
    assert done.exit_code == 2 and told in done.output and not (tmp_path / "run").exists()


READS = """
def unlabelled(folder, progress=None):
    {body}

MINE = Task(**vars(MINE) | {{"unlabelled": unlabelled}})
"""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (None, "Samples without labels are not read for a task"),
        ("yield np.zeros((3, 4, 4, 1), np.float32)", "samples without labels are float32 (4, 4, 1); expected"),
        ("yield from ()", "has no samples"),
        ("yield 1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_task_of_ones_own_reads_them_as_it_says_or_not_at_all(body, told, tmp_path):
    pytest.importorskip("tf_keras")
    file = own_things.write_task(tmp_path / "mine.py")
    if body is not None:
        file.write_text(file.read_text() + READS.format(body=body))
    (tmp_path / "data").mkdir()
    options = ("--tap", "mid", "--data", tmp_path / "data", "--unlabelled", tmp_path / "data")
    done = invoke("build", "--task", f"{file}:MINE", *options, "--out", tmp_path / "run")
    assert done.exit_code == 2 and told in done.output, done.output
    assert not (tmp_path / "run").exists()


def test_they_belong_to_a_training():
    done = invoke("build", "kws", "--unlabelled", "here", "--promise", "confidence")
    assert done.exit_code == 2 and "--promise, --unlabelled: these belong to a training" in done.output
