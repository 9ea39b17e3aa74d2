"""What a run learns: the task of its subject, around a model of the user's own with the model's backbone."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlperf_tiny.task import Data, Task
from trecx import exits as door
from trecx import files
from trecx.console import Step
from trecx.errors import TrecxError
from trecx.settings import AUTO, OF_METHODS, OPTIONS, Settings
from trecx.steps.data import classes, data
from trecx.subjects import OwnFile, OwnModel, OwnTask, subject

if TYPE_CHECKING:
    from trecx.learn.exits import Method
    from trecx.learn.own_model import Facts


def learned(settings: Settings, step: Step) -> Task:
    """The task that a run trains, with its network as narrow as it is wanted."""
    from trecx.learn.narrow import narrow

    return narrow(_whole(settings, step), settings.width)


def _whole(settings: Settings, step: Step) -> Task:
    about = subject(settings)
    assert not isinstance(about, OwnFile)
    if not isinstance(about, OwnModel):
        return about.task
    from trecx.learn import own_model

    backbone, recipe = own_model.backbone(about.path), own_model.RECIPE
    if about.base is not None:
        return replace(about.base.task, name=about.name, backbone=backbone, tuning=recipe, attachments=())
    rows, columns, channels = about.shape

    def load(*_: Any, **__: Any) -> Data:
        found = data(settings, step)
        assert found is not None
        return found

    shape, names = (rows, columns, channels), classes(settings, step)
    return Task(about.name, f"{about.name}, from {about.path.name}", shape, names, backbone, load, tuning=recipe)


def exits_of(settings: Settings, chosen: Task) -> "Method":
    """The exit method of a run with the exits that were chosen, or the one that its model has them by."""
    from trecx.learn.exits import Choice, method
    from trecx.learn.own_model import Ready, facts

    about = subject(settings)
    if settings.complete and isinstance(about, OwnModel):
        return Ready(facts(about.path).exits, about.path)
    own = {name: getattr(settings, name) for name in OF_METHODS}
    return method(settings.method, chosen, Choice(settings.exit, settings.taps, settings.early_view, **own))


def suitable(settings: Settings) -> tuple[str, ...] | None:
    """The layers of a model of the user's own that suit an exit; None where a task says so itself."""
    from trecx.learn.own_model import facts

    about = subject(settings)
    return tuple(tap.name for tap in facts(about.path).taps) if isinstance(about, OwnModel) else None


def described(chosen: Task, method: "Method", model: Path) -> door.Exits:
    """What `exits.json` says of the converted model at `model`, before any threshold is chosen."""
    return door.Exits(
        task=chosen.name,
        method=method.name,
        model_file=model.name,
        model_sha256=files.sha256(model),
        classes=chosen.classes,
        exits=method.exit_specs(),
        otherwise=method.otherwise,
    )


def examined(settings: Settings, scouts: bool = False) -> Settings:
    """The settings with what the user's own model is; TrecxError with everything that is wrong with task or model.

    Where a model `scouts`, and neither has exits nor is said where they go, that is found out.
    """
    about = subject(settings)
    if isinstance(about, OwnModel):
        return _examined_model(settings, about, scouts)
    if isinstance(about, OwnTask):
        from trecx.learn.own_backbone import problems

        wrong = [f"{about.spec}: {problem}" for problem in problems(about.task)]
        if wrong:
            raise TrecxError(wrong, "docs/own_task.py is a task to begin with.")
    return settings


def _examined_model(settings: Settings, own: OwnModel, scouts: bool) -> Settings:
    from trecx.learn.own_model import facts

    found = facts(own.path)
    problems = _disagreements(settings, found) + _unlike(own, found)
    if problems:
        raise TrecxError(problems, "See trecx build --help.")
    if scouts and not (found.complete or settings.taps):
        settings = replace(settings, method=AUTO)
    if not found.complete and not settings.taps and settings.method == Settings.method:
        listed = "\n".join(f"  {tap}" for tap in found.taps)
        hint = "Choose with --tap, or several with --exits, or let --method auto choose."
        hint = f"{hint}\n{listed}"
        raise TrecxError(f"{own.path} has no exits, and it is not said which layer the early exit reads.", hint)
    return replace(settings, shape=found.shape, complete=found.complete)


def _disagreements(settings: Settings, found: "Facts") -> list[str]:
    """Options that a model has no use for."""
    problems = []
    if found.complete:
        given = {
            "--method": settings.method != Settings.method,
            "--exits" if len(settings.taps) > 1 else "--tap": settings.taps,
            "--exit": settings.exit,
            "--no-early-view": not settings.early_view,
            "--weights": settings.weights,
            "--width": settings.width != Settings.width,
            "--teacher": settings.teacher,
            "--epochs": settings.epochs,
            "--folds": settings.folds,
            **{OPTIONS[name].flag: getattr(settings, name) != OPTIONS[name].default for name in OF_METHODS},
            "--quantize qat": settings.scheme == "qat",
        }
        told = f"{settings.model} has its exits and is not trained"
        problems += [f"{told}: {option} does not apply." for option, value in given.items() if value]
    elif settings.weights or settings.exit:
        option = "--weights" if settings.weights else "--exit"
        problems.append(f"{option} does not apply: a model brings its own weights, and --tap says where its exit goes.")
    if not found.complete and not found.taps:
        problems.append(f"{settings.model} has no layer before its last whose output is a map that an exit can read.")
    return problems


def _unlike(own: OwnModel, found: "Facts") -> list[str]:
    """How a model differs from the task whose data it is to be given."""
    if own.base is None:
        return []
    base, problems = own.base.task, []
    if found.shape != base.input_shape:
        problems.append(f"{own.path} takes inputs of {found.shape}, {base.name} has {base.input_shape}.")
    if found.classes != len(base.classes):
        problems.append(f"{own.path} scores {found.classes} classes, {base.name} has {len(base.classes)}.")
    return problems
