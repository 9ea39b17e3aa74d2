"""The scout step: where exits go and which, where nobody says, found out before the training by what the core executes.

A method without taps gets them at equal parts of the cost. For `auto`, heads of every kind are trained for a few epochs
at several taps of the frozen network, on a part of the training samples; the whole is converted and answers validation
samples as int8; and each head, and each pair of them, is judged by its mean cost at the loss that may be.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mlperf_tiny.task import Data, Split, Task
from trecx import documents
from trecx.console import Step
from trecx.errors import TrecxError
from trecx.files import write_json
from trecx.judge import choice
from trecx.judge.choice import CHOICE, Asked, Candidate, Head, Scouted
from trecx.run import Run
from trecx.settings import AUTO, Folders, Settings
from trecx.stamp import Origin
from trecx.steps import counting, effort
from trecx.steps import pair as pairs
from trecx.steps.check import caution
from trecx.steps.data import data, quantized
from trecx.steps.learned import described, exits_of, learned, suitable
from trecx.steps.learning import deciding, recipe_of
from trecx.steps.pair import EXITS, Pair

BACKBONE = "backbone"  # the folder of the network that was trained for it
HEADS = "dyce"  # the method whose heads are tried
STEPS = 1_000  # of training the heads, at most
MOST_TAPS = 8
MOST_PROBED = 32  # taps whose cost is counted; more are thinned by MACs
MOST_TRAINING, LEAST_TRAINING, MOST_JUDGED = 10_000, 1_000, 2_000  # samples
MOST_BYTES = 2**31  # of the maps that heads read, as long as there are more samples than the least


def needed(settings: Settings) -> bool:
    """Whether it is to be found out where exits go."""
    if not settings.train or settings.complete:
        return False
    return settings.method == AUTO or (not settings.taps and _usual(settings.method) > 0)


def _usual(method: str) -> int:
    """To how many taps a method attaches that nobody named; 0 for one that says itself."""
    from trecx.learn.exits import METHODS
    from trecx.learn.exits.method import Exits

    every: tuple[type, ...] = METHODS
    known = [one for one in every if issubclass(one, Exits)]
    return next((one.usual() for one in known if one.name == method), 0)


def chosen(settings: Settings, folder: Path) -> Settings:
    """The settings with what scouting left in `folder`, where it was asked for and has been done."""
    found = read(folder) if needed(settings) else None
    if found is None or found.asked != settings.method:
        return settings
    if found.asked != AUTO:
        return settings.changed({"taps": found.taps})
    # Weights that a person names go before those that were trained for it.
    own = {} if found.weights is None or settings.weights else {"weights": folder / found.weights}
    return settings.changed({"method": found.method, "taps": found.taps, "heads": found.heads, **own})


def read(folder: Path) -> Scouted | None:
    """What scouting left in `folder`."""
    found: Scouted | None = documents.kept(Scouted, folder / CHOICE)
    if (
        found is not None
        and found.weights is not None
        and not (folder / found.weights).resolve().is_relative_to(folder.resolve())
    ):
        problem = f"{folder / CHOICE} names weights outside its folder."
        raise TrecxError(problem, "Delete that folder, so that it is found out again.")
    return found


def scout(settings: Settings, _: Folders, out: Path, step: Step) -> None:
    """Leave in `out` what was chosen, and what it was chosen with; an interrupted training goes on."""
    found, task = data(settings, step), learned(settings, step)
    assert found is not None
    by, plain, shares = shares_of(settings, task, found, step)
    if settings.method == AUTO:
        from trecx.learn.exits.method import INPUT, placed

        taps = (INPUT, *placed(shares, MOST_TAPS - 1))
        result = _tried(settings, task, found, taps, out, step)
    else:
        result = _placed(settings, shares, by, plain)
    write_json(out / CHOICE, asdict(result))
    step.outcome = result.told


def _placed(settings: Settings, shares: dict[str, float], by: str, plain: float) -> Scouted:
    from trecx.learn.exits.method import placed

    taps = placed(shares, _usual(settings.method))
    where = ", ".join(f"{tap} ({shares[tap]:.0%})" for tap in taps)
    return Scouted(settings.method, settings.method, taps, (), by, plain, f"exits at {where} of the network's {by}")


def shares_of(settings: Settings, task: Task, found: Data, step: Step) -> tuple[str, float, dict[str, float]]:
    """What cost is, what the plain network costs, and of each tap the share of it that it takes to get there.

    Counted on the untrained network, or on the trained one where training begins with that.
    """
    from trecx.learn import rehearsal
    from trecx.learn.exits.dyce import DyCE
    from trecx.learn.exits.method import macs_to, placed
    from trecx.learn.keras import keras

    macs = macs_to(task.backbone(keras()))
    known = suitable(settings)
    macs = {tap: share for tap, share in macs.items() if known is None or tap in known}
    taps = placed(macs, MOST_PROBED)
    probe = DyCE(taps, heads_at=("linear",))
    weights = Path(settings.weights) if settings.weights else None
    with step.progress("counting the way to each layer"), TemporaryDirectory(prefix="trecx-scout-") as folder:
        path = Path(folder) / f"{task.name}.tflite"
        path.write_bytes(rehearsal.trial(task, probe, found.train, weights))
        by, costs = counting.costs(pairs.bind(path, described(task, probe, path)), settings.cost)
    plain = costs.shared[-1]
    return by, plain, {tap: spent / plain for tap, spent in zip(taps, costs.shared, strict=False)}


def _tried(settings: Settings, task: Task, found: Data, taps: tuple[str, ...], out: Path, step: Step) -> Scouted:
    """Train heads of every kind at these taps, and choose by what they answer to validation samples."""
    from trecx.learn.exits.dyce import KINDS

    few = few_of(found, task, taps, settings.seed)
    small = replace(settings, method=HEADS, taps=taps, heads=KINDS)
    own = None
    if not (settings.weights or settings.model):
        own = _backbone(settings, task, found, out, step)
        small = replace(small, weights=str(own))
    pair, split = _pair(small, task, few, out, step), few.validation
    answered = effort.oracle(pair, [quantized(split.x, pair.graph)], None, step)[0]
    answered = replace(answered, labels=split.y.astype(np.int32))
    with step.progress("counting the cost of each head"):
        by, prices = counting.prices(pair, settings.cost)
    heads = [Head(tap, kind) for tap in taps for kind in KINDS]
    asked = Asked(settings.points, settings.confidence)
    costs = cache(lambda early: prices(pair.only(early)))
    every = choice.judged(answered, pair.decisions, costs, heads, asked)
    right = float(answered.right()[:, -1].mean())
    result = replace(
        _concluded(every, len(heads), asked, by, costs(()).shared[-1]),
        weights=None if own is None else own.relative_to(out).as_posix(),
        samples=len(split),
        accuracy=right,
        most_frequent=float(np.bincount(split.y).max()) / len(split),
    )
    if warning := caution(right, split.y, settings):
        step.show(f"The network alone has {right:.2%} of {len(split):,} validation samples{warning}.")
    step.show(choice.table(result))
    return result


def _concluded(every: Sequence[Candidate], heads: int, asked: Asked, by: str, plain: float) -> Scouted:
    """The best of the candidates, in words too; the plain network where none is worth it."""
    won = choice.best(every)
    of = f"of {heads} heads and {len(every) - heads} pairs of them"
    taps: tuple[str, ...]
    named: tuple[str, ...]
    if won is None:
        most = f"the best saves {max(every[0].saving, 0):.1%} of its {by}" if every else ""
        told = f"the network alone: {of}, {most} at {asked.points:g} points with {asked.confidence:.0%} confidence"
        taps, named = (), ()
    else:
        taps, named = tuple(one.tap for one in won.heads), tuple(map(str, won.heads))
        told = (
            f"{' and '.join(named)}, {of}: {won.saving:.1%} of the {by} saved, on validation samples that thresholds "
            "are chosen on too"
        )
    method = "none" if won is None else HEADS
    found = Scouted(AUTO, method, taps, named, by, plain, told, candidates=tuple(every))
    return replace(found, points=asked.points, confidence=asked.confidence)


def _backbone(settings: Settings, task: Task, found: Data, out: Path, step: Step) -> Path:
    """The plain network, trained from scratch as the build would train it; the build then begins with it."""
    from trecx.learn.train import BACKBONE as FILE
    from trecx.learn.train import train_backbone

    recipe = recipe_of(settings, task, found)
    with step.progress("batches of the network alone") as progress:
        _inner(out, BACKBONE, lambda folder: train_backbone(task, found, recipe, folder, progress))
    return out / BACKBONE / FILE


def _pair(small: Settings, task: Task, few: Data, out: Path, step: Step) -> Pair:
    """The int8 network with a head of every kind at every tap, after a few epochs of training them."""
    from trecx.learn.batches import steps_per_epoch
    from trecx.learn.quantize import quantize
    from trecx.learn.settings import QuantizeSettings
    from trecx.learn.train import train

    method = exits_of(small, task)
    recipe = recipe_of(small, task, few, method.tuning)
    recipe = replace(recipe, epochs=min(-(-STEPS // steps_per_epoch(few.train, recipe)), recipe.epochs))
    with step.progress("batches of heads") as progress:
        _inner(out, "train", lambda folder: train(task, few, method, recipe, folder, progress))
    with step.progress("converting") as progress:
        again = QuantizeSettings(seed=small.seed)

        def convert(folder: Path) -> None:
            quantize(task, few, method, out / "train", folder, again, progress)
            described(task, method, folder / f"{task.name}.tflite").write(folder / EXITS)

        _inner(out, "quantize", convert)
    pair = pairs.read(out / "quantize")
    return pair if small.criterion is None else pairs.bind(pair.path, deciding(pair.exits, small.criterion))


def _inner(out: Path, name: str, work: Callable[[Path], None]) -> None:
    """A step within this one, done once; `out` belongs to one origin only."""
    Run(out).step(name, Origin({}), work, resumable=True)


def few_of(found: Data, task: Task, taps: Sequence[str], seed: int) -> Data:
    """As many training samples as heads need for a first look and as memory allows, and validation samples.

    Test samples are not looked at.
    """
    from trecx.learn.exits.method import reachable
    from trecx.learn.keras import keras

    maps = reachable(task.backbone(keras()))
    row = sum(4 * prod(int(n) for n in maps[tap].shape[1:]) for tap in taps)
    count = min(MOST_TRAINING, max(LEAST_TRAINING, MOST_BYTES // row))
    judged = part(found.validation.of(found.calibration), MOST_JUDGED, seed)
    return replace(found, train=part(found.train, count, seed), validation=judged, test=judged)


def part(split: Split, count: int, seed: int) -> Split:
    """At most so many samples of a split in their order, drawn by seed, of every class its share."""
    if len(split) <= count:
        return split
    rng = np.random.default_rng(seed)
    place = np.empty(len(split))
    for label in np.unique(split.y):
        mine = np.flatnonzero(split.y == label)
        place[mine] = (rng.permutation(len(mine)) + rng.random()) / len(mine)
    rows = np.sort(np.argsort(place, kind="stable")[:count])
    return split.rows(rows)
