"""The generated C as text: it is what the golden files say, and the same every time.

After a change that is meant, look at the difference and renew them: TRECX_GOLDEN=write pytest tests/test_emit.py
"""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from networks import two_exits
from networks_official import OFFICIAL

from trecx.compiler import tflite
from trecx.compiler.emit import KnownAnswer, KnownAnswers, Names, c_string, emit, known_answer_input
from trecx.compiler.graph import Graph
from trecx.compiler.ir import Quant
from trecx.compiler.optimise import optimise
from trecx.compiler.plan import plan_memory
from trecx.compiler.target import TARGETS
from trecx.compiler.text import COLUMNS
from trecx.steps.firmware import compile_for
from trecx.studies.bench.measure import pair_of

GOLDEN = Path(__file__).parent / "golden"
FILES = ("net.h", "net.c", "net_layers.h", "net_data.h", "net_test.c", "trecx_model.h")


def header_of(graph: Graph) -> str:
    return emitted(graph)["net.h"]


def emitted(graph: Graph | None = None) -> dict[str, str]:
    content, exits = two_exits(0)
    graph = graph or optimise(tflite.parse(content, exits))
    names = Names("net", "A random network", "0123abcd", exits.classes, "net01", 128)
    answers = KnownAnswers("an oracle", (KnownAnswer(1, (0,), 1, 2, (1, 2, 3, 4, -5), (5, 4, 3, 2, -1)),))
    return emit(graph, plan_memory(graph), names, exits.thresholds(), answers)


@pytest.mark.parametrize("hooks", [False, True])
def test_no_generated_line_is_longer_than_100_columns(hooks):
    content, exits = two_exits(0)
    long = replace(exits, classes=tuple(f"a class with quite a long name, number {k}" for k in range(5)))
    names = Names("n" * 32, "A long title, " * 7, "0" * 64, long.classes, "net01")
    graph = optimise(tflite.parse(content, long))
    answers = KnownAnswers("an oracle", (KnownAnswer(1, (0,), 1, 2, (-100,) * 5, (-100,) * 5),))
    for name, text in emit(graph, plan_memory(graph), names, long.thresholds(), answers, hooks).items():
        if not name.startswith("kernels/"):
            assert [line for line in text.splitlines() if len(line) > COLUMNS] == []


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("network", OFFICIAL)
def test_no_generated_line_of_the_official_shapes_is_longer(network, target, tmp_path):
    (tmp_path / "model.tflite").write_bytes(OFFICIAL[network]())
    pair = pair_of(tmp_path / "model.tflite")
    sources = compile_for(pair, pair.optimised, target, tmp_path / "c", "time", hooks=True)
    files = [*sources.glob("*.c"), *sources.glob("*.h")]
    assert len(files) >= len(FILES)
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert [line for line in lines if len(line) > COLUMNS] == []


def test_only_where_asked_for_the_code_can_be_looked_into():
    content, exits = two_exits(0)
    graph = optimise(tflite.parse(content, exits))
    names, answers = Names("net", "A random network", "00", exits.classes, "net01"), KnownAnswers("", ())
    plain, hooked = (
        emit(graph, plan_memory(graph), names, exits.thresholds(), answers, hooks)["net.c"] for hooks in (False, True)
    )
    assert "HOOK" not in plain and "TRECX_DECISION" not in plain
    assert hooked.count("TRECX_HOOK(") > 5


@pytest.mark.parametrize("name", FILES)
def test_generated_text_is_golden(name):
    text = emitted()[name]
    if os.environ.get("TRECX_GOLDEN") == "write":
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


def test_generated_text_is_the_same_every_time():
    assert emitted() == emitted()


def test_only_the_kernels_that_are_used_come_along():
    kernels = {name for name in emitted() if name.startswith("kernels/")}
    assert {"kernels/portable/conv_2d_dot.h", "kernels/softmax.h", "kernels/requantize.h"} <= kernels
    assert not kernels & {"kernels/pad.h", "kernels/mean.h", "kernels/concatenation.h", "kernels/conv_2d.h"}


@pytest.mark.parametrize("word", ["malloc", "float", "double", "printf", "stdio", "stdlib", "__DATE__"])
def test_the_inference_path_is_free_of(word):
    files = {name: text for name, text in emitted().items() if name.endswith(".c") or name.startswith("kernels/")}
    code = {name: re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL) for name, text in files.items()}
    assert [name for name, text in code.items() if re.search(rf"\b{word}\b", text)] == []


def test_a_c_string_holds_any_text():
    assert c_string('a"b\\?') == '"a\\042b\\134\\077"'
    assert c_string("é\n") == '"\\303\\251\\012"'


def test_the_known_answer_input_is_that_of_the_generated_test():
    # First values of the generator: 1 * 1664525 + 1013904223 = 0x3C88596C, whose top byte is 0x3C.
    assert known_answer_input(1, 2).tolist() == [0x3C - 128, known_answer_input(0x3C88596C, 1)[0]]


# Every macro of a header whose name begins so, as a value of a kind that C makes of it.
USES = """
#include "net.h"
#include <stddef.h>
{uses}
int use(void) {{
  return (int)net_quantized(0.5f) + (int)net_real(3);
}}
"""


def use(macro: str) -> str:
    name, parameters = re.fullmatch(r"(\w+)(\(\w+\))?", macro).groups()
    text = f"{name}(0.5)" if parameters else name
    if name.endswith(("_VERSION", "_SHA256")):
        return f"const char *use_{name} = {text};"
    if name.endswith(("_CLASS_NAMES", "_SHAPE")):
        return f"{'const char *' if name.endswith('NAMES') else 'unsigned '}use_{name}[] = {text};"
    return f"{'float' if name.endswith('SCALE') else 'double'} use_{name} = {text};"


@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("scale", [1.0, 0.05, 3.0e-20, 255.0])
def test_every_macro_of_the_header_can_be_used(scale, compiler, language, tmp_path):
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    content, exits = two_exits(0)
    graph = optimise(tflite.parse(content, exits))
    whole = replace(graph.input, quant=Quant((scale,), (3,)))
    header = header_of(replace(graph, inputs=(replace(graph.inputs[0], tensor=whole),)))
    macros = [m for m in re.findall(r"#define (NET_\w+(?:\(\w+\))?) ", header) if not m.endswith("_H")]
    assert {"NET_INPUT_SCALE", "NET_OUTPUT_SCALE", "NET_CLASS_NAMES", "NET_THRESHOLD(t)"} <= set(macros)
    (tmp_path / "net.h").write_text(header)
    (tmp_path / "use.c").write_text(USES.format(uses="\n".join(map(use, macros))))
    standard = "-std=c11" if language == "c" else "-std=c++11"
    flags = ["-x", language, standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    done = subprocess.run([compiler, *flags, tmp_path / "use.c"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
