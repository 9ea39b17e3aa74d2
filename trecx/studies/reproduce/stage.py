"""Stages of a reproduction: a folder with its configuration, done once, and held by one process at a time.

A stage is finished when its folder has a `config.json` that agrees with what is asked for now, and all that belongs to
it. That is data, settings, attachments and weights, not the program: days of training must not start again for a new
sentence in a docstring.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from trecx.errors import TrecxError
from trecx.run import write_json
from trecx.studies.reproduce.damage import CONFIG, digest, problems, read

ANOTHER = "Choose another folder with --out, or delete what shall be trained again."


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


def alike(one: Any, other: Any) -> bool:
    """Whether two kept configurations are the same in all that both say."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(alike(one[key], other[key]) for key in set(one) & set(other))
    return bool(one == other)


def kept(folder: Path) -> dict[str, Any] | None:
    """What a finished stage left in its `config.json`, None where it is not finished; `problems` looks at the rest."""
    document = read(folder / CONFIG)
    return document if isinstance(document, dict) and isinstance(document.get("configuration"), dict) else None


def finished(folder: Path, configuration: dict[str, Any], precious: bool = False) -> bool:
    """Whether a stage is finished with this configuration; what another one left, or only a part, is removed.

    A `precious` stage took long: it is not removed, but TrecxError says what is wrong with it.
    """
    if precious and (wrong := conflicts(folder, configuration)):
        raise TrecxError(wrong, ANOTHER)
    document = kept(folder)
    if document is not None and not problems(folder) and not differences(document["configuration"], configuration):
        return True
    if (folder / CONFIG).exists():
        (folder / CONFIG).unlink()  # first, so that whoever looks now sees a stage that is not finished
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return False


def conflicts(folder: Path, configuration: dict[str, Any]) -> list[str]:
    """Why a finished stage that took long cannot be used for this configuration: it is damaged, or has another one."""
    if wrong := problems(folder):
        return [f"{folder} is damaged: {'; '.join(wrong)}."]
    document = kept(folder)
    found = [] if document is None else differences(document["configuration"], configuration)
    return [f"{folder} was made with another configuration: {'; '.join(found)}."] if found else []


def finish(folder: Path, configuration: dict[str, Any], about: dict[str, Any] | None = None) -> None:
    """Mark a stage as finished; `about` is what readers want to know and nothing depends on."""
    plain = told(configuration)
    write_json(folder / CONFIG, {"sha256": digest(plain), "configuration": plain, "about": about or {}})


@contextmanager
def held(folder: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a folder against other processes while the block runs; False where another one holds it and `wait` is not.

    The lock is the folder's own and goes with the process, however that ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise TrecxError(f"{folder} cannot be used: {error.strerror}.", "Choose another folder with --out.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
