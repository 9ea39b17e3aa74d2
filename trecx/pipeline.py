"""A build, read from top to bottom: which step follows which, and what each depends on."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trecx import exits as door
from trecx import machine, program
from trecx import run as runs
from trecx.compiler.emit import check_name, usable
from trecx.console import Console, Step
from trecx.device import toolchain
from trecx.errors import TrecxError
from trecx.run import Run
from trecx.settings import Settings
from trecx.steps import firmware, judging, learning, own_task, proof, subject
from trecx.steps.data import fetched, task
from trecx.steps.data import fingerprint as data_fingerprint
from trecx.steps.pair import BACKBONE

Work = Callable[[Path, Step], None]


# Options that say how to train and calibrate, and so need a training.
OF_TRAINING = (
    *("weights", "teacher", "method", "taps", "early_view"),
    *("scheme", "points", "confidence", "against", "epochs", "seed"),
)
SPELLED = {"scheme": "--quantize", "early_view": "--no-early-view", "taps": "--exits"}


def start(name: str | None, path: Path | None, options: dict[str, Any], console: Console) -> Run:
    """Make or take up the run directory of a task or of a Keras model of the user's own; `path` is build/NAME if None.

    `name` is that of a registered task, or `FILE.py:NAME`. TrecxError for what cannot work, before anything is written.
    """
    settings = asked(name, options)
    path = path or Path("build") / settings.name
    keep_apart(path, settings)
    settings = subject.examined(checked(settings))
    if (settings.train or settings.data) and not is_accepted(path, settings):
        with console.step("check") as step:
            subject.check(settings, step)
    return runs.create(path, settings.as_json())


def asked(name: str | None, options: dict[str, Any]) -> Settings:
    """The settings that a person asked for; TrecxError where options contradict each other or lack one."""
    model = options.get("model")
    problems = []
    if name is None and model is None:
        problems.append("Nothing is named to build: give a task, --task FILE.py:NAME, or --model MODEL.")
    if name is not None and ":" in name and model is not None:
        problems.append("--task FILE.py:NAME brings a backbone, and --model another; give one of them.")
    if model is not None and options.get("data") is None:
        problems.append("--model needs --data FOLDER.")
    for option in ("pixels", "name"):
        if option in options and (model is None or (option == "pixels" and name is not None)):
            problems.append(f"--{option} belongs to --model{' with a folder of images' if option == 'pixels' else ''}.")
    if "taps" in options and "exit" in options:
        problems.append("--exit names an exit of the task, and --exits asks for some at layers; give one of them.")
    problems += method_problems(options.get("method"))
    if problems:
        raise TrecxError(problems, "See trecx build --help.")
    spec = own_task.located(name) if name is not None and (":" in name or name.endswith(".py")) else name
    chosen = task(spec).name if spec is not None else own_name(Path(model or "").stem)
    own = {"train": True} if model is not None or ":" in (spec or "") else {}
    settings = Settings(name=chosen, task=spec).changed({**own, **options})
    unused = [SPELLED.get(o, f"--{o}") for o in OF_TRAINING if o in options and not settings.train]
    if unused:
        raise TrecxError(f"{', '.join(unused)}: these belong to a training.", "Add --train, or leave them out.")
    check_name(settings.name)
    if settings.name == Path(BACKBONE).stem:
        raise TrecxError(f"{settings.name!r} is the name of a file beside the model.", "Choose another with --name.")
    return settings


def method_problems(name: str | None) -> list[str]:
    """What is wrong with the name of an exit method."""
    from trecx.learn.exits import METHODS

    known = [method.name for method in METHODS]
    return [] if name is None or name in known else [f"There is no exit method {name!r}; there is {', '.join(known)}."]


def own_name(stem: str) -> str:
    """A name for C after a file of the user's own."""
    plain = re.sub(r"[^a-z0-9]", "_", stem.lower())
    return plain if usable(plain) and plain != Path(BACKBONE).stem else f"net_{plain}"[:32].removesuffix("_test")


