"""A worker: a process that takes trials of the study until nothing is left to begin.

It holds its log, `workers/<id>`, as long as it lives, and ends with the process that started it.
"""

import json
import os
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlperf_tiny.task import DataError
from trecx.console import Console
from trecx.errors import TrecxError
from trecx.files import held
from trecx.settings import Settings
from trecx.studies.sweep import store
from trecx.studies.sweep.candidate import Candidate
from trecx.studies.sweep.plan import Space

if TYPE_CHECKING:
    from optuna import Study, Trial


@dataclass(frozen=True)
class Order:
    """What a worker does: trials of a study in a storage, with these settings in this space, in a sweep's folder."""

    id: str
    number: int
    out: Path
    storage: str
    study: str
    settings: Settings
    space: Space


def work(order: Order) -> None:
    """Take trials while there are any to begin."""
    study = store.open_(order.storage, order.study, (order.settings.seed, order.number))
    while store.is_work(store.counted(study), wanted(study)):
        study.optimize(lambda trial: objective(order, study, trial), n_trials=1, catch=(TrecxError, DataError))


def wanted(study: "Study") -> int:
    """How many trials are wanted."""
    return int(study.user_attrs[store.WANTED])


def objective(order: Order, study: "Study", trial: "Trial") -> tuple[float, float]:
    """Accuracy and cost of a trial's candidate."""
    from optuna import TrialPruned

    trial.set_user_attr(store.WORKER, order.id)
    if store.surplus(study, trial.number, wanted(study)):
        raise TrialPruned("It is one more than wanted.")
    chosen = order.space.candidate(trial)
    trial.set_user_attr(store.SETTINGS, chosen)
    candidate = Candidate(order.out, order.settings.changed(chosen))

    def says(what: str) -> None:
        print(f"trial {trial.number}, {candidate.name}: {what}", flush=True)
        if ":" not in what:
            trial.set_user_attr(store.STEP, what)

    try:
        with Console(quiet=True).step("trial") as step:
            found = candidate.judged(step, says)
    except (TrecxError, DataError) as error:
        trial.set_user_attr(store.PROBLEM, "; ".join(error.problems))
        raise
    trial.set_user_attr(store.JUDGED, asdict(found))
    trial.set_constraint("promise", found.bound - order.settings.points)
    return found.accuracy, found.cost


def _end_with_parent() -> None:
    """End when standard input does: nobody would hear of what is found. What is half done goes on another time."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Work on the order that standard input says in its first line."""
    from trecx import documents

    order: Order = documents.typed(Order, json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with held(order.out / store.WORKERS / order.id):
        print(f"worker {order.id}, process {os.getpid()}", flush=True)
        try:
            work(order)
        except (TrecxError, DataError) as error:
            print("\n".join(f"Error: {problem}" for problem in error.problems), flush=True)
            sys.exit(2)


if __name__ == "__main__":
    main()
