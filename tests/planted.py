"""Functions of the compiler with a bug in them."""

import __future__

import inspect
import textwrap

import pytest


def plant(function, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `function`, one of a class or of a module, run with its text `right` replaced by `wrong`."""
    text = textwrap.dedent(inspect.getsource(function))
    assert text.count(right) == 1
    found: dict[str, object] = {}
    flags = __future__.annotations.compiler_flag
    exec(
        compile(text.replace(right, wrong), f"planted in {function.__qualname__}", "exec", flags),
        function.__globals__,
        found,
    )
    monkeypatch.setattr(function, "__code__", found[function.__name__].__code__)
