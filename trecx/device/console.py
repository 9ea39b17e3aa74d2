"""The host's end of the serial protocol that `firmware/app/serve.c` speaks."""

import os
import re
import select
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from trecx.errors import TrecxError

READY = "m-ready"
COMMAND_BYTES = 38  # of a sample per `db` command: 3 + 2 * 38 characters stay within the firmware's 80
READ_BYTES = 65536
LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class RawAnswer:
    """Reply to `raw`: scores and logits are int8 `(classes,)`, or the answer's values and none.

    Ticks include the cost of measuring.
    """

    exit: int
    label: int
    ticks: int
    scores: np.ndarray
    logits: np.ndarray


class Console:
    """A device on a pair of file descriptors (pipes, a pty, a serial port), which stay the caller's to close.

    Every wait ends: after `timeout_s` without the awaited reply, or when the device goes away, it raises TrecxError.
    """

    def __init__(self, reads: int, writes: int, timeout_s: float = 60.0) -> None:
        self._reads, self._writes, self.timeout_s = reads, writes, timeout_s
        self._received = b""
        os.set_blocking(reads, False)
        os.set_blocking(writes, False)

    def boot(self) -> tuple[str, ...]:
        """The lines a device sends after reset, before it listens."""
        return self._exchange(b"", 1, "the device to start")[0]

    def ask(self, command: str) -> tuple[str, ...]:
        """Send one command (without `%`) and return the lines of its reply, without "m-ready"."""
        return self._exchange(f"{command}%".encode("ascii"), 1, f"the reply to {command!r}")[0]

    def value(self, command: str, name: str) -> str:
        """What stands between the brackets of the reply `m-NAME-[...]`; an `e-[...]` reply is raised."""
        lines = self.ask(command)
        for line in lines:
            if line.startswith(f"m-{name}-[") and line.endswith("]"):
                return line[len(name) + 4 : -1]
        raise TrecxError(f"The device answered {command!r} with {' | '.join(lines) or 'nothing'}.")

    def load(self, payload: bytes) -> None:
        """Send a sample; it stays loaded until the next one."""
        self._run(load_commands(payload))

    def infer(self, payload: bytes) -> RawAnswer:
        """Load a sample and run it once; one round trip."""
        return self._raw(load_commands(payload))

    def infer_picked(self, index: int) -> RawAnswer:
        """Run the sample at place `index` of the board's sample memory; one short round trip."""
        return self._raw((f"pick {index}",))

    def _raw(self, load: Sequence[str]) -> RawAnswer:
        lines = self._run((*load, "raw"))[-1]
        found = re.fullmatch(r"m-raw-\[(\d+),(\d+),(\d+),([0-9a-f]+),([0-9a-f]*)\]", lines[0] if lines else "")
        if found is None:
            raise TrecxError(f"The device answered 'raw' with {' | '.join(lines) or 'nothing'}.")
        scores, logits = (np.frombuffer(bytes.fromhex(text), np.int8) for text in found.groups()[3:])
        return RawAnswer(int(found[1]), int(found[2]), int(found[3]), scores, logits)

    def _run(self, commands: Sequence[str]) -> list[tuple[str, ...]]:
        replies = self._exchange(
            "".join(f"{command}%" for command in commands).encode("ascii"), len(commands), "a sample's answer"
        )
        errors = [line for reply in replies for line in reply if line.startswith("e-[")]
        if errors:
            raise TrecxError(f"The device refused a sample: {' | '.join(errors)}.")
        return replies

    def _exchange(self, sends: bytes, replies: int, what: str) -> list[tuple[str, ...]]:
        """Write `sends` while reading until `replies` replies are complete, so that neither side blocks the other."""
        complete: list[tuple[str, ...]] = []
        lines: list[str] = []
        deadline = time.monotonic() + self.timeout_s
        while len(complete) < replies:
            sends = self._move(sends, deadline, what)
            *whole, self._received = self._received.split(b"\n")
            if len(self._received) > LONGEST_LINE:
                raise TrecxError(f"The device sends garbage instead of {what}: a line without end.")
            for line in (raw.strip(b"\r\0").decode("ascii", "replace") for raw in whole):
                if line == "e-[fault]":
                    raise TrecxError(
                        "The firmware crashed: the device reports a fault (a stack overflow, a bad pointer)."
                    )
                if line == READY:
                    complete.append(tuple(lines))
                    lines = []
                elif line:
                    lines.append(line)
        return complete

    def _move(self, sends: bytes, deadline: float, what: str) -> bytes:
        """Wait for the device to take or give some bytes; returns what is still to be sent."""
        wait = deadline - time.monotonic()
        writes = [self._writes] if sends else []
        readable, writable, _ = select.select([self._reads], writes, [], max(wait, 0))
        if not readable and not writable:
            raise TrecxError(f"The device is silent: waited {self.timeout_s:.0f} s for {what}.")
        try:
            if readable:
                received = os.read(self._reads, READ_BYTES)
                if not received:
                    raise BrokenPipeError
                self._received += received
            return sends[os.write(self._writes, sends) :] if writable else sends
        except BlockingIOError:
            return sends
        except OSError as error:
            raise TrecxError(f"The device went away while waiting for {what}.") from error


def load_commands(payload: bytes) -> tuple[str, ...]:
    """The commands that load a sample."""
    pieces: Iterable[bytes] = (payload[k : k + COMMAND_BYTES] for k in range(0, len(payload), COMMAND_BYTES))
    return (f"db load {len(payload)}", *(f"db {piece.hex()}" for piece in pieces))
