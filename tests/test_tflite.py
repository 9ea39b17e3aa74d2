"""The reader: what it understands, and that nothing in a hostile file makes it crash, hang or build something wrong."""

import signal
import struct
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder
from networks import scores, wide

from mlperf_tiny import pretrained
from trecx import exits as door
from trecx.compiler import tflite
from trecx.compiler.emit import KnownAnswer, KnownAnswers, Names, emit
from trecx.compiler.optimise import optimise
from trecx.compiler.plan import plan_memory
from trecx.errors import TrecxError

FOLDER = pretrained.folder("kws")
CONTENT = (FOLDER / "kws.tflite").read_bytes()
EXITS = door.read(FOLDER / "exits.json")
HOSTILE_WORDS = (0, 1, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF8, len(CONTENT), 0x00010000)


@contextmanager
def time_limit(seconds):
    def expire(_signal, _frame):
        raise AssertionError(f"no answer within {seconds} s")

    previous = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def compiled(content):
    """All generated files of a model, or None where it is refused."""
    try:
        graph = optimise(tflite.parse(content, EXITS))
    except TrecxError:
        return None
    plan = plan_memory(graph)
    answers = KnownAnswers("none", (KnownAnswer(1, (0,), 0, 0, (0,) * 12, (0,) * 12),))
    return emit(graph, plan, Names("kws", "t", "00", EXITS.classes, "kws01"), [0.5], answers)


