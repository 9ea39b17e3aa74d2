"""Door 2: what is saved is what is loaded, and what is no trace is refused."""

from dataclasses import replace

import numpy as np
import pytest

from trecx.errors import TrecxError
from trecx.judge.trace import Trace


def a_trace(samples=20, exits=2, classes=4, seed=0, **more):
    rng = np.random.default_rng(seed)
    logits = rng.integers(-128, 128, (samples, exits, classes), np.int8)
    scores = rng.integers(-128, 128, (samples, exits, classes), np.int8)
    return Trace(logits, scores, rng.integers(0, exits, samples).astype(np.uint8), **more)


def test_loading_gives_what_was_saved(tmp_path):
    labels, counted = np.arange(20, dtype=np.int32) % 4, np.arange(20, dtype=np.uint32)
    trace = a_trace(labels=labels, instructions=counted, exit_instructions=np.ones((20, 2), np.uint32))
    trace = replace(trace, statistics=np.ones((20, 1), np.uint32))
    trace.save(tmp_path / "trace.npz")
    again = Trace.load(tmp_path / "trace.npz")
    for name, array in vars(trace).items():
        assert np.array_equal(getattr(again, name), array) and getattr(again, name).dtype == array.dtype
    assert [p.name for p in tmp_path.iterdir()] == ["trace.npz"]


def test_absent_fields_stay_absent(tmp_path):
    a_trace().save(tmp_path / "trace.npz")
    again = Trace.load(tmp_path / "trace.npz")
    assert again.labels is None and again.instructions is None and again.exit_instructions is None


def test_right_compares_every_exit_with_the_label_and_ties_go_to_the_lower_class():
    logits = np.array([[[5, 5, 1], [0, 9, 3]], [[1, 2, 3], [7, 7, 7]]], np.int8)
    trace = Trace(logits, logits, np.zeros(2, np.uint8), np.array([0, 2], np.int32))
    assert trace.right().tolist() == [[True, False], [True, False]]
    with pytest.raises(TrecxError, match="no labels"):
        a_trace().right()


def test_first_cuts_every_field():
    short = a_trace(labels=np.arange(20, dtype=np.int32)).first(7)
    assert len(short) == 7 and short.logits.shape == (7, 2, 4) and short.labels.tolist() == list(range(7))
    assert short.instructions is None


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 60])
def test_what_is_no_trace_is_refused(tmp_path, content):
    path = tmp_path / "trace.npz"
    path.write_bytes(content)
    with pytest.raises(TrecxError, match="not a trace"):
        Trace.load(path)


def test_a_damaged_trace_is_refused_or_read_whole(tmp_path):
    a_trace(labels=np.arange(20, dtype=np.int32)).save(tmp_path / "good.npz")
    good, rng, refused = (tmp_path / "good.npz").read_bytes(), np.random.default_rng(3), 0
    for _ in range(200):
        bad = bytearray(good)
        for position in rng.integers(0, len(good), 3):
            bad[position] = rng.integers(256)
        (tmp_path / "bad.npz").write_bytes(bad[: rng.integers(1, len(bad) + 1)])
        try:
            assert Trace.load(tmp_path / "bad.npz").problems() == []
        except TrecxError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scores", np.zeros((20, 2, 5), np.int8)),
        ("scores", np.zeros((20, 2, 4), np.int16)),
        ("exit_taken", np.full(20, 2, np.uint8)),
        ("labels", np.zeros(19, np.int32)),
        ("exit_instructions", np.zeros((20, 3), np.uint32)),
    ],
)
def test_arrays_that_do_not_fit_together_are_named(tmp_path, field, value):
    arrays = {**{k: v for k, v in vars(a_trace()).items() if v is not None}, field: value}
    Trace(**arrays).save(tmp_path / "trace.npz")
    with pytest.raises(TrecxError, match=field):
        Trace.load(tmp_path / "trace.npz")


def test_a_folder_that_cannot_be_written_is_an_error_and_an_old_trace_survives(tmp_path, monkeypatch):
    a_trace().save(tmp_path / "trace.npz")
    before = (tmp_path / "trace.npz").read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(TrecxError, match="No space left"):
        a_trace(seed=1).save(tmp_path / "trace.npz")
    assert (tmp_path / "trace.npz").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["trace.npz"]
