"""report.json, the summary and the curve: true to what was measured, silent about what was not."""

import json
import re
import struct
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from synthetic_traces import DECISION, synthetic

from trecx.errors import ToolMissing, TrecxError
from trecx.judge import calibrate as c
from trecx.judge import curve, report, summary
from trecx.judge.choice import Candidate, Head, Scouted
from trecx.judge.evaluate import accuracy, evaluate
from trecx.judge.growth import Promisable
from trecx.judge.second_opinion import SecondOpinion
from trecx.judge.verify import verify

SPLIT = "speaker-disjoint part of the official test set"
ACCURACY_KEYS = {"value", "low", "high", "right", "samples", "split"}


def bare():
    """A report of a build without any test data."""
    return report.Report(
        tool="0.1.0",
        task="kws",
        title="Keyword spotting",
        method="trecx",
        criterion="max_score",
        model=report.ModelReport("kws.tflite", "ab" * 32, 56_012),
        exits=(report.ExitReport("early", 1_540_000), report.ExitReport("final", 2_720_000)),
        macs=report.MacsReport(2_656_768, 2_720_000),
        break_even_rate=0.0536,
        operating_point=(report.ThresholdReport("early", 0.9, 72817, "max_score"),),
    )


@pytest.fixture(scope="module")
def full():
    """A report in which nothing is missing."""
    calibration = c.calibrate(synthetic(1500, (0.86, 0.92), seed=1), (DECISION,), confidence=0.95)
    trace = synthetic(900, (0.86, 0.92), threshold=calibration.thresholds[0], seed=2)
    backbone = np.arange(900) % 100 < 91
    costs = ((1_540_000, 2_720_000), 2_656_768)
    heads = (Head("two", "conv"), Head("three", "mlp"))
    tried = tuple(Candidate(h, (0.8,) * len(h), (0.9,) * len(h), 0.5, 0.1, 0.9, 1e6, 0.4) for h in (heads[:1], heads))
    chosen = Scouted("auto", "dyce", ("two",), ("two:conv",), "macs", 2e6, "so", None, 1.0, 0.9, 500, 0.9, 0.1, tried)
    judged = evaluate(
        trace, (DECISION,), calibration.limits, ("early", "final"), *costs, SPLIT, backbone, scales=(0.1, 0.2)
    )
    wrong = trace.scores.copy()
    wrong[5] ^= 1
    base = replace(
        bare(),
        operating_point=(
            report.ThresholdReport("early", calibration.thresholds[0], calibration.limits[0], "max_score"),
        ),
        calibration=calibration,
        promisable=(Promisable(1500, 0.5, 0.5, 0.5, False), Promisable(6000, 1.0, 0.9, 1.0, True)),
        targets=(
            report.TargetReport("host", "this machine", "gcc 12.2.0", arena=15_680),
            report.TargetReport(
                *(
                    "cortex-m4",
                    "Cortex-M4F, QEMU",
                    "arm-none-eabi-gcc 12.2.1",
                    "test samples",
                    200,
                    (14.1e6, 25.4e6),
                    17.2e6,
                ),
                *(56_120, 42_000, 22_500, 15_680, 728),
                instructions_backbone=25.0e6,
            ),
        ),
        verification=(
            verify(trace, trace, target="host", oracle="tflite-micro 0.1", inputs="test"),
            verify(trace, replace(trace, scores=wrong), target="cortex-m4", oracle="tflite-micro 0.1"),
        ),
        second_opinion=SecondOpinion("ai-edge-litert 2.3.0", 100, 1200, 1195, 5, 0, ""),
        rewrites=(report.RewriteReport("read reshaped tensors in place", 3),),
        operating_points=(report.PointReport("calibrated", (0.8,), 512, 0.9, (0.4, 0.6), 1e6, 1.2e6, "cortex-m4"),),
        choice=chosen,
        provenance={"data": "Speech Commands", "seed": 1},
        warnings=("Mind the gap.",),
    )
    return report.with_evaluation(base, judged, accuracy(830, 900, SPLIT))


