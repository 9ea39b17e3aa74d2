"""`trecx reproduce`: train what is missing, count, judge, write; read from top to bottom."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trecx import run as runs
from trecx.console import Console, Step
from trecx.run import Busy
from trecx.settings import Settings
from trecx.steps.data import data, identity
from trecx.studies.reproduce import first_version, instructions, markdown, pictures, results, together
from trecx.studies.reproduce import seed as seeds
from trecx.studies.reproduce.material import Material
from trecx.studies.reproduce.plan import BACKBONE, Options, order
from trecx.subjects import own_task, task, task_of


def run(name: str, options: Options, console: Console) -> dict[str, Any]:
    """Regenerate the part of a task in results.json and results.md, and return it.

    What is finished in `options.out` is not done again. Raises TrecxError for what cannot work, AnswerIsNo where a
    program's answer is not the oracle's.
    """
    chosen = task(name)
    out = (options.out or Path("build") / "reproduce" / chosen.name).absolute()
    if not options.report_only:
        train(name, options, out, console)
    with console.step("results") as step:
        entry = results.collect(chosen, out, name)
        with results.updating(options.docs, chosen.name) as tasks:
            tasks[chosen.name] = entry
            drawn = pictures.draw(chosen.name, entry, options.docs)
        step.outcome = ", ".join((results.FILE, markdown.FILE, *(path.name for path in drawn)))
    return entry


def train(name: str, options: Options, out: Path, console: Console) -> None:
    """Bring the chosen seeds of the chosen variants up to date; those that another process holds are left to it.

    Raises TrecxError, before anything is trained, where they could not be reported with what is there already.
    """
    planned = order(task(name), options)
    material = read(name, options, console)
    weights = backbone(material, options, out, console)
    jobs = [
        seeds.Job(material, variant, number, options, weights, out / variant.name / f"seed{number}")
        for variant, number in planned
    ]
    for job in jobs:
        first_version.take_over(job.folder, "train", job.settings)
    seeds.check(jobs)
    taken = {job.folder for job in jobs}
    others = [seed for seed in together.seeds(out) if seed.folder not in taken]
    together.require_joinable(others, seeds.terms(jobs[0]))
    for job in jobs:
        with console.step(f"seed {job.seed}") as step:
            step.outcome = f"{job.variant.title}{_done(step, partial(seeds.run, job, step))}"
    count(jobs, out, console)


def _done(step: Step, work: Callable[[], bool]) -> str:
    """Do what may be another process's, and say what came of it."""
    try:
        step.unchanged = not work()
    except Busy:
        step.unchanged = True
        return ": another process is at work on it"
    return ": unchanged" if step.unchanged else ""


def backbone(material: Material, options: Options, out: Path, console: Console) -> Path:
    """The backbone that all seeds start from; where another process trains it, this one waits."""
    with console.step(BACKBONE) as step:
        first_version.take_over(out, BACKBONE)
        opened = runs.bare(out)
        try:
            with opened.lock():
                pass
        except Busy:
            console.line("  another process trains the backbone; waiting for it")
        with opened.lock(wait=True):
            weights = seeds.backbone(material, options, out, step)
        step.outcome = weights.name
        return weights


def count(jobs: Sequence[seeds.Job], out: Path, console: Console) -> None:
    """Count the instructions of each variant's first seed that is complete."""
    firsts: dict[str, seeds.Job] = {}
    for job in sorted(jobs, key=lambda job: job.seed):
        if together.unfinished(job.run) is None:
            firsts.setdefault(job.variant.name, job)
    for name, job in firsts.items():
        with console.step("count") as step:
            try:
                with (variant := runs.bare(out / name)).lock():
                    said = instructions.count(job, variant, step)
            except Busy:
                said = "another process is at work on it"
            step.outcome = f"{job.variant.title}{': ' if said else ''}{said}"


def read(name: str, options: Options, console: Console) -> Material:
    """The task's data: from its folder, else found in the usual places or fetched."""
    about = task_of(own_task.located(name) if ":" in name else name)
    with console.step("data") as step:
        folder = options.data or about.fetched(step)
        settings = Settings(about.task.name, about.spec, train=True).changed({"data": folder})
        identity(settings)  # raises where there is no such folder
        found = data(settings, step)
        assert found is not None
        step.outcome = f"{len(found.train):,} to train, {len(found.validation):,} validation, {len(found.test):,} test"
        return Material(about.task, found, settings)
