"""What a run trains: a registered task, a task of the user's own, or a model of the user's own with its data."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from mlperf_tiny.task import Data, Task
from trecx import exits as door
from trecx.console import Step
from trecx.errors import TrecxError
from trecx.settings import Settings
from trecx.steps import pair as pairs
from trecx.steps.data import classes, data, task

if TYPE_CHECKING:
    from trecx.learn.exits import Method
    from trecx.learn.own_model import Facts


def subject(settings: Settings, step: Step) -> Task:
    """The task of a run; around a model of the user's own it has the model's backbone."""
    if settings.model is None:
        assert settings.task is not None
        return task(settings.task)
    from trecx.learn import own_model

    path = Path(settings.model)
    backbone, recipe = own_model.backbone(path), own_model.RECIPE
    if settings.task is not None:
        base = task(settings.task)
        return replace(base, name=settings.name, backbone=backbone, tuning=recipe, attachments=())
    rows, columns, channels = settings.shape

    def load(*_: Any, **__: Any) -> Data:
        found = data(settings, step)
        assert found is not None
        return found

    shape, names = (rows, columns, channels), classes(settings, step)
    return Task(settings.name, f"{settings.name}, from {path.name}", shape, names, backbone, load, tuning=recipe)


def exits_of(settings: Settings, chosen: Task) -> "Method":
    """The exit method of a run with the exits that were chosen, or the one that its model has them by."""
    from trecx.learn.exits import Choice, method
    from trecx.learn.own_model import Ready, facts

    if settings.complete and settings.model is not None:
        path = Path(settings.model)
        return Ready(facts(path).exits, path)
    return method(settings.method, chosen, Choice(settings.exit, settings.taps, settings.early_view))


def identity(settings: Settings) -> tuple[object, ...]:
    """What tells the task or model of a run from others: names, and where the user's own files are."""
    name = settings.task.rpartition(":")[2] if settings.task else None
    files = [path.resolve() for path in settings.own_files]
    return (name, *files) if name or files else (None, settings.name)


def told(settings: Settings) -> str:
    """The task or model of a run, for a sentence."""
    if settings.model is None:
        return f"a task ({settings.task})" if settings.task else f"a model ({settings.name})"
    return f"a model ({settings.model})" + (f" with the data of {settings.task}" if settings.task else "")


def examined(settings: Settings) -> Settings:
    """The settings with what the user's own model is; TrecxError with everything that is wrong with task or model."""
    if settings.model is not None:
        return _examined_model(settings, Path(settings.model))
    if settings.task is not None and ":" in settings.task:
        from trecx.learn.own_backbone import problems

        wrong = [f"{settings.task}: {problem}" for problem in problems(task(settings.task))]
        if wrong:
            raise TrecxError(wrong, "docs/own_task.py is a task to begin with.")
    return settings


def _examined_model(settings: Settings, path: Path) -> Settings:
    from trecx.learn.own_model import facts

    found = facts(path)
    problems = _disagreements(settings, found)
    if problems:
        raise TrecxError(problems, "See trecx build --help.")
    if not found.complete and not settings.taps:
        listed = "\n".join(f"  {tap}" for tap in found.taps)
        hint = "Choose with --tap, or several with --exits; often a layer at a third to a half of the MACs does well."
        hint = f"{hint}\n{listed}"
        raise TrecxError(f"{path} has no exits, and it is not said which layer the early exit reads.", hint)
    return replace(settings, shape=found.shape, complete=found.complete)


def _disagreements(settings: Settings, found: "Facts") -> list[str]:
    """Options that a model has no use for, and how it differs from the task whose data it is to be given."""
    problems = []
    if found.complete:
        given = {
            "--method": settings.method != Settings.method,
            "--exits" if len(settings.taps) > 1 else "--tap": settings.taps,
            "--exit": settings.exit,
            "--no-early-view": not settings.early_view,
            "--weights": settings.weights,
            "--teacher": settings.teacher,
            "--epochs": settings.epochs,
            "--quantize qat": settings.scheme == "qat",
        }
        told = f"{settings.model} has its exits and is not trained"
        problems += [f"{told}: {option} does not apply." for option, value in given.items() if value]
    elif settings.weights or settings.exit:
        option = "--weights" if settings.weights else "--exit"
        problems.append(f"{option} does not apply: a model brings its own weights, and --tap says where its exit goes.")
    if not found.complete and not found.taps:
        problems.append(f"{settings.model} has no layer before its last whose output is a map that an exit can read.")
    if settings.task is not None:
        base = task(settings.task)
        if found.shape != base.input_shape:
            problems.append(f"{settings.model} takes inputs of {found.shape}, {base.name} has {base.input_shape}.")
        if found.classes != len(base.classes):
            problems.append(f"{settings.model} scores {found.classes} classes, {base.name} has {len(base.classes)}.")
    return problems


def check(settings: Settings, step: Step) -> None:
    """Find out before anything is written what would be refused later: the tap or the data, and of one's own more."""
    if settings.own_files:
        rehearse(settings, step)
        return
    if settings.train:
        exits_of(settings, subject(settings, step))
    found = data(settings, step)
    assert found is not None
    step.outcome = f"{len(found.train):,} training samples" if settings.train else f"{len(found.test):,} test samples"


def rehearse(settings: Settings, step: Step) -> None:
    """Find out before hours of training what the data, the exit or the compiler would refuse after them.

    The untrained model is converted and read as the compiler reads it. The step says what a model of the user's own
    can do on validation samples.
    """
    from trecx.learn import rehearsal

    found = data(settings, step)
    assert found is not None
    chosen, own = subject(settings, step), Path(settings.model) if settings.model else None
    if own is not None:
        _check_classes(chosen, own)
    method = exits_of(settings, chosen)
    with step.progress("trying the conversion"), TemporaryDirectory() as folder:
        path = Path(folder) / f"{chosen.name}.tflite"
        path.write_bytes(rehearsal.trial(chosen, method))
        exits, otherwise = method.exit_specs(), method.otherwise
        spec = door.Exits(chosen.name, "", path.name, door.sha256(path), chosen.classes, exits, otherwise=otherwise)
        pairs.bind(path, spec)
    step.outcome = f"{len(found.train):,} training samples; the model can be converted and compiled"
    if own is not None:
        names = method.exits if settings.complete else method.exits[-1:]
        with step.progress("validation samples"):
            right = rehearsal.accuracies(chosen, names, found.validation, own)
        told = ", ".join(f"{name} {share:.2%}" for name, share in right.items()) if settings.complete else ""
        told = told or f"{right[names[-1]]:.2%}"
        step.outcome = f"float accuracy {told} of {len(found.validation):,} validation samples"
        step.outcome += _caution(right[names[-1]], found.validation.y, settings)


def _check_classes(chosen: Task, own: Path) -> None:
    from trecx.learn.own_model import facts

    count = facts(own).classes
    if count != len(chosen.classes):
        names = ", ".join(chosen.classes)
        raise TrecxError(
            f"{own} scores {count} classes, the data have {len(chosen.classes)}: {names}.",
            "The folders of --data, by name, are the model's classes in their order.",
        )


def _caution(right: float, labels: np.ndarray, settings: Settings) -> str:
    """A warning where a model does hardly better than naming the most frequent class."""
    guess = float(np.bincount(labels).max()) / len(labels)
    if right >= guess + 0.2 * (1 - guess):
        return ""
    hint = "the range that --pixels names and " if settings.task is None else ""
    return f"; WARNING: naming the most frequent class has {guess:.2%}. Check {hint}the order of the classes"
