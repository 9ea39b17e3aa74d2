"""`trecx compare`: train what is missing, judge, write; read from top to bottom.

A candidate with a seed is a run like any other, in `OUT/CANDIDATE/seedN/`. What is finished is not trained again, not
even for another program: hours of training must not start anew for a new sentence in a docstring. Runs are locked, so
that the same command may work in several processes in one folder: each takes what no other is at.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from trecx import pipeline, stamp
from trecx import run as runs
from trecx.console import Console, Step
from trecx.errors import TrecxError
from trecx.files import write_json, write_text
from trecx.learn.train import BACKBONE as BACKBONE_WEIGHTS
from trecx.run import Busy, Run
from trecx.settings import Settings
from trecx.steps.data import data, identity
from trecx.studies.compare import figures, markdown, pictures
from trecx.studies.compare.plan import BACKBONE, Candidate, Options, candidates, chosen, settings
from trecx.subjects import own_task, task, task_of

# What takes long, and is kept whatever the program.
LASTING = ("train", "quantize")
FIRST = 1  # the seed that every candidate has


def run(name: str, options: Options, console: Console) -> dict[str, Any]:
    """Bring the comparison of a task up to date and write its pages; returns its figures.

    Raises TrecxError for what cannot work, AnswerIsNo where a program's answer is not the oracle's.
    """
    subject = task_of(own_task.located(name) if ":" in name else name)
    planned = chosen(subject.task, options)
    out = (options.out or Path("build") / "compare" / subject.task.name).absolute()
    if not options.report_only:
        train(_base(subject.spec, options, console), planned, options, out, console)
    with console.step("pages") as step:
        found = collect(subject.task.name, candidates(subject.task), out)
        found |= {"title": subject.task.title, "command": _command(name, options)}
        options.docs.mkdir(parents=True, exist_ok=True)
        stem = f"compare-{subject.task.name}"
        write_json(options.docs / f"{stem}.json", found)
        drawn = pictures.draw(found, options.docs, stem)
        write_text(options.docs / f"{stem}.md", markdown.text(found, stem))
        step.outcome = ", ".join((f"{stem}.md", f"{stem}.json", *(path.name for path in drawn)))
    return found


def _base(spec: str, options: Options, console: Console) -> Settings:
    """The settings that all runs have, with the data found."""
    about = task_of(spec)
    with console.step("data") as step:
        folder = options.data or about.fetched(step)
        base = Settings(about.task.name, about.spec, train=True).changed({"data": folder})
        identity(base)  # raises where there is no such folder
        found = data(base, step)
        assert found is not None
        step.outcome = f"{len(found.train):,} to train, {len(found.validation):,} validation, {len(found.test):,} test"
    return base


def train(base: Settings, planned: tuple[Candidate, ...], options: Options, out: Path, console: Console) -> None:
    """Every planned candidate once, the backbone first, and then more seeds of those near the best."""
    if options.weights is None:
        alone = candidates(task(base.task or base.name))[0]
        _bring(alone, base, options, out, FIRST, console)
        options = replace(options, weights=_folder(out, alone, FIRST) / "train" / BACKBONE_WEIGHTS)
        planned = tuple(one for one in planned if one != alone)
    for one in planned:
        _bring(one, base, options, out, FIRST, console)
    for seed in range(FIRST + 1, options.seeds + 1):
        near = figures.near_best({one.name: _folder(out, one, FIRST) for one in planned if _finished(out, one, FIRST)})
        for one in planned:
            if one.name in near or one.control:
                _bring(one, base, options, out, seed, console)


def _bring(one: Candidate, base: Settings, options: Options, out: Path, seed: int, console: Console) -> None:
    """A candidate's run up to date, with its lines; one that another process holds is left to it."""
    console.line(f"{one.title}, seed {seed}")
    folder = _folder(out, one, seed)
    wanted = settings(base, one, options, seed)
    try:
        run = runs.create(folder, wanted.as_json())
        with run.working():
            for name in pipeline.steps(wanted):
                with console.step(name) as step:
                    # Where exits go that nobody placed, the first step finds out.
                    step.unchanged = not _perform(run, name, pipeline.settings_of(run), step)
                    step.outcome = step.outcome or "unchanged"
    except Busy:
        console.line("  another process is at work on it")


def _perform(run: Run, name: str, wanted: Settings, step: Step) -> bool:
    of = pipeline.origin(run, name, wanted)
    if name in LASTING:
        of = replace(of, lasting=True, whole=True)
        if wrong := run.objections(pipeline.folder(name), of):
            told = f"{run.folder(pipeline.folder(name))} was made otherwise: {'; '.join(wrong)}."
            raise TrecxError(told, "Choose another folder with --out, or delete what shall be trained again.")
    return pipeline.perform(run, name, wanted, step, of)


def _folder(out: Path, one: Candidate, seed: int) -> Path:
    return out / one.name / f"seed{seed}"


def _finished(out: Path, one: Candidate, seed: int) -> bool:
    return Run(_folder(out, one, seed)).stamp("report") is not None


def collect(name: str, known: tuple[Candidate, ...], out: Path) -> dict[str, Any]:
    """The figures of everything that is finished in `out`; TrecxError where that is nothing, or is damaged."""
    there = {one: list(_seeds(out, one)) for one in known}
    complete = {one: seeds for one, seeds in there.items() if seeds}
    folders = [Run(f).folder(pipeline.folder(s)) for seeds in complete.values() for _, f in seeds for s in LASTING]
    wrong = [f"{folder} is damaged: {'; '.join(said)}." for folder in folders if (said := stamp.damage(folder))]
    if not complete or BACKBONE not in [one.name for one in complete]:
        wrong.append(f"{out} has no finished run of the {BACKBONE!r} backbone, which all others are compared with.")
    if wrong:
        raise TrecxError(wrong, "Compare without --report-only, or name the folder with --out.")
    return figures.of(name, known, complete)


def _seeds(out: Path, one: Candidate) -> Iterator[tuple[int, Path]]:
    numbers = [int(path.name[4:]) for path in (out / one.name).glob("seed*") if path.name[4:].isdecimal()]
    for seed in sorted(numbers):
        if _finished(out, one, seed):
            yield seed, _folder(out, one, seed)


def _command(name: str, options: Options) -> str:
    """What makes these figures again."""
    weights = f" --weights {options.weights.name}" if options.weights else ""
    more = {"against": options.against, "confidence": options.confidence, "epochs": options.epochs}
    told = [f" --{key} {value}" for key, value in more.items() if value not in (None, getattr(Options, key))]
    return f"trecx compare {Path(name).name} --data DIR{weights}{''.join(told)} --seeds {options.seeds}"
