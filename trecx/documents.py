"""JSON that people write or send: a regular file, of text that can be printed and stored anywhere."""

import json
from pathlib import Path
from typing import Any

from trecx.errors import TrecxError

MOST_BYTES = 2**28


def read(path: Path) -> Any:
    """The content of a JSON file; raises OSError or ValueError, whose text says what is wrong, or RecursionError."""
    if path.exists() and not path.is_file():
        raise OSError("it is not a regular file")
    if path.stat().st_size > MOST_BYTES:
        raise OSError(f"it has over {MOST_BYTES:,} bytes")
    document = json.loads(path.read_text(encoding="utf-8"))
    _check(document)
    return document


def required(path: Path, hint: str) -> Any:
    """The content of a JSON file that must be there; TrecxError with what is wrong with it, and this hint."""
    try:
        return read(path)
    except (OSError, ValueError, RecursionError) as error:
        raise TrecxError(f"{path} cannot be read: {error}.", hint) from error


def kept(kind: Any, path: Path) -> Any:
    """What a step left in a JSON file, as the type `kind`; None without the file, TrecxError for a damaged one."""
    if not path.is_file():
        return None
    try:
        return typed(kind, read(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TrecxError(
            f"{path} is damaged: {error}.", f"Delete the folder {path.parent.name}/ and run its step again."
        ) from error


def typed(kind: Any, value: Any) -> Any:
    """`value` from JSON as the annotated type `kind`; raises ValueError with everything that is something else."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(json.dumps(value), strict=True, extra="forbid")
    except ValidationError as error:
        told = [(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors(include_url=False)]
        raise ValueError("; ".join(f"{where}: {what}" if where else what for where, what in told)) from error


def _check(value: Any) -> None:
    """Refuse lone surrogates, which no encoding can hold, and NUL, which ends names, in all text of a document."""
    if isinstance(value, str):
        odd = next((c for c in value if c == "\0" or "\ud800" <= c <= "\udfff"), None)
        if odd is not None:
            raise ValueError(f"the text {value[:40]!a} holds U+{ord(odd):04X}, which is no character")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(key)
            _check(item)
    elif isinstance(value, list):
        for item in value:
            _check(item)
