"""What a person sees while steps run: one line per step, a bar while it is long.

Goes to standard error, so that standard output carries results only.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Columns of a table that nobody's window limits: enough for every target side by side.
PIPE_WIDTH = 120

Report = Callable[[int, int], None]


class Console:
    """Progress of a run; `quiet` says nothing but errors."""

    def __init__(self, quiet: bool = False) -> None:
        self.rich = RichConsole(stderr=True, quiet=quiet, highlight=False)

    def out(self, result: object) -> None:
        """Print a result on standard output, as wide as the terminal, or in a pipe as it needs; text as it is."""
        console = RichConsole(highlight=False)
        if not console.is_terminal:
            console = RichConsole(highlight=False, width=PIPE_WIDTH)
        console.print(result, markup=False, soft_wrap=isinstance(result, str))

    def line(self, text: str) -> None:
        """One plain line."""
        self.rich.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, name: str) -> Iterator["Step"]:
        """A step's line, with what came of it and how long it took."""
        started = time.monotonic()
        step = Step(self.rich, name)
        yield step
        seconds = time.monotonic() - started
        took = f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s"
        self.line(f"  {name:<10} {step.outcome or 'done'}{'' if step.unchanged else f'  ({took})'}")


class Step:
    """One running step: `outcome` is what its line will say."""

    def __init__(self, rich: RichConsole, name: str) -> None:
        self.rich = rich
        self.name = name
        self.outcome = ""
        self.unchanged = False

    def show(self, what: object) -> None:
        """Something to be read before the step's line: a sentence, or a table."""
        self.rich.print(what, markup=False, soft_wrap=isinstance(what, str))

    @contextmanager
    def progress(self, what: str) -> Iterator[Report]:
        """A bar for (done, total), shown while the block runs; nothing where standard error is no terminal."""
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.rich, transient=True, disable=not self.rich.is_terminal) as bar:
            task = bar.add_task(f"{self.name:<10} {what}", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
