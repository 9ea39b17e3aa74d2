"""`sweep.json`: what a study has found, its Pareto set and the best; and the same as a table."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from trecx import documents
from trecx.errors import TrecxError
from trecx.files import write_json
from trecx.judge.search import pareto
from trecx.settings import Settings
from trecx.studies.sweep import store
from trecx.studies.sweep.candidate import Candidate, Judged

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

FILE, FORMAT = "sweep.json", "trecx-sweep/1"
# What a trial may choose: nothing else that a storage says becomes a setting.
CHOSEN = ("method", "heads_only", "taps", "criterion", "price", "learn_from")
MILLION = 1e6


@dataclass(frozen=True)
class Trial:
    """A trial that is done: its candidate's settings and run, and what that is worth, or why it could not be."""

    number: int
    settings: dict[str, Any]
    candidate: str
    judged: Judged | None
    problem: str = ""

    @property
    def accuracy(self) -> float:
        """The share of right answers on validation samples."""
        assert self.judged is not None
        return self.judged.accuracy

    @property
    def cost(self) -> float:
        """The mean cost of an inference."""
        assert self.judged is not None
        return self.judged.cost

    @property
    def others(self) -> str:
        """The settings that have no column of their own."""
        told = {k: v for k, v in self.settings.items() if k not in ("method", "taps", "criterion")}
        return ", ".join(key if value is True else f"{key} {value}" for key, value in told.items()).replace("_", " ")


@dataclass(frozen=True)
class Found:
    """The whole of `sweep.json`.

    `about` tells the study from others. `plain` is the network without exits. Among `trials` are `candidates` different
    ones. In the `pareto` set are those whose loss is at most `points` with this `confidence`, and that neither another
    one nor the plain network beats in accuracy and cost; `best` is the cheapest.
    """

    format: str
    task: str
    study: str
    storage: str
    about: dict[str, Any]
    wanted: int
    points: float
    confidence: float
    plain: Judged
    candidates: int
    trials: tuple[Trial, ...]
    pareto: tuple[int, ...] = ()
    best: int | None = None

    def trial(self, number: int) -> Trial:
        """The trial of this number; KeyError where none is done."""
        return {one.number: one for one in self.trials}[number]

    @property
    def front(self) -> tuple[Trial, ...]:
        """The trials of the Pareto set, the cheapest first."""
        return tuple(map(self.trial, self.pareto))


def trial(found: "FrozenTrial", out: Path, shared: Settings) -> Trial:
    """A finished trial, as far as what its storage says of it can be believed."""
    told = found.user_attrs.get(store.SETTINGS)
    chosen = told if isinstance(told, dict) else {}
    problem = str(found.user_attrs.get(store.PROBLEM, ""))
    judged: Judged | None = None
    try:
        settings = settled(shared, chosen)
        if not {"method", "taps", "criterion"} <= set(chosen) and not problem:
            raise documents.Unreadable(["it does not say what was tried"])
        if not problem:
            judged = documents.typed(Judged, found.user_attrs.get(store.JUDGED))
    except (TrecxError, documents.Unreadable) as error:
        return Trial(found.number, {}, "", None, f"its record is damaged: {'; '.join(error.problems)}")
    return Trial(found.number, chosen, Candidate(out, settings).label, judged, problem)


def settled(shared: Settings, chosen: dict[str, Any]) -> Settings:
    """The settings of a candidate: those that all share, with what its trial chose; TrecxError for what none could."""
    if others := sorted(set(chosen) - set(CHOSEN)):
        raise TrecxError(f"A trial does not choose {', '.join(others)}.", "The study or its document was changed.")
    return Settings.from_json({**shared.as_json(), **chosen})


