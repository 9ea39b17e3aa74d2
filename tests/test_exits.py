"""Door 1: `exits.json` survives a round trip and is refused with everything that is wrong with it."""

import json

import pytest

from trecx.errors import TrecxError
from trecx.exits import Exits, ExitSpec, OperatingPoint, read

GOOD = Exits(
    task="kws",
    method="trecx",
    model_file="kws.tflite",
    model_sha256="00" * 32,
    classes=("yes", "no"),
    exits=(ExitSpec("early", "early", "max_score"), ExitSpec("final", "final")),
    operating_points=(OperatingPoint("calibrated", {"early": 0.8125}),),
)


def document(tmp_path, **changes):
    GOOD.write(tmp_path / "exits.json")
    content = json.loads((tmp_path / "exits.json").read_text())
    content.update(changes)
    (tmp_path / "exits.json").write_text(json.dumps(content))
    return tmp_path / "exits.json"


def test_what_is_written_is_read_back(tmp_path):
    GOOD.write(tmp_path / "exits.json")
    assert read(tmp_path / "exits.json") == GOOD
    assert GOOD.thresholds() == (0.8125,)


def test_without_an_operating_point_every_early_exit_is_never(tmp_path):
    assert read(document(tmp_path, operating_points=[])).thresholds() == (None,)


@pytest.mark.parametrize("threshold", [0, -0.5, 1.0001, 1e308, 10**400, "0.5", True, None])
def test_a_threshold_outside_its_range_is_refused(tmp_path, threshold):
    points = [{"name": "p", "thresholds": {"early": threshold}}]
    with pytest.raises(TrecxError, match="threshold"):
        read(document(tmp_path, operating_points=points))


@pytest.mark.parametrize("threshold", ["NaN", "Infinity"])
def test_a_threshold_that_is_no_number_is_refused(tmp_path, threshold):
    path = document(tmp_path)
    path.write_text(path.read_text().replace("0.8125", threshold))
    with pytest.raises(TrecxError, match=r"not a number|outside"):
        read(path)


def test_every_problem_is_reported_at_once(tmp_path):
    path = document(
        tmp_path,
        format="other",
        classes=["one"],
        exits=[{"name": "a", "output": "x", "criterion": "luck"}, {"name": "a", "output": "y"}],
        operating_points=[{"name": "p", "thresholds": {"b": 0.5}}],
    )
    with pytest.raises(TrecxError) as caught:
        read(path)
    text = str(caught.value)
    for part in ("format", "two names", "share the same 'name'", "luck", "'b', which is no early exit"):
        assert part in text
    assert len(caught.value.problems) == 5


TWO = [{"name": "a", "output": "x", "criterion": "entropy"}, {"name": "b", "output": "y"}]
POINT = {"name": "p", "thresholds": {}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"othrwise": "most_confident"}, "the document has 'othrwise'"),
        ({"model": {"file": "m.tflite", "sha256": "", "sha": ""}}, "'model' has 'sha'"),
        ({"exits": [{**TWO[0], "treshold": 1}, TWO[1]]}, "exit 'a' has 'treshold'"),
        ({"exits": [TWO[0], {**TWO[1], "outputs": ["z"]}]}, "both 'output' and 'outputs'"),
        ({"operating_points": [{**POINT, "limits": {}}]}, "operating point 'p' has 'limits'"),
        ({"operating_points": [POINT, POINT]}, "two operating points are called 'p'"),
        ({"classes": ["on", "off", "on"]}, "'classes' name 'on' more than once"),
        ({"format": "trecx-exits/1", "otherwise": "final"}, "'otherwise' does not exist in trecx-exits/1"),
    ],
)
def test_what_would_be_passed_over_in_silence_is_refused(tmp_path, changes, said):
    path = document(tmp_path, **{"exits": TWO, "operating_points": [], **changes})
    with pytest.raises(TrecxError, match=said):
        read(path)


@pytest.mark.parametrize(
    "content", ["", "[]", "null", "{}", '{"exits": 3}', '{"exits": [1]}', '{"exits": [], "operating_points": [3]}', "["]
)
def test_other_documents_are_refused_without_a_traceback(tmp_path, content):
    path = tmp_path / "exits.json"
    path.write_text(content)
    with pytest.raises(TrecxError):
        read(path)


def test_a_deeply_nested_document_is_refused(tmp_path):
    path = tmp_path / "exits.json"
    path.write_text("[" * 100_000)
    with pytest.raises(TrecxError):
        read(path)


def test_an_absent_or_binary_file_is_refused(tmp_path):
    with pytest.raises(TrecxError, match="not readable"):
        read(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrecxError, match="not readable"):
        read(tmp_path / "binary.json")
