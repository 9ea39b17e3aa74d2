"""What tells this machine from others: a secret number, made once.

Programs in a run directory are started. One that somebody sent could do anything, so what was not built here is built
again before it runs: what is made here is sealed with the number, which nobody else knows.
"""

import hashlib
import hmac
import os
import secrets
from functools import cache
from pathlib import Path

NAME = "machine"


@cache
def identity() -> str:
    """The secret of this user on this machine; a new one each time where it cannot be kept."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "trecx"
    path = root / NAME
    try:
        root.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    except OSError:
        return secrets.token_hex(32)
    try:
        return path.read_text(encoding="utf-8").strip() or secrets.token_hex(32)
    except (OSError, ValueError):
        return secrets.token_hex(32)


def seal(text: str) -> str:
    """What only this machine can write beneath a text."""
    return hmac.new(identity().encode(), text.encode(), hashlib.sha256).hexdigest()