def keep_apart(path: Path, settings: Settings) -> None:
    """TrecxError where a run directory is that of another task or model."""
    if not (path / "run.json").is_file():
        return
    kept = settings_of(Run(path))
    if subject.identity(kept) != subject.identity(settings):
        hint = "Choose another folder with --out, or delete this one."
        raise TrecxError(f"{path} is the run of {subject.told(kept)}, not of {subject.told(settings)}.", hint)


def is_accepted(path: Path, settings: Settings) -> bool:
    """Whether a run directory holds what was made with these data, and trained with these settings if it trains."""
    run, name = Run(path), "train" if settings.train else "evaluate"
    return (path / "run.json").is_file() and run.fingerprint(name) == fingerprint(run, name, settings)


def resume(path: Path, options: dict[str, Any], step: str) -> Run:
    """An existing run directory, with some of its settings changed for `step`."""
    run = runs.open_(path)
    settings = settings_of(run).changed(options)
    if step in ("train", "quantize", "calibrate") and step not in steps(settings):
        raise TrecxError(f"{run.path} was made without training.", "Build it with --data and --train.")
    if "name" in options and settings.name != settings_of(run).name:
        raise TrecxError(f"{run.path} is called {settings_of(run).name}.", "Build into a new folder for another name.")
    checked(settings)
    if options and step in ("train", "quantize") and settings.own_files:
        settings = subject.examined(settings)
    return runs.create(path, settings.as_json()) if options else run


def adopt(model: Path, exits: Path | None, name: str | None, out: Path | None, options: dict[str, Any]) -> Run:
    """Make a run directory for a user's own model; without `exits` the exits.json beside it counts, if it names it."""
    chosen = name if name is not None else own_name(model.stem)
    check_name(chosen)
    beside = model.parent / "exits.json"
    if exits is None and beside.is_file() and door.read(beside).model_file == model.name:
        exits = beside
    settings = checked(Settings(name=chosen).changed(options))
    found = learning.own(model, exits)
    path = out or Path("build") / chosen
    keep_apart(path, settings)
    run = runs.create(path, settings.as_json())
    mark = runs.fingerprint(settings.name, [model, *([exits] if exits else [])], program.digest(learning.own))
    with run.working():
        run.step("model", mark, lambda folder: learning.adopt(found, folder))
    return run


def checked(settings: Settings) -> Settings:
    """The settings, or TrecxError with what can be known to fail without doing anything."""
    firmware.targets(settings)
    data_fingerprint(settings)
    if not (0 <= settings.points <= 100 and 0.5 <= settings.confidence < 1):
        raise TrecxError("Points must be a number from 0 to 100, and confidence one from 0.5 to below 1.")
    for path in (settings.weights, settings.teacher):
        if path and not Path(path).exists():
            raise TrecxError(f"There are no weights at {path}.", "Name a SavedModel folder, .h5 or .keras.")
    if settings.exit is not None and settings.task is not None:
        names = [one.name for one in task(settings.task).attachments]
        if settings.exit not in names:
            hint = f"Exits that it names: {', '.join(names) or 'none'}; --exits attaches one anywhere."
            raise TrecxError(f"The task {settings.name} has no exit {settings.exit!r}.", hint)
    return settings


def build(run: Run, console: Console) -> None:
    """All the way: the pair, the firmware, the proof, the judgement, the report."""
    with run.working():
        settings = settings_of(run)
        for name in steps(settings):
            do(run, name, settings, console)


def single(run: Run, name: str, console: Console, only: tuple[str, ...] = ()) -> dict[str, Any]:
    """One step of a run, for `only` some of its targets; returns what a machine may want to know of its result.

    What it judges is brought up to date first: the firmware, and for a report also what was verified and evaluated.
    """
    with run.working():
        settings = settings_of(run)
        before = steps(settings)
        needed = before[: min(before.index(name), before.index("compile") + 1)]
        missing = [step for step in needed if run.fingerprint(FOLDERS[step]) is None]
        if missing:
            how = f"build {settings.name} --out" if missing[0] == "model" else missing[0]
            raise TrecxError(f"{run.path}: {missing[0]} comes before {name}.", f"Run trecx {how} {run.path}.")
        for step in RENEWED.get(name, ()):
            if run.fingerprint(FOLDERS[step]) not in (None, fingerprint(run, step, settings)):
                do(run, step, settings, console)
        do(run, name, restricted(settings, only), console)
    return results(run, name)


