"""The study in Optuna's storage: who opens it, whose it is, which trials count, and what becomes of one that was left.

A journal is lines of JSON and a database holds JSON: nothing that lies in either is ever run.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trecx.errors import ToolMissing, TrecxError
from trecx.files import held

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize")  # accuracy, cost
# What tells a study from others, in words, as plain JSON.
Terms = dict[str, Any]
# Attributes of a study and of its trials.
ABOUT, PLAIN, WANTED = "about", "plain", "trials"
WORKER, STEP, SETTINGS, JUDGED, PROBLEM = "worker", "step", "settings", "judged", "problem"
# Seconds between signs of life of a trial in a database, and after how many without one it is another's to do.
HEARTBEAT, SILENCE = 30, 120
# A worker says who it is as soon as it has a trial: who has not by then was killed between the two.
UNCLAIMED = timedelta(seconds=30)
RETRIES = 3
WORKERS = "workers"


def require() -> None:
    """Raise ToolMissing where Optuna is not installed."""
    if find_spec("optuna") is None:
        raise ToolMissing(
            "A sweep needs Optuna, which is not installed.", 'Install it with: pip install "trecx[search]"'
        )


def open_(storage: str, name: str, seed: Sequence[int] = ()) -> "Study":
    """The study of this name, made where there is none; TrecxError where its storage cannot be opened.

    `seed` are numbers that its sampler draws by, together with the number of trials that are there.
    """
    require()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    try:
        study = optuna.create_study(
            storage=_backend(storage), study_name=name, directions=DIRECTIONS, load_if_exists=True
        )
        trials, directions = study.get_trials(deepcopy=False), tuple(one.name.lower() for one in study.directions)
    except Exception as error:  # whatever a journal of somebody's, or a database, makes of it
        told = (str(error).splitlines() or [""])[0][:300]
        problem = f"The storage {shown(storage)} cannot be used: {type(error).__name__}: {told}".rstrip(": .")
        hint = "Give --storage FILE for a journal or the URL of a database, such as sqlite:///FILE."
        raise TrecxError(f"{problem}.", hint) from error
    if directions != DIRECTIONS:
        raise TrecxError(f"The study {name!r} in {shown(storage)} is none of trecx.", "Choose another with --study.")
    study.sampler = _sampler((*seed, len(trials)))
    return study


def _backend(storage: str) -> "BaseStorage":
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if "://" not in storage:
        return JournalStorage(JournalFileBackend(storage))
    patience = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
    return RDBStorage(
        storage,
        engine_kwargs=patience,
        heartbeat_interval=HEARTBEAT,
        grace_period=SILENCE,
        heartbeat_stale_trial_callback=again,
    )


def _sampler(seed: Sequence[int]) -> Any:
    import numpy as np
    from optuna.samplers import TPESampler

    return TPESampler(seed=int(np.random.SeedSequence(seed).generate_state(1)[0]), n_startup_trials=8)


def shown(storage: str) -> str:
    """A storage as it may be printed and kept: without a password."""
    if "://" not in storage:
        return storage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(storage).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return storage.partition("://")[0] + "://…"


def absolute(storage: str) -> str:
    """A storage that is the same from every folder; TrecxError for one that no other process sees."""
    if "://" not in storage:
        return str(Path(storage).absolute())
    if not storage.startswith("sqlite"):
        return storage
    from sqlalchemy.engine import make_url

    url = make_url(storage)
    if url.database in (None, "", ":memory:"):
        raise TrecxError(f"{storage} is no file, and workers are processes.", "Write sqlite:///FILE.")
    return url.set(database=str(Path(url.database).absolute())).render_as_string(hide_password=False)


def claim(study: "Study", what: str, terms: Terms) -> None:
    """Say what the study is about; TrecxError, naming each difference, where it is about something else."""
    kept = study.user_attrs.get(what)
    if kept is None and what == ABOUT and study.get_trials(deepcopy=False):
        raise TrecxError(f"The study {study.study_name!r} is none of trecx.", "Choose another with --study.")
    if kept is None:
        study.set_user_attr(what, terms)
    else:
        require_same(study.study_name, kept if isinstance(kept, dict) else {}, terms)


def require_same(name: str, kept: Terms, terms: Terms) -> None:
    """Raise TrecxError with every one of these terms that was another when the study began."""
    told = [f"{key} was {kept.get(key)!r}, now {now!r}" for key, now in terms.items() if kept.get(key) != now]
    if told:
        raise TrecxError(
            [f"The study {name!r} is another one: {one}." for one in told],
            "Go on with what was chosen there, or choose another folder with --out, and where both share a storage "
            "another name with --study.",
        )


def want(study: "Study", trials: int | None, usual: int) -> int:
    """How many trials are wanted in all: as many as ever were, or more now."""
    before = study.user_attrs.get(WANTED)
    count = max(trials or 0, before if isinstance(before, int) else 0) or usual
    if count != before:
        study.set_user_attr(WANTED, count)
    return count


def counted(study: "Study") -> "list[FrozenTrial]":
    """The trials that count, by number: those that are done or will be, with those whose candidate could not be."""
    from optuna.trial import TrialState

    there = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
    return [t for t in study.get_trials(deepcopy=False) if t.state in there or PROBLEM in t.user_attrs]


def finished(trials: "Sequence[FrozenTrial]") -> "list[FrozenTrial]":
    """Those of them that are done."""
    return [one for one in trials if one.state.is_finished()]


def is_unclaimed(trial: "FrozenTrial") -> bool:
    """Whether nobody has said yet whose trial it is."""
    return trial.state.name == "RUNNING" and WORKER not in trial.user_attrs


def is_work(trials: "Sequence[FrozenTrial]", wanted: int) -> bool:
    """Whether a worker has something to begin."""
    return len(trials) < wanted or any(one.state.name == "WAITING" for one in trials)


def surplus(study: "Study", number: int, wanted: int) -> bool:
    """Whether a trial is one more than wanted: two workers may begin the last at the same time."""
    return sum(one.number < number for one in counted(study)) >= wanted


def again(study: "Study", trial: "FrozenTrial") -> None:
    """Put the candidate of a trial that was left into the queue, once, and not for ever."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback as Retry

    retried = [Retry.retry_history(one)[-1:] for one in study.get_trials(deepcopy=False)]
    if [trial.number] not in retried:
        trial.user_attrs = {}  # the next worker says who it is
        Retry(max_retry=RETRIES)(study, trial)


def collect(study: "Study", out: Path) -> None:
    """Queue again what workers of this folder have left that are no more."""
    import optuna

    with _alone(out):
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            if (worker := trial.user_attrs.get(WORKER)) is None:
                begun = trial.datetime_start
                if begun is None or datetime.now(begun.tzinfo) - begun < UNCLAIMED:
                    continue
            elif not is_gone(out / WORKERS / Path(str(worker)).name):
                continue
            else:
                again(study, trial)
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
        optuna.storages.fail_stale_trials(study)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    with held(out / ".queue"):
        yield


def is_gone(lock: Path) -> bool:
    """Whether a worker of this folder has ended; one that is not of this folder is none of our business."""
    if not lock.is_file():
        return False
    try:
        with held(lock, wait=False):
            return True
    except BlockingIOError:
        return False
