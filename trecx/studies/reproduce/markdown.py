"""results.md, from results.json alone."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from trecx.judge.calibrate import FINAL_EXIT
from trecx.studies.reproduce.plan import OBSERVED, PAPER, POINTS, TITLES
from trecx.studies.reproduce.statistics import NOT_SHOWN, ONE_SEED, OPPOSITE, SHOWN

FILE = "results.md"
WIDTH = 128
LOST = ["iso-accuracy", "−1 point", "−2 points", "−3 points"]
HEAD = """# Results

The early exits of T-RecX on MLPerf Tiny's tasks, trained, quantized to int8, compiled and judged by trecx. Each task's
part is written by the command that it begins with, which trains what is missing and goes on where it was interrupted.
The same figures for machines, with every seed, configuration and hash: [results.json](results.json). Where the weights
that seeds start from come from: [training.md](training.md). Words:

- *Loss* is accuracy lost against the backbone alone, on the same samples and in the same arithmetic, in points. While
  thresholds are chosen it may be against the model's own final exit; a task's part says so where it was.
- *Saved* is the share of the backbone's multiply-accumulates (MACs) that is saved in the mean, in per cent; below 0 the
  exits cost more than they save.
- *A ± s (l to h)* is a mean over seeds, the sample deviation, and the 95 % t-interval of the mean.
- *Calibrated*: the threshold was chosen on validation samples, so that an upper bound of the loss at the stated
  one-sided confidence stays within a target, or the observed loss. It was written down before an int8 model answered a
  test sample. With a bound nothing leaves at iso-accuracy: the bound is above 0 even where no answer differs.
- *Chosen on test*: the threshold was chosen on the very test samples that it is judged on, as the paper did. No product
  can do that; these rows are for comparison with the paper only.
"""
SAID = {
    SHOWN: "shown: the interval is above 0",
    OPPOSITE: "the opposite is shown: the interval is below 0",
    NOT_SHOWN: "not shown: the interval includes 0",
    ONE_SEED: "one pair of seeds shows nothing",
}


def text(tasks: dict[str, Any], docs: Path) -> str:
    """The whole document; pictures and `tried-<task>.md` are linked where they lie in `docs`."""
    return "\n".join([HEAD, *(_task(name, tasks[name], docs) for name in sorted(tasks))])


def _task(name: str, entry: dict[str, Any], docs: Path) -> str:
    variants, published = entry["variants"], entry["published"]
    parts = [
        f"## {name}: {entry['title']}",
        _command(entry),
        *map(_wrapped, _protocol(entry)),
        _exits(variants),
        _trainings(variants),
        _compared(entry["paired"], published),
        "Accuracy on test samples, per cent:",
        _accuracy(variants, published),
        "MACs saved, per cent, and mean MACs, thresholds calibrated on validation samples:",
        _savings(variants),
        "MACs saved, per cent, thresholds chosen on test samples, as the paper did, and what was published:",
        _savings_on_test(variants, published),
        "Calibration: target, bound and realised loss in points, means over seeds:",
        _calibration(variants, _own_final(entry)),
        _kept_promises(variants),
        "Each seed at one point, loss on test samples with its paired 95 % interval:",
        _each_seed(variants),
        _instructions(variants),
        *_pictures(name, docs),
    ]
    if (docs / f"tried-{name}.md").is_file():
        told = "What the data are not, what was tried, and how the best was found"
        parts.append(f"{told}: [tried-{name}.md](tried-{name}.md).")
    return "\n\n".join(part for part in parts if part) + "\n"


def _command(entry: dict[str, Any]) -> str:
    """The command that regenerates a task's part; several where seeds of variants differ."""
    return "\n".join(f"    {command}" for command in entry["commands"])


def _own_final(entry: dict[str, Any]) -> bool:
    """Whether thresholds were chosen against the own final exit."""
    chosen = [one for v in entry["variants"].values() for seed in v["seeds"] for one in seed["calibrated"]]
    return any(one.get("reference") == FINAL_EXIT for one in chosen)


def _wrapped(paragraph: str) -> str:
    return fill(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)


