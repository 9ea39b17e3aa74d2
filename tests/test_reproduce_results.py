"""Statistics, figures and the document of a reproduction, against numbers worked out by hand."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from mlperf_tiny import TASKS
from mlperf_tiny.attachment import Attachment
from trecx.decision import MaxScore
from trecx.errors import TrecxError
from trecx.judge.trace import Trace
from trecx.learn.settings import settings_for
from trecx.stamp import told
from trecx.studies import statistics
from trecx.studies.reproduce import figures, first_version, markdown, pictures, results
from trecx.studies.reproduce.material import weights_sha256
from trecx.studies.reproduce.plan import BEST, FOUND, POINTS, WITH, WITHOUT, Options, as_written, order, seeds, variants

TASK = TASKS[0]
NOWHERE = Path("no such folder")


def seed(number: int, final: float, saving: float, loss: float, never: bool = False) -> dict:
    """One seed's figures as results.json has them; calibrated at 90 % and as observed."""
    rows = [
        {
            "points": points,
            "confidence": confidence,
            "threshold": None if never else 0.7,
            "limit": 90_000,
            "bound": points,
            "samples": 500,
            "validation_loss": points - 0.5,
            "validation_exit_rate": 0.5,
            "loss": loss,
            "loss_interval": [loss - 1, loss + 1],
            "accuracy": 0.9,
            "exit_rate": 0.5,
            "macs": 2e6 * (1 - saving),
            "saving": saving,
        }
        for confidence in (0.9, 0.5)
        for points in POINTS
    ]
    reached = {"points": 1.0, "exit_rate": 0.6, "macs": 1.5e6, "saving": saving + 0.05, "accuracy": 0.9}
    return {
        "seed": number,
        "sha256": {"training": "a", "model": "b", "backbone": "c"},
        "proven_samples": 200,
        "macs": {"backbone": 2_000_000, "early": 1_000_000, "final": 2_100_000},
        **{kind: {"backbone": 0.92, "early": 0.88, "final": final} for kind in ("float", "int8", "int8_validation")},
        "chosen_before_test": True,
        "calibrated": rows,
        "chosen_on_test": {kind: [None, reached, reached, reached] for kind in ("int8", "float")},
        "accuracy_by_exit_rate": [0.9] * len(figures.RATES),
        "saved_by_points_lost": [None] * 5 + [0.3] * (len(figures.LOST) - 5),
    }


def variant(name: str, found: list[dict]) -> dict:
    attachment = told(next(v.attachment for v in variants(TASK) if v.name == name))
    settings = told(settings_for(TASK, Path("reference.h5")))
    return {
        "title": {WITH: "with early view", WITHOUT: "without early view"}[name],
        "configuration": {
            "settings": settings,
            "weights": {"weights": "0123456789abcdef" * 4, "teacher": None},
            "attachment": attachment,
        },
        "left_out": [],
        "seeds": found,
        "instructions": {"target": "Cortex-M4F", "samples": 20, "seed": 1, "exits": [1.7e6, 3.2e6], "backbone": 3e6},
        "summary": results.summarise(found),
    }


def entry(gains: tuple[float, ...] = (0.01, 0.012, 0.008)) -> dict:
    with_ = [seed(k, 0.91 + gain, 0.30 + 0.01 * k, loss=0.2 * k) for k, gain in enumerate(gains, 1)]
    without = [seed(k, 0.91, 0.28, loss=1.5) for k in range(1, len(gains) + 1)]
    found = {WITH: variant(WITH, with_), WITHOUT: variant(WITHOUT, without)}
    splits = {name: {"description": f"{name} clips", "samples": 1234} for name in ("train", "validation", "test")}
    return {
        "title": "Keyword spotting",
        "commands": ["trecx reproduce kws --data DIR --weights reference.h5 --seeds 3"],
        "left_out": [],
        "splits": splits | {"calibration": {"description": "validation clips", "samples": 512}},
        "sources": {},
        "calibration": ["part_a"],
        "versions": {"tflite-micro": "1.2.3"},
        "backbone": None,
        "variants": found,
        "paired": results.paired(found, results.published("kws")),
        "published": results.published("kws"),
    }


