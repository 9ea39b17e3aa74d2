"""A task with its data, and the hashes by which steps know what they were made from."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from mlperf_tiny.task import Data, Split, Task
from trecx import __version__
from trecx.files import sha256
from trecx.settings import Settings
from trecx.steps.data import split_sha256
from trecx.steps.learning import PACKAGES


@dataclass(frozen=True)
class Material:
    """A task with its data, and the settings that every run on them has."""

    task: Task
    data: Data
    settings: Settings

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each split and of the part of validation that thresholds are chosen on, by name."""
        return {name: split_sha256(split) for name, split in self.splits.items()}

    @cached_property
    def splits(self) -> dict[str, Split]:
        """The three splits, and the part of validation that thresholds are chosen on."""
        data = self.data
        part = data.validation.of(data.calibration)
        return {"train": data.train, "validation": data.validation, "calibration": part, "test": data.test}

    def about(self) -> dict[str, Any]:
        """What a reader wants to know of the data and of the program's parts."""
        splits = {name: {"description": s.description, "samples": len(s)} for name, s in self.splits.items()}
        versions = {"trecx": __version__} | {package: metadata.version(package) for package in PACKAGES}
        chosen_on = list(self.data.calibration)
        return {"splits": splits, "sources": self.data.sources, "calibration": chosen_on, "versions": versions}


def weights_sha256(path: Path) -> str:
    """SHA-256 of a file of weights; of a SavedModel's folder that of names and contents, as results.json has it."""
    if not path.is_dir():
        return sha256(path)
    digest = hashlib.sha256(b"''")
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        digest.update(f"\0{file.name}\0".encode())
        digest.update(bytes.fromhex(sha256(file)))
    return digest.hexdigest()
