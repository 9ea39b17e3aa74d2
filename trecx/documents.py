"""JSON that people write or send: a regular file, of text that can be printed and stored anywhere."""

import json
from pathlib import Path
from typing import Any

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
