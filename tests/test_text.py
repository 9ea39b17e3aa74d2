"""Generated lines within 100 columns say what they said."""

import re

import pytest

from trecx.compiler.text import COLUMNS, filled, folded

LONG = "a word and another " * 9


@pytest.mark.parametrize(
    "line",
    [
        f"/* {LONG}*/",
        f" * {LONG}",
        f"  const uint32_t value = {'first + second * ' * 8}third; /* {LONG}*/",
        f"#define NAMES {{ {', '.join(f'{chr(34)}name, {k}{chr(34)}' for k in range(20))} }}",
        f"#define LIMIT(real) {'((real) > 0.0 ? 1u : 0u) + ' * 6}0u /* a remark */",
        f"  call({', '.join(f'argument_{k}' for k in range(20))});",
    ],
)
def test_a_long_line_becomes_short_ones_of_the_same_words(line):
    lines = folded(f"short\n{line}\n").splitlines()
    assert lines[0] == "short" and len(lines) > 2 and max(map(len, lines)) <= COLUMNS
    words = lambda text: sorted(re.findall(r"[^\s*\\/]+", text))  # noqa: E731
    assert words(" ".join(lines[1:])) == words(line)
    if line.startswith("#"):
        assert all(one.endswith("\\") for one in lines[1:-1]) and not lines[-1].endswith("\\")


@pytest.mark.parametrize("more", range(60))
def test_the_end_of_a_comment_stays_with_its_last_word(more):
    lines = folded(f"/* {LONG[:60]}{'x' * more} and its end. */").splitlines()
    assert lines[-1].endswith("end. */") and max(map(len, lines)) <= COLUMNS


def test_a_literal_is_never_broken():
    literal = '"' + "x y " * 20 + '"'
    assert any(
        literal in line for line in folded(f"const char *text = first_function({literal}, {literal});").splitlines()
    )


def test_literals_fill_their_lines():
    lines = filled([str(k - 128) for k in range(256)])
    assert max(map(len, lines)) <= COLUMNS and min(map(len, lines[:-1])) > COLUMNS - 8
    assert [int(n) for line in lines for n in line.split(",") if n.strip()] == list(range(-128, 128))
