"""What a person asks for becomes the settings of a run directory, or is refused before anything is written."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trecx import exits as door
from trecx import program
from trecx import run as runs
from trecx.console import Console
from trecx.decision import CRITERIA, criterion
from trecx.errors import TrecxError
from trecx.exits import MOST_CONFIDENT
from trecx.judge.calibrate import MEAN
from trecx.naming import check_name, usable
from trecx.pipeline import kept_by, origin, steps
from trecx.run import Run
from trecx.settings import AUTO, OF_METHODS, OPTIONS, TRAINING, Settings
from trecx.stamp import Origin, contents
from trecx.steps import check, firmware, learned, learning, scouting
from trecx.steps.data import identity as data_identity
from trecx.steps.data import reader
from trecx.steps.pair import BACKBONE
from trecx.subjects import own_task, subject, task


def start(name: str | None, path: Path | None, options: dict[str, Any], console: Console) -> Run:
    """Make or take up the run directory of a task or of a Keras model of the user's own; `path` is build/NAME if None.

    `name` is that of a registered task, or `FILE.py:NAME`. TrecxError for what cannot work, before anything is written.
    """
    return begin(asked(name, options), path, console, scouts="method" not in options)


def begin(settings: Settings, path: Path | None, console: Console, scouts: bool = False) -> Run:
    """The same for settings that are known; where a model `scouts`, it may be open where its exits go."""
    path = path or Path("build") / settings.name
    keep_apart(path, settings)
    settings = learned.examined(checked(settings), scouts=scouts)
    if settings.unlabelled:
        reader(settings)
    if (settings.train or settings.data) and not is_accepted(path, settings):
        with console.step("check") as step:
            check.check(settings, step)
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
    problems += _unpromised(options, options.get("promise"))
    if problems:
        raise TrecxError(problems, "See trecx build --help.")
    spec = own_task.located(name) if name is not None and (":" in name or name.endswith(".py")) else name
    chosen = task(spec).name if spec is not None else own_name(Path(model or "").stem)
    own = {"train": True} if model is not None or ":" in (spec or "") else {}
    settings = Settings(name=chosen, task=spec).changed({**own, **options})
    given = [OPTIONS[name] for name in OPTIONS if name in options]
    unused = [one.flag for one in given if set(one.steps) <= set(TRAINING) and not settings.train]
    if unused:
        raise TrecxError(f"{', '.join(unused)}: these belong to a training.", "Add --train, or leave them out.")
    check_name(settings.name)
    if settings.name == Path(BACKBONE).stem:
        raise TrecxError(f"{settings.name!r} is the name of a file beside the model.", "Choose another with --name.")
    return settings


def method_problems(name: str | None) -> list[str]:
    """What is wrong with the name of an exit method."""
    from trecx.learn.exits import METHODS

    known = [*(method.name for method in METHODS), AUTO]
    return [] if name is None or name in known else [f"There is no exit method {name!r}; there is {', '.join(known)}."]


def _unpromised(options: dict[str, Any], promise: str | None) -> list[str]:
    """What was asked for that a promise of the mean has no use for."""
    useless = [name for name in ("confidence", "unlabelled") if name in options] if promise == MEAN else []
    return [f"{OPTIONS[name].flag} does not apply to --promise mean; leave out one of them." for name in useless]


def unfit(settings: Settings) -> Iterator[str]:
    """What the exit method of the settings has no use for."""
    from trecx.learn.exits import METHODS

    if settings.method == AUTO:
        yield from _said(settings)
        return
    chosen = next(one for one in METHODS if one.name == settings.method)
    for name in OF_METHODS:
        one = OPTIONS[name]
        if getattr(settings, name) != one.default and name not in chosen.options:
            owners = ", ".join(method.name for method in METHODS if name in method.options)
            yield f"{one.flag} does not apply to the method {chosen.name}; it belongs to {owners}."
    if settings.mac_budget is not None and settings.price is not None:
        yield "--mac-budget takes the place of --price; give one of them."
    if settings.mac_budget is not None and settings.loss not in (None, "v1"):
        yield f"--mac-budget is a budget of the mixture, --loss v1; --loss {settings.loss} has a price."
    if settings.scheme == "qat" and (chosen.untunable or settings.heads_only):
        yield f"--quantize qat: {chosen.untunable or 'with --heads-only the backbone stays as it is.'}"
    if chosen.taps[1] == 0 and (settings.choices > 1 or settings.criterion or settings.folds):
        yield f"The method {chosen.name} has no early exit: none of --criterion, --operating-points and --folds apply."
        return
    if settings.choices > 1 and chosen.otherwise == MOST_CONFIDENT:
        yield f"The method {chosen.name} lets the surest exit answer; --operating-points are limits only."
    if settings.criterion is None:
        return
    kind = criterion(settings.criterion)
    if kind.gate and not chosen.gated:
        yield f"The method {chosen.name} has no gates that --criterion gate could read."
    if chosen.otherwise == MOST_CONFIDENT and not kind.comparable:
        known = ", ".join(one.name for one in CRITERIA if one.comparable)
        yield f"The method {chosen.name} lets the surest exit answer, which {kind.name} does not tell; {known} do."


def _said(settings: Settings) -> Iterator[str]:
    """What `auto` would find out and a person says."""
    named = {"taps": settings.taps, "exit": settings.exit, "early_view": not settings.early_view}
    named |= {name: getattr(settings, name) != OPTIONS[name].default for name in OF_METHODS}
    for name in (name for name, value in named.items() if value):
        yield f"--method auto finds out itself what {OPTIONS[name].flag} says; leave one of them out."
    if settings.scheme == "qat":
        yield "--quantize qat: --method auto leaves the backbone as it is, and fine-tuning would change it."
    if settings.criterion is not None and criterion(settings.criterion).gate:
        yield "The heads that --method auto tries have no gates that --criterion gate could read."


def own_name(stem: str) -> str:
    """A name for C after a file of the user's own."""
    plain = re.sub(r"[^a-z0-9]", "_", stem.lower())
    return (
        plain
        if usable(plain) and plain != Path(BACKBONE).stem
        else re.sub(r"(_(test|data|layers))+$", "", f"net_{plain}"[:32])
    )


