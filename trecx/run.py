"""A run directory: one folder per step, replaced whole or not at all, and left alone while its inputs are the same.

`run.json` keeps the settings of the run. A step's folder holds, as `.stamp`, everything the step was made from: its own
settings, its input files, and the program itself. The stamp comes and goes with what it stamps: whatever ends a
command, no folder has the stamp of another content.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trecx import documents, machine
from trecx import stamp as stamps
from trecx.errors import TrecxError
from trecx.files import held, write_json
from trecx.stamp import STAMP, Origin, Stamp

FORMAT = "trecx-run/1"
# What a kill leaves of a run that it ended before there was one.
BEGUN = (".lock", ".partial-run.json")


class Busy(TrecxError):
    """Another process is at work in a run directory."""


@dataclass(frozen=True)
class Run:
    """An existing run directory.

    `previous` are the settings that it had before this command changed them; `fresh` where this command made it.
    """

    path: Path
    previous: dict[str, Any] | None = None
    fresh: bool = False

    def folder(self, step: str) -> Path:
        """Where a step leaves its files."""
        return self.path / step

    @property
    def document(self) -> dict[str, Any]:
        """The content of `run.json`; raises TrecxError where it is not one."""
        document = documents.required(self.path / "run.json", "Build into a new folder.")
        shaped = isinstance(document, dict) and document.get("format") == FORMAT
        if not shaped or not isinstance(document.get("settings"), dict):
            raise TrecxError(f"{self.path / 'run.json'} is not of format {FORMAT}.", "Build into a new folder.")
        return document

    def stamp(self, step: str) -> Stamp | None:
        """What a finished step was made from; None where it has not run."""
        return stamps.read(self.folder(step))

    def objections(self, step: str, origin: Origin) -> list[str]:
        """Why a finished step does not count as made from `origin`, as fragments; none where it does or has not run."""
        found = self.stamp(step)
        return [] if found is None else found.objections(origin, self.folder(step))

    def is_done(self, step: str, origin: Origin) -> bool:
        """Whether a step is finished and made from `origin`."""
        return self.stamp(step) is not None and not self.objections(step, origin)

    def step(
        self,
        name: str,
        origin: Origin,
        work: Callable[[Path], None],
        resumable: bool = False,
        about: dict[str, Any] | None = None,
    ) -> bool:
        """Let `work` fill the folder of a step and put it in place; False where it already is up to date.

        `work` receives an empty folder beside the final one. If it fails, the old folder stays as it was; only what a
        resumable step has begun is kept, and handed back to the next attempt from the same origin.
        """
        done = self.is_done(name, origin)
        partial = self.path / f".{name}.{origin.digest[:16]}.partial"
        for stale in self.path.glob(f".{name}.*.partial"):
            if not resumable or not (done or stale == partial):
                shutil.rmtree(stale)
        if done:
            return False
        partial.mkdir(exist_ok=True)
        try:
            work(partial)
            Stamp.of(origin, partial, about or {}).write(partial)
        except BaseException:
            if not resumable or not any(partial.iterdir()):
                shutil.rmtree(partial, ignore_errors=True)
            raise
        self._replace(name, partial)
        return True

    def _finished(self) -> dict[str, str]:
        """The stamps of all finished steps as they are written, by folder."""
        found = {}
        for path in sorted(self.path.glob(f"[!.]*/{STAMP}")):
            with suppress(OSError, ValueError):
                found[path.parent.name] = path.read_text(encoding="utf-8")
        return found

    def choose(self, settings: dict[str, Any]) -> None:
        """Keep these settings from now on."""
        seal = machine.seal(stamps.digest(settings))
        write_json(self.path / "run.json", {"format": FORMAT, "settings": settings, "seal": seal})

    @property
    def ours(self) -> bool:
        """Whether the settings were written on this machine."""
        document = self.document
        return bool(document.get("seal") == machine.seal(stamps.digest(document["settings"])))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the run while a command works; one that fails before it finished a step leaves the settings it found.

        A fresh run goes away again, unless an unfinished training is in it.
        """
        with self.lock():
            before = self._finished()
            try:
                yield
            except BaseException:
                finished = self._finished()
                if self.previous is not None and finished == before:
                    self.choose(self.previous)
                if self.fresh and not finished and not any(self.path.glob(".*.partial")):
                    shutil.rmtree(self.path, ignore_errors=True)
                raise

    def _replace(self, name: str, partial: Path) -> None:
        final, old = self.folder(name), self.path / f".{name}.old"
        shutil.rmtree(old, ignore_errors=True)
        try:
            if final.exists():
                final.rename(old)
            partial.rename(final)
        except BaseException:
            if old.exists() and not final.exists():
                old.rename(final)
            raise
        shutil.rmtree(old, ignore_errors=True)

    @contextmanager
    def lock(self, wait: bool = False) -> Iterator[None]:
        """Hold the run directory alone; raises Busy where another trecx is at work in it and `wait` is not."""
        with ExitStack() as stack:
            try:
                stack.enter_context(held(self.path / ".lock", wait))
            except BlockingIOError as error:
                raise Busy(f"Another trecx is at work in {self.path}.", "Wait for it to finish.") from error
            yield


def create(path: Path, settings: dict[str, Any]) -> Run:
    """Make a run directory, or take up an existing one with new settings; refuse a folder that is something else."""
    try:
        if path.exists() and not path.is_dir():
            raise TrecxError(f"{path} is a file.", "Choose another folder with --out.")
        others = path.is_dir() and any(one.name not in BEGUN for one in path.iterdir())
        if others and not (path / "run.json").is_file():
            raise TrecxError(f"{path} holds other files and no run.json.", "Choose an empty or new folder with --out.")
        path.mkdir(parents=True, exist_ok=True)
        run = Run(path, fresh=True)
        with run.lock():
            if (path / "run.json").exists():
                run = Run(path, run.document["settings"])
            run.choose(settings)
    except OSError as error:
        raise TrecxError(f"{path} cannot be written: {error.strerror}.", "Choose another folder with --out.") from error
    return run


def bare(path: Path) -> Run:
    """A folder of steps without settings of its own, made where there is none."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / ".lock").touch()
    except OSError as error:
        raise TrecxError(f"{path} cannot be written: {error.strerror}.", "Choose another folder with --out.") from error
    return Run(path)


def open_(path: Path) -> Run:
    """An existing run directory; TrecxError where there is none."""
    if not (path / "run.json").is_file():
        raise TrecxError(f"{path} is not a run directory (it has no run.json).", "Make one with trecx build.")
    return Run(path)
