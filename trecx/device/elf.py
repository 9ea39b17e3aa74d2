"""Sections of an ELF file, which say what a program costs in flash and RAM.

Source: System V ABI, "Object Files"; little-endian files of 32 and 64 bits.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from trecx.errors import TrecxError

NOBITS = 8
WRITE, ALLOC, EXECUTE = 1, 2, 4


@dataclass(frozen=True)
class Section:
    """A section that occupies memory at run time; `size` is bytes."""

    name: str
    size: int
    writable: bool
    executable: bool
    stored: bool  # has contents in the file, so it costs flash


def sections(path: Path) -> tuple[Section, ...]:
    """The sections of `path` that are loaded or allocated; TrecxError where it is not a little-endian ELF file."""
    data = path.read_bytes()
    try:
        return _sections(data)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise TrecxError(f"{path} is not an ELF file that can be read: {error}.") from error


def _sections(data: bytes) -> tuple[Section, ...]:
    if data[:4] != b"\x7fELF" or data[5] != 1:
        raise ValueError("no little-endian ELF header")
    wide = data[4] == 2
    table, (size, count, names) = (
        (struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<3H", data, 58))
        if wide
        else (struct.unpack_from("<I", data, 32)[0], struct.unpack_from("<3H", data, 46))
    )
    # name, type, flags, address, offset, size
    headers = [struct.unpack_from("<IIQQQQ" if wide else "<IIIIII", data, table + k * size) for k in range(count)]
    strings = headers[names][4]
    found = []
    for name, kind, flags, _, _, length in headers:
        if flags & ALLOC and length:
            start = strings + name
            text = data[start : data.index(0, start)].decode("ascii", "replace")
            found.append(Section(text, length, bool(flags & WRITE), bool(flags & EXECUTE), kind != NOBITS))
    return tuple(found)
