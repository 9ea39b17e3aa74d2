"""Exit methods: how early exits attach to a backbone and how they are trained."""

from dataclasses import replace
from typing import Any, Protocol

from mlperf_tiny.attachment import Attachment
from mlperf_tiny.task import Backbone, Task
from trecx.errors import TrecxError
from trecx.learn.exits.trecx import TRecX, suggested
from trecx.learn.keras import keras


class Method(Protocol):
    """What training asks of an exit method."""

    @property
    def name(self) -> str:
        """The method's name on the command line and in `exits.json`."""

    @property
    def exits(self) -> tuple[str, ...]:
        """Names of the exits in the order in which they are taken; they are the names of the model's outputs."""

    @property
    def attachment(self) -> Attachment:
        """What it attaches."""

    def attach(self, task: str, backbone: Backbone) -> Any:
        """A Keras model from the backbone's input to one softmax output per exit, in order, named like the exits.

        `task` names it. Raise TrecxError where the backbone lacks what the method attaches to.
        """

    def start(self, model: Any, head: Any) -> None:
        """Give layers that the backbone lacks what they can use of `head`, its trained last Dense layer."""

    def loss_weights(self) -> tuple[float, ...]:
        """Weight of each exit's cross-entropy in the joint loss."""

    def copies(self, model: Any) -> tuple[tuple[Any, Any], ...]:
        """Pairs (layer, copy): until its release the copy carries the layer's weights and gets no gradient."""


METHODS: tuple[type[TRecX], ...] = (TRecX,)


def method(name: str, attachment: Attachment) -> Method:
    """The method called `name` with an attachment; raise TrecxError where there is none."""
    for kind in METHODS:
        if kind.name == name:
            return kind(attachment)
    raise TrecxError(f"There is no exit method {name!r}.", f"Methods: {', '.join(kind.name for kind in METHODS)}.")


def attachment(task: Task, name: str | None = None, early_view: bool = True, tap: str | None = None) -> Attachment:
    """The task's attachment of this name, or its first; without `early_view` the final exit keeps its own head.

    With `tap`, or for a task without attachments, it is T-RecX's for that tap's shape. Raise TrecxError where the task
    has no attachment of this name, or its backbone no such tap or several to choose from.
    """
    if tap is not None or (name is None and not task.attachments):
        found = _derived(task, tap)
    else:
        known = [one for one in task.attachments if name in (None, one.name)]
        if not known:
            names = ", ".join(one.name for one in task.attachments) or "none"
            raise TrecxError(f"The task {task.name} has no exit {name!r}.", f"Exits that it names: {names}.")
        found = known[0]
    return found if early_view else replace(found, view=None)


def _derived(task: Task, tap: str | None) -> Attachment:
    """T-RecX's exit at a tap of the task's backbone, the only one where none is named."""
    backbone = task.backbone(keras())
    taps = [f"{name} {tuple(int(n) for n in tensor.shape[1:])}" for name, tensor in backbone.taps.items()]
    told = f"Its taps: {', '.join(taps)}."
    if tap is None and len(taps) != 1:
        raise TrecxError(f"The task {task.name} does not say where its exit attaches.", f"Choose with --tap. {told}")
    chosen = tap if tap is not None else next(iter(backbone.taps))
    if chosen not in backbone.taps:
        raise TrecxError(f"The backbone of {task.name} has no tap {chosen!r}.", told)
    return suggested(backbone, chosen)