def restricted(settings: Settings, only: tuple[str, ...]) -> Settings:
    """The settings for `only` some of the run's targets."""
    compiled = [target.name for target in firmware.targets(settings)]
    foreign = [name for name in only if name not in compiled]
    if foreign:
        known = f"It has {', '.join(compiled)}; trecx compile --target chooses others."
        raise TrecxError([f"The run has no target {name!r}." for name in foreign], known)
    return settings.changed({"targets": only}) if only else settings


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

# Steps that take long and go on where they were interrupted.
RESUMABLE = ("train", "quantize")

# Steps that are done again before another where they are out of date.
RENEWED = {"verify": ("compile",), "evaluate": ("compile",), "report": ("compile", "verify", "evaluate")}

# The function that does a step; what it can reach is the part of the program that the step depends on.
DONE_BY = {
    "train": learning.train,
    "quantize": learning.quantize,
    "calibrate": learning.choose_thresholds,
    "model": learning.take_pretrained,
    "compile": firmware.compile_pair,
    "verify": proof.prove,
    "evaluate": judging.judge,
    "report": judging.write_report,
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


def do(run: Run, name: str, settings: Settings, console: Console) -> None:
    """One step, unless nothing that it depends on has changed."""
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
        if name == "train" and settings.task is not None and settings.data is None:
            # Before the mark: a download changes what the training depends on.
            fetched(task(settings.task), step)
        mark = fingerprint(run, name, settings)
        changed = run.step(FOLDERS[name], mark, lambda out: works[name](out, step), resumable=name in RESUMABLE)
        if not changed:
            step.unchanged = True
            step.outcome = "unchanged"


def fingerprint(run: Run, name: str, settings: Settings) -> str:
    """What a step depends on: settings, the folders that it reads, the program, the tools and the data."""
    s = settings
    data = data_fingerprint(s)
    tools = tuple((t.name, t.version) for t in toolchain.tools())
    values: dict[str, tuple[object, ...]] = {
        "train": (s.task, s.method, s.exit, s.taps, s.early_view, s.pixels, s.seed, s.epochs, data),
        "quantize": (s.name, s.scheme, s.seed, s.epochs),
        "calibrate": (s.points, s.confidence, s.against),
        "model": (s.task, s.exit),
        # What somebody else built is built again, because it will be run.
        "compile": (s.name, s.task, s.targets, s.optimize, tools, machine.identity()),
        "verify": (s.samples, s.targets, data, tools),
        "evaluate": (data,),
        "report": (s.task, s.targets),
    }
    read = [*s.own_files, *(run.folder(FOLDERS[step]) for step in READS.get(name, ()))]
    if name == "train":
        read += [Path(path) for path in (s.weights, s.teacher) if path]
    if name == "model":
        read += learning.pretrained_files(s)
    files = [path for path in read if path.exists()]
    return runs.fingerprint((name, values[name]), files, program.digest(DONE_BY[name]))


def results(run: Run, name: str) -> dict[str, Any]:
    """The JSON that a step left, by file name."""
    found = {}
    for path in sorted(run.folder(FOLDERS[name]).glob("*.json")):
        found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
    return {"run": str(run.path), "step": name, "folder": str(run.folder(FOLDERS[name])), "results": found}


def serve(run: Run, target: str | None, console: Console) -> None:
    """Start the firmware in its emulator with the UART on a pseudo-terminal, until interrupted."""
    from trecx.device.serve import serve as start_serving

    built = firmware.programs(run.folder("firmware"), settings_of(run))
    emulated = [p for p in built if p.target.emulator and target in (None, p.target.name)]
    if not emulated:
        what = f"the target {target!r}" if target else "an emulated target"
        raise TrecxError(
            f"{run.path} has no firmware for {what}.", "Install its tools, then trecx compile --target ..."
        )
    start_serving(emulated[0], console.line)
