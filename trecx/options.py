"""Settings as options of commands, and the options of long commands; clicks only, so that `--help` is instant."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.types import StringParamType

from trecx.settings import OPTIONS, Option

Decorator = Callable[[Any], Any]


class Registered(StringParamType):
    """The name of something registered. Help lists all, which are imported no earlier, and then `others`."""

    def __init__(self, names: Callable[[], tuple[str, ...]], *others: str) -> None:
        self.names, self.others = names, others

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what help and usage call the value."""
        return "|".join((*self.names(), *self.others))


def task_name(*others: str) -> Registered:
    """The name of a task."""
    return Registered(_tasks, *others)


def _tasks() -> tuple[str, ...]:
    from mlperf_tiny import TASKS

    return tuple(task.name for task in TASKS)


def setting(name: str) -> Decorator:
    """A setting as an option; left out it is None, and the run keeps its own value."""
    one = OPTIONS[name]
    if one.kind is bool:
        return click.option(one.flag, name, is_flag=True, flag_value=not one.default, default=None, help=one.help)
    multiple = isinstance(one.default, tuple) and one.metavar is None
    return click.option(one.flag, name, type=_type(one), metavar=one.metavar, multiple=multiple, help=one.help)


def _type(one: Option) -> Any:
    if one.names is not None:
        return Registered(one.names)
    if one.choices:
        return click.Choice(one.choices)
    if one.kind is Path:
        return click.Path(path_type=Path)
    if one.kind in (int, float):
        return (click.IntRange if one.kind is int else click.FloatRange)(one.least, one.most)  # type: ignore[arg-type]
    return one.kind


def settings_of(verb: str | None = None) -> Decorator:
    """The options of a verb on a run directory, or all of them, with the second way to name a tap."""
    names = [name for name, one in OPTIONS.items() if verb is None or verb in one.on]
    found = [decorator for name in names for decorator in (setting(name), *([tap_option] if name == "taps" else []))]

    def decorated(command: Any) -> Any:
        for decorator in reversed(found):
            command = decorator(command)
        return command

    return decorated


tap_option = click.option("--tap", help="The same for one layer, whatever its name.")
run_argument = click.argument("run", type=click.Path(path_type=Path), default=Path("build/kws"))
only_option = click.option(
    "--target", "targets", multiple=True, help="Only this one of the run's targets; may be repeated [default: all]."
)
