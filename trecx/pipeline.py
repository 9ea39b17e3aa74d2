"""A build, read from top to bottom: which step follows which, and what each depends on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trecx import run as runs
from trecx.console import Console, Step
from trecx.device import toolchain
from trecx.errors import TrecxError
from trecx.run import Run
from trecx.settings import Settings
from trecx.steps import firmware, judging, learning, proof
from trecx.steps.data import fingerprint as data_fingerprint
from trecx.steps.data import task

Work = Callable[[Path, Step], None]

# Parts of the program that a step's result depends on: a new version of them makes the step run again.
LEARN = ("learn", "exits.py", "../mlperf_tiny")
COMPILE = ("compiler", "device", "exits.py", "criteria.py", "steps", "templates", "firmware")
JUDGE = ("judge", "criteria.py", "steps")


def start(name: str, path: Path, options: dict[str, Any]) -> Run:
    """Make or take up the run directory of a task; TrecxError for what cannot work, before anything is written."""
    settings = Settings(name=task(name).name, task=name).changed(options)
    firmware.targets(settings)
    data_fingerprint(settings)
    if settings.weights and not settings.train:
        raise TrecxError("--weights are where a training starts.", "Add --train, or leave --weights out.")
    if settings.weights and not Path(settings.weights).exists():
        raise TrecxError(f"There are no weights at {settings.weights}.", "Name a SavedModel folder, .h5 or .keras.")
    return runs.create(path, settings.as_json())


def resume(path: Path, options: dict[str, Any]) -> Run:
    """An existing run directory, with some of its settings changed."""
    run = runs.open_(path)
    settings = Settings.from_json(run.document["settings"]).changed(options)
    firmware.targets(settings)
    return runs.create(path, settings.as_json()) if options else run


def adopt(model: Path, exits: Path | None, name: str | None, out: Path | None, options: dict[str, Any]) -> Run:
    """Make a run directory for a user's own model."""
    chosen = name or "".join(c if c.isalnum() else "_" for c in model.stem.lower())
    settings = Settings(name=chosen).changed(options)
    firmware.targets(settings)
    found = learning.own(model, exits)
    run = runs.create(out or Path("build") / chosen, settings.as_json())
    mark = runs.fingerprint(settings.name, [model, *([exits] if exits else [])], ("compiler", "steps"))
    run.step("model", mark, lambda folder: learning.adopt(found, folder))
    return run


def build(run: Run, console: Console) -> None:
    """All the way: the pair, the firmware, the proof, the judgement, the report."""
    with run.lock():
        for name in steps(settings_of(run)):
            do(run, name, console)


def single(run: Run, name: str, console: Console) -> dict[str, Any]:
    """One step of a run; returns what a machine may want to know of its result."""
    with run.lock():
        settings = settings_of(run)
        before = steps(settings)
        if name in ("train", "quantize", "calibrate") and name not in before:
            raise TrecxError(f"{run.path} was made without training.", "Build it with --data and --train.")
        # What comes after the firmware reads only the firmware, and the report whatever there is.
        needed = before[: min(before.index(name), before.index("compile") + 1)]
        missing = [step for step in needed if run.fingerprint(FOLDERS[step]) is None]
        if missing:
            how = f"build {settings.task} --out" if missing[0] == "model" else missing[0]
            raise TrecxError(f"{run.path}: {missing[0]} comes before {name}.", f"Run trecx {how} {run.path}.")
        do(run, name, console)
    return results(run, name)


def settings_of(run: Run) -> Settings:
    """The settings kept in `run.json`."""
    return Settings.from_json(run.document["settings"])


FOLDERS = {
    "train": "train",
    "quantize": "quantize",
    "calibrate": "model",
    "model": "model",
    "compile": "firmware",
    "verify": "verify",
    "evaluate": "evaluate",
    "report": "report",
}

# The steps whose folders a step reads.
READS = {
    "quantize": ("train",),
    "calibrate": ("train", "quantize"),
    "compile": ("model",),
    "verify": ("model", "compile"),
    "evaluate": ("model", "compile", "train"),
    "report": ("model", "compile", "verify", "evaluate"),
}


def steps(settings: Settings) -> list[str]:
    """The steps of a run, in order."""
    pair = ["train", "quantize", "calibrate"] if settings.train else ["model"]
    return [*pair, "compile", "verify", "evaluate", "report"]


def do(run: Run, name: str, console: Console) -> None:
    """One step, unless nothing that it depends on has changed."""
    settings = settings_of(run)
    if name == "model" and settings.task is None:
        return  # a user's own model is already in place
    folders = {step: run.folder(folder) for step, folder in FOLDERS.items()}
    works: dict[str, Work] = {
        "train": lambda out, step: learning.train(settings, out, step),
        "quantize": lambda out, step: learning.quantize(settings, folders["train"], out, step),
        "calibrate": lambda out, step: learning.choose_thresholds(
            settings, folders["train"], folders["quantize"], out, step
        ),
        "model": lambda out, step: learning.take_pretrained(settings, out, step),
        "compile": lambda out, step: firmware.compile_pair(settings, folders["model"], out, step),
        "verify": lambda out, step: proof.prove(settings, folders["model"], folders["compile"], out, step),
        "evaluate": lambda out, step: judging.judge(
            settings, folders["model"], folders["compile"], folders["train"], out, step
        ),
        "report": lambda out, step: judging.write_report(settings, folders, out, step),
    }
    with console.step(name) as step:
        mark = fingerprint(run, name, settings)
        changed = run.step(FOLDERS[name], mark, lambda out: works[name](out, step), resumable=name == "train")
        if not changed:
            step.unchanged = True
            step.outcome = "unchanged"


def fingerprint(run: Run, name: str, settings: Settings) -> str:
    """What a step depends on: settings, the folders that it reads, the program, the tools and the data."""
    s = settings
    data = data_fingerprint(s)
    tools = tuple((t.name, t.version) for t in toolchain.tools())
    parts: dict[str, tuple[tuple[object, ...], tuple[str, ...]]] = {
        "train": ((s.task, s.method, s.seed, s.epochs, data), LEARN),
        "quantize": ((s.scheme, s.seed), LEARN),
        "calibrate": ((s.points, s.confidence), (*LEARN, *JUDGE)),
        "model": ((s.task,), ()),
        "compile": ((s.name, s.task, s.targets, tools), COMPILE),
        "verify": ((s.samples, s.targets, data, tools), JUDGE),
        "evaluate": ((data,), JUDGE),
        "report": ((s.task, s.targets), JUDGE),
    }
    values, code = parts[name]
    read = [run.folder(FOLDERS[step]) for step in READS.get(name, ())]
    if name == "train" and s.weights:
        read.append(Path(s.weights))
    if name == "model":
        read += learning.pretrained_files(s)
    return runs.fingerprint((name, values), [path for path in read if path.exists()], code)


def results(run: Run, name: str) -> dict[str, Any]:
    """The JSON that a step left, by file name."""
    found = {}
    for path in sorted(run.folder(FOLDERS[name]).glob("*.json")):
        found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
    return {"run": str(run.path), "step": name, "folder": str(run.folder(FOLDERS[name])), "results": found}


def serve(run: Run, console: Console) -> None:
    """Start the firmware in its emulator with the UART on a pseudo-terminal, until interrupted."""
    from trecx.device.serve import serve as start_serving

    emulated = [p for p in firmware.programs(run.folder("firmware"), settings_of(run)) if p.target.emulator]
    if not emulated:
        raise TrecxError(
            f"{run.path} has no firmware for an emulated target.", "Install its tools, then trecx compile."
        )
    start_serving(emulated[0], console.line)
