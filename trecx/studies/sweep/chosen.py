"""`trecx build --from-study`: a run with the settings of a trial, which goes on from what was trained for it."""

import shutil
from pathlib import Path
from typing import Any

from trecx import pipeline, request, stamp
from trecx import run as runs
from trecx.console import Console
from trecx.errors import TrecxError
from trecx.run import Run
from trecx.settings import OPTIONS, Settings, Studied
from trecx.studies.sweep import results
from trecx.studies.sweep.candidate import Candidate
from trecx.studies.sweep.results import Found, Trial
from trecx.studies.sweep.sweep import PLAIN, shared_settings

TRAINED = ("train", "quantize")


def start(text: str, out: Path | None, options: dict[str, Any], console: Console) -> Run:
    """Make or take up the run of a trial, OUT or OUT:TRIAL; by default of the best.

    TrecxError where there is no such study or trial, and for options that the study has chosen.
    """
    decided = [OPTIONS[name].flag for name in options if set(OPTIONS[name].steps) & {*TRAINED, "model"}]
    decided = [flag for flag in decided if flag != OPTIONS["data"].flag]
    if decided or "train" in options:
        problem = f"{', '.join(decided) or '--train'}: a study has chosen what is trained."
        raise TrecxError(problem, "Leave them out, or build without --from-study.")
    folder, number = parted(text)
    found = results.read(folder)
    trial = named(found, number, folder)
    own = [OPTIONS[name].flag for name in options if name in trial.settings]
    if own:
        raise TrecxError(f"{', '.join(own)}: trial {trial.number} has its own.", "Choose another, or leave it out.")
    shared = shared_settings(runs.open_(folder / PLAIN))
    study = Studied(found.study, trial.number, found.candidates)
    settings = results.settled(shared, trial.settings).changed({**options, "study": study})
    run = request.begin(settings, out, console)
    with run.working():
        take(Candidate(folder, settings).folder, run, settings, console)
    return run


def parted(text: str) -> tuple[Path, int | None]:
    """The folder of a study, and the trial's number where it is named."""
    folder, colon, number = text.rpartition(":")
    if colon and number.isdecimal() and not Path(text).exists():
        return Path(folder).absolute(), int(number)
    return Path(text).absolute(), None


def named(found: Found, number: int | None, folder: Path) -> Trial:
    """The trial of this number, or the best; TrecxError where there is none, or its candidate could not be."""
    hint = f"Its Pareto set: {', '.join(map(str, found.pareto)) or 'none'}."
    if number is None and found.best is None:
        problem = f"None of the {len(found.trials)} trials in {folder} is better than the plain network."
        raise TrecxError(problem, "Search on with more --trials, or name one: --from-study OUT:TRIAL.")
    try:
        trial = found.trial(found.best if number is None else number)  # type: ignore[arg-type]
    except KeyError as error:
        raise TrecxError(f"{folder} has no trial {number} that is done.", hint) from error
    if trial.judged is None:
        raise TrecxError(f"Trial {number} could not be: {trial.problem}", hint)
    return trial


def take(candidate: Path, run: Run, settings: Settings, console: Console) -> None:
    """Take over what was trained for a candidate, as far as it is whole and what the run would make itself."""
    source = runs.Run(candidate)
    for name in TRAINED:
        of = pipeline.origin(run, name, settings)
        folder = source.folder(name)
        if run.is_done(name, of) or not source.is_done(name, of) or stamp.damage(folder):
            return
        with console.step(name) as step:
            run.step(name, of, lambda out, folder=folder: _copy(folder, out))  # type: ignore[misc]
            step.outcome = f"taken from {candidate}"


def _copy(folder: Path, out: Path) -> None:
    shutil.copytree(folder, out, dirs_exist_ok=True)
