"""From generated C to a program: compile, link, measure."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from trecx import documents, resources
from trecx.compiler.target import Target
from trecx.device import elf, toolchain
from trecx.errors import AnswerIsNo, ToolMissing, TrecxError
from trecx.files import write_json

STRICT = (
    *("-Wall", "-Wextra", "-Wpedantic", "-Werror"),
    *("-Wconversion", "-Wshadow", "-Wdouble-promotion"),
)
SANITIZE = (
    *("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
    # Kernels as ordinary functions: sanitizers take minutes over specialised copies.
    *("-fno-inline", "-DTRECX_INLINE=static inline"),
)
# (program, its files in firmware/app/): the serial port's loop for any board, the same with ticks of every operator,
# and the host's batch program
PROGRAMS = (
    ("serve", ("serve.c", "console.c")),
    ("profile", ("serve.c", "console.c", "profile.c")),
    ("trace", ("trace.c",)),
)
# What is included before the generated model, so that every operator passes by.
HOOKS = {"profile": "app/profile.h", "trace": "app/hook.h"}
NO_LIBRARY = r"(string|stdint)\.h: No such file|'stdint\.h' file not found|cannot find -lc\b|spec file .picolibc\.specs"
ERROR_LINES = 12
COMPILE_TIMEOUT_S = 300
RECORD = "build.json"


@dataclass(frozen=True)
class Options:
    """How to build apart from what the target says.

    `strict` makes the warnings errors, `sanitize` adds ASan and UBSan (host only), `defines` are preprocessor macros,
    `optimize` is what the C compiler favours, see `Target.flags`.
    """

    strict: bool = False
    sanitize: bool = False
    defines: tuple[str, ...] = ()
    optimize: str = "time"


@dataclass(frozen=True)
class Interface:
    """What `trecx_model.h` says about the model; a payload byte is the int8 input plus `input_offset`.

    `classes` is 0 where the answer is values; `output_bytes` are all of the answer; `limits` of the `exits` decide.
    `points` are the operating points that it can change between, 0 where there is nothing to choose.
    Where `state_bytes` is not 0, samples are a stream.
    """

    name: str
    task: str
    input_bytes: int
    input_offset: int
    classes: int
    output_bytes: int
    exits: int
    limits: int
    arena_bytes: int
    state_bytes: int
    points: int = 0


@dataclass(frozen=True)
class Sizes:
    """Bytes of a program, and of the network's object file alone.

    `flash` is everything stored (code, tables, initial values); `ram` is variables with the arena, without the stack,
    for which the linker script sets `stack_reserved` aside (0 on the host). `sections` is (name, bytes) of the program.
    """

    flash: int
    ram: int
    stack_reserved: int
    network_flash: int
    network_code: int
    network_tables: int
    network_ram: int
    arena: int
    sections: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Build:
    """A linked program for a target."""

    target: Target
    program: str
    elf: Path
    model: Interface
    sizes: Sizes


def build(
    sources: Path, target: Target, out: Path, program: str | None = None, options: Options | None = None
) -> Build:
    """Compile the generated folder `sources` with the application and the board of `target` into the folder `out`.

    `program` is one of PROGRAMS, the target's own by default. The same sources give the same bytes wherever
    they lie. Nothing changes in `out` unless everything succeeds. Raises ToolMissing, TrecxError for what the compiler
    refuses, and AnswerIsNo where the program does not fit the target's memory.
    """
    program = program or target.program
    options = options or Options()
    toolchain.require(target.compiler)
    sources = sources.resolve()
    if not (sources / "trecx_model.h").is_file():
        raise TrecxError(f"{sources} holds no generated model: trecx_model.h is missing.", "Compile the model first.")
    out = out.absolute()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".building-", dir=out) as scratch:
            return _Job(sources, target, Path(scratch), program, options).run(out)
    except OSError as error:
        raise TrecxError(f"Cannot write the program to {out}: {error.strerror or error}.") from error


@dataclass(frozen=True)
class _Record:
    """What `build.json` says of the program beside it."""

    target: str
    program: str
    elf: str
    model: Interface
    sizes: Sizes

    def problems(self, out: Path, target: Target) -> Iterator[str]:
        """Why this is no program for `target` that lies in `out`, as fragments."""
        if self.target != target.name:
            yield f"it is for the target {self.target!r}, not {target.name!r}"
        if self.program not in {program for program, _ in PROGRAMS}:
            yield f"there is no program {self.program!r}"
        if self.elf in ("", ".", "..") or Path(self.elf).name != self.elf:
            yield f"{self.elf!r} is not the name of a file"
        elif not (out / self.elf).is_file():
            yield f"the program {self.elf!r} is missing"


def load(out: Path, target: Target) -> Build:
    """The build that `build` left in `out` for this target; TrecxError with all problems where there is none."""
    path = out / RECORD
    try:
        record: _Record = documents.typed(_Record, documents.read(path))
        problems = tuple(record.problems(out, target))
    except documents.Unreadable as error:
        problems = error.problems
    if problems:
        raise TrecxError([f"{path} names no program that can be read: {one}." for one in problems], "Compile again.")
    return Build(target, record.program, out / record.elf, record.model, record.sizes)


@dataclass(frozen=True)
class _Job:
    """One build in its scratch folder; the compiler runs there, so that no path of this machine gets into an object."""

    sources: Path
    target: Target
    scratch: Path
    program: str
    options: Options

    def run(self, out: Path) -> Build:
        firmware = resources.folder("firmware")
        board = firmware / "boards" / self.target.board
        flags = self._flags(firmware, board)
        model = self._interface(flags)
        self._require_hooks()
        network = [s for s in sorted(self.sources.glob("*.c")) if not s.name.endswith("_test.c")]
        around = sorted(self.sources.glob("*_test.c"))
        around += [firmware / "app" / name for name in dict(PROGRAMS)[self.program]]
        around += sorted(board.glob("*.c")) if self.program != "trace" else []
        if not network:
            raise TrecxError(f"{self.sources} holds no generated model: no C file.", "Compile the model first.")
        network_objects = [self._compile(source, flags) for source in network]
        objects = [*network_objects, *(self._compile(source, flags) for source in around)]
        name = self.program if self.target.board == "host" else f"{self.program}.elf"
        self._link(objects, board, name)
        sizes = _measure(self.scratch / name, [self.scratch / o for o in network_objects], model)
        self._check_fit(sizes)
        built = Build(self.target, self.program, out / name, model, sizes)
        self._deliver(built, out)
        return built

    def _flags(self, firmware: Path, board: Path) -> tuple[str, ...]:
        flags = ["-std=c11", *self.target.flags(self.options.optimize)]
        flags += STRICT if self.options.strict else ()
        flags += SANITIZE if self.options.sanitize else ()
        flags += [f"-D{define}" for define in self.options.defines]
        flags += [f"-I{self.sources}", f"-I{firmware}", f"-I{board}"]
        flags += [f"-ffile-prefix-map={folder}=." for folder in (self.sources, firmware, self.scratch)]
        if self.program in HOOKS:
            flags += ["-include", HOOKS[self.program]]
        return tuple(flags)

    def _require_hooks(self) -> None:
        """A program that looks inside would see nothing of C without hooks."""
        wanted = self.program in HOOKS and self.sources.glob("*.c")
        if wanted and not any("TRECX_HOOK(" in source.read_text(encoding="utf-8") for source in wanted):
            problem = f"{self.sources} has no hooks, which the program {self.program!r} needs."
            raise TrecxError(problem, "Emit the C of the model with hooks.")

    def _interface(self, flags: tuple[str, ...]) -> Interface:
        """Ask the preprocessor, which knows every macro's value."""
        counts = (
            "INPUT_BYTES",
            "INPUT_OFFSET",
            "CLASSES",
            "OUTPUT_BYTES",
            "EXITS",
            "LIMITS",
            "ARENA_BYTES",
            "STATE_BYTES",
            "POINTS",
        )
        fields = ("NAME", "TASK", *counts)
        probe = self.scratch / "interface.c"
        probe.write_text('#include "trecx_model.h"\n' + "".join(f"@{field} MODEL_{field}\n" for field in fields))
        text = self._tool(*flags, "-E", "-P", probe.name, doing="read trecx_model.h")
        found = dict(re.findall(r'^@(\w+) \(?"?([\w.-]+)"?\)?$', text, re.MULTILINE))
        missing = [f"trecx_model.h does not define MODEL_{field}." for field in fields if field not in found]
        if missing:
            raise TrecxError(missing, "Compile the model again.")
        try:
            numbers = [int(found[field].rstrip("uU"), 0) for field in counts]
        except ValueError as error:
            raise TrecxError(f"trecx_model.h: {error}.", "Compile the model again.") from error
        return Interface(found["NAME"], found["TASK"], *numbers)

    def _compile(self, source: Path, flags: tuple[str, ...]) -> str:
        name = f"{source.parent.name}-{source.stem}.o" if source.parent != self.sources else f"{source.stem}.o"
        self._tool(*flags, "-c", str(source), "-o", name, doing=f"compile {source.name}")
        return name

    def _link(self, objects: Iterable[str], board: Path, name: str) -> None:
        flags = [*self.target.cflags, *self.target.ldflags]
        flags += SANITIZE if self.options.sanitize else ()
        script = board / "link.ld"
        if script.is_file():
            sizes = (("FLASH_SIZE", self.target.flash_size), ("RAM_SIZE", self.target.ram_size))
            flags += [f"-Wl,--defsym={symbol}={size}" for symbol, size in sizes if size is not None]
            flags += [f"-T{script}"]
        self._tool(*flags, "-Wl,--build-id=none", *objects, "-o", name, doing=f"link {self.program}")

    def _tool(self, *arguments: str, doing: str) -> str:
        """Run the compiler in the scratch folder; its complaint becomes the error."""
        environment = {**os.environ, "LC_ALL": "C"}
        try:
            done = subprocess.run(
                (self.target.compiler, *arguments),
                cwd=self.scratch,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMPILE_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise TrecxError(f"{self.target.compiler} took over {COMPILE_TIMEOUT_S} s to {doing}.") from error
        if done.returncode != 0:
            raise self._complaint(done.stderr, doing)
        return done.stdout

    def _complaint(self, stderr: str, doing: str) -> TrecxError:
        overflows = re.findall(r"region `(\w+)' overflowed by (\d+) bytes", stderr)
        if overflows:
            sizes = {"FLASH": self.target.flash_size or 0, "RAM": self.target.ram_size or 0}
            return self._does_not_fit([(r, sizes.get(r, 0) + int(excess), sizes.get(r, 0)) for r, excess in overflows])
        if re.search(NO_LIBRARY, stderr):
            hint = toolchain.hint(self.target.compiler)
            return ToolMissing(f"{self.target.compiler} has no C library.", f"Install it: {hint}")
        lines = [line for line in stderr.splitlines() if line.strip()]
        more = len(lines) - ERROR_LINES
        shown = lines[:ERROR_LINES] + ([f"... and {more} lines more"] if more > 0 else [])
        return TrecxError([f"{self.target.compiler} could not {doing}:", *shown])

    def _check_fit(self, sizes: Sizes) -> None:
        needs = (
            ("FLASH", sizes.flash, self.target.flash_size),
            ("RAM", sizes.ram + sizes.stack_reserved, self.target.ram_size),
        )
        too_large = [(region, need, size) for region, need, size in needs if size is not None and need > size]
        if too_large:
            raise self._does_not_fit(too_large)

    def _does_not_fit(self, regions: Iterable[tuple[str, int, int]]) -> AnswerIsNo:
        problems = [
            f"{self.program} does not fit {self.target.name}: it needs {need:,} bytes of {region.lower()}, "
            f"and {size:,} are there."
            for region, need, size in regions
        ]
        return AnswerIsNo(problems, "Choose a smaller model or a larger target.")

    def _deliver(self, built: Build, out: Path) -> None:
        name = built.elf.name
        record = _Record(self.target.name, self.program, name, built.model, built.sizes)
        write_json(self.scratch / RECORD, asdict(record))
        for file in (name, RECORD):
            (self.scratch / file).replace(out / file)


def _measure(program: Path, network: Iterable[Path], model: Interface) -> Sizes:
    whole = elf.sections(program)
    part = [section for file in network for section in elf.sections(file)]
    stack = sum(s.size for s in whole if s.name == ".stack")
    code = sum(s.size for s in part if s.executable)
    tables = sum(s.size for s in part if not s.executable and not s.writable)
    values = sum(s.size for s in part if s.writable and s.stored)
    return Sizes(
        flash=sum(s.size for s in whole if s.stored),
        ram=sum(s.size for s in whole if s.writable) - stack,
        stack_reserved=stack,
        network_flash=code + tables + values,
        network_code=code,
        network_tables=tables,
        network_ram=sum(s.size for s in part if s.writable),
        arena=model.arena_bytes,
        sections=tuple((s.name, s.size) for s in whole),
    )