def _protocol(entry: dict[str, Any]) -> list[str]:
    """What was trained and judged on what, as paragraphs."""
    splits, variants = entry["splits"], entry["variants"]
    of = {key: f"{one['samples']:,} {one['description']}" for key, one in splits.items()}
    sources = f" ({', '.join(entry['calibration'])})" if entry["calibration"] else ""
    data = (
        f"Training: {of['train']}. Validation: {of['validation']}. Test: {of['test']}. Thresholds are chosen on "
        f"{splits['calibration']['samples']:,} validation samples{sources}; settings and loss weights are those of "
        "the recipe, which was chosen on validation samples too. An int8 model answers test samples once, after that."
    )
    origins = f"Sources: {'; '.join(f'{of}: {said}' for of, said in entry['sources'].items())}."
    configuration = next(iter(variants.values()))["configuration"]
    settings, hashes = configuration["settings"], configuration["weights"]
    file = settings["weights"] or ""
    hashed = "SHA-256" if Path(file).suffix else "SHA-256 over the folder's names and contents"
    given = f"the trained backbone `{file}` ({hashed} {(hashes['weights'] or '')[:16]}…)"
    begun = "one backbone, which this command trained from scratch," if entry["backbone"] else given
    left = "; ".join(f"{TITLES[one['variant']]} {one['seed']} ({one['reason']})" for one in entry["left_out"])
    teacher = f" Teacher: `{settings['teacher']}` (SHA-256 {hashes['teacher'][:16]}…)." if settings["teacher"] else ""
    training = (
        f"Every seed starts from {begun} and trains it with the exits as said below. Seeds vary that training and "
        "the samples that fix the int8 ranges, not the backbone at the start, which is also the baseline: its int8 "
        f"accuracy varies with the quantization only.{teacher}"
        + f" Seeds: {'; '.join(_seeds(v) for v in variants.values())}."
        + (f" Left out: {left}." if left else "")
    )
    proven = min(s["proven_samples"] for v in variants.values() for s in v["seeds"])
    exact = (
        "int8 answers are the emitted C's on this machine; of every model, every bit of the answers to the first "
        f"{proven:,} test samples was compared with tflite-micro {entry['versions']['tflite-micro']}'s."
    )
    own = (
        "Thresholds were chosen against each model's own final exit: the weights at the start have seen the "
        "validation samples, on which they are too right to be a measure. What is left of that makes a final exit look "
        "better than it is on new samples. Validation losses and bounds are against the own final exit, test losses "
        "against the backbone alone: they part where training has made the final exit worse than the backbone."
    )
    late = [v["title"] for v in variants.values() if not all(s["chosen_before_test"] for s in v["seeds"])]
    again = f"Recalibrated on the same validation answers after test samples had been judged: {', '.join(late)}."
    return [data, origins, training, exact, *([own] if _own_final(entry) else []), *([again] if late else [])]


def _exits(variants: dict[str, Any]) -> str:
    """What each variant attaches, and the MACs of the int8 file to each exit."""
    rows = []
    for variant in variants.values():
        attachment, macs = variant["configuration"]["attachment"], variant["seeds"][0]["macs"]
        early, view = attachment["early"], attachment["view"]
        point = f"1x1 to {early['point_filters']}" if early["point_filters"] else f"first {early['width']} channels"
        layers = f"{point}, depthwise {early['kernel']}x{early['kernel']} stride {early['stride']}"
        if early.get("blocks"):
            layers = ", ".join(f"separable {block['filters']} stride {block['stride']}" for block in early["blocks"])
        cells = [f"{n:,} ({100 * n / macs['backbone']:.1f} %)" for name, n in macs.items() if name != "backbone"]
        rows.append([variant["title"], early["tap"], layers, "yes" if view else "no", *cells])
    backbone = next(iter(variants.values()))["seeds"][0]["macs"]["backbone"]
    head = ["", "tap", "early exit", "early view", "MACs to early exit", "MACs to final exit"]
    return f"{table(head, rows)}\n\nThe backbone alone takes {backbone:,} MACs."


def _trainings(variants: dict[str, Any]) -> str:
    """How each variant was trained, as far as it says how well."""
    rows = []
    for variant in variants.values():
        settings, attachment = variant["configuration"]["settings"], variant["configuration"]["attachment"]
        weight = attachment["early_weight"] if settings["early_weight"] is None else settings["early_weight"]
        steps = f" of {settings['steps_per_epoch']:,} batches" if settings["steps_per_epoch"] else ""
        release = f"{settings['release']:.2f}" if attachment["view"] else "–"
        rows.append(
            [
                variant["title"],
                "frozen" if settings["frozen"] else "learns on",
                f"{settings['epochs']}{steps}",
                f"{settings['batch']}",
                f"{settings['learning_rate']:g}, {settings['schedule']}",
                f"{weight:g} (paper: {attachment['early_weight']:g})" if attachment["name"] == PAPER else f"{weight:g}",
                release,
                f"{100 * settings['distillation']:g} %",
            ]
        )
    head = ["", "backbone", "epochs", "batch", "learning rate", "early exit's loss weight", "copies released after"]
    return table([*head, "targets from the teacher"], rows)


