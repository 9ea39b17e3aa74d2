"""A build, read from top to bottom: which step follows which, and what each depends on."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trecx import documents, program
from trecx.console import Console, Step
from trecx.device import toolchain
from trecx.errors import TrecxError
from trecx.run import Run
from trecx.settings import TRAINING, Folders, Settings
from trecx.stamp import Origin, content, contents
from trecx.steps import firmware, judging, learning, proof, scouting
from trecx.steps.data import identity, listed
from trecx.subjects import OwnFile, OwnTask, subject, task_of

Work = Callable[[Settings, Folders, Path, Step], None]


@dataclass(frozen=True)
class Rule:
    """How a step is done: `does(settings, folders, out, step)` fills the folder `out`.

    It depends on all of the program that this function can reach, on the settings that say so (settings.py), on the
    folders of the steps that it `reads`, on `files` besides the user's own, and where it says so on `tools`, on `data`
    and on data `unlabelled`.
    It `renews` steps before it that are out of date. A `resumable` step takes long and goes on where it was
    interrupted; one that `builds` leaves programs that will be run.
    """

    does: Work
    reads: tuple[str, ...] = ()
    files: Callable[[Settings], Iterable[Path]] = lambda _: ()
    tools: bool = False
    data: bool = False
    unlabelled: bool = False
    renews: tuple[str, ...] = ()
    resumable: bool = False
    builds: bool = False


def _weights(settings: Settings) -> list[Path]:
    return [Path(path) for path in (settings.weights, settings.teacher) if path]


RULES = {
    "scout": Rule(scouting.scout, files=_weights, data=True, resumable=True),
    "train": Rule(learning.train, files=_weights, data=True, resumable=True),
    "quantize": Rule(learning.quantize, reads=("train",), data=True, resumable=True),
    "calibrate": Rule(learning.choose_thresholds, reads=("quantize",), data=True, unlabelled=True),
    "model": Rule(learning.take_pretrained, files=learning.pretrained_files),
    "compile": Rule(firmware.compile_pair, reads=("model",), tools=True, builds=True),
    "verify": Rule(proof.prove, reads=("model", "compile"), tools=True, data=True, renews=("compile",)),
    "evaluate": Rule(judging.judge, reads=("model", "compile", "train"), data=True, renews=("compile",)),
    "report": Rule(
        judging.write_report,
        reads=("scout", "model", "compile", "verify", "evaluate"),
        renews=("compile", "verify", "evaluate"),
    ),
}

# All of a SHA-256 but what tells it from others at a glance.
HASH = re.compile(r"(?<=\b[0-9a-f]{8})[0-9a-f]{56}\b")
# The folders of steps that are not called as the step is.
NAMED = {"calibrate": "model", "compile": "firmware"}


def folder(name: str) -> str:
    """The folder of a step in a run directory."""
    return NAMED.get(name, name)


def steps(settings: Settings) -> list[str]:
    """The steps of a run, in order."""
    pair = ["train", "quantize", "calibrate"] if settings.train else ["model"]
    return [*(["scout"] if scouting.needed(settings) else []), *pair, "compile", "verify", "evaluate", "report"]


def settings_of(run: Run) -> Settings:
    """The settings of a run, with what scouting found out where that has been done."""
    return scouting.chosen(kept_by(run), run.folder("scout"))


def kept_by(run: Run) -> Settings:
    """The settings kept in `run.json`; TrecxError where they name a program that nobody here chose to run."""
    settings = Settings.from_json(run.document["settings"])
    if settings.task is not None and isinstance(task_of(settings.task), OwnTask) and not run.ours:
        problem = f"{run.path} is about {settings.task}, a program, and was not made on this machine."
        raise TrecxError(problem, f"If you trust it: trecx build --task {settings.task} --out {run.path}.")
    return settings


def build(run: Run, console: Console) -> None:
    """All the way: the pair, the firmware, the proof, the judgement, the report."""
    with run.working():
        if scouting.needed(kept := kept_by(run)):
            do(run, "scout", kept, console)
        settings = settings_of(run)
        for name in steps(settings):
            do(run, name, settings, console)


def single(run: Run, name: str, console: Console, only: tuple[str, ...] = ()) -> dict[str, Any]:
    """One step of a run, for `only` some of its targets; returns what a machine may want to know of its result.

    What it judges is brought up to date first: the firmware, and for a report also what was verified and evaluated.
    """
    with run.working():
        settings = kept_by(run)
        # A training begins with what is found out now; what follows takes it as it is.
        open_ = settings if name == "train" else settings_of(run)
        if name in TRAINING[1:] and scouting.needed(open_):
            do(run, "scout", settings, console)
        settings = settings if name == "scout" else settings_of(run)
        before = steps(settings)
        require(run, before[: min(before.index(name), before.index("compile") + 1)], name, settings)
        renew(run, RULES[name].renews, settings, console)
        do(run, name, restricted(settings, only), console)
    return results(run, name)


def require(run: Run, names: Iterable[str], before: str, settings: Settings) -> None:
    """TrecxError where one of these steps has not been finished, so that `before` cannot begin."""
    missing = [step for step in names if run.stamp(folder(step)) is None]
    if missing:
        how = f"build {settings.name} --out" if missing[0] == "model" else missing[0]
        raise TrecxError(f"{run.path}: {missing[0]} comes before {before}.", f"Run trecx {how} {run.path}.")


def renew(run: Run, names: Iterable[str], settings: Settings, console: Console) -> None:
    """Do those of these finished steps again that are out of date."""
    for name in names:
        if run.objections(folder(name), origin(run, name, settings)):
            do(run, name, settings, console)


def restricted(settings: Settings, only: tuple[str, ...]) -> Settings:
    """The settings for `only` some of the run's targets."""
    compiled = [target.name for target in firmware.targets(settings)]
    foreign = [name for name in only if name not in compiled]
    if foreign:
        known = f"It has {', '.join(compiled)}; trecx compile --target chooses others."
        raise TrecxError([f"The run has no target {name!r}." for name in foreign], known)
    return settings.changed({"targets": only}) if only else settings


