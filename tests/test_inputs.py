"""Models with several inputs: each has a place of its own until its last reader, and a sample is all of them."""

import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from devices import self_test
from networks import Network, _pair
from planted import plant
from test_emit import USES, use
from test_end_to_end import oracle, read, write
from vectors import executors
from vectors.flatbuffer import network

from mlperf_tiny.task import Split
from trecx.compiler import tflite
from trecx.compiler.plan import stages
from trecx.compiler.target import CORTEX_M4, HOST
from trecx.device.build import Options, build
from trecx.device.run import run_host, run_qemu
from trecx.errors import TrecxError
from trecx.judge import reference
from trecx.judge.record import record
from trecx.judge.second_opinion import ask
from trecx.steps import proof
from trecx.steps.data import quantized
from trecx.steps.proof import compare

SEEDS = range(4)


def several(seed: int):
    """Three inputs: a map for both exits, a map that only the final exit reads, and a row that nobody does."""
    net = Network(seed)
    picture, unread = net.activation(8, 6, 2), net.activation(5)
    late = net.activation(4, 3, 4, zero_point=(7, -128, 127, 0)[seed])
    tap = net.conv(picture, 8, 3, 1)
    early = net.classifier(net.flat(net.pool(net.conv(tap, 4, 3, 2), 2, 3)))
    deep = net.conv(net.conv(net.conv(tap, 16, 3, 1), 16, 3, 1), 4, 3, 2)
    final = net.classifier(net.joined(net.flat(net.residual(deep, late)), net.flat(net.conv(late, 3, 1, 1))))
    _, exits = _pair(net, picture, early, final)
    content = network(net.nodes, [late, picture, unread], {"late": final, "soon": early})
    return content, replace(exits, model_sha256=hashlib.sha256(content).hexdigest())


def verdict(found, folder: Path, count: int = 40):
    program = build(write(found, folder / "c"), HOST, folder / "out", options=Options(strict=True, sanitize=True))
    chosen = proof.synthetic(found.graph, count, seed=3)
    actual = record(lambda x, limits: run_host(program, x, limits), chosen.samples, found.limits)
    return compare(found, program, chosen, oracle(found, chosen.samples), actual)