def keep_apart(path: Path, settings: Settings) -> None:
    """TrecxError where a run directory is that of another task or model."""
    if not (path / "run.json").is_file():
        return
    kept, wanted = subject(Settings.from_json(Run(path).document["settings"])), subject(settings)
    if kept.identity != wanted.identity:
        hint = "Choose another folder with --out, or delete this one."
        raise TrecxError(f"{path} is the run of {kept}, not of {wanted}.", hint)


def is_accepted(path: Path, settings: Settings) -> bool:
    """Whether a run directory holds what was made with these data, and trained with these settings if it trains."""
    run, name = Run(path), "train" if settings.train else "evaluate"
    if not (path / "run.json").is_file():
        return False
    if scouting.needed(settings) and not run.is_done("scout", origin(run, "scout", settings)):
        return False
    made = scouting.chosen(settings, run.folder("scout"))
    return run.is_done(name, origin(run, name, made))


def resume(path: Path, options: dict[str, Any], step: str) -> Run:
    """An existing run directory, with some of its settings changed for `step`."""
    run = runs.open_(path)
    kept = kept_by(run)
    settings = kept.changed(options)
    if options and step in ("train", "quantize"):
        settings = settings.changed({"study": None})  # which chose other ones
    if step in TRAINING and not settings.train:
        raise TrecxError(f"{run.path} was made without training.", "Build it with --data and --train.")
    if step not in steps(settings) and step == "scout":
        raise TrecxError(f"{run.path} says where its exits go.", "Leave --exits out, or build with --method auto.")
    if "name" in options and settings.name != kept.name:
        raise TrecxError(f"{run.path} is called {kept.name}.", "Build into a new folder for another name.")
    if problems := _unpromised(options, settings.promise):
        raise TrecxError(problems, f"See trecx {step} --help.")
    checked(settings)
    if "unlabelled" in options:
        reader(settings)
    if options and step in ("train", "quantize") and settings.own_files:
        settings = learned.examined(settings)
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
    firmware.known_answers(found)  # what the oracle refuses leaves nothing behind
    run = runs.create(path, settings.as_json())
    files = contents([model, *([exits] if exits else [])])
    of = Origin({"name": settings.name, "files": files}, program.digest(learning.own))
    with run.working():
        run.step("model", of, lambda folder: learning.adopt(found, folder))
    return run


def checked(settings: Settings) -> Settings:
    """The settings, or TrecxError with what can be known to fail without doing anything."""
    firmware.targets(settings)
    data_identity(settings)
    if not (0 <= settings.points <= 100 and 0.5 <= settings.confidence < 1):
        raise TrecxError("Points must be a number from 0 to 100, and confidence one from 0.5 to below 1.")
    for path in (settings.weights, settings.teacher):
        if path and not Path(path).exists():
            raise TrecxError(f"There are no weights at {path}.", "Name a SavedModel folder, .h5 or .keras.")
    if settings.method == AUTO and settings.width < 1:
        raise TrecxError(
            "--method auto does not try heads on a narrower network.", "Leave --width out, or name a method."
        )
    if settings.weights and settings.width < 1:
        hint = "Leave them out, or name them with --teacher, which a narrower network learns from."
        raise TrecxError(f"--weights do not fit a network with {settings.width:g} of the filters.", hint)
    if problems := list(unfit(settings)):
        raise TrecxError(problems, "See trecx build --help.")
    if settings.exit is not None and settings.task is not None:
        names = [one.name for one in task(settings.task).attachments]
        if settings.exit not in names:
            hint = f"Exits that it names: {', '.join(names) or 'none'}; --exits attaches one anywhere."
            raise TrecxError(f"The task {settings.name} has no exit {settings.exit!r}.", hint)
    return settings
