"""The pairs that ship: int8 model, `exits.json`, where they come from, and the answers they were judged by."""

from pathlib import Path


def folder(task: str) -> Path:
    """The folder of a task's pretrained pair, whether there is one or not."""
    return Path(__file__).parent / task
