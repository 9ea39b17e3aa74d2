"""A pickle read as data: what it names is never looked up and never run.

A pickle is a program that may import and call anything. Here each of its steps is done by hand, from a list of harmless
ones, and calls become `Made`, which only says what was asked for.
"""

import pickletools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_STEPS = 200_000  # a batch of CIFAR-10 takes some 30,000; each step may make an object much larger than itself
_FRAMING = ("PROTO", "FRAME")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_BYTES_OF_PYTHON_2 = ("STRING", "BINSTRING", "SHORT_BINSTRING")
_LITERALS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "BINBYTES"),
    *("SHORT_BINBYTES", "BINBYTES8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
)
_PUT, _GET = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass
class Made:
    """What a pickle would have made by calling `name` with `args`, and the state that it would have set."""

    name: str
    args: tuple[Any, ...]
    state: Any = None


@dataclass(frozen=True)
class _Named:
    """A global that a pickle names, not looked up."""

    name: str


@dataclass
class _Machine:
    """The stack on which a pickle builds its objects."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    encoded: dict[str, bytes] = field(default_factory=dict)

    def step(self, name: str, argument: Any) -> None:
        """Do one step other than the last; raise `ValueError` where it is none of the harmless ones."""
        if name in _CONSTANTS or name in _LITERALS:
            self.stack.append(_CONSTANTS.get(name, argument))
        elif name in _BYTES_OF_PYTHON_2:
            self.stack.append(argument.encode("latin-1"))
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _SHORT_TUPLES:
            self.stack.append(tuple(self._pop(_SHORT_TUPLES[name])))
        elif name in _PUT or name == "MEMOIZE":
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name in _GET:
            self.stack.append(self.memo[argument])
        elif name not in _FRAMING:
            self._compose(name, argument)

    def _compose(self, name: str, argument: Any) -> None:
        """Do one of the steps that make an object of others."""
        match name:
            case "MARK":
                self.marks.append(len(self.stack))
            case "TUPLE":
                self.stack.append(tuple(self._marked()))
            case "LIST":
                self.stack.append(self._marked())
            case "DICT":
                items = self._marked()
                self.stack.append({})
                self._set(items)
            case "APPEND":
                self._append(self._pop(1))
            case "APPENDS":
                self._append(self._marked())
            case "SETITEM":
                self._set(self._pop(2))
            case "SETITEMS":
                self._set(self._marked())
            case "GLOBAL":
                self.stack.append(_Named(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                self.stack.append(_Named(".".join(self._pop(2))))
            case "REDUCE":
                self.stack.append(self._call(*self._pop(2)))
            case "BUILD":
                (state,) = self._pop(1)
                self._last(Made).state = state
            case _:
                raise ValueError(f"its step {name} is not one of plain data")

    def _pop(self, count: int) -> list[Any]:
        taken = self.stack[-count:]
        if len(taken) < count:
            raise ValueError("it takes more than it has put")
        del self.stack[-count:]
        return taken

    def _marked(self) -> list[Any]:
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def _last(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"it fills a {type(self.stack[-1]).__name__} as a {kind.__name__}")
        return self.stack[-1]

    def _append(self, items: list[Any]) -> None:
        self._last(list).extend(items)

    def _set(self, items: list[Any]) -> None:
        """Set pairs of keys and values; strings alone are keys.

        The hash of a tuple of tuples may take 2^60 steps, and integers of one hash make a dictionary slow.
        """
        if not all(type(key) in (bytes, str) for key in items[::2]):
            raise ValueError("it has keys other than strings")
        self._last(dict).update(zip(items[::2], items[1::2], strict=True))

    def _call(self, called: Any, args: Any) -> Any:
        if not isinstance(called, _Named) or not isinstance(args, tuple):
            raise ValueError("it calls what is no name")
        # How Python 3 writes bytes in protocol 2, below keys of dictionaries too.
        if called.name == "_codecs.encode" and len(args) == 2 and type(args[0]) is str and args[1] == "latin1":
            if args[0] not in self.encoded:  # one string named many times takes memory once
                self.encoded[args[0]] = args[0].encode("latin1")
            return self.encoded[args[0]]
        return Made(called.name, args)


def read(data: bytes) -> Any:
    """Return what a pickle holds: Python's plain types, and `Made` for the rest; strings of Python 2 are bytes.

    Raises whatever a damaged or hostile pickle makes the reader raise; memory and time stay in proportion to `data`.
    """
    machine = _Machine()
    for steps, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if steps == _STEPS:
            raise ValueError("it has too many parts")
        if opcode.name != "STOP":
            machine.step(opcode.name, argument)
    return machine.stack.pop()


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
