"""What a sweep searches: ways to attach and train exits, taps, and what methods and criteria leave to choose."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

from trecx.decision import CRITERIA
from trecx.errors import TrecxError
from trecx.learn.exits import METHODS
from trecx.learn.exits.method import Exits
from trecx.request import unfit
from trecx.settings import Settings

# Heads on a frozen backbone: an epoch takes seconds, and the int8 backbone stays what it is.
USUAL = ("dyce", "pteenet", "sdn")
JOINT = "joint"
TRIALS = 20
# Taps that are tried where nobody names any; of more, these many at equal distances.
MOST_TAPS = 12
MOST_EXITS = 3
# What a whole plain network's computation costs in the loss of a method with gates.
PRICES = (0.1, 0.2, 0.5, 0.9)


@dataclass(frozen=True)
class Options:
    """What a person chose for a sweep; None is the study's own value, or the default of a new one.

    `settings` are those that all candidates share. `storage` is Optuna's: the file of a journal, or the URL of a
    database; None is a journal in `out`. `taps` are those to choose from, by default the backbone's and its input.
    """

    out: Path | None = None
    storage: str | None = None
    study: str | None = None
    trials: int | None = None
    workers: int = 2
    methods: tuple[str, ...] = USUAL
    taps: tuple[str, ...] = ()
    most_exits: int = 2
    settings: Mapping[str, Any] | None = None


def options(methods: str | None = None, taps: str | None = None, **given: Any) -> Options:
    """The options as a command gives them: settings, and those of a sweep."""
    own = {key: given.pop(key) for key in tuple(given) if key in {f.name for f in fields(Options)}}
    for key, text in (("methods", methods), ("taps", taps)):
        if text is not None:
            own[key] = tuple(part.strip() for part in text.split(","))
    return Options(**own, settings=given)


class Suggesting(Protocol):
    """What is asked of a trial of Optuna."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """A number from `low` to `high`."""


@dataclass(frozen=True)
class Way:
    """A method and how it trains: `settings` are fixed, of each of `choices` one value is taken."""

    name: str
    taps: tuple[int, int]
    settings: dict[str, Any]
    choices: dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Space:
    """All that may be tried: `ways` at up to `most` of the `taps`."""

    ways: tuple[Way, ...]
    taps: tuple[str, ...]
    most: int

    def candidate(self, trial: Suggesting) -> dict[str, Any]:
        """The settings of a candidate, as a trial suggests them."""
        way = {one.name: one for one in self.ways}[trial.suggest_categorical("method", [w.name for w in self.ways])]
        count = trial.suggest_int(f"{way.name} exits", way.taps[0], min(way.taps[1], self.most))
        sets = [",".join(one) for one in combinations(self.taps, count)]
        taps = trial.suggest_categorical(f"{count} taps", sets)
        own = {name: trial.suggest_categorical(f"{way.name} {name}", few) for name, few in way.choices.items()}
        return {**way.settings, "taps": tuple(taps.split(",")), **own}


def ways(names: Iterable[str], most: int) -> tuple[Way, ...]:
    """The ways of these names, METHOD or METHOD:joint; TrecxError with all that are none."""
    known = {kind.name: kind for kind in METHODS if kind.taps[1] > 0}
    problems, found = [], []
    for name in names:
        method, colon, how = name.partition(":")
        kind = known.get(method)
        if kind is None:
            problems.append(f"There is no exit method {method!r} to try; there is {', '.join(known)}.")
        elif colon and (how != JOINT or "heads_only" not in kind.options):
            problems.append(f"{name!r} is no way to train {method}.")
        elif kind.taps[0] > most:
            problems.append(f"{method} attaches to {kind.taps[0]} taps at least; --most-exits is {most}.")
        else:
            found.append(_way(name, kind, not colon))
    if len(set(names)) < len(tuple(names)):
        problems.append(f"--methods {','.join(names)} names one twice.")
    if problems:
        hint = f"Those with heads alone are {', '.join(USUAL)}; sdn:{JOINT} trains the backbone as well."
        raise TrecxError(problems, hint)
    return tuple(found)


def _way(name: str, kind: type[Any], alone: bool) -> Way:
    fixed: dict[str, Any] = {"method": kind.name}
    if alone and "heads_only" in kind.options:
        fixed["heads_only"] = True
    base = Settings("any").changed(fixed)
    choices: dict[str, tuple[Any, ...]] = {
        "criterion": tuple(c.name for c in CRITERIA if not any(unfit(base.changed({"criterion": c.name}))))
    }
    if "price" in kind.options:
        choices["price"] = PRICES
    if "learn_from" in kind.options and issubclass(kind, Exits):
        choices["learn_from"] = kind.teachers
    return Way(name, kind.taps, fixed, choices)


def taps(chosen: Sequence[str], known: Sequence[str], suited: Sequence[str]) -> tuple[str, ...]:
    """The taps to choose from, in the order in which the network computes them: of the `known`, or `suited` ones.

    TrecxError for those that are not there, or are named twice.
    """
    problems = [f"There is no tap {name!r}." for name in dict.fromkeys(chosen) if name not in known]
    problems += [f"The tap {name!r} is named twice." for name in dict.fromkeys(chosen) if chosen.count(name) > 1]
    if problems:
        raise TrecxError(problems, f"Choose with --exits TAP,TAP,… among {', '.join(known)}.")
    if chosen:
        return tuple(sorted(chosen, key=known.index))
    few, last = min(len(suited), MOST_TAPS), len(suited) - 1
    return tuple(suited[round(k * last / max(few - 1, 1))] for k in range(few))


def space(options: Options, known: Sequence[str], suited: Sequence[str]) -> Space:
    """What these options search in a backbone with these taps; TrecxError where that is nothing."""
    possible = ways(options.methods, options.most_exits)
    found = taps(options.taps, known, suited)
    lacking = [way.name for way in possible if way.taps[0] > len(found)]
    if lacking:
        raise TrecxError(f"{', '.join(lacking)}: {len(found)} taps are too few.", "Name more with --exits TAP,TAP,….")
    return Space(possible, found, min(options.most_exits, len(found)))
