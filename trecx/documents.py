"""JSON that people write or send: a regular file, of text that can be printed and stored anywhere, typed as said."""

import json
from collections.abc import Iterable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from trecx.errors import TrecxError

MOST_BYTES = 2**28


class Unreadable(ValueError):
    """A file is no such document; `problems` say why, all at once, as fragments."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def read(path: Path) -> Any:
    """The content of a JSON file; raises Unreadable whatever is wrong with it."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is not a regular file")
        if path.stat().st_size > MOST_BYTES:
            raise OSError(f"it has over {MOST_BYTES:,} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
        odd = [problem for text in _leaves(document) if isinstance(text, str) for problem in _odd(text)]
    except OSError as error:
        raise Unreadable([error.strerror or str(error)]) from error
    except (ValueError, RecursionError) as error:
        raise Unreadable([str(error)]) from error
    if odd:
        raise Unreadable(odd)
    return document


def typed(kind: Any, value: Any) -> Any:
    """`value` from JSON as the annotated type `kind`; raises Unreadable with everything that is something else."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(json.dumps(value), strict=True, extra="forbid")
    except ValidationError as error:
        told = [(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors(include_url=False)]
        raise Unreadable(f"{where}: {what}" if where else what for where, what in told) from error
    except RecursionError as error:
        raise Unreadable([str(error)]) from error


def required(path: Path, hint: str, *keys: str) -> Any:
    """The content of a JSON file that must be there, with `keys` an object that has them.

    TrecxError with what is wrong with it, and this hint.
    """
    try:
        document = read(path)
    except Unreadable as error:
        raise TrecxError(f"{path} cannot be read: {error}.", hint) from error
    missing = [key for key in keys if not isinstance(document, dict) or key not in document]
    if missing:
        raise TrecxError(f"{path} does not say {', '.join(missing)}.", hint)
    return document


def kept(kind: Any, path: Path) -> Any:
    """What a step left in a JSON file, as the type `kind`; None without the file, TrecxError for a damaged one."""
    if not path.exists():
        return None
    try:
        document = read(path)
        if not all(isfinite(number) for number in _leaves(document) if isinstance(number, float)):
            raise Unreadable(["it holds NaN or an infinite number"])
        return typed(kind, document)
    except Unreadable as error:
        raise TrecxError(
            f"{path} is damaged: {error}.", f"Delete the folder {path.parent.name}/ and run its step again."
        ) from error


def _leaves(value: Any) -> Iterator[Any]:
    """Every text and number in a document, the keys of objects too."""
    inner = (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        yield value
    else:
        for item in inner:
            yield from _leaves(item)


def _odd(text: str) -> list[str]:
    """What is wrong with a text: lone surrogates, which no encoding can hold, and NUL, which ends names."""
    odd = next((c for c in text if c == "\0" or "\ud800" <= c <= "\udfff"), None)
    return [] if odd is None else [f"the text {text[:40]!a} holds U+{ord(odd):04X}, which is no character"]
