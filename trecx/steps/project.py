"""What makes the generated folder stand alone: application, boards and a Makefile with the targets' own flags."""

from collections.abc import Sequence

from trecx import __version__, resources
from trecx.compiler.emit import templates
from trecx.compiler.target import Target
from trecx.device.build import PROGRAMS


def files(name: str, targets: Sequence[Target]) -> dict[str, str]:
    """Files by path in the generated folder; the same sources and flags that `device/build.py` uses."""
    root = resources.folder("firmware")
    folders = ["app", *(f"boards/{target.board}" for target in targets)]
    copied = [root / "boards" / "board.h", *(f for folder in folders for f in (root / folder).iterdir() if f.is_file())]
    found = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in sorted(set(copied))}
    rows = [_row(target) for target in targets]
    makefile = templates().get_template("Makefile.j2").render(name=name, version=__version__, targets=rows)
    return {**found, "Makefile": makefile}


def _row(target: Target) -> dict[str, str]:
    """A target as the Makefile needs it."""
    bare = target.board != "host"
    sources = [f"app/{source}" for source in dict(PROGRAMS)[target.program]]
    sources += [f"$(wildcard boards/{target.board}/*.c)"] if target.program == "serve" else []
    flags = [*target.cflags, *(["-include", "app/hook.h"] if target.program == "trace" else [])]
    sizes = (("FLASH_SIZE", target.flash_size), ("RAM_SIZE", target.ram_size))
    linking = [*target.ldflags, *(f"-Wl,--defsym={symbol}={size}" for symbol, size in sizes if size is not None)]
    linking += [f"-Tboards/{target.board}/link.ld"] if bare else []
    return {
        "name": target.name,
        "title": target.title,
        "compiler": target.compiler,
        "board": target.board,
        "program": f"{target.program}.elf" if bare else target.program,
        "flags": " ".join(flags),
        "sources": " ".join(sources),
        "ldflags": " ".join(linking),
    }