def _seeds(variant: dict[str, Any]) -> str:
    numbers = ", ".join(str(seed["seed"]) for seed in variant["seeds"])
    return f"{variant['title']} {numbers}"


def _compared(pairs: Sequence[dict[str, Any]], published: dict[str, Any] | None) -> str:
    """With against without early view, plainly."""
    if not pairs:
        return ""
    final = next(one for one in pairs if one["claimed"] is not None or published is None)
    claim = f" The paper claims +{final['claimed']:.1f} points from one pair." if final["claimed"] is not None else ""
    rows = [
        [
            one["what"],
            "–" if one["claimed"] is None else f"{one['claimed']:+.1f}",
            _signed(one),
            str(one["seeds"]),
            SAID[one["verdict"]] if one["seeds"] else "no pair of seeds reaches it",
        ]
        for one in pairs
    ]
    verdict = {
        SHOWN: "exists here",
        OPPOSITE: "does not exist here; the opposite does",
        NOT_SHOWN: "is not shown here",
        ONE_SEED: "cannot be told from one pair of seeds",
    }[final["verdict"]]
    inside = "".join(
        f" The interval in {one['what'].rsplit(', ', 1)[-1]} "
        f"{'includes' if one['low'] <= one['claimed'] <= one['high'] else 'excludes'} that figure."
        for one in pairs
        if one["claimed"] is not None and one["low"] is not None
    )
    scope = (
        " Intervals are over seeds of this training, which goes on from one trained backbone and is judged on one test "
        "set. The paper trains from scratch; of that training they say nothing."
    )
    lead = f"**A gain of the final exit's accuracy by early view {verdict}**: {_signed(final)} points.{claim}{inside}"
    head = ["with minus without early view, points", "paper", "mean (95 % interval)", "pairs", "effect"]
    return f"{_wrapped(lead + scope)}\n\n{table(head, rows)}"


def _accuracy(variants: dict[str, Any], published: dict[str, Any] | None) -> str:
    first = next(iter(variants.values()))["summary"]
    rows = [["backbone alone", _percent(first["float"]["backbone"]), _percent(first["int8"]["backbone"])]]
    for variant in variants.values():
        found = variant["summary"]
        for exit_ in (e for e in found["int8"] if e != "backbone"):
            title = f"{variant['title']}: {exit_} exit"
            rows.append([title, _percent(found["float"][exit_]), _percent(found["int8"][exit_])])
    if published is not None:
        paper = published["paper"]
        told = {"baseline": paper["baseline"], "early exit": paper["early"], "final exit": paper["final"]}
        rows += [[f"paper: {what}", f"{value:.2f}", "–"] for what, value in told.items()]
        rows += [
            [f"{_origin(t)}: early, final exit", f"{t['early']:.2f}, {t['final']:.2f}", "–"]
            for t in published["traces"]
        ]
    return table(["", "float", "int8"], rows)


def _savings(variants: dict[str, Any]) -> str:
    rows = []
    for variant in variants.values():
        found = variant["summary"]["calibrated"]
        for confidence in dict.fromkeys(one["confidence"] for one in found):
            cells = [_saved(one) for one in found if one["confidence"] == confidence]
            rows.append([f"{variant['title']}, {_how(confidence)}", *cells])
    return table(["", *LOST], rows)


def _saved(one: dict[str, Any]) -> str:
    return f"{_share(one['saving'])}<br>{one['macs']['mean']:,.0f} MACs"


def _savings_on_test(variants: dict[str, Any], published: dict[str, Any] | None) -> str:
    rows = []
    for variant in variants.values():
        for kind, found in variant["summary"]["chosen_on_test"].items():
            rows.append([f"{variant['title']}, {kind}", *(_reached(one) for one in found)])
    if published is not None:
        for what, one in [("paper", published["paper"]), *((_origin(t), t) for t in published["traces"])]:
            cells = (one["cut"].get(f"{points:g}") for points in POINTS)
            rows.append([what, *("–" if cell is None else f"{cell:.1f}" for cell in cells)])
    told = table(["", *LOST], rows)
    if published is None:
        return told
    sources = published["sources"]
    said = (
        f"Paper: {sources['paper']}. Authors' traces: {sources['traces']}. Both were judged on the authors' test data: "
        "savings and losses compare, accuracies only roughly. –: not reached, or not published."
    )
    return f"{told}\n\n{_wrapped(said)}"


def _reached(one: dict[str, Any]) -> str:
    if not one["reached"]:
        return "–"
    part = "" if one["reached"] == one["seeds"] else f" ({one['reached']} of {one['seeds']} seeds)"
    return _share(one["saving"]) + part


