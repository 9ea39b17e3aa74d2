"""What is read must be a regular file, and text in documents such that it can be printed and stored."""

import os
from pathlib import Path

import numpy as np
import pytest

from mlperf_tiny import cifar10, feature_cache, keyword_data, lists, person_lists, runner_files, speech_commands
from mlperf_tiny.task import DataError
from trecx import documents, exits
from trecx.compiler import tflite
from trecx.errors import TrecxError
from trecx.judge.trace import Trace
from trecx.learn import description, loop, settings
from trecx.steps import judging

CASES = Path(__file__).parent / "cases"


def test_text_that_no_encoding_can_hold_is_refused_on_reading(tmp_path):
    with pytest.raises(TrecxError, match=r"U\+D800"):
        exits.read(CASES / "exit_surrogate.json")
    for text in ('{"a": ["\\u0000"]}', '{"\\udc80": 1}'):
        (tmp_path / "provenance.json").write_text(text)
        with pytest.raises(TrecxError, match=r"U\+0000|U\+DC80"):
            documents.kept(dict, tmp_path / "provenance.json")


def test_a_provenance_that_somebody_sent_is_refused_where_its_text_cannot_be_stored():
    with pytest.raises(TrecxError, match=r"rundir_41_provenance\.json .*U\+D[89A-F]"):
        documents.kept(dict, CASES / "rundir_41_provenance.json")


@pytest.mark.parametrize(
    "read",
    [exits.read, tflite.load, Trace.load, cifar10._batch, speech_commands.read_wav, description.read],
    ids=lambda f: f.__qualname__,
)
@pytest.mark.parametrize("kind", ["fifo", "zeros"])
def test_what_is_no_regular_file_is_refused_at_once(read, kind, tmp_path):
    path = tmp_path / "file"
    os.mkfifo(path) if kind == "fifo" else path.symlink_to("/dev/zero")
    with pytest.raises((TrecxError, DataError), match="not a regular file"):
        read(path)


def read_runner(path: Path) -> None:
    (path.parent / "y_labels.csv").symlink_to(path)
    runner_files.read(path.parent, 490, 12)


def read_speakers(path: Path) -> None:
    (path.parent / "y_labels.csv").write_text("a.bin,12,0\n")
    (path.parent / "a.bin").write_bytes(bytes(490))
    path.rename(path.parent / "speakers.csv")
    runner_files.read(path.parent, 490, 12)


def read_words(path: Path) -> None:
    path.rename(path.parent / speech_commands.TESTING_LIST)
    speech_commands.read_corpus(path.parent)


LISTS = [
    lambda path: person_lists.corpus_list(path, []),
    lambda path: person_lists.test_list(path, []),
    *(read_runner, read_speakers, read_words),
]


@pytest.mark.parametrize("read", LISTS)
@pytest.mark.parametrize("kind", ["fifo", "zeros", "huge"])
def test_lists_are_regular_files_of_bounded_size(read, kind, tmp_path, monkeypatch):
    path = tmp_path / "list"
    if kind == "huge":
        monkeypatch.setattr(lists, "MOST_BYTES", 1000)
        path.write_text("a.bin,12,0\n" * 100)
    else:
        os.mkfifo(path) if kind == "fifo" else path.symlink_to("/dev/zero")
    with pytest.raises(DataError) as refused:
        read(path)
    wanted = "1,100 bytes; a list has 1,000 at most" if kind == "huge" else "not a regular file"
    assert any(wanted in problem for problem in refused.value.problems), refused.value.problems


def test_a_pipe_in_place_of_a_list_is_not_passed_over(tmp_path):
    os.mkfifo(tmp_path / "y_labels.csv")
    with pytest.raises(DataError, match="not a regular file"):
        keyword_data.load(tmp_path, cache=tmp_path / "cache", training=False)


def test_a_cache_or_scores_that_are_a_pipe_are_made_again_or_not_known(tmp_path):
    os.mkfifo(tmp_path / "clips.npz")
    made = feature_cache.stored(tmp_path, "clips", lambda: {"x": np.arange(3)})
    assert np.array_equal(made["x"], np.arange(3)) and (tmp_path / "clips.npz").is_file()
    os.mkfifo(tmp_path / "float_scores.npz")
    assert judging._float_right(tmp_path, np.zeros(3, np.int32)) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [("[]", "does not say a, b"), ('{"a": 1}', "does not say b"), ("3", "does not say a, b"), ("{", "cannot be read")],
)
def test_a_document_that_must_be_there_says_what_is_asked_of_it(text, said, tmp_path):
    path = tmp_path / "kept.json"
    with pytest.raises(TrecxError, match=r"kept\.json cannot be read: No such file"):
        documents.required(path, "Do it again.", "a", "b")
    path.write_text(text)
    with pytest.raises(TrecxError, match=rf"kept\.json {said}") as refused:
        documents.required(path, "Do it again.", "a", "b")
    assert refused.value.hint == "Do it again."


def test_numbers_that_are_none_are_no_part_of_what_a_step_left(tmp_path):
    (tmp_path / "provenance.json").write_text('{"settings": {"rate": NaN}}')
    with pytest.raises(TrecxError, match=r"provenance\.json is damaged: it holds NaN"):
        documents.kept(dict, tmp_path / "provenance.json")


@pytest.mark.parametrize("content", [b"", b"PK\3\4 cut off", b"not an archive"])
def test_damaged_scores_of_a_training_are_not_known(content, tmp_path):
    (tmp_path / "float_scores.npz").write_bytes(content)
    assert judging._float_right(tmp_path, np.zeros(3, np.int32)) is None


@pytest.mark.parametrize("content", [None, b"", b"PK\3\4 cut off", b"not an archive"])
def test_a_checkpoint_that_is_no_whole_file_is_begun_anew(content, tmp_path):
    path = tmp_path / "checkpoint-exits.npz"
    os.mkfifo(path) if content is None else path.write_bytes(content)
    assert loop._restore(None, None, loop.Checkpoints(path, "f")) == (0, [])


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": 3}', '{"settings": {"epochs": "many"}}', "[" * 100_000])
def test_a_training_whose_history_is_damaged_is_told(text, tmp_path):
    _trained_with = pytest.importorskip("trecx.learn.quantize")._trained_with
    (tmp_path / "history.json").write_text(text)
    with pytest.raises(TrecxError, match=r"history\.json"):
        _trained_with(tmp_path, settings.QuantizeSettings())
