"""Generated C within 100 columns: comments are wrapped, code is broken where a reader expects it."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

COLUMNS = 100
# A space where code may be broken: outside of string literals, best after a comma.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|/\*.*?\*/|\s+|[^\s"]+')


def folded(text: str) -> str:
    """A generated file with no line that is longer, unless a single word is."""
    return "".join(f"{part}\n" for line in text.removesuffix("\n").split("\n") for part in _parts(line))


def filled(literals: Iterable[str], indent: str = "  ") -> tuple[str, ...]:
    """Literals with commas, as many to the line as there is room for."""
    lines, line = [], indent
    for literal in literals:
        if len(line) + len(literal) + 1 > COLUMNS and line != indent:
            lines.append(line.rstrip())
            line = indent
        line += f"{literal}, "
    return tuple([*lines, line.rstrip()] if line != indent else lines)


def listed(items: Sequence[str], head: str, tail: str, indent: str = "") -> str:
    """`head`, the items with commas, `tail`: in lines that begin where the first item does."""
    lines, line = [], indent + head
    for k, item in enumerate(items):
        text = item + (tail if k == len(items) - 1 else ",")
        if len(line) + len(text) + 1 > COLUMNS and k:
            lines.append(line.rstrip())
            line = indent + " " * len(head)
        line += text if line.endswith(("(", " ")) else f" {text}"
    return "\n".join([*lines, line])


def _parts(line: str) -> Iterator[str]:
    text = line.lstrip()
    indent = line[: len(line) - len(text)]
    if len(line) <= COLUMNS:
        yield line
    elif text.startswith("/* ") and (text.endswith("*/") or "*/" not in text):
        yield from _wrapped(text[3:], f"{indent}/* ", f"{indent} * ")
    elif text.startswith("* "):
        yield from _wrapped(text[2:], f"{indent}* ", f"{indent}* ")
    elif (found := re.fullmatch(r"(.*\S)\s*(/\*.*\*/)", text)) and not text.startswith("#"):
        yield from _parts(indent + found[2])
        yield from _parts(indent + found[1])
    else:
        yield from _broken(text, indent, " \\" if text.startswith("#") else "")


def _wrapped(text: str, first: str, others: str) -> list[str]:
    kept = text.replace(" */", "\xa0*/")  # the end of a comment stays with its last word
    lines = textwrap.wrap(
        kept, COLUMNS, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\xa0*/", " */") for line in lines]


def _broken(text: str, indent: str, continued: str) -> Iterator[str]:
    """Code in lines of which all but the first are indented by four more, and all but the last end in `continued`."""
    line, room = indent, COLUMNS - len(continued)
    for token in _TOKEN.findall(text):
        if len(line.rstrip()) > len(indent) and len(line + token.rstrip()) > room:
            yield line.rstrip() + continued
            line = f"{indent}    " + token.lstrip()
        else:
            line += token
    yield line
