"""What a run is about: a registered task, a task or a Keras model of the user's own, or an int8 model of theirs.

Each says what it is called, what tells it from others, and where its samples come from. What is learned of it is said
in `steps/learned.py`, so that no proof depends on it.
"""

from pathlib import Path

from trecx.settings import Settings
from trecx.subjects.models import OwnFile, OwnModel
from trecx.subjects.tasks import OwnTask, Registered, task, task_of

Subject = Registered | OwnTask | OwnModel | OwnFile

__all__ = ["OwnFile", "OwnModel", "OwnTask", "Registered", "Subject", "subject", "task", "task_of"]


def subject(settings: Settings) -> Subject:
    """What these settings are about."""
    base = None if settings.task is None else task_of(settings.task)
    if settings.model is not None:
        return OwnModel(settings.name, Path(settings.model), base, settings.shape, settings.pixels)
    return base or OwnFile(settings.name)
