"""Documents that list what the code knows are held to the code."""

import re
from pathlib import Path

from trecx.judge.report import KEYS, SCHEMA

ROOT = Path(__file__).parent.parent


def test_every_report_key_is_documented():
    text = (ROOT / "docs" / "report.md").read_text()
    rows = re.findall(r"^\| `(.+?)` \| (.+) \|$", text, re.MULTILINE)
    assert tuple(rows) == KEYS
    assert SCHEMA in text


def test_every_supported_operator_is_documented():
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    from trecx.compiler.ops import OPS

    names = {value: name for name, value in vars(BuiltinOperator).items() if isinstance(value, int)}
    text = (ROOT / "docs" / "operators.md").read_text()
    assert re.findall(r"^\| ([A-Z0-9_]+) \|", text, re.MULTILINE) == [names.get(code, code) for code in OPS]
