"""Readers of the official layout and of the runner's files: what they return and what they refuse."""

import numpy as np
import pytest
from speech import tone, write_corpus, write_runner, write_test_set, write_wav

from mlperf_tiny import runner_files, speech_commands
from mlperf_tiny.task import DataError


def test_wav_samples_come_back(tmp_path):
    samples = tone(1, 9_000)
    assert np.array_equal(speech_commands.read_wav(write_wav(tmp_path / "a.wav", samples)), samples)


BAD = {
    "rate": lambda p: write_wav(p, tone(1), rate=8_000),
    "stereo": lambda p: write_wav(p, tone(1), channels=2),
    "8 bit": lambda p: write_wav(p, tone(1), width=1),
    "no samples": lambda p: write_wav(p, []),
    "empty file": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("this is not audio, whatever its name says"),
    "cut off": lambda p: p.write_bytes(write_wav(p, tone(1)).read_bytes()[:9_000]),
    "header only": lambda p: p.write_bytes(write_wav(p, tone(1)).read_bytes()[:30]),
    "folder": lambda p: p.mkdir(),
    "missing": lambda p: None,
}


@pytest.mark.parametrize("kind", BAD)
def test_an_unusable_wav_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "bad.wav"
    BAD[kind](path)
    with pytest.raises(DataError) as error:
        speech_commands.read_wav(path)
    assert "bad.wav" in str(error.value)
    assert len(error.value.problems) == 1


def test_damaged_wavs_never_raise_anything_but_data_errors(tmp_path):
    path = tmp_path / "a.wav"
    good = write_wav(path, tone(1, 400)).read_bytes()
    random = np.random.default_rng(5)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(300):
        data = bytearray(good[: random.integers(len(good) + 1)] if random.random() < 0.3 else good)
        for _ in range(random.integers(1, 4)):
            if data:
                data[random.integers(min(44, len(data)))] = random.integers(256)
        path.write_bytes(data)
        try:
            assert len(speech_commands.read_wav(path)) > 0
            outcomes["read"] += 1
        except DataError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 50


def test_all_unusable_wavs_are_named_at_once(tmp_path):
    paths = [write_wav(tmp_path / f"{k}.wav", tone(k), rate=8_000 if k % 2 else 16_000) for k in range(6)]
    clips = [speech_commands.Clip(path, "yes", "") for path in paths]
    with pytest.raises(DataError) as error:
        list(speech_commands.read_blocks(clips))
    assert [name for name in "012345" if f"{name}.wav" in str(error.value)] == ["1", "3", "5"]


def test_a_corpus_is_split_by_its_lists(tmp_path):
    corpus = speech_commands.read_corpus(write_corpus(tmp_path / "speech_commands_v0.02"))
    assert (len(corpus.train), len(corpus.validation), len(corpus.testing)) == (12, 3, 3)
    assert {clip.speaker for clip in corpus.validation} == {"00000000"}
    assert {clip.speaker for clip in corpus.train} == {f"{s:08x}" for s in range(2, 6)}
    assert not any(clip.word == "_background_noise_" for clip in corpus.train)
    assert len(corpus.background) == 2


def test_everything_missing_in_a_corpus_is_said_at_once(tmp_path):
    root = tmp_path / "speech_commands_v0.02"
    root.mkdir()
    with pytest.raises(DataError) as error:
        speech_commands.read_corpus(root)
    text = str(error.value)
    assert all(word in text for word in ("validation_list.txt", "testing_list.txt", "no word folder", "background"))


def test_listed_clips_that_are_missing_are_capped(tmp_path):
    root = write_corpus(tmp_path / "speech_commands_v0.02")
    (root / "validation_list.txt").write_text("".join(f"yes/gone{k}.wav\n" for k in range(50)))
    with pytest.raises(DataError) as error:
        speech_commands.read_corpus(root)
    assert len(error.value.problems) == 21
    assert "30 more" in error.value.problems[-1]


def test_a_test_set_without_a_label_is_refused(tmp_path):
    root = write_test_set(tmp_path / "test")
    for file in (root / "stop").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="stop"):
        speech_commands.read_test_set(root)


def test_newest_corpus_is_preferred(tmp_path):
    folders = [write_corpus(tmp_path / f"speech_commands_v0.0{k}") for k in (1, 2)]
    assert speech_commands.find_corpus(folders).name == "speech_commands_v0.02"


def runner(tmp_path, speakers=("a", "b", "c")):
    x = np.arange(12, dtype=np.int8).reshape(3, 4) - 6
    return x, write_runner(tmp_path / "kws01", x, [0, 11, 5], speakers)


def test_runner_files_come_back(tmp_path):
    x, folder = runner(tmp_path)
    found = runner_files.read(folder, 4, 12)
    assert np.array_equal(found.x, x)
    assert found.y.tolist() == [0, 11, 5]
    assert found.speakers == ("a", "b", "c")


def test_speakers_are_optional(tmp_path):
    _, folder = runner(tmp_path, None)
    assert runner_files.read(folder, 4, 12).speakers == ("", "", "")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("a.bin,12", "is not `file,classes,label`"),
        ("a.bin,12,-1", "is not `file,classes,label`"),
        ("a.bin,12,3,4", "is not `file,classes,label`"),
        ("a.bin,12," + "9" * 5000, "is not `file,classes,label`"),
        ("a.bin,12,12", "outside 0..11"),
        ("a.bin,10,3", "10 classes"),
        ("../a.bin,12,3", "not the name of a file"),
        ("missing.bin,12,3", "No such file"),
        ("tst_000000_0.bin,12,3", "listed twice"),
    ],
)
def test_bad_rows_are_refused(tmp_path, row, complaint):
    _, folder = runner(tmp_path, None)
    labels = folder / "y_labels.csv"
    labels.write_text(labels.read_text() + row + "\n")
    with pytest.raises(DataError) as error:
        runner_files.read(folder, 4, 12)
    assert complaint in str(error.value)


def test_all_problems_of_runner_files_come_at_once(tmp_path):
    _, folder = runner(tmp_path)
    (folder / "tst_000000_0.bin").write_bytes(b"123")
    (folder / "speakers.csv").write_text("tst_000000_0.bin,a\nother.bin,b\n")
    labels = folder / "y_labels.csv"
    labels.write_text(labels.read_text() + "x\ny\n")
    with pytest.raises(DataError) as error:
        runner_files.read(folder, 4, 12)
    text = str(error.value)
    assert all(part in text for part in ("3 bytes, expected 4", "other.bin is not in", "line 4", "line 5"))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00bad"])
def test_an_empty_or_binary_label_file_is_refused(tmp_path, content):
    _, folder = runner(tmp_path, None)
    (folder / "y_labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"y_labels\.csv"):
        runner_files.read(folder, 4, 12)
