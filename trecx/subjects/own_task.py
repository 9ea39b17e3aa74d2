"""A task of the user's own, from `FILE.py:NAME`. The file is the user's program: it is run."""

import contextlib
import importlib.util
import math
import sys
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import mlperf_tiny
from mlperf_tiny.attachment import Attachment
from mlperf_tiny.recipe import Recipe
from mlperf_tiny.task import Data, DataError, Split, Task
from trecx.errors import TrecxError
from trecx.files import sha256
from trecx.naming import usable

HINT = "A task is a mlperf_tiny.task.Task, named as FILE.py:NAME; docs/own_task.py is one."


def located(text: str) -> str:
    """`FILE.py:NAME` with an absolute path; TrecxError where it is not of this form or there is no such file."""
    file, colon, name = text.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise TrecxError(f"{text!r} does not name a task.", HINT)
    if not Path(file).is_file():
        raise TrecxError(f"There is no {file}.", HINT)
    return f"{Path(file).absolute()}:{name}"


def load(spec: str) -> Task:
    """The task of this file and name; TrecxError with everything that is wrong with it but its backbone."""
    file, _, name = located(spec).rpartition(":")
    module = _module(Path(file), sha256(Path(file)))
    found = getattr(module, name, None)
    if not isinstance(found, Task):
        tasks = [key for key, value in vars(module).items() if isinstance(value, Task)]
        what = f"{file} has no {name}" if found is None else f"{name} in {file} is {type(found).__name__}, not a Task"
        raise TrecxError(f"{what}.", f"Tasks in this file: {', '.join(tasks) or 'none'}. {HINT}")
    wrong = [f"{spec}: {problem}" for problem in problems(found)]
    if wrong:
        raise TrecxError(wrong, HINT)
    return found


