"""What tests ask of a device: its known-answer test, and to be found while it runs."""

import time
from contextlib import suppress
from itertools import count

from trecx.device.build import Build
from trecx.device.console import Console
from trecx.device.qemu import counting
from trecx.errors import TrecxError


def self_test(build: Build) -> int:
    """Differences that the firmware's known-answer test finds in the emulator; 0 is right."""
    with counting(build) as console:
        return int(console.value("test", "test"))


def synchronize(port: int, timeout_s: float = 30) -> None:
    """Find the end of the replies of a device that was already running, whatever it has said or half received.

    Sends a nonsense word, a new one each second, until the device complains about the newest: a pseudo-terminal
    swallows what is sent in the first second after it was opened.
    """
    deadline = time.monotonic() + timeout_s
    for tries in count(1):
        console = Console(port, port, timeout_s=1.0)
        with suppress(TrecxError):
            lines = console.ask(f"sync-{tries}")
            while f"e-[Unknown command: sync-{tries}]" not in lines:
                (lines,) = console._exchange(b"", 1, "it to answer")
            return
        assert time.monotonic() < deadline, "the device is silent"
