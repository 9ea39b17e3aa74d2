"""Exit methods: how early exits attach to a backbone and how they are trained."""

from mlperf_tiny.task import Task
from trecx.errors import TrecxError
from trecx.learn.exits.branchynet import BranchyNet
from trecx.learn.exits.dyce import DyCE
from trecx.learn.exits.dynexit import DynExit
from trecx.learn.exits.eenet import EENet
from trecx.learn.exits.method import Choice, Method
from trecx.learn.exits.none import Plain
from trecx.learn.exits.pteenet import PTEENet
from trecx.learn.exits.sdn import SDN
from trecx.learn.exits.softcond import SoftCond
from trecx.learn.exits.trecx import TRecX

METHODS = (TRecX, BranchyNet, SDN, DynExit, EENet, SoftCond, PTEENet, DyCE, Plain)


def method(name: str, task: Task, choice: Choice | None = None) -> Method:
    """The method called `name` for a task, with the exits that were chosen; raise TrecxError where there is none."""
    for kind in METHODS:
        if kind.name == name:
            return kind.of(task, choice or Choice())
    raise TrecxError(f"There is no exit method {name!r}.", f"Methods: {', '.join(kind.name for kind in METHODS)}.")