def mutations(seed, count):
    """Damaged copies of the good file: truncated, bits flipped, words replaced by hostile ones, blocks moved."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        data = bytearray(CONTENT)
        kind = k % 5
        # Most of the file is weights; half of the damage goes to the tables around them.
        place = int(rng.integers(8, len(data) - 8))
        if rng.random() < 0.5:
            place = int(rng.choice([rng.integers(8, 2000), rng.integers(len(data) - 14_000, len(data) - 8)]))
        if kind == 0:
            data = data[: int(rng.integers(0, len(data)))]
        elif kind == 1:
            for _ in range(int(rng.integers(1, 20))):
                data[(place + int(rng.integers(0, 64))) % len(data)] ^= 1 << int(rng.integers(0, 8))
        elif kind in (2, 3):
            struct.pack_into("<I", data, place & ~3, int(rng.choice(HOSTILE_WORDS)))
        else:
            size = int(rng.integers(1, 200))
            block = data[place : place + size]
            data[place : place + size] = block[::-1]
        yield bytes(data)


def changed(edit):
    """The good file after an edit of its object tree."""
    model = schema.ModelT.InitFromPackedBuf(CONTENT, 0)
    edit(model)
    builder = Builder(len(CONTENT))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_the_shipped_pair_has_the_counts_of_the_paper():
    graph = tflite.load(FOLDER / "kws.tflite", EXITS)
    plan = plan_memory(optimise(graph))
    assert [plan.macs_to(k) for k in range(2)] == [1_501_536, 2_706_688]
    assert [e.name for e in graph.exits] == ["early", "final"]
    assert plan.arena_size <= 12_300


def test_two_hundred_mutations_end_in_a_clear_error_or_a_build():
    refused = 0
    for content in mutations(seed=1, count=200):
        with time_limit(20):
            refused += compiled(content) is None
    assert 50 < refused < 200


def test_every_truncation_is_refused():
    for length in [0, 1, 4, 7, 8, 9, 16, *range(20, len(CONTENT), 997)]:
        with pytest.raises(TrecxError), time_limit(20):
            tflite.parse(CONTENT[:length], EXITS)


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"\x00" * 100, b"\xff" * 4096, b"\x08\x00\x00\x00TFL3" + b"\x00" * 64]
)
def test_what_is_no_flatbuffer_is_refused(content):
    with pytest.raises(TrecxError):
        tflite.parse(content)


def test_a_huge_or_absent_file_is_refused(tmp_path):
    with (tmp_path / "huge.tflite").open("wb") as file:
        file.truncate(tflite.MAX_FILE + 1)
    with pytest.raises(TrecxError, match="larger than"):
        tflite.load(tmp_path / "huge.tflite")
    with pytest.raises(TrecxError, match="cannot be read"):
        tflite.load(tmp_path / "none.tflite")
    with pytest.raises(TrecxError, match="cannot be read"):
        tflite.load(tmp_path)


def test_every_unsupported_operator_is_named_at_once():
    def edit(model):
        codes = [model.subgraphs[0].operators[k].opcodeIndex for k in (0, 9)]
        for code, builtin in zip(codes, (schema.BuiltinOperator.LOGISTIC, schema.BuiltinOperator.UNPACK), strict=True):
            model.operatorCodes[code].builtinCode = builtin
            model.operatorCodes[code].deprecatedBuiltinCode = builtin

    with pytest.raises(TrecxError) as caught:
        tflite.parse(changed(edit), EXITS, "m.tflite")
    assert any("operator 0, LOGISTIC" in p for p in caught.value.problems)
    assert any("operator 9, UNPACK" in p for p in caught.value.problems)
    assert len(caught.value.problems) >= 8  # every CONV_2D shares the first code
    assert "CONV_2D" in caught.value.hint


def test_a_float_model_is_refused_with_what_to_do():
    def edit(model):
        for tensor in model.subgraphs[0].tensors:
            if tensor.type == schema.TensorType.INT8 and model.buffers[tensor.buffer].data is None:
                tensor.type = schema.TensorType.FLOAT32
                tensor.quantization = None

    with pytest.raises(TrecxError, match="float32"):
        tflite.parse(changed(edit), EXITS)


def test_a_missing_output_is_named_with_those_there_are():
    spec = door.Exits(
        "kws", "trecx", "f", "0", EXITS.classes, (door.ExitSpec("a", "nowhere", "max_score"), *EXITS.exits[1:])
    )
    with pytest.raises(TrecxError, match=r"no output 'nowhere' for exit 'a'; the model has early, final"):
        tflite.parse(CONTENT, spec)


def test_several_outputs_without_exits_json_are_refused():
    with pytest.raises(TrecxError, match=r"2 outputs \(early, final\) and no exits.json"):
        tflite.parse(CONTENT)


def test_a_wrong_number_of_classes_is_refused():
    spec = door.Exits("kws", "trecx", "f", "0", ("yes", "no"), EXITS.exits)
    with pytest.raises(TrecxError, match="number of classes"):
        tflite.parse(CONTENT, spec)


def test_exits_are_bound_by_name_and_not_by_position():
    def swap(model):
        model.subgraphs[0].outputs = model.subgraphs[0].outputs[::-1]
        model.signatureDefs[0].outputs.reverse()

    straight, swapped = tflite.parse(CONTENT, EXITS), tflite.parse(changed(swap), EXITS)
    assert [e.logits.index for e in swapped.exits] == [e.logits.index for e in straight.exits]


def test_an_op_that_reads_what_is_not_yet_computed_is_refused():
    def edit(model):
        operators = model.subgraphs[0].operators
        operators[1].inputs = [operators[3].outputs[0], *operators[1].inputs[1:]]

    with pytest.raises(TrecxError, match="before it is computed"):
        tflite.parse(changed(edit), EXITS)


def test_names_from_the_file_cannot_leave_their_comment_or_string(tmp_path):
    hostile = '*/ #include "/etc/passwd" \\\n "; system(0); //??/'
    spec = door.Exits(
        "kws",
        "trecx",
        "f",
        "0",
        (hostile, *EXITS.classes[1:]),
        (door.ExitSpec(hostile, "early", "max_score"), door.ExitSpec("final", "final")),
    )
    graph = optimise(tflite.parse(CONTENT, spec))
    answers = KnownAnswers("none", (KnownAnswer(1, (0,), 0, 0, (0,) * 12, (0,) * 12),))
    files = emit(graph, plan_memory(graph), Names("kws", hostile, "00", spec.classes, "kws01"), [0.5], answers)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    strict = ["cc", "-std=c11", "-trigraphs", "-Wall", "-Wextra", "-Wcomment", "-Werror", "-fsyntax-only", "kws.c"]
    assert subprocess.run(strict, cwd=tmp_path, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("classes", "said"), [(257, "257 classes; supported: up to 256"), (512, "rows of 512; .* and up to 256 classes")]
)
def test_more_classes_than_a_label_holds_are_refused_alike_however_they_come(classes, said, tmp_path):
    content, exits = wide(classes)
    exits.write(tmp_path / "exits.json")
    with pytest.raises(TrecxError, match=said):
        tflite.parse(content, exits)
    with pytest.raises(TrecxError, match=said):
        tflite.parse(scores(classes))
    with pytest.raises(TrecxError, match=f"{classes} classes; supported: up to 256"):
        door.read(tmp_path / "exits.json")


def test_a_model_may_answer_with_as_many_classes_as_a_label_holds(tmp_path):
    content, exits = wide(256)
    exits.write(tmp_path / "exits.json")
    assert tflite.parse(content, door.read(tmp_path / "exits.json")).classes == 256
    assert tflite.parse(scores(256)).classes == 256


def test_shared_lists_of_scales_cost_no_more_than_a_bound():
    def edit(model):
        quantization = schema.QuantizationParametersT()
        quantization.scale = np.ones(60_000, np.float32)
        for tensor in model.subgraphs[0].tensors:
            tensor.quantization = quantization

    with pytest.raises(TrecxError, match="scales"):
        tflite.parse(changed(edit), EXITS)


@pytest.mark.parametrize(
    "name",
    ["model", "string", "my_test", "", "Kws", "k-w-s", "1kws", "k" * 40, "kws;", "trecx_model", "int main(void){}"],
)
def test_a_name_that_is_no_c_identifier_is_refused(name):
    graph = optimise(tflite.parse(CONTENT, EXITS))
    with pytest.raises(TrecxError, match="cannot name C functions"):
        emit(graph, plan_memory(graph), Names(name, "t", "00", EXITS.classes, "kws01"), [0.5], KnownAnswers("none", ()))