def do(run: Run, name: str, settings: Settings, console: Console) -> None:
    """One step with its line, unless nothing that it depends on has changed."""
    about = subject(settings)
    if name == "model" and isinstance(about, OwnFile):
        return  # it is already in place
    with console.step(name) as step:
        if name in ("scout", "train") and settings.data is None and not isinstance(about, OwnFile):
            # Before its origin is known: a download changes what the training depends on.
            about.fetched(step)
        of = origin(run, name, settings)
        if why := run.objections(folder(name), of):
            console.line(f"  {name:<10} again: {'; '.join(HASH.sub('…', one) for one in why)}")
        if not perform(run, name, settings, step, of):
            step.unchanged = True
            step.outcome = "unchanged"


def perform(
    run: Run,
    name: str,
    settings: Settings,
    step: Step,
    of: Origin,
    about: dict[str, Any] | None = None,
    into: str | None = None,
) -> bool:
    """Do a step unless it is done `of` this origin; whether there was anything to do. `about` goes into its stamp.

    `into` is another folder than the step's own, where a run has the step more than once.
    """
    folders = {known: run.folder(folder(known)) for known in RULES}
    rule = RULES[name]
    return run.step(
        into or folder(name), of, lambda out: rule.does(settings, folders, out, step), rule.resumable, about
    )


def origin(run: Run, name: str, settings: Settings, data: object = None) -> Origin:
    """What a step is made from: options, the folders that it reads, the program, the tools and the data.

    `data` tells the data from others, where that is known better than by what lies in their folder.
    """
    rule = RULES[name]
    configuration = settings.read_by(name)
    configuration["files"] = contents([*settings.own_files, *rule.files(settings)])
    there = {step: run.folder(folder(step)) for step in rule.reads}
    configuration["reads"] = {step: content(path) for step, path in there.items() if path.exists()}
    if rule.tools:
        configuration["tools"] = {tool.name: tool.version for tool in toolchain.tools()}
    if rule.data:
        configuration["data"] = data or identity(settings)
    if rule.unlabelled and settings.unlabelled:
        configuration["unlabelled"] = listed(Path(settings.unlabelled))
    return Origin(configuration, program.digest(rule.does), ours=rule.builds)


def results(run: Run, name: str) -> dict[str, Any]:
    """The JSON that a step left, by file name."""
    found = {}
    for path in sorted(run.folder(folder(name)).glob("*.json")):
        found[path.stem] = documents.required(path, f"Run trecx {name} {run.path} again.")
    return {"run": str(run.path), "step": name, "folder": str(run.folder(folder(name))), "results": found}


def serve(run: Run, target: str | None, console: Console) -> None:
    """Start the firmware in its emulator with the UART on a pseudo-terminal, until interrupted."""
    from trecx.device.serve import serve as start_serving

    settings = settings_of(run)
    with run.working():
        # Without its stamp a folder is only files that somebody put there, and nobody knows what they would run.
        require(run, ("compile",), "serve", settings)
        renew(run, ("compile",), settings, console)
    built = firmware.programs(run.folder(folder("compile")), settings)
    emulated = [p for p in built if p.target.emulator and target in (None, p.target.name)]
    if not emulated:
        what = f"the target {target!r}" if target else "an emulated target"
        raise TrecxError(
            f"{run.path} has no firmware for {what}.", "Install its tools, then trecx compile --target ..."
        )
    start_serving(emulated[0], console.line)
