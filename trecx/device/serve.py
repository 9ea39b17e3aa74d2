"""Firmware behind a pseudo-terminal, until it is interrupted."""

from collections.abc import Callable

from trecx.device.build import Build
from trecx.device.qemu import served
from trecx.errors import TrecxError


def serve(build: Build, say: Callable[[str], None]) -> None:
    """Start the firmware in its emulator, `say` which port to open, and return when Ctrl-C stops it.

    The port looks like a device of MLPerf Tiny's runner (115,200 baud, any other works too). Raises TrecxError where
    the emulator ends by itself.
    """
    with served(build) as running:
        say(f"{build.model.name} ({build.model.task}) on {build.target.title} listens on {running.path}")
        say("Commands end with %, for example help%. Ctrl-C stops it.")
        try:
            running.wait()
        except KeyboardInterrupt:
            return
        raise TrecxError(f"The emulator ended by itself, with status {running.process.returncode}.")
