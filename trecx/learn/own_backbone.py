"""What keeps a backbone of the user's own from being trained, all at once, before anything is written."""

from typing import Any

from mlperf_tiny.task import Backbone, Task
from trecx.learn.keras import keras


def problems(task: Task) -> list[str]:
    """Everything that is wrong with the backbone of a task; nothing where it can be trained."""
    try:
        found = task.backbone(keras())
        logits = found.head(found.features) if isinstance(found, Backbone) else None
    except Exception as error:  # the user's own code
        told = (str(error).splitlines() or [""])[0][:300]
        return [f"backbone(keras) raises {type(error).__name__}: {told}."]
    if not isinstance(found, Backbone):
        return [f"backbone(keras) returns {type(found).__name__}; supported: mlperf_tiny.task.Backbone."]
    answers = []
    if _shape(found.input) != task.input_shape:
        answers.append(
            f"The backbone's input has shape {_shape(found.input)}, the task's input_shape is {task.input_shape}."
        )
    if _shape(logits) != (len(task.classes),):
        answers.append(
            f"The backbone's head gives {_shape(logits)}; expected: one logit for each of {len(task.classes)} classes."
        )
    if not isinstance(found.taps, dict) or not found.taps:
        return [*answers, "The backbone has no taps; expected: a dictionary of tensors by name."]
    maps = {f"tap {name!r}": tensor for name, tensor in found.taps.items()} | {"features": found.features}
    for name, tensor in maps.items():
        shape = _shape(tensor)
        if len(shape) != 3 or None in shape:
            answers.append(f"The backbone's {name} has shape {shape}; supported: rows, columns, channels, all known.")
    named = [one.early.tap for one in task.attachments]
    answers += [
        f"An attachment reads the tap {tap!r}, which the backbone lacks." for tap in named if tap not in found.taps
    ]
    return answers


def _shape(tensor: Any) -> tuple[int | None, ...]:
    """Shape of a tensor without its batch; () where it is none."""
    return tuple(getattr(tensor, "shape", ()))[1:]
