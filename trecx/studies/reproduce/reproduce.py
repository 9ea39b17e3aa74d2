"""`trecx reproduce`: train what is missing, count, judge, write; read from top to bottom."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlperf_tiny.task import Task
from trecx.console import Console
from trecx.steps.data import fetched, task
from trecx.studies.reproduce import instructions, markdown, pictures, results, together
from trecx.studies.reproduce import seed as seeds
from trecx.studies.reproduce.damage import INSTRUCTIONS
from trecx.studies.reproduce.material import Material
from trecx.studies.reproduce.plan import BACKBONE, Options, order
from trecx.studies.reproduce.stage import held


def run(name: str, options: Options, console: Console) -> dict[str, Any]:
    """Regenerate the part of a task in results.json and results.md, and return it.

    What is finished in `options.out` is not done again. Raises TrecxError for what cannot work, AnswerIsNo where a
    program's answer is not the oracle's.
    """
    chosen = task(name)
    out = (options.out or Path("build") / "reproduce" / chosen.name).absolute()
    if not options.report_only:
        train(chosen, options, out, console)
    with console.step("results") as step:
        entry = results.collect(chosen, out, name)
        with results.updating(options.docs, chosen.name) as tasks:
            tasks[chosen.name] = entry
            drawn = pictures.draw(chosen.name, entry, options.docs)
        step.outcome = ", ".join((results.FILE, markdown.FILE, *(path.name for path in drawn)))
    return entry


def train(chosen: Task, options: Options, out: Path, console: Console) -> None:
    """Bring the chosen seeds of the chosen variants up to date; those that another process holds are left to it.

    Raises TrecxError, before anything is trained, where they could not be reported with what is there already.
    """
    planned = order(chosen, options)
    material = read(chosen, options, console)
    weights = backbone(material, options, out / BACKBONE, console)
    jobs = [
        seeds.Job(material, variant, number, options, weights, out / variant.name / f"seed{number}")
        for variant, number in planned
    ]
    seeds.check(jobs)
    taken = {job.folder for job in jobs}
    others = [seed for seed in together.seeds(out) if seed.folder not in taken]
    together.require_joinable(others, seeds.terms(jobs[0]))
    for job in jobs:
        with console.step(f"seed {job.seed}") as step, held(job.folder) as mine:
            changed = mine and seeds.run(job, step)
            step.unchanged = not changed
            told = "" if changed else ": unchanged" if mine else ": another process is at work on it"
            step.outcome = f"{job.variant.title}{told}"
    count(jobs, out, console)


def backbone(material: Material, options: Options, folder: Path, console: Console) -> Path:
    """The backbone that all seeds start from; where another process trains it, this one waits."""
    with console.step(BACKBONE) as step:
        with held(folder) as free:
            if not free:
                console.line("  another process trains the backbone; waiting for it")
        with held(folder, wait=True):
            weights = seeds.backbone(material, options, folder, step)
        step.outcome = weights.name
        return weights


def count(jobs: Sequence[seeds.Job], out: Path, console: Console) -> None:
    """Count the instructions of each variant's first seed that is complete."""
    firsts: dict[str, seeds.Job] = {}
    for job in sorted(jobs, key=lambda job: job.seed):
        if together.unfinished(job.folder) is None:
            firsts.setdefault(job.variant.name, job)
    for name, job in firsts.items():
        with console.step("count") as step, held(out / name) as mine:
            said = (
                instructions.count(job, out / name / INSTRUCTIONS, step) if mine else "another process is at work on it"
            )
            step.outcome = f"{job.variant.title}{': ' if said else ''}{said}"


def read(chosen: Task, options: Options, console: Console) -> Material:
    """The task's data: from its folder, else found in the usual places or fetched."""
    with console.step("data") as step:
        folder = options.data or fetched(chosen, step)
        with step.progress("reading data") as progress:
            data = chosen.load(folder, progress, training=True)
        step.outcome = f"{len(data.train):,} to train, {len(data.validation):,} validation, {len(data.test):,} test"
        return Material(chosen, data)
