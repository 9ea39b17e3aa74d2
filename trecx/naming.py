"""What the C of a network may be called."""

import re

from trecx.errors import TrecxError

NAME = re.compile(r"(?!trecx)[a-z][a-z0-9_]{0,31}")
# Names whose files or macros would hide those of the C library or of the application.
TAKEN = frozenset(
    "model assert complex ctype errno fenv float inttypes iso646 limits locale math memory setjmp signal stdalign "
    "stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings tgmath threads time uchar wchar "
    "wctype".split()
)


def usable(name: str) -> bool:
    """Whether `name` may name the C functions and files."""
    return bool(NAME.fullmatch(name)) and name not in TAKEN and not name.endswith(("_test", "_data", "_layers"))


def check_name(name: str) -> None:
    """Raise TrecxError unless `name` is usable."""
    if not usable(name):
        raise TrecxError(
            f"{name!r} cannot name C functions.",
            "Use lower-case letters, digits and _, 32 at most; not the name of a C header, trecx... or ..._test.",
        )
