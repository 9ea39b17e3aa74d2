"""What a person sees while workers search: a line for each trial that is done, and what is at work."""

from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trecx.console import Console
from trecx.settings import TRAINED
from trecx.studies.sweep import results, store
from trecx.studies.sweep.results import Found, Trial
from trecx.studies.sweep.worker import Order

if TYPE_CHECKING:
    from optuna import Study


class Watch:
    """Follows the trials of a study; bars are shown where standard error is a terminal."""

    def __init__(self, console: Console, base: Found, order: Order) -> None:
        self.console, self.base, self.order = console, base, order
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bars = Progress(*columns, console=console.rich, transient=True, disable=not console.rich.is_terminal)
        self.whole = self.bars.add_task("trials", total=base.wanted)
        self.told: set[int] | None = None
        self.running: dict[int, Any] = {}

    def __enter__(self) -> "Watch":
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def see(self, study: "Study") -> None:
        """Show what has changed."""
        trials = store.counted(study)
        done = {one.number: one for one in store.finished(trials)}
        new = set(done) - (self.told or set())
        if self.told is None and done:
            self.console.line(f"  {'':<10} {len(done)} trials were done before")
            new = set()
        for number in sorted(new):
            found = results.trial(done[number], self.order.out, self.order.settings)
            self.console.line(f"  {f'trial {number}':<10} {line(found)}")
        self.told = set(done)
        self.bars.update(self.whole, completed=len(done))
        at = {one.number: one.user_attrs for one in trials if one.state.name == "RUNNING"}
        for number in set(self.running) - set(at):
            self.bars.remove_task(self.running.pop(number))
        for number, attributes in at.items():
            if number not in self.running:
                self.running[number] = self.bars.add_task("", total=len(TRAINED))
            step = attributes.get(store.STEP)
            behind, doing = (TRAINED.index(step), step) if step in TRAINED else (0, "waits")
            self.bars.update(self.running[number], description=f"trial {number}: {doing}", completed=behind)


def line(found: Trial) -> str:
    """A trial in one line."""
    if found.judged is None:
        return f"could not be: {found.problem}"
    own, judged = found.settings, found.judged
    what = " ".join(filter(None, (own["method"], "at", ", ".join(own["taps"]), own["criterion"], found.others)))
    cost = f"{judged.cost / results.MILLION:.3f} {results.unit(judged.counted)}"
    return f"{judged.accuracy:.2%}, {cost}, {judged.exit_rate:.0%} leave early: {what}"
