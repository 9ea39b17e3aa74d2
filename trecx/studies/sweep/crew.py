"""Workers are processes: started, watched, replaced where one ends that should not have, and ended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from trecx.errors import TrecxError
from trecx.studies.sweep import store
from trecx.studies.sweep.worker import Order, wanted

SECOND = 1.0
TEMPORARY = "temporary"
# How often a worker is replaced; whatever ends so many ends the others too.
MOST_ENDED = 10


class Crew:
    """The workers of one command."""

    def __init__(self, order: Order, size: int) -> None:
        self.order = order
        self.size = size
        self.alive: list[tuple[str, subprocess.Popen[str]]] = []
        self.ended: list[str] = []
        self.started = 0

    def work(self, watch: Callable[[Any], None]) -> None:
        """Have the wanted trials done, as far as none is at work elsewhere; `watch` sees the study every second.

        TrecxError where workers end again and again. However it ends, no worker is left.
        """
        study = store.open_(self.order.storage, self.order.study)
        (self.order.out / store.WORKERS).mkdir(exist_ok=True)
        self._tidy()
        try:
            while True:
                self._look()
                store.collect(study, self.order.out)
                watch(study)
                trials = store.counted(study)
                if store.is_work(trials, wanted(study)):
                    self._fill()
                elif not self.alive and not any(store.is_unclaimed(one) for one in trials):
                    return
                self._wait()
        finally:
            self.stop()
            self._tidy()
            store.collect(study, self.order.out)

    def _fill(self) -> None:
        while len(self.alive) < self.size:
            self.started += 1
            name = uuid4().hex[:12]
            order = replace(self.order, id=name, number=self.started)
            log = (self.order.out / store.WORKERS / name).open("w", encoding="utf-8")
            own = self.order.out / TEMPORARY / name
            own.mkdir(parents=True)
            with log:
                # A group of its own: an interruption reaches the command alone, which ends its workers.
                process = subprocess.Popen(
                    [sys.executable, "-m", "trecx.studies.sweep.worker"],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    text=True,
                    start_new_session=True,
                    env={**os.environ, "TMPDIR": str(own)},
                )
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(order), default=str) + "\n")
            process.stdin.flush()
            self.alive.append((name, process))

    def _look(self) -> None:
        """Part with those that have ended."""
        for name, process in [one for one in self.alive if one[1].poll() is not None]:
            self.alive.remove((name, process))
            if process.returncode:
                self.ended.append(name)
        if len(self.ended) >= MOST_ENDED or (self.ended and not self.alive and self._all_fell()):
            raise TrecxError(
                [f"A worker ended: {_last_line(self.order.out / store.WORKERS / name)}" for name in self.ended[-2:]],
                f"{self.order.out / store.WORKERS} has what each of them said.",
            )

    def _tidy(self) -> None:
        """Remove the temporary files of workers that have ended: features of a frozen backbone may be gigabytes."""
        for folder in (self.order.out / TEMPORARY).glob("*"):
            if store.is_gone(self.order.out / store.WORKERS / folder.name):
                shutil.rmtree(folder, ignore_errors=True)

    def _all_fell(self) -> bool:
        """Whether no worker got as far as its first trial, so that others will not either."""
        logs = [(self.order.out / store.WORKERS / name).read_text(encoding="utf-8") for name in self.ended]
        return len(self.ended) == self.started and not any("\ntrial " in log for log in logs)

    def _wait(self) -> None:
        """About a second, or less where a worker ends."""
        try:
            if self.alive:
                self.alive[0][1].wait(SECOND)
            else:
                threading.Event().wait(SECOND)
        except subprocess.TimeoutExpired:
            pass

    def stop(self) -> None:
        """End all workers: what they have begun is gone on with another time."""
        for _, process in self.alive:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the compilers that it runs
        for _, process in self.alive:
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        self.alive.clear()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1][:300] if lines else "it said nothing"