@pytest.mark.parametrize("rewritten", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_network_of_several_inputs_gives_what_the_oracle_gives(seed, rewritten, tmp_path):
    found = read(tmp_path, seed, several)
    found = found if rewritten else replace(found, optimised=found.graph)
    outcome = verdict(found, tmp_path)
    assert (outcome.mismatches, outcome.message) == (0, "")


def test_every_input_counts_and_the_one_that_nobody_reads_does_not(tmp_path):
    found = read(tmp_path, 0, several)
    late, picture, unread = (one.tensor.size for one in found.graph.inputs)
    samples = np.random.default_rng(1).integers(-128, 128, (20, *found.graph.sample_shape)).astype(np.int8)
    changed = {}
    for name, begin, end in (("late", 0, late), ("picture", late, -unread), ("unread", late + picture, None)):
        other = samples.copy()
        other[:, begin:end] = ~other[:, begin:end]
        first, second = (oracle(found, one).logits for one in (samples, other))
        changed[name] = (first != second).any(axis=(0, 2)).tolist()
    assert changed == {"late": [False, True], "picture": [True, True], "unread": [False, False]}


def test_several_inputs_on_the_cortex_m4(tmp_path):
    if not executors.available(CORTEX_M4.compiler, *(CORTEX_M4.emulator or ())[:1]):
        pytest.skip("needs arm-none-eabi-gcc and qemu-system-arm")
    found = read(tmp_path, 1, several)
    program = build(write(found, tmp_path / "c", CORTEX_M4), CORTEX_M4, tmp_path / "out")
    chosen = proof.synthetic(found.graph, 9, seed=3)
    actual = record(lambda x, limits: run_qemu(program, x, limits), chosen.samples, found.limits)
    assert compare(found, program, chosen, oracle(found, chosen.samples), actual).mismatches == 0
    assert self_test(program) == 0


@pytest.mark.parametrize("language", ["c", "c++"])
def test_each_input_has_its_functions_and_macros(language, tmp_path):
    header = (write(read(tmp_path, 0, several), tmp_path / "c") / "net.h").read_text()
    for number, size in enumerate((48, 96, 5)):
        assert f"#define NET_INPUT_{number}_BYTES {size}u" in header
        assert f"int8_t *net_input_{number}(void);" in header
    uses = "\n".join(use(f"NET_INPUT_{k}_{what}") for k in range(3) for what in ("BYTES", "SCALE", "ZERO_POINT"))
    (tmp_path / "net.h").write_text(header)
    (tmp_path / "use.c").write_text(USES.format(uses=uses).replace("net_quantized", "net_quantized_1"))
    standard = "-std=c11" if language == "c" else "-std=c++11"
    command = ["gcc", "-x", language, standard, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "use.c"]
    if not shutil.which(command[0]):
        pytest.skip("needs gcc")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_names_and_order_are_those_of_the_file(tmp_path):
    graph = tflite.parse(*several(2))
    assert [one.tensor.shape for one in graph.inputs] == [(1, 4, 3, 4), (1, 8, 6, 2), (1, 5)]
    assert len({one.name for one in graph.inputs}) == 3
    assert graph.sample_shape == (48 + 96 + 5,)


def test_both_interpreters_take_the_inputs_in_this_order(tmp_path):
    found = read(tmp_path, 2, several)
    samples = proof.synthetic(found.graph, 3, seed=1).samples
    second = ask(found.content, [proof.opinion_node(op) for op in found.graph.ops], samples)
    assert second.unexplained == 0 and second.compared > 0
    ours, theirs = (
        tensors(found.content, samples[0]) for tensors in (reference.tflm_tensors, reference.litert_tensors)
    )
    first = min(ours)
    assert np.array_equal(ours[first], theirs[first])


def changed(change) -> bytes:
    """The model with its object changed by hand."""
    model = schema.ModelT.InitFromPackedBuf(several(0)[0], 0)
    change(model, model.subgraphs[0])
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def not_int8(_, graph):
    for k in (graph.inputs[0], graph.inputs[2]):
        graph.tensors[k].type = schema.TensorType.FLOAT32


def twice(model, graph):
    model.signatureDefs = []
    graph.inputs = [*graph.inputs, graph.inputs[0]]


def constant(model, graph):
    model.signatureDefs = []
    graph.inputs = [
        *graph.inputs,
        next(k for k, t in enumerate(graph.tensors) if model.buffers[t.buffer].data is not None),
    ]


def empty(_, graph):
    graph.tensors[graph.inputs[2]].shape = [1, 0]


def vast(_, graph):
    graph.tensors[graph.inputs[2]].shape = [1, 2**24]


def many(model, graph):
    model.signatureDefs = []
    graph.inputs = list(graph.inputs) * 22


def another_name(model, _):
    (signature,) = model.signatureDefs
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = "again", signature.inputs[0].tensorIndex
    signature.inputs = [*signature.inputs, entry]


REFUSED = {
    not_int8: ["model: input", "is FLOAT32".lower()],
    twice: ["is listed more than once"],
    constant: ["is a constant"],
    empty: ["has shape (1, 0), no element"],
    vast: ["the inputs are 16,777,360 bytes; supported: up to 16,777,216"],
    many: ["66 inputs; supported: 1 to 64"],
    another_name: ["the signature names the input", "more than once"],
}


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_inputs_that_cannot_be_are_refused_by_name(change):
    with pytest.raises(TrecxError) as caught:
        tflite.parse(changed(change), several(0)[1])
    told = "\n".join(caught.value.problems)
    assert all(part in told for part in REFUSED[change]) and "corrupt" not in told, told
    if change is not_int8:
        assert sum(problem.startswith("model: input") for problem in caught.value.problems) == 2


def test_data_of_one_input_are_not_given_to_a_model_of_several():
    split = Split("test", "", np.zeros((2, 8, 6, 2), np.float32), np.zeros(2, np.int32))
    with pytest.raises(
        TrecxError, match=r"takes \(4, 3, 4\), \(8, 6, 2\), \(5,\); samples of the data are \(8, 6, 2\)"
    ):
        quantized(split.x, tflite.parse(*several(0)))


PLANTED = [
    (stages.lifetimes, "for one in graph.inputs:", "for one in graph.inputs[1:]:"),
    (reference._parts, "ends[:-1]", "[ends[1], ends[-1]]"),
    (reference._inputs, "range(graph.InputsLength())", "reversed(range(graph.InputsLength()))"),
]


@pytest.mark.parametrize(("function", "right", "wrong"), PLANTED, ids=["planner", "parts", "order"])
def test_a_planted_bug_is_found(function, right, wrong, tmp_path, monkeypatch):
    found = read(tmp_path, 0, several)
    plant(function, right, wrong, monkeypatch)
    try:
        outcome = verdict(found, tmp_path)
    except (KeyError, ValueError, AssertionError, TrecxError):
        return
    assert outcome.mismatches
