"""A pickle read as data: what it names is never looked up and never run.

A pickle is a program that may import and call anything. Here calls become `Made`, which only says what was asked for.
"""

import io
import pickle
import pickletools
from typing import Any

import numpy as np

_STEPS = 200_000  # a batch of CIFAR-10 takes some 30,000; each step may make an object much larger than itself
_MEMO = 1 << 20  # CPython allocates room for the highest number at once


class Made:
    """What a pickle would have made by calling `name` with `args`, and the state that it would have set."""

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self.name, self.args = name, args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Named:
    """A global that a pickle names, not looked up."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any) -> Any:
        # How Python 3 writes bytes in protocol 2, below keys of dictionaries too.
        if self.name == "_codecs.encode" and len(args) == 2 and isinstance(args[0], str) and args[1] == "latin1":
            return args[0].encode("latin1")
        return Made(self.name, args)


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _Named(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside")


def read(data: bytes) -> Any:
    """Return what a pickle holds: Python's plain types, and `Made` for the rest; strings of Python 2 are bytes.

    Raises whatever a damaged or hostile pickle makes the reader raise; memory stays in proportion to `data`.
    """
    for steps, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if steps == _STEPS:
            raise pickle.UnpicklingError("it has too many parts")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > _MEMO:
            raise pickle.UnpicklingError("it numbers its parts too high")
    return _Reader(io.BytesIO(data), encoding="bytes").load()


def uint8_array(made: Any) -> np.ndarray:
    """Return the numpy array of bytes that a pickle describes, uint8 of its shape; raises `ValueError` otherwise."""
    if not isinstance(made, Made) or not made.name.endswith(".multiarray._reconstruct"):
        raise ValueError("no numpy array where one is expected")
    if not isinstance(made.state, tuple) or len(made.state) != 5:
        raise ValueError("a numpy array without its content")
    _, shape, kind, by_columns, content = made.state
    plain = isinstance(kind, Made) and kind.name == "numpy.dtype" and kind.args[:1] in ((b"u1",), ("u1",))
    if not plain or not isinstance(content, bytes):
        raise ValueError("an array of something other than bytes")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")