def _calibration(variants: dict[str, Any], own: bool) -> str:
    rows = []
    for variant in variants.values():
        for one in variant["summary"]["calibrated"]:
            rows.append(
                [
                    variant["title"],
                    f"{one['points']:g}",
                    _how(one["confidence"]),
                    *(_number(one[key]) for key in ("validation_loss", "bound", "loss")),
                    _share(one["exit_rate"], False),
                    _share(one["saving"], False),
                    f"{one['within']} of {one['seeds']}" + (f", {one['never']} never leave" if one["never"] else ""),
                ]
            )
    against = "own final exit" if own else "backbone"
    chosen = ["target", "chosen", f"validation loss ({against})", "bound of it", "test loss (backbone)"]
    return table(["", *chosen, "leave early", "saved", "seeds within"], rows)


def _kept_promises(variants: dict[str, Any]) -> str:
    """In how many seeds the realised loss stayed within one point, where a bound had to."""
    rows = [(v["title"], c) for v in variants.values() for c in v["summary"]["calibrated"] if c["points"] == 1]
    told = [
        f"{title} {c['within']} of {c['seeds']} ({c['within'] / c['seeds']:.0%})"
        for title, c in rows
        if c["confidence"] != OBSERVED
    ]
    return _wrapped(f"With a bound, the realised loss stayed within one point in: {'; '.join(told)}.") if told else ""


def _each_seed(variants: dict[str, Any]) -> str:
    rows = []
    for variant in variants.values():
        for seed in variant["seeds"]:
            for one in (c for c in seed["calibrated"] if c["points"] == 1):
                low, high = one["loss_interval"]
                threshold = "never" if one["threshold"] is None else f"{one['threshold']:.4g}"
                loss = f"{one['loss']:+.2f} ({low:+.2f} to {high:+.2f})"
                saved = f"{100 * one['saving']:.1f}"
                cells = [str(seed["seed"]), _how(one["confidence"]), threshold, f"{one['bound']:+.2f}", loss, saved]
                rows.append([variant["title"], *cells])
    return table(["", "seed", "chosen", "threshold", "bound", "test loss", "saved"], rows)


def _instructions(variants: dict[str, Any]) -> str:
    counted = {v["title"]: v["instructions"] for v in variants.values() if v["instructions"] is not None}
    if not counted:
        return "Instructions of a Cortex-M4 were not counted: its compiler or emulator was not installed."
    about = next(iter(counted.values()))
    rows = [["backbone alone", "–", f"{about['backbone']:,.0f}"]]
    rows += [[title, *(f"{n:,.0f}" for n in one["exits"])] for title, one in counted.items()]
    lead = f"Instructions ({about['target']}; means of {about['samples']} test samples, model of seed {about['seed']}):"
    return f"{lead}\n\n{table(['', 'early exit', 'final exit'], rows)}"


def _pictures(name: str, docs: Path) -> Iterable[str]:
    what = {
        "macs": "accuracy against multiply-accumulates",
        "instructions": "accuracy against counted instructions",
        "benefit": "multiply-accumulates saved against points lost",
    }
    found = ((about, f"results-{name}-{kind}.png") for kind, about in what.items())
    return [f"![{name}: {about}]({file})" for about, file in found if (docs / file).is_file()]


def _origin(trace: dict[str, Any]) -> str:
    commit = f" ({trace['commit']})" if trace["commit"] else ""
    return f"authors' traces, {trace['what']}{commit}"


def _how(confidence: float) -> str:
    return "as observed" if confidence == OBSERVED else f"{100 * confidence:g} % bound"


def _percent(of: dict[str, Any], interval: bool = True) -> str:
    """An accuracy in per cent."""
    return _of(of, lambda share: f"{100 * share:.2f}", interval)


def _share(of: dict[str, Any], interval: bool = True) -> str:
    """A saving or an exit rate in per cent."""
    return _of(of, lambda share: f"{100 * share:.1f}", interval)


def _number(of: dict[str, Any]) -> str:
    return _of(of, lambda value: f"{value:+.2f}", False)


def _signed(of: dict[str, Any]) -> str:
    return _of(of, lambda value: f"{value:+.2f}", True)


def _of(of: dict[str, Any], shown: Callable[[float], str], interval: bool) -> str:
    """A summary in one cell: mean, deviation and interval; the mean alone where all seeds agree."""
    if of["mean"] is None:
        return "–"
    if not interval or of["low"] is None or of["least"] == of["most"]:
        return shown(of["mean"])
    deviation = shown(of["sd"]).removeprefix("+")
    return f"{shown(of['mean'])} ± {deviation} ({shown(of['low'])} to {shown(of['high'])})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left and the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---"] + ["--:"] * (len(head) - 1)) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