def _leaves(value, path=""):
    if isinstance(value, dict) and set(value) == ACCURACY_KEYS:
        yield path
    elif isinstance(value, dict) and path not in ("provenance", "verification[].difference"):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield None if value and isinstance(value[0], dict) else path
        for item in value:
            yield from (_leaves(item, f"{path}[]") if isinstance(item, dict) else ())
    else:
        yield path


def _documented():
    for keys, meaning in report.KEYS:
        assert meaning
        stem, _, first = keys.split(", ")[0].rpartition(".")
        for name in (first, *keys.split(", ")[1:]):
            yield (f"{stem}.{name}" if stem else name).removesuffix("[]")


def test_every_key_is_documented_and_every_documented_key_exists(full):
    present = {p for p in _leaves(json.loads(report.to_json(full))) if p}
    documented = {d for d in _documented() if not d.startswith("*.accuracy")}
    assert present - documented == set()
    assert documented - present == {"calibration", "choice", "second_opinion"}


def test_the_keys_that_were_promised_are_there(full):
    document = json.loads(report.to_json(full))
    assert document["schema"] == "trecx-report/2" and next(iter(document)) == "schema"
    assert (document["task"], document["method"], document["criterion"]) == ("kws", "trecx", "max_score")
    assert [set(e) >= {"name", "macs", "accuracy"} for e in document["exits"]] == [True, True]
    for kind in ("float_without_exits", "int8_without_exits", "int8_with_exits"):
        assert document["accuracy"][kind]["samples"] == 900 and document["accuracy"][kind]["split"] == SPLIT
    assert document["macs"]["worst"] == 2_720_000 and document["macs"]["mean"] < 2_656_768
    assert (
        document["verification"][0] | {"oracle": "tflite-micro 0.1", "samples": 900, "mismatches": 0}
        == (document["verification"][0])
    )
    assert document["verification"][1]["mismatches"] == 1 and "sample 5" in document["verification"][1]["message"]
    assert set(document["targets"][1]) >= {"instructions", "instructions_mean", "flash", "ram", "arena", "stack"}
    assert 0 < document["exit_rate"] < 1 and 0 < document["break_even_rate"] < document["exit_rate"]


def test_what_was_not_measured_is_null(tmp_path):
    document = json.loads(report.to_json(bare()))
    assert set(document["accuracy"].values()) == {None}
    for key in ("loss", "exit_rate", "calibration", "analysis", "provenance"):
        assert document[key] is None
    assert document["macs"]["mean"] is None and document["exits"][0]["accuracy"] is None
    assert document["curve"] == [] and document["verification"] == []


