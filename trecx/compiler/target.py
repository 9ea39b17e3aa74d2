"""Where the generated C runs. A target is data: flags, sizes and the way to start it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A compiler with its flags, a board folder of `firmware/boards/` and, where there is one, an emulator.

    `program` is what is built (`device/build.py`). `counting` makes the emulator's clock a fixed number of
    ns per instruction, and `instructions_per_tick` converts the board's timer under that clock.
    `samples_address` is where the emulator puts up to `samples_size` bytes of inputs (`board_samples` of the board).
    `flash_size` and `ram_size` are bytes and reach the linker script under these names; None on the host.
    """

    name: str
    title: str
    compiler: str
    cflags: tuple[str, ...]
    board: str
    program: str = "serve"
    ldflags: tuple[str, ...] = ()
    emulator: tuple[str, ...] | None = None
    counting: tuple[str, ...] = ()
    instructions_per_tick: float | None = None
    samples_address: int | None = None
    samples_size: int = 0
    flash_size: int | None = None
    ram_size: int | None = None


HOST = Target(
    name="host",
    title="this machine",
    compiler="cc",
    cflags=("-O2",),
    board="host",
    program="trace",
)

# 256 ns per instruction against 40 ns per tick of the 25 MHz timer: 6.4 ticks per instruction, so the difference of two
# readings, each less than one tick off, rounds to the exact count. The 32-bit timer spans 671 million instructions.
CORTEX_M4 = Target(
    name="cortex-m4",
    title="Cortex-M4F, QEMU mps2-an386",
    compiler="arm-none-eabi-gcc",
    cflags=(
        *("-O2", "-mthumb", "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
        *("-ffunction-sections", "-fdata-sections"),
    ),
    board="mps2_an386",
    ldflags=("-nostartfiles", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments"),
    emulator=("qemu-system-arm", "-M", "mps2-an386"),
    counting=("-icount", "shift=8,sleep=off"),
    instructions_per_tick=40 / 256,
    samples_address=0x21000000,
    samples_size=16 * 1024 * 1024,
    flash_size=4 * 1024 * 1024,
    ram_size=4 * 1024 * 1024,
)

TARGETS = (HOST, CORTEX_M4)
