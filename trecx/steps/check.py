"""What is found out before anything is written: data, tap, and whether a user's own model could be compiled."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mlperf_tiny.task import Task
from trecx.console import Step
from trecx.errors import TrecxError
from trecx.settings import AUTO, Settings
from trecx.steps import left_out
from trecx.steps import pair as pairs
from trecx.steps.data import data, unlabelled
from trecx.steps.learned import described, exits_of, learned


def check(settings: Settings, step: Step) -> None:
    """Find out before anything is written what would be refused later: the tap or the data, and of one's own more."""
    if settings.unlabelled:
        next(unlabelled(settings, step))
    if settings.own_files:
        rehearse(settings, step)
        return
    chosen = learned(settings, step) if settings.train else None
    method = None if chosen is None else exits_of(_sure(settings), chosen)
    found = data(settings, step)
    assert found is not None
    if chosen is not None and method is not None:
        left_out.refuse(settings, chosen, method, found)
    step.outcome = f"{len(found.train):,} training samples" if settings.train else f"{len(found.test):,} test samples"


def rehearse(settings: Settings, step: Step) -> None:
    """Find out before hours of training what the data, the exit or the compiler would refuse after them.

    The untrained model is converted and read as the compiler reads it. The step says what a model of the user's own
    can do on validation samples.
    """
    from trecx.learn import rehearsal

    found = data(settings, step)
    assert found is not None
    chosen, own = learned(settings, step), Path(settings.model) if settings.model else None
    if own is not None:
        _check_classes(chosen, own)
    method = exits_of(_sure(settings), chosen)
    left_out.refuse(settings, chosen, method, found)
    with step.progress("trying the conversion"), TemporaryDirectory() as folder:
        path = Path(folder) / f"{chosen.name}.tflite"
        path.write_bytes(rehearsal.trial(chosen, method))
        pairs.bind(path, described(chosen, method, path))
    step.outcome = f"{len(found.train):,} training samples; the model can be converted and compiled"
    if own is not None:
        names = method.exits if settings.complete else method.exits[-1:]
        with step.progress("validation samples"):
            right = rehearsal.accuracies(chosen, names, found.validation, own)
        told = ", ".join(f"{name} {share:.2%}" for name, share in right.items()) if settings.complete else ""
        told = told or f"{right[names[-1]]:.2%}"
        step.outcome = f"float accuracy {told} of {len(found.validation):,} validation samples"
        step.outcome += caution(right[names[-1]], found.validation.y, settings)


def _sure(settings: Settings) -> Settings:
    """The settings without exits that are yet to be found: they are made of layers that can be compiled."""
    return replace(settings, method="none") if settings.method == AUTO else settings


def _check_classes(chosen: Task, own: Path) -> None:
    from trecx.learn.own_model import facts

    count = facts(own).classes
    if count != len(chosen.classes):
        names = ", ".join(chosen.classes)
        raise TrecxError(
            f"{own} scores {count} classes, the data have {len(chosen.classes)}: {names}.",
            "The folders of --data, by name, are the model's classes in their order.",
        )


def caution(right: float, labels: np.ndarray, settings: Settings) -> str:
    """A warning where a model does hardly better than naming the most frequent class."""
    guess = float(np.bincount(labels).max()) / len(labels)
    if right >= guess + 0.2 * (1 - guess):
        return ""
    hint = "the range that --pixels names and " if settings.task is None else ""
    return f"; WARNING: naming the most frequent class has {guess:.2%}. Check {hint}the order of the classes"