def row(text: str, start: str) -> list[str]:
    """The cells of the one table row that begins so."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    assert len(lines) == 1, lines
    return [cell.strip() for cell in lines[0].strip("|").split("|")]


def test_a_summary_is_what_the_textbook_says():
    found = statistics.summary([1.0, 2.0, 3.0, 4.0])
    assert found["mean"] == 2.5
    assert found["sd"] == pytest.approx(1.2909944)
    # 3.182 * 1.2909944 / sqrt(4)
    assert (found["low"], found["high"]) == (pytest.approx(2.5 - 2.0539722), pytest.approx(2.5 + 2.0539722))
    assert (found["least"], found["most"], found["seeds"]) == (1.0, 4.0, 4)


def test_one_value_has_a_mean_and_no_interval_and_none_has_neither():
    assert statistics.summary([3.0]) == {
        **{"seeds": 1, "mean": 3.0, "sd": None, "low": None, "high": None},
        **{"least": 3.0, "most": 3.0},
    }
    assert statistics.summary([])["mean"] is None


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.706), (4, 2.776), (9, 2.262), (30, 2.042), (500, 2.042)])
def test_t_quantiles(degrees, quantile):
    assert statistics.t_quantile(degrees) == quantile


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((1.0, 1.1, 0.9), statistics.SHOWN),
        ((-1.0, -1.1, -0.9), statistics.OPPOSITE),
        ((1.0, -1.0, 0.5), statistics.NOT_SHOWN),
        ((1.0,), statistics.ONE_SEED),
    ],
)
def test_an_effect_is_shown_only_where_the_interval_leaves_out_zero(values, said):
    assert statistics.verdict(statistics.summary(values)) == said


def test_differences_are_of_equal_seeds():
    found = {WITH: variant(WITH, [seed(1, 0.92, 0.3, 0), seed(3, 0.95, 0.3, 0)])}
    found[WITHOUT] = variant(WITHOUT, [seed(3, 0.91, 0.2, 0), seed(2, 0.5, 0.2, 0), seed(1, 0.91, 0.2, 0)])
    first = results.paired(found, results.published("kws"))[0]
    assert first["values"] == pytest.approx([1.0, 4.0])
    assert first["claimed"] == 0.9


def test_the_share_of_seeds_that_stay_within_counts_the_realised_loss():
    found = results.calibrated([seed(k, 0.9, 0.3, loss) for k, loss in enumerate((0.5, 1.0, 1.01, -2.0))], 1.0, 0.9)
    assert (found["within"], found["seeds"]) == (3, 4)
    assert found["loss"]["mean"] == pytest.approx(0.1275)


def test_the_cheapest_threshold_on_test_is_found_among_all():
    curve = figures._Curve(np.array([0.90, 0.91, 0.88]), np.array([100.0, 80.0, 50.0]), np.array([0.0, 0.3, 0.9]))
    assert curve.cheapest(0.90, 0.0, 100)["saving"] == pytest.approx(0.2)
    assert curve.cheapest(0.90, 2.0, 100)["saving"] == pytest.approx(0.5)
    assert curve.cheapest(0.95, 1.0, 100) is None


@pytest.mark.parametrize("limit", [0, 65_536, 66_000])
def test_a_realised_loss_is_counted_sample_by_sample(limit):
    rng = np.random.default_rng(2)
    labels = np.tile(np.arange(3), 20).astype(np.int32)
    logits = np.full((60, 2, 3), -40, np.int8)
    wrong = rng.random((60, 2)) < (0.5, 0.1)
    for k in (0, 1):
        logits[np.arange(60), k, (labels + wrong[:, k]) % 3] = 40
    logits[::4, 0] = 0  # undecided: the sum is three times a sure one's
    trace = Trace(logits, logits, np.zeros(60, np.uint8), labels)
    model = figures.Model((MaxScore(0.2),), (50, 110), 100)
    keys = ("confidence", "reference", "threshold", "bound", "samples", "loss", "exit_rate")
    reference = np.arange(60) % 10 != 0
    found = figures._realised(dict.fromkeys(keys) | {"limit": limit, "points": 1.0}, trace, reference, model)

    early = np.zeros(60, bool) if limit == 0 else np.arange(60) % 4 != 0
    right = np.where(early, ~wrong[:, 0] & early, ~wrong[:, 1])
    assert found["exit_rate"] == early.mean()
    assert found["accuracy"] == right.mean()
    assert found["loss"] == pytest.approx(100 * (reference.mean() - right.mean()))
    assert found["loss_interval"][0] < found["loss"] < found["loss_interval"][1]
    assert found["macs"] == pytest.approx(np.where(early, 50, 110).mean())


def test_a_sample_at_the_very_limit_leaves():
    logits = np.array([[[9, 0], [0, 9]], [[8, 0], [0, 9]]], np.int8)
    trace = Trace(logits, logits, np.zeros(2, np.uint8), np.zeros(2, np.int32))
    model = figures.Model((MaxScore(0.1),), (1, 2), 2)
    keys = ("confidence", "reference", "threshold", "bound", "samples", "loss", "exit_rate")
    for limit, leave in zip(MaxScore(0.1).statistic(logits[:, 0]), (0.5, 1.0), strict=True):
        chosen = dict.fromkeys(keys) | {"limit": int(limit), "points": 1.0}
        assert figures._realised(chosen, trace, np.ones(2, bool), model)["exit_rate"] == leave


def test_float_scores_are_swept_like_every_threshold_by_itself():
    rng = np.random.default_rng(1)
    scores = {name: np.round(rng.dirichlet(np.ones(3), 60), 1) for name in ("early", "final", "backbone")}
    scores["labels"] = rng.integers(0, 3, 60)
    found = figures._float_on_test(scores, ("early", "final"), (50, 110), 100)
    base = (scores["backbone"].argmax(-1) == scores["labels"]).mean()
    for points, one in zip(POINTS, found, strict=True):
        costs = []
        for threshold in [2.0, *np.unique(scores["early"].max(-1))]:
            leave = scores["early"].max(-1) >= threshold
            answered = np.where(leave, scores["early"].argmax(-1), scores["final"].argmax(-1))
            if (answered == scores["labels"]).mean() >= base - points / 100 - 1e-12:
                costs.append(np.where(leave, 50, 110).mean())
        assert (one is None) == (not costs)
        assert one is None or one["macs"] == pytest.approx(min(costs))


def test_the_document_says_whether_the_effect_exists():
    def told(gains: tuple[float, ...]) -> str:
        return " ".join(markdown.text({"kws": entry(gains)}, NOWHERE).split())

    assert "early view exists here**: +1.00 ± 0.20 (+0.50 to +1.50) points" in told((0.01, 0.012, 0.008))
    nothing = told((0.01, -0.012, 0.001))
    assert "early view is not shown here**" in nothing
    assert "The paper claims +0.9 points from one pair" in nothing
    assert "includes that figure" in nothing
    assert "does not exist here; the opposite does" in told((-0.01, -0.012, -0.01))


def test_the_tables_have_the_figures():
    text = markdown.text({"kws": entry()}, NOWHERE)
    assert "| backbone alone | 92.00 | 92.00 |" in text
    assert "| with early view: final exit | 92.00 ± 0.20 (91.50 to 92.50) |" in text
    saved = row(text, "with early view, 90 % bound")
    assert saved[2] == "32.0 ± 1.0 (29.5 to 34.5)<br>1,360,000 MACs"
    assert row(text, "with early view, int8")[1:3] == ["–", "37.0 ± 1.0 (34.5 to 39.5)"]
    assert row(text, "paper")[1:] == ["30.4", "37.7", "40.2", "42.6"]
    assert "with early view 3 of 3 (100%); without early view 0 of 3 (0%)" in text
    assert "| with early view | 1,700,000 | 3,200,000 |" in text
    assert "512 validation samples (part_a)" in " ".join(text.split())


def test_a_document_links_only_what_lies_beside_it(tmp_path):
    assert "tried-kws" not in markdown.text({"kws": entry()}, tmp_path)
    (tmp_path / "tried-kws.md").touch()
    drawn = pictures.draw("kws", entry(), tmp_path)
    text = markdown.text({"kws": entry()}, tmp_path)
    assert "(tried-kws.md)" in text
    assert all(f"({path.name})" in text for path in drawn)
    assert len(drawn) == 3


def test_results_of_other_kinds_are_not_overwritten(tmp_path):
    (tmp_path / "results.json").write_text('{"format": "something else"}')
    with pytest.raises(TrecxError, match="is not of format"), results.updating(tmp_path, "kws"):
        pass
    assert (tmp_path / "results.json").read_text() == '{"format": "something else"}'


def test_the_document_of_this_checkout_is_of_its_results():
    docs = Path(__file__).parent.parent / "docs"
    assert markdown.text(results.read(docs), docs) == (docs / "results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda kws: kws["variants"][WITH]["seeds"][0].pop("macs"), "has no attribute 'macs'"),
        (lambda kws: kws["variants"][WITH]["summary"]["float"].update(early=None), "not subscriptable"),
        (lambda kws: kws.update(title=["a list"]), "neither text nor a number"),
    ],
)
def test_results_of_another_task_that_no_document_can_be_made_of_are_refused(tmp_path, damage, said):
    wrong = entry()
    damage(wrong)
    (tmp_path / "results.json").write_text(json.dumps({"format": results.FORMAT, "tasks": {"kws": wrong}}))
    with pytest.raises(TrecxError, match=f"says of kws cannot be used .*{said}"), results.updating(tmp_path, "ic"):
        pass


def test_results_come_back_as_they_were_written(tmp_path):
    with results.updating(tmp_path, "kws") as tasks:
        tasks["kws"] = entry()
    assert results.read(tmp_path)["kws"] == entry()


@pytest.mark.parametrize("name", ["ic", "kws", "vww"])
def test_published_cuts_are_those_of_the_published_costs(name):
    paper = results.published(name)["paper"]
    for points in ("1", "2", "3"):
        cut = 100 * (1 - paper["mflop"][points] / paper["mflop"]["baseline"])
        assert cut == pytest.approx(paper["cut"][points], abs=0.1)
    for known in (paper, *results.published(name)["traces"]):
        cuts = [known["cut"][key] for key in sorted(known["cut"])]
        assert cuts == sorted(cuts)


@pytest.mark.parametrize(
    ("text", "found"), [("3", (1, 2, 3)), ("1,3", (1, 3)), ("4-6", (4, 5, 6)), ("2-2", (2,)), ("1,4-5", (1, 4, 5))]
)
def test_seeds_are_counted_or_named(text, found):
    assert seeds(text) == found


@pytest.mark.parametrize(
    ("numbers", "text"), [((1, 2, 3), "3"), ((4, 7), "4,7"), ((5,), "5-5"), ((1, 3, 4, 5), "1,3-5"), ((1,), "1")]
)
def test_seeds_are_written_as_they_are_read(numbers, text):
    assert as_written(numbers) == text
    assert seeds(text) == numbers


@pytest.mark.parametrize("text", ["", "x", "1,", "3-", "-2"])
def test_what_are_no_seeds_is_refused(text):
    with pytest.raises(TrecxError):
        seeds(text)


def test_seeds_are_complete_early():
    paper = replace(TASK, attachments=TASK.attachments[:1])
    found = [(variant.name, number) for variant, number in order(paper, Options(seeds=(1, 2)))]
    assert found == [(WITH, 1), (WITHOUT, 1), (WITH, 2), (WITHOUT, 2)]


def test_the_best_found_is_a_variant_where_the_task_names_it():
    best: Attachment = replace(TASK.attachments[0], name=BEST)
    task = replace(TASK, attachments=(TASK.attachments[0], best))
    assert [v.name for v in variants(task)] == [WITH, WITHOUT, FOUND]
    assert variants(task)[1].attachment.view is None


def test_a_task_without_the_papers_exit_is_reproduced_with_its_first():
    own = replace(TASK.attachments[0], name="own")
    found = variants(replace(TASK, attachments=(own, replace(own, name="second"))))
    assert [(v.name, v.attachment.name) for v in found] == [(WITH, "own"), (WITHOUT, "own")]
    alone = replace(own, name=BEST, view=None)
    assert [(v.name, v.attachment) for v in variants(replace(TASK, attachments=(alone,)))] == [(WITHOUT, alone)]


def test_options_that_cannot_work_are_refused_at_once(tmp_path):
    wrong = Options(seeds=(1, 1, -1), only="nothing", confidence=1.0, weights=tmp_path / "none")
    with pytest.raises(TrecxError) as refused:
        order(TASK, wrong)
    assert len(refused.value.problems) == 5


def test_weights_are_told_as_the_recorded_results_tell_them(tmp_path):
    """A folder by names and contents: seeds that were trained from a SavedModel are known again by this."""
    (tmp_path / "saved" / "variables").mkdir(parents=True)
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "saved" / "variables" / "variables.index").write_bytes(b"index")
    parts = [("saved_model.pb", b"graph"), ("variables.index", b"index")]
    expected = b"''" + b"".join(b"\0%s\0" % name.encode() + sha256(text).digest() for name, text in parts)
    assert weights_sha256(tmp_path / "saved") == sha256(expected).hexdigest()
    assert weights_sha256(tmp_path / "saved" / "saved_model.pb") == sha256(b"graph").hexdigest()


def test_thresholds_that_the_first_version_chose_are_no_choice_in_sight_of_the_test(tmp_path):
    chosen = [{"points": 1.0, "limit": 70_000, "loss": 0.1}]
    assert first_version.chosen_before_test(tmp_path, chosen)
    (tmp_path / "test").mkdir()
    assert not first_version.chosen_before_test(tmp_path, chosen)
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"before_test": True, "chosen": chosen}))
    assert first_version.chosen_before_test(tmp_path, chosen)
    assert not first_version.chosen_before_test(tmp_path, [{**chosen[0], "limit": 1}])
    for text in ('{"before_test": false}', "[]", "{"):
        path.write_text(text)
        assert not first_version.chosen_before_test(tmp_path, chosen)
