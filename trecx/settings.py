"""What a person chose for a run; kept in `run.json`, so that every verb on the run directory finds it again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from trecx.errors import TrecxError

# The folder of every step of a run, by the step's name.
Folders = Mapping[str, Path]


@dataclass(frozen=True)
class Settings:
    """Choices of a run.

    `exit` names one of the task's attachments, None its first; without `early_view` the final exit keeps the backbone's
    own head. `teacher` is a trained plain backbone whose scores guide a training.
    `task` is a registered task, `FILE.py:NAME` for one of the user's own, or None for a model of the user's own; `name`
    names the C files. `model` is a Keras model of the user's own, which is trained on or, where it is `complete`, has
    its exits already; `shape` is its input's, `pixels` the range in which it wants images. `method` attaches the exits;
    `taps` are the layers that they read, in place of `exit`. `data`, `model` and `weights` are paths; `points` is the
    accuracy that calibration may lose with `confidence`, 0.5 meaning as observed, `against` the backbone
    alone or the own final exit ("backbone", "final"); `epochs` of training, None for the recipe's own; no `targets`
    means the default ones; `optimize` is what kernels are chosen for, "time", "ram" or "flash"; `samples` limits
    verification.
    """

    name: str
    task: str | None = None
    method: str = "trecx"
    exit: str | None = None
    early_view: bool = True
    train: bool = False
    model: str | None = None
    complete: bool = False
    shape: tuple[int, ...] = ()
    taps: tuple[str, ...] = ()
    pixels: str | None = None
    data: str | None = None
    weights: str | None = None
    teacher: str | None = None
    scheme: str = "ptq"
    points: float = 1.0
    confidence: float = 0.9
    against: str = "backbone"
    seed: int = 1
    epochs: int | None = None
    targets: tuple[str, ...] = ()
    optimize: str = "time"
    samples: int | None = None

    @property
    def own_files(self) -> tuple[Path, ...]:
        """The user's own files that say what the run is about: a task's or a model's."""
        task = [self.task.rpartition(":")[0]] if self.task and ":" in self.task else []
        return tuple(Path(path) for path in (*task, *([self.model] if self.model else [])))

    def changed(self, options: dict[str, Any]) -> "Settings":
        """These settings with some replaced; paths become absolute, so that a later verb may run from elsewhere."""
        plain: dict[str, Any] = {k: str(v.absolute()) if isinstance(v, Path) else v for k, v in options.items()}
        return replace(self, **plain)

    def as_json(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Settings":
        """Settings from `run.json`, which a person may have edited."""
        known = {f.name for f in fields(cls)}
        if "tap" in document:  # of runs that were made when there was only one
            document = dict(document)
            tap = document.pop("tap")
            document.setdefault("taps", [tap] if tap else [])
        if not set(document) <= known or not isinstance(document.get("name"), str):
            raise TrecxError(f"run.json: its settings are not {', '.join(sorted(known))}.", "Build into a new folder.")
        lists = {name: tuple(document.get(name, ())) for name in ("targets", "shape", "taps")}
        return cls(**{**document, **lists})
