"""Trainings that trecx 0.1 finished are gone on with, because they took days; what followed from them is made anew."""

import json
from pathlib import Path
from typing import Any

from trecx import documents
from trecx.run import Run
from trecx.settings import Settings
from trecx.stamp import STAMP, Origin, Stamp, digest

CONFIG, TEST, CALIBRATION = "config.json", "test", "calibration.json"


def left(folder: Path, name: str) -> bool:
    """Whether this is a training that trecx 0.1 finished, and that was not taken over yet."""
    return (folder / name / CONFIG).is_file() and not (folder / name / STAMP).exists()


def take_over(folder: Path, name: str, settings: Settings | None = None) -> None:
    """Give a finished training the stamp that it would have got today; with `settings`, its folder is then a run."""
    trained = folder / name
    if not left(folder, name):
        return
    try:
        kept = documents.read(trained / CONFIG)
        configuration, about = kept["configuration"], kept["about"]
        whole = digest(configuration) == kept["sha256"] and isinstance(configuration, dict) and isinstance(about, dict)
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    if whole:
        Stamp.of(Origin(configuration), trained, about).write(trained)
        if settings is not None and not (folder / "run.json").exists():
            Run(folder).choose(settings.as_json())


def chosen_before_test(folder: Path, chosen: list[dict[str, Any]]) -> bool:
    """Whether thresholds are no choice in sight of the test answers that trecx 0.1 left: it had chosen the same."""
    if not (folder / TEST).exists():
        return True
    try:
        kept = documents.read(folder / CALIBRATION)
        return bool(kept["before_test"] is True and kept["chosen"] == json.loads(json.dumps(chosen)))
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        return False
