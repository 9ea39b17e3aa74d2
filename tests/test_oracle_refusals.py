"""Files that an interpreter refuses: the oracle ends in a clear error, the second opinion only has none."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from trecx.cli import main
from trecx.errors import TrecxError
from trecx.judge import reference, second_opinion
from trecx.judge.trace import Reading
from trecx.steps import pair as pairs

CASES = Path(__file__).parent / "cases"


@pytest.mark.parametrize("name", ["m11_opcode_version_99", "m9_conv_bias_absent"])
def test_an_opinion_that_litert_refuses_to_give_is_told_and_stops_nothing(name):
    pair = pairs.plain(CASES / f"{name}.tflite")
    samples = np.zeros((2, *pair.graph.input.shape[1:]), np.int8)
    assert len(reference.tflm_trace(pair.content, pair.reading, samples, ())) == 2
    found = second_opinion.opinion(pair.content, [], samples)
    assert "LiteRT refuses" in found.unavailable and len(found.unavailable) < 250 and "\n" not in found.unavailable
    assert (found.samples, found.compared, found.unexplained) == (0, 0, 0)


def test_an_opinion_that_takes_too_long_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(second_opinion, "TIMEOUT_S", 0.01)
    pair = pairs.plain(CASES / "m9_conv_bias_absent.tflite")
    samples = np.zeros((1, *pair.graph.input.shape[1:]), np.int8)
    assert "took over" in second_opinion.opinion(pair.content, [], samples).unavailable


STRUCT_ERRORS = ["oracle_struct_error_501571", "oracle_struct_error_502601"]


@pytest.mark.parametrize("name", STRUCT_ERRORS)
def test_a_model_that_the_oracle_refuses_leaves_nothing_behind(name, tmp_path):
    done = CliRunner().invoke(main, ["compile", str(CASES / f"{name}.tflite"), "--out", str(tmp_path / "run")])
    assert done.exit_code == 2 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", STRUCT_ERRORS)
def test_what_the_oracles_own_reader_raises_is_a_refusal(name):
    """Their flatbuffers point outside the file where only the interpreter's Python looks."""
    model = (CASES / f"{name}.tflite").read_bytes()
    with pytest.raises(TrecxError, match=r"TFLM refuses|cannot run"):
        reference.tflm_trace(model, Reading(((0,),), (0,), (), ()), np.zeros((1, 4), np.int8), ())