def test_reading_gives_what_was_written(full, tmp_path):
    for known in (full, bare()):
        report.write(known, tmp_path / "report.json")
        assert report.read(tmp_path / "report.json") == known
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{}", '{"schema": "trecx-report/9"}', '{"schema": "trecx-report/2"}', "[" * 100_000, "\ufeff{"],
)
def test_what_is_no_report_is_refused(tmp_path, content):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(TrecxError, match="not a report"):
        report.read(tmp_path / "report.json")


def test_unknown_keys_are_refused(tmp_path):
    document = json.loads(report.to_json(bare()))
    document["macs"]["best"] = 1
    (tmp_path / "report.json").write_text(json.dumps(document))
    with pytest.raises(TrecxError, match="best"):
        report.read(tmp_path / "report.json")


def test_nowhere_to_write_is_an_error_message(full, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrecxError, match="cannot be written"):
        report.write(full, tmp_path / "file" / "report.json")
    with pytest.raises(TrecxError, match="cannot be written"):
        curve.draw(full, tmp_path / "absent")


def test_exits_that_do_not_pay_are_warned_about():
    trace = synthetic(300, threshold=0.9999, seed=2)
    judged = evaluate(trace, (DECISION,), (65536,), ("early", "final"), (2_600_000, 2_720_000), 2_656_768, SPLIT)
    found = report.with_evaluation(bare(), judged)
    assert any("the backbone alone is cheaper" in w for w in found.warnings)
    assert "the backbone alone is cheaper" in " ".join(summary.text(found).split())


@pytest.mark.parametrize("early", [2_656_768, 2_800_000, 2_900_000])
def test_exits_that_cost_more_than_the_backbone_are_said_never_to_pay(early):
    for threshold, rate in ((None, 0), (0.01, 1)):
        trace = synthetic(300, threshold=threshold, seed=2)
        judged = evaluate(
            trace, (DECISION,), (DECISION.limit(threshold),), ("early", "final"), (early, 2_900_000), 2_656_768, SPLIT
        )
        found = report.with_evaluation(bare(), judged)
        assert found.exit_rate == rate
        (warning,) = found.warnings
        share = f"{early / 2_656_768:.1%}"
        assert warning == f"Exits never pay: leaving early takes {share} of the backbone's MACs; choose an earlier tap."
        assert json.loads(report.to_json(found))["break_even_rate"] is None
        shown = " ".join(summary.text(found).split())
        assert warning in shown and "Exits pay once" not in shown


def test_of_several_exits_those_count_that_samples_take():
    trace = synthetic(300, (0.7, 0.8, 0.9), threshold=0.99, seed=2)
    limits = (DECISION.limit(0.99),) * 2
    judged = evaluate(trace, (DECISION, DECISION), limits, ("a", "b", "c"), (29, 60, 65), 30, SPLIT)
    first, second = (e.taken for e in judged.exits[:-1])
    assert first and second and judged.break_even > 1
    (warning,) = report.with_evaluation(replace(bare(), exits=judged.exits), judged).warnings
    assert f"{(first * 29 + second * 60) / (first + second) / 30:.1%}" in warning


def test_curve_in_the_report_is_thin_and_keeps_both_ends(full):
    assert len(full.curve) <= report.CURVE_POINTS
    assert full.curve[0].exit_rate == 0.0 and full.curve[0].thresholds == (None,)
    assert full.curve[-1].exit_rate == 1.0 and full.curve[-1].macs == 1_540_000


def test_summary_says_split_and_samples_and_every_figure(full):
    shown = " ".join(summary.text(full).split())
    for expected in (
        f"on 900 samples: {SPLIT}",
        f"{full.accuracy.int8_with_exits.value:.1%}",
        "instructions to early",
        "14,100,000",
        "15,680",
        "bit-exact on 900 samples (test), oracle tflite-micro 0.1",
        "cortex-m4: DIFFERS",
        "Warning: Mind the gap.",
        "at most",
        "Exits pay once",
        "With 6,000 labelled samples instead of 1,500 about 100.0% could leave early with the same promise",
    ):
        assert expected in shown
    assert "cycle" not in shown.lower()


def test_summary_of_a_build_without_data_claims_nothing():
    shown = summary.text(bare())
    assert "not measured, there was no labelled test data" in shown and "Not verified" in shown
    assert not re.search(r"bit-exact|accuracy lost|nan|None", shown)


def test_splits_that_differ_stand_beside_their_accuracies(full):
    other = replace(full, accuracy=replace(full.accuracy, float_without_exits=accuracy(9, 10, "another split")))
    shown = summary.text(other, width=160)
    assert shown.count(SPLIT) == 2 and "another split" in shown


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_plain_text_is_ascii_without_colours_and_within_the_width(full, width):
    shown = summary.text(full, width)
    assert shown.isascii() and "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= width


def test_names_are_not_taken_for_markup(full):
    shown = summary.text(replace(full, title="[bold]x[/bold]", warnings=("[red]",)), 100)
    assert "[bold]x[/bold]" in shown and "[red]" in shown


def test_terminal_shows_the_same_words(full):
    console = Console(width=100, record=True, force_terminal=True, color_system="truecolor", file=StringIO())
    console.print(summary.render(full))
    assert "15,680" in console.export_text()


def test_curve_files_are_whole_and_deterministic(full, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = curve.draw(full, tmp_path / "a"), curve.draw(full, tmp_path / "b")
    assert [p.name for p in first] == ["curve.png", "curve.svg"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["curve.png", "curve.svg"]
    png = first[0].read_bytes()
    width, height = struct.unpack(">II", png[16:24])
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and width > 1000 and height > 600
    svg = first[1].read_text()
    assert ElementTree.fromstring(svg).tag.endswith("svg") and "<dc:date>" not in svg and str(tmp_path) not in svg
    assert svg.count("#d55e00") >= 1


def test_curve_changes_with_the_chosen_point(full, tmp_path):
    moved = replace(full, macs=replace(full.macs, mean=2_000_000.0))
    assert curve.draw(full, tmp_path, "a")[0].read_bytes() != curve.draw(moved, tmp_path, "b")[0].read_bytes()


def test_there_is_no_curve_without_labelled_samples(tmp_path):
    assert curve.draw(bare(), tmp_path) == () and list(tmp_path.iterdir()) == []


def test_missing_matplotlib_says_how_to_get_it(full, tmp_path, monkeypatch):
    monkeypatch.setattr(curve, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match="matplotlib"):
        curve.draw(full, tmp_path)


def test_a_backbone_at_chance_is_told_and_what_exits_have_above_it_is_called_no_gain():
    trace = synthetic(200, (0.32, 0.34), threshold=0.9, seed=3)
    labels = np.where(np.arange(200) % 10 < 3, 0, 1 + np.arange(200) % 4).astype(np.int32)
    trace = replace(trace, labels=labels)
    backbone = np.arange(200) % 100 < 25
    judged = evaluate(trace, (DECISION,), (0,), ("early", "final"), (1_540_000, 2_720_000), 2_656_768, SPLIT, backbone)
    assert judged.most_frequent == 0.3
    told = report.with_evaluation(bare(), replace(judged, loss=-7.0, loss_interval=(-14.0, 0.5)))
    assert "The backbone alone (25.0%" in told.warnings[0] and "most frequent class (30.0%" in told.warnings[0]
    assert "No gain or loss" in told.warnings[0] and any("'final'" in one for one in told.warnings)
    text = " ".join(summary.text(told).split())
    assert "gained" not in text and "which is no gain" in text
    assert report.at_chance(replace(judged, most_frequent=0.01)) == ()


def test_everything_that_is_wrong_with_a_document_is_told_at_once(tmp_path, full):
    document = json.loads(report.to_json(full))
    document["model"]["bytes"] = "many"
    document["exits"][1]["macs"] = 1.5
    document["unheard"] = 1
    del document["tool"]
    (tmp_path / "report.json").write_text(json.dumps(document))
    with pytest.raises(TrecxError) as told:
        report.read(tmp_path / "report.json")
    assert all(where in str(told.value) for where in ("model.bytes", "exits.1.macs", "unheard", "tool"))


@pytest.mark.parametrize(
    ("backbone", "rate", "told"),
    [
        (25.0e6, 0.4e6 / 11.3e6, None),
        (14.2e6, 11.2e6 / 11.3e6, "On cortex-m4, by executed instructions: only "),
        (14.0e6, None, "On cortex-m4 exits never pay: leaving early executes no less than the backbone"),
    ],
)
def test_exits_that_do_not_pay_in_instructions_are_told(backbone, rate, told, full):
    trace = synthetic(900, (0.86, 0.92), threshold=full.operating_point[0].threshold, seed=2)
    limits = (full.operating_point[0].limit,)
    judged = evaluate(trace, (DECISION,), limits, ("early", "final"), (1_540_000, 2_720_000), 2_656_768, SPLIT)
    assert 0.1 < judged.exit_rate < 0.9 and judged.ended == (judged.exit_rate, pytest.approx(1 - judged.exit_rate))
    targets = (full.targets[0], replace(full.targets[1], instructions_backbone=backbone))
    found = report.with_evaluation(replace(bare(), targets=targets), judged)
    assert found.targets[1].break_even_rate == (None if rate is None else pytest.approx(rate))
    assert found.targets[0].break_even_rate is None
    said = [warning for warning in found.warnings if warning.startswith("On cortex-m4")]
    assert [warning.startswith(told) for warning in said] == ([True] if told else [])
    once = "never" if rate is None else f"once {rate:.1%} leave early"
    assert f"By executed instructions exits pay {once} on cortex-m4." in summary.text(found)
    assert "By executed instructions" not in summary.text(replace(bare(), targets=targets))
