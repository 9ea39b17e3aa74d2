"""Where the generated C runs. A target is data: flags, sizes and the way to start it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A compiler with its flags, a board folder of `firmware/boards/` and, where there is one, an emulator.

    `program` is what is built (`device/build.py`). `counting` makes the emulator's clock a fixed number of
    ns per instruction, and `instructions_per_tick` converts the board's timer under that clock.
    `samples_address` is where the emulator puts up to `samples_size` bytes of inputs (`board_samples` of the board).
    `flash_size` and `ram_size` are bytes and reach the linker script under these names; None on the host.
    `kernels` are the variants of `compiler/kernels/` that it can run, the best first.
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
    kernels: tuple[str, ...] = ("portable",)

    def flags(self, optimize: str = "time") -> tuple[str, ...]:
        """The compiler's flags where the code is optimized for "time", "ram" or "flash"."""
        return tuple(FOR_FLASH.get(flag, flag) if optimize == "flash" else flag for flag in self.cflags)


# What takes a flag's place where the smallest code is wanted.
FOR_FLASH = {"-O2": "-Os"}

HOST = Target(
    name="host",
    title="this machine",
    compiler="cc",
    cflags=("-O2",),
    board="host",
    program="trace",
)

_SECTIONS = ("-ffunction-sections", "-fdata-sections")
# Scheduling before registers are allocated makes portable kernels spill: 2 to 5 % more instructions.
_NO_SCHEDULE = "-fno-schedule-insns"
_ARM_LINKING = ("-nostartfiles", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments")


def _mps2(name: str, title: str, machine: str, cpu: tuple[str, ...], kernels: tuple[str, ...]) -> Target:
    """A core on Arm's MPS2 board: code at 0, data at 0x20000000, samples in the 16 MB PSRAM.

    256 ns per instruction against 40 ns per tick of the 25 MHz timer: 6.4 ticks per instruction, so the difference of
    two readings, each less than one tick off, rounds to the exact count. The 32-bit timer spans 671 million
    instructions.
    """
    return Target(
        name=name,
        title=title,
        compiler="arm-none-eabi-gcc",
        cflags=("-O2", "-mthumb", *cpu, *_SECTIONS),
        board="mps2",
        ldflags=_ARM_LINKING,
        emulator=("qemu-system-arm", "-M", machine),
        counting=("-icount", "shift=8,sleep=off"),
        instructions_per_tick=40 / 256,
        samples_address=0x21000000,
        samples_size=16 * 1024 * 1024,
        flash_size=4 * 1024 * 1024,
        ram_size=4 * 1024 * 1024,
        kernels=kernels,
    )


# The machine has a Cortex-M3, whose instructions include those of a Cortex-M0.
CORTEX_M0 = _mps2(
    "cortex-m0", "Cortex-M0 code, QEMU mps2-an385", "mps2-an385", ("-mcpu=cortex-m0",), kernels=("portable",)
)
CORTEX_M3 = _mps2(
    "cortex-m3", "Cortex-M3, QEMU mps2-an385", "mps2-an385", ("-mcpu=cortex-m3", _NO_SCHEDULE), kernels=("portable",)
)
CORTEX_M4 = _mps2(
    "cortex-m4",
    "Cortex-M4F, QEMU mps2-an386",
    "mps2-an386",
    ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
    kernels=("dsp", "portable"),
)

# 128 ns per instruction against 31.25 ns per tick of the 32 MHz counter: 4.096 ticks per instruction.
CORTEX_M55 = Target(
    name="cortex-m55",
    title="Cortex-M55 with vector extension, QEMU mps3-an547",
    compiler="arm-none-eabi-gcc",
    cflags=("-O2", "-mthumb", "-mcpu=cortex-m55", "-mfloat-abi=hard", *_SECTIONS),
    board="mps3_an547",
    ldflags=_ARM_LINKING,
    emulator=("qemu-system-arm", "-M", "mps3-an547"),
    counting=("-icount", "shift=7"),
    instructions_per_tick=31.25 / 128,
    samples_address=0x70000000,
    samples_size=16 * 1024 * 1024,
    flash_size=2 * 1024 * 1024,
    ram_size=2 * 1024 * 1024,
    kernels=("mve", "portable"),
)

# The counter of retired instructions counts ns of the emulated clock, 1 per instruction.
RISCV = Target(
    name="riscv",
    title="RISC-V RV32IMC, QEMU virt",
    compiler="riscv64-unknown-elf-gcc",
    cflags=("-O2", "-march=rv32imc", "-mabi=ilp32", "--specs=picolibc.specs", _NO_SCHEDULE, *_SECTIONS),
    board="riscv_virt",
    ldflags=("-nostartfiles", "-Wl,--gc-sections"),
    emulator=("qemu-system-riscv32", "-M", "virt", "-bios", "none"),
    counting=("-icount", "shift=0"),
    instructions_per_tick=1.0,
    samples_address=0x84000000,
    samples_size=16 * 1024 * 1024,
    flash_size=4 * 1024 * 1024,
    ram_size=4 * 1024 * 1024,
)

TARGETS = (HOST, CORTEX_M0, CORTEX_M3, CORTEX_M4, CORTEX_M55, RISCV)
# What is built where nobody says otherwise.
DEFAULT = (HOST, CORTEX_M4)
