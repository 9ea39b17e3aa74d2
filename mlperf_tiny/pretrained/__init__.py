"""The pairs that ship: int8 model, `exits.json`, where they come from, and the answers they were judged by."""

from pathlib import Path

PAPER = "paper"  # the exit of the pair that a task ships without naming one


def folder(task: str, exit: str | None = None) -> Path:
    """The folder of a task's pretrained pair with one of its exits, whether there is one or not."""
    return Path(__file__).parent / (task if exit in (None, PAPER) else f"{task}-{exit}")


def exits(task: str) -> tuple[str, ...]:
    """The names of the exits with which a task ships."""
    found = sorted(Path(__file__).parent.glob(f"{task}-*/exits.json"))
    own = [PAPER] if (folder(task) / "exits.json").is_file() else []
    return (*own, *(path.parent.name.removeprefix(f"{task}-") for path in found))
