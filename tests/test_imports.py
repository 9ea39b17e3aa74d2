"""Who may import whom; the picture is in CONTRIBUTING.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEARNING = ("tensorflow", "tf_keras", "keras", "tensorflow_model_optimization")
INTERPRETERS = ("tflite_micro", "ai_edge_litert.interpreter")

RULES = [
    ("mlperf_tiny", ("trecx", *LEARNING, *INTERPRETERS)),
    ("trecx/learn", ("trecx.compiler", "trecx.device", "trecx.judge", *INTERPRETERS)),
    ("trecx/compiler", ("trecx.learn", "trecx.device", "trecx.judge", "mlperf_tiny", *LEARNING, *INTERPRETERS)),
    ("trecx/device", ("trecx.learn", "trecx.compiler.ir", "trecx.judge", "mlperf_tiny", *LEARNING, *INTERPRETERS)),
    ("trecx/judge", ("trecx.learn", "mlperf_tiny", *LEARNING)),
    *((room, ("trecx.studies",)) for room in ("trecx/decision", "trecx/learn", "trecx/compiler", "trecx/device")),
    *((room, ("trecx.studies",)) for room in ("trecx/judge", "trecx/steps")),
]


def imports(file: Path) -> set[str]:
    """Every module a file imports, wherever in the file, with the names it takes from it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


@pytest.mark.parametrize(("room", "forbidden"), RULES, ids=[room for room, _ in RULES])
def test_a_room_imports_only_what_it_may(room, forbidden):
    broken = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in sorted((ROOT / room).rglob("*.py"))
        for module in sorted(imports(file))
        if within(module, forbidden)
    ]
    assert broken == []


def test_only_the_reference_imports_interpreters():
    files = [f for room in ("trecx", "mlperf_tiny") for f in (ROOT / room).rglob("*.py")]
    users = {str(f.relative_to(ROOT)) for f in files if any(within(m, INTERPRETERS) for m in imports(f))}
    assert users == {"trecx/judge/reference.py"}


def test_only_learn_imports_tensorflow():
    files = [f for room in ("trecx", "mlperf_tiny") for f in (ROOT / room).rglob("*.py")]
    users = {f.relative_to(ROOT).parts[:2] for f in files if any(within(m, LEARNING) for m in imports(f))}
    assert users == {("trecx", "learn")}


def test_help_loads_neither_numpy_nor_any_wing():
    code = (
        "import sys, click.testing, trecx.cli as cli\n"
        "result = click.testing.CliRunner().invoke(cli.main, ['--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "heavy = {'numpy', 'jinja2', 'matplotlib', 'rich', 'tensorflow'}\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & heavy))\n"
        "print(sorted(m for m in sys.modules if m.startswith('trecx.') and m != 'trecx.cli'))\n"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines == ["[]", "['trecx.errors', 'trecx.options', 'trecx.settings']"]