def assembled(base: Found, trials: Sequence[Trial]) -> Found:
    """The document with these trials."""
    kept = [one for one in trials if one.judged is not None and one.judged.bound <= base.points]
    # The plain network comes first, so that a candidate must be better than it, not as good.
    both: list[Judged | Trial] = [base.plain, *kept]
    front = tuple(one.number for one in pareto(both) if isinstance(one, Trial))
    candidates = len({one.candidate for one in trials if one.candidate})
    return replace(base, trials=tuple(trials), candidates=candidates, pareto=front, best=front[0] if front else None)


def write(found: Found, out: Path) -> None:
    """Write it into the folder of the sweep."""
    write_json(out / FILE, asdict(found))


def read(out: Path) -> Found:
    """What a sweep has left in its folder; TrecxError where it is none."""
    hint = "Run the same trecx sweep again: its study has everything."
    path = out / FILE
    if not path.exists():
        raise TrecxError(f"{out} is not the folder of a sweep (it has no {FILE}).", "Make one with trecx sweep.")
    try:
        found: Found = documents.typed(Found, documents.read(path))
    except documents.Unreadable as error:
        raise TrecxError([f"{path} is damaged: {one}." for one in error.problems], hint) from error
    if found.format != FORMAT:
        raise TrecxError(f"{path} is not of format {FORMAT}.", hint)
    numbers = {one.number for one in found.trials if one.judged is not None}
    if not set(found.pareto) <= numbers or (found.best is not None and found.best not in numbers):
        raise TrecxError(f"{path} is damaged: its Pareto set names trials that it does not have.", hint)
    return found


def unit(counted: str) -> str:
    """What a cost is told in."""
    kind, _, target = counted.partition(":")
    return f"million {kind} ({target})" if target else "million MACs"


def render(found: Found, out: Path) -> Group:
    """What a person sees of it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("trial", "accuracy", unit(found.plain.counted), "saved", "leave early"):
        table.add_column(heading, justify="right")
    for heading in ("method", "at", "decides by", ""):
        table.add_column(heading)
    plain = found.plain
    table.add_row("plain", f"{plain.accuracy:.2%}", f"{plain.cost / MILLION:.3f}", "", "", "none")
    for one in found.front:
        assert one.judged is not None
        saved, own = 1 - one.cost / plain.cost, one.settings
        figures = (f"{one.accuracy:.2%}", f"{one.cost / MILLION:.3f}", f"{saved:.1%}", f"{one.judged.exit_rate:.1%}")
        words = map(escape, (own["method"], ", ".join(own["taps"]), own["criterion"], one.others))
        table.add_row(str(one.number), *figures, *words, style="bold" if one.number == found.best else None)
    return Group(
        *(Padding(line, (0, 0, 0, 2)) for line in sentences(found, out, before=True)),
        "",
        table,
        "",
        *(Padding(line, (0, 0, 0, 2)) for line in sentences(found, out, before=False)),
    )


def sentences(found: Found, out: Path, before: bool) -> Iterator[str]:
    """What is said around the table."""
    failed = [one for one in found.trials if one.judged is None]
    beyond = [o for o in found.trials if o.judged is not None and o.judged.bound > found.points]
    if before:
        yield (
            f"{len(found.trials)} of {found.wanted} trials, {found.candidates} different candidates, judged on "
            f"{found.plain.samples:,} validation samples; no other is as right and as cheap as these:"
        )
        return
    for one in failed[:3]:
        yield f"Trial {one.number} could not be: {one.problem}"
    if len(failed) > 3:
        yield f"{len(failed) - 3} more could not be; {FILE} says why."
    if beyond:
        yield f"{len(beyond)} are not shown to lose at most {found.points:g} points, whatever their threshold."
    if found.best is None:
        yield "None of them is better than the plain network and keeps the promise."
    elif found.trial(found.best).cost >= found.plain.cost:
        yield "None of them is cheaper than the plain network."
    if found.best is not None:
        yield f"The cheapest goes on with: trecx build --from-study {out}"
        yield "The best of many on the same samples look a little better than they are. Test data were not looked at."