@cache
def _module(file: Path, _: str) -> ModuleType:
    """The module in a file; what it prints goes to standard error, which is not for results."""
    spec = importlib.util.spec_from_file_location(f"own_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # last, so that no file beside it hides a library
    sys.modules[spec.name] = module
    try:
        with contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise TrecxError(f"{error.filename}, line {error.lineno}: {error.msg}.", "Correct the file.") from error
    except (Exception, SystemExit) as error:
        raise TrecxError(f"{_where(error, file)}: {_told(error)}.", "Correct the file.") from error
    return module


def _where(error: BaseException, file: Path) -> str:
    """The last line of the user's file that an error went through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
    return f"{file}, line {lines[-1]}" if lines else str(file)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}".removesuffix(": ")


def problems(task: Task) -> list[str]:
    """Everything that is wrong with a task's own fields."""
    found = []
    if not isinstance(task.name, str) or not usable(task.name) or task.name == "backbone":
        found.append(f"name {task.name!r} cannot name C; use lower-case letters, digits and _, 32 at most.")
    elif task.name in {known.name for known in mlperf_tiny.TASKS}:
        found.append(f"name {task.name!r} is that of a task of MLPerf Tiny; choose another.")
    if not isinstance(task.title, str):
        found.append(f"title is {task.title!r}, not text.")
    if task.runner_name != "" and not (isinstance(task.runner_name, str) and usable(task.runner_name)):
        found.append(f"runner_name {task.runner_name!r} cannot stand in C; use lower-case letters, digits and _.")
    shape = task.input_shape
    whole = isinstance(shape, tuple) and len(shape) == 3 and all(type(n) is int and n > 0 for n in shape)
    if not whole:
        found.append(f"input_shape is {shape!r}; expected: (rows, columns, channels), all of them 1 or more.")
    classes = task.classes
    if not isinstance(classes, tuple) or not all(isinstance(name, str) and name for name in classes):
        found.append(f"classes is {classes!r}; expected: a tuple of names.")
    elif len(classes) < 2 or len(set(classes)) < len(classes):
        found.append(f"classes are {', '.join(classes) or 'none'}; expected: two or more, each once.")
    found += [f"{name} cannot be called." for name in ("backbone", "load") if not callable(getattr(task, name))]
    if task.fetch is not None and not callable(task.fetch):
        found.append("fetch can neither be called nor is it None.")
    if task.unlabelled is not None and not callable(task.unlabelled):
        found.append("unlabelled can neither be called nor is it None.")
    return found + _choices(task)


def _choices(task: Task) -> list[str]:
    """What is wrong with a task's quantization, recipes and attachments."""
    found = []
    quant: Any = task.input_quant
    if quant is not None:
        pair = isinstance(quant, tuple) and len(quant) == 2 and all(isinstance(n, int | float) for n in quant)
        if not pair or not (math.isfinite(quant[0]) and quant[0] > 0 and quant[1] in range(-128, 128)):
            found.append(f"input_quant is {quant!r}; expected: (scale above 0, zero point from -128 to 127), or None.")
    for name in ("recipe", "tuning"):
        if not isinstance(getattr(task, name), Recipe):
            found.append(f"{name} is no mlperf_tiny.recipe.Recipe.")
    attached = task.attachments
    if not isinstance(attached, tuple) or not all(isinstance(one, Attachment) for one in attached):
        found.append("attachments is no tuple of mlperf_tiny.attachment.Attachment.")
    elif len({one.name for one in attached}) < len(attached):
        found.append("two attachments have the same name.")
    return found


def read(task: Task, spec: str, folder: Path, progress: Any, training: bool) -> Data:
    """The data of a task of the user's own, checked; TrecxError for whatever its `load` raises or returns."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = task.load(folder, progress, training=training)
    except (TrecxError, DataError):
        raise
    except Exception as error:
        where = _where(error, Path(spec.rpartition(":")[0]))
        raise TrecxError(
            f"{where}: {_told(error)}.", f"load({folder}, progress, training={training}) must not."
        ) from error
    wrong = [f"{spec}: {problem}" for problem in _data_problems(task, found, training)]
    if wrong:
        raise TrecxError(wrong, "load(folder, progress, training=True) returns mlperf_tiny.task.Data.")
    return found


def unlabelled(task: Task, spec: str, folder: Path, progress: Any) -> Iterator[np.ndarray]:
    """The samples without labels of a task of the user's own, checked; TrecxError as for `read`."""
    assert task.unlabelled is not None
    blocks: Iterator[np.ndarray] | None = None
    while True:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                blocks = iter(task.unlabelled(folder, progress)) if blocks is None else blocks
                x = next(blocks, None)
        except (TrecxError, DataError):
            raise
        except Exception as error:
            where = _where(error, Path(spec.rpartition(":")[0]))
            raise TrecxError(f"{where}: {_told(error)}.", f"unlabelled({folder}, progress) must not.") from error
        if x is None:
            return
        if wrong := _sample_problems(task, x, "samples without labels"):
            hint = "unlabelled(folder, progress) yields arrays of samples."
            raise TrecxError([f"{spec}: {problem}" for problem in wrong], hint)
        yield x


def _data_problems(task: Task, data: Any, training: bool) -> list[str]:
    if not isinstance(data, Data):
        return [f"load returns {type(data).__name__}, not Data."]
    needed = ("train", "validation", "test") if training else ("test",)
    return [problem for name in needed for problem in _split_problems(task, getattr(data, name), name)]


def _sample_problems(task: Task, x: Any, what: str) -> list[str]:
    if not isinstance(x, np.ndarray):
        return [f"{what} are {type(x).__name__}, no arrays."]
    if x.dtype != np.float32 or x.shape[1:] != task.input_shape:
        return [f"{what} are {x.dtype} {x.shape[1:]}; expected: float32 {task.input_shape}."]
    return [] if np.isfinite(x).all() else [f"{what} have values that are not finite."]


def _split_problems(task: Task, split: Any, name: str) -> list[str]:
    if not isinstance(split, Split) or not isinstance(split.x, np.ndarray) or not isinstance(split.y, np.ndarray):
        return [f"{name} is no Split of arrays."]
    found = [] if len(split.y) else [f"{name} has no samples."]
    found += _sample_problems(task, split.x, f"samples of {name}")
    if split.y.shape != (len(split.x),) or not np.issubdtype(split.y.dtype, np.integer):
        found.append(f"labels of {name} are {split.y.dtype} {split.y.shape}; expected: integers ({len(split.x)},).")
    elif len(split.y) and not 0 <= split.y.min() <= split.y.max() < len(task.classes):
        found.append(f"labels of {name} are not all from 0 to {len(task.classes) - 1}.")
    return found
