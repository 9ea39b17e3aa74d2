"""What makes the generated folder stand alone: application, boards and a Makefile with the targets' own flags."""

from trecx import __version__, resources
from trecx.compiler.emit import templates
from trecx.compiler.target import Target
from trecx.device.build import PROGRAMS


def files(name: str, target: Target, optimize: str) -> dict[str, str]:
    """Files by path in the generated folder; the same sources and flags that `device/build.py` uses."""
    root = resources.folder("firmware")
    folders = [root / "app", root / "boards", root / "boards" / target.board]
    copied = [file for folder in folders for file in folder.iterdir() if file.is_file()]
    found = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in sorted(copied)}
    row = _row(target, optimize)
    return {**found, "Makefile": templates().get_template("Makefile.j2").render(name=name, version=__version__, t=row)}


def _row(target: Target, optimize: str) -> dict[str, str]:
    """A target as the Makefile needs it."""
    bare = target.board != "host"
    sources = [f"app/{source}" for source in dict(PROGRAMS)[target.program]]
    sources += [f"$(wildcard boards/{target.board}/*.c)"] if target.program == "serve" else []
    flags = [*target.flags(optimize), *(["-include", "app/hook.h"] if target.program == "trace" else [])]
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
