"""What a finished step was made from and what it left, as its folder's `.stamp` says.

Made from is a configuration, which says everything but the program, and the program. Folders are kept for months,
copied and cut off, and sent to others: a stamp also says what each file was, and on which machine it was written.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trecx import documents, machine
from trecx.files import sha256

STAMP = ".stamp"


@dataclass(frozen=True)
class Origin:
    """What a step is to be made from.

    `configuration` holds dataclasses or plain JSON, `program` is a digest of the source that does it. A `lasting` step
    took so long that the work of another program is accepted; a `whole` one is accepted only with its files as they
    were written. What holds programs that will be run is accepted where it is `ours`: they were built on this machine.
    """

    configuration: Mapping[str, Any]
    program: str = ""
    lasting: bool = False
    whole: bool = False
    ours: bool = False

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what must be equal for unfinished work to be gone on with."""
        return digest([told(self.configuration), "" if self.lasting else self.program])


@dataclass(frozen=True)
class Stamp:
    """What was written down when a step was finished.

    `outputs` are the SHA-256 of its files by their path within the folder; `about` is what readers want to know and
    nothing depends on; `seal` tells that this machine wrote all of this.
    """

    configuration: dict[str, Any]
    program: str
    outputs: dict[str, str]
    about: dict[str, Any]
    seal: str = ""

    @property
    def sha256(self) -> str:
        """SHA-256 of the configuration."""
        return digest(self.configuration)

    @property
    def reads(self) -> dict[str, str]:
        """The content of the folders that were read, by the steps that left them."""
        return dict(self.configuration.get("reads", {}))

    def objections(self, origin: Origin, folder: Path) -> list[str]:
        """Why what lies in `folder` is not what would be made now, as fragments."""
        found = differences(self.configuration, origin.configuration)
        if not origin.lasting and self.program != origin.program:
            found.append("the program is another")
        if origin.ours and self.seal != self._sealed():
            found.append("it was made elsewhere")
        changed = self.damage(folder) if origin.whole or origin.ours else {}
        return [*found, *(told for name, told in changed.items() if origin.whole or _can_be_run(folder / name))]

    def damage(self, folder: Path) -> dict[str, str]:
        """What has happened to its files since, by path."""
        there = outputs(folder)
        wrong = {
            name: "is not the file that was written" for name in self.outputs if there.get(name) != self.outputs[name]
        }
        wrong |= {name: "is missing" for name in self.outputs if name not in there}
        return {name: f"{name} {what}" for name, what in wrong.items()}

    def _sealed(self) -> str:
        return machine.seal(json.dumps({**asdict(self), "seal": ""}, sort_keys=True))

    @classmethod
    def of(cls, origin: Origin, folder: Path, about: dict[str, Any]) -> "Stamp":
        """The stamp of what has just been made in `folder`."""
        open_ = cls(told(origin.configuration), origin.program, outputs(folder), told(about))
        return cls(open_.configuration, open_.program, open_.outputs, open_.about, open_._sealed())

    def write(self, folder: Path) -> None:
        """Write it into the folder."""
        (folder / STAMP).write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")


_UNREADABLE = Stamp({}, "", {}, {})


def read(folder: Path) -> Stamp | None:
    """A folder's stamp, None where it is not finished; one that cannot be read agrees with nothing."""
    if not (folder / STAMP).exists():
        return None
    try:
        return documents.typed(Stamp, documents.read(folder / STAMP))
    except documents.Unreadable:
        return _UNREADABLE


def damage(folder: Path) -> list[str]:
    """What a finished step's folder has lost since, as fragments; none where it is whole, or was not finished yet."""
    stamp = read(folder)
    if stamp is _UNREADABLE:
        return [f"{STAMP} cannot be read"]
    if stamp is None:
        return [f"{STAMP} is missing"] if folder.is_dir() and any(folder.iterdir()) else []
    return list(stamp.damage(folder).values())


def _can_be_run(path: Path) -> bool:
    return path.exists() and bool(path.stat().st_mode & 0o111)


def outputs(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but its stamp, by path."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != STAMP)
    return {str(file.relative_to(folder)): sha256(file) for file in files}


def content(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    return digest(outputs(path)) if path.is_dir() else sha256(path)


def contents(paths: Iterable[Path]) -> list[tuple[str, str]]:
    """Name and content of each path that is there."""
    return [(path.name, content(path)) for path in paths if path.exists()]


def digest(plain: Any) -> str:
    """SHA-256 of plain JSON."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def told(value: Any) -> Any:
    """A configuration as JSON: dataclasses as objects, of a path its name only."""
    if is_dataclass(value):
        return {field.name: told(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): told(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [told(one) for one in value]
    return value.name if isinstance(value, Path) else value


def differences(kept: Any, wanted: Any, where: str = "") -> list[str]:
    """Where a kept configuration is not the wanted one; a field that is new since then may have its default only."""
    pairs: list[tuple[str, Any]]
    if is_dataclass(wanted):
        pairs = [(f.name, getattr(wanted, f.name)) for f in fields(wanted)]
        if isinstance(kept, dict):
            pairs = [(f.name, one) for f, (_, one) in zip(fields(wanted), pairs, strict=True) if _matters(kept, f, one)]
    elif isinstance(wanted, dict):
        pairs = list(wanted.items())
    else:
        same = kept == told(wanted)
        return [] if same else [f"{where} is {json.dumps(kept)}, now {json.dumps(told(wanted))}"]
    if not isinstance(kept, dict):
        return [f"{where} is {json.dumps(kept)}, now {json.dumps(told(wanted))}"]
    known = {f.name for f in fields(wanted)} if is_dataclass(wanted) else {name for name, _ in pairs}
    gone = [f"{where}{'.' if where else ''}{name} is no longer known" for name in kept if name not in known]
    inner = (differences(kept.get(n), one, f"{where}{'.' if where else ''}{n}") for n, one in pairs)
    return [*gone, *(told_ for one in inner for told_ in one)]


def _matters(kept: dict[str, Any], field: "Field[Any]", value: Any) -> bool:
    """Whether a field must be compared: it was there then, or it has another value than its default."""
    return field.name in kept or value != _default(field)


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
