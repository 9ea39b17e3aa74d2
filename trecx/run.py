"""A run directory: one folder per step, replaced whole or not at all, and left alone while its inputs are the same.

`run.json` keeps the settings of the run. A step's folder holds, as `.stamp`, a fingerprint of everything the step read:
its own settings, its input files, and the program itself. The stamp comes and goes with what it stamps: whatever ends
a command, no folder has the stamp of another content.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trecx.errors import TrecxError

FORMAT = "trecx-run/1"
STAMP = ".stamp"


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
        try:
            document = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise TrecxError(
                f"{self.path / 'run.json'} cannot be read: {error}.", "Build into a new folder."
            ) from error
        shaped = isinstance(document, dict) and document.get("format") == FORMAT
        if not shaped or not isinstance(document.get("settings"), dict):
            raise TrecxError(f"{self.path / 'run.json'} is not of format {FORMAT}.", "Build into a new folder.")
        return document

    def fingerprint(self, step: str) -> str | None:
        """The fingerprint a finished step left behind; None where it has not run."""
        return self.stamps().get(step)

    def stamps(self) -> dict[str, str]:
        """The fingerprint of every finished step, by its folder's name."""
        found = {}
        for stamp in sorted(self.path.glob(f"[!.]*/{STAMP}")):
            with suppress(OSError, ValueError):
                found[stamp.parent.name] = stamp.read_text(encoding="utf-8")
        return found

    def step(self, name: str, fingerprint: str, work: Callable[[Path], None], resumable: bool = False) -> bool:
        """Let `work` fill the folder of a step and put it in place; False where it already is up to date.

        `work` receives an empty folder beside the final one. If it fails, the old folder stays as it was; only what a
        resumable step has begun is kept, and handed back to the next attempt with the same fingerprint.
        """
        done = self.fingerprint(name) == fingerprint
        partial = self.path / f".{name}.{fingerprint[:16]}.partial"
        for stale in self.path.glob(f".{name}.*.partial"):
            if not resumable or not (done or stale == partial):
                shutil.rmtree(stale)
        if done:
            return False
        partial.mkdir(exist_ok=True)
        try:
            work(partial)
            (partial / STAMP).write_text(fingerprint, encoding="utf-8")
        except BaseException:
            if not resumable or not any(partial.iterdir()):
                shutil.rmtree(partial, ignore_errors=True)
            raise
        self._replace(name, partial)
        return True

    def choose(self, settings: dict[str, Any]) -> None:
        """Keep these settings from now on."""
        write_json(self.path / "run.json", {"format": FORMAT, "settings": settings})

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the run while a command works; one that fails before it finished a step leaves the settings it found.

        A fresh run goes away again, unless an unfinished training is in it.
        """
        with self.lock():
            before = self.stamps()
            try:
                yield
            except BaseException:
                finished = self.stamps()
                if self.previous is not None and finished == before:
                    self.choose(self.previous)
                if self.fresh and not finished and not any(self.path.glob(".*.partial")):
                    shutil.rmtree(self.path, ignore_errors=True)
                raise

    def _replace(self, name: str, partial: Path) -> None:
        final, old = self.folder(name), self.path / f".{name}.old"
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.rename(old)
        partial.rename(final)
        shutil.rmtree(old, ignore_errors=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run directory alone; TrecxError where another trecx is at work in it."""
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise TrecxError(f"Another trecx is at work in {self.path}.", "Wait for it to finish.") from error
            yield


def create(path: Path, settings: dict[str, Any]) -> Run:
    """Make a run directory, or take up an existing one with new settings; refuse a folder that is something else."""
    try:
        if path.exists() and not path.is_dir():
            raise TrecxError(f"{path} is a file.", "Choose another folder with --out.")
        if path.is_dir() and any(path.iterdir()) and not (path / "run.json").is_file():
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


def open_(path: Path) -> Run:
    """An existing run directory; TrecxError where there is none."""
    if not (path / "run.json").is_file():
        raise TrecxError(f"{path} is not a run directory (it has no run.json).", "Make one with trecx build.")
    return Run(path)


def fingerprint(settings: object, inputs: Iterable[Path], program: str = "") -> str:
    """SHA-256 over settings, the names and contents of files (folders: every file below), and a part of the program."""
    digest = hashlib.sha256(f"{settings!r}\0{program}".encode())
    for file in (file for path in inputs for file in _files(path)):
        digest.update(f"\0{file.name}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    """The files of a folder but its stamp, which says where they come from and not what they are; or the file."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != STAMP)


def write_json(path: Path, document: object) -> None:
    """Write JSON so that readers see the old file or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
