"""SPLIT, an operator with several outputs: networks that split maps every way, to every bit on the host and under QEMU;
views where they can be, a kernel where not, and planted bugs that must show."""

from dataclasses import replace
from itertools import pairwise

import pytest
from ai_edge_litert import schema_py_generated as schema
from networks import Network, _pair
from planted import plant
from test_end_to_end import oracle, read, samples, write
from test_rewrites import verdict
from vectors import executors

from trecx.compiler.ir import VARIES, Node, Tensor
from trecx.compiler.ops.split import Split
from trecx.compiler.plan import plan_memory
from trecx.compiler.rewrites.constants import constants
from trecx.compiler.target import CORTEX_M4, HOST
from trecx.device.build import Options, build
from trecx.device.run import run_qemu
from trecx.judge import reference
from trecx.judge.record import record
from trecx.judge.second_opinion import ask
from trecx.steps import proof
from trecx.steps.proof import ASKED, Inputs, compare


def divided(net: Network, x: Tensor, parts: int, axis: int) -> tuple[Tensor, ...]:
    """SPLIT into equal parts."""
    shape = list(x.shape)
    shape[axis] //= parts
    options = schema.SplitOptionsT()
    options.numSplits = parts
    outputs = tuple(net.build.activation(tuple(shape), x.scale, x.zero_point) for _ in range(parts))
    where = replace(net.build.integers([axis]), shape=())
    net.nodes.append(Node(len(net.nodes), "SPLIT", (where, x), outputs, options))
    return outputs


def splitting(seed: int):
    """Channels, rows and columns are split; one part of a split is never read, and idle channels pass through one."""
    net = Network(seed)
    source = net.activation(8, 6, 3)
    tap = net.conv(source, 16, 3, 1, zero=0.3, blind=0.2)
    first, second = divided(net, tap, 2, 3)
    left, middle, _ = divided(net, net.conv(first, 8, 3, 1), 3, 2)
    early = net.classifier(net.flat(net.conv(net.residual(left, middle), 4, 1, 1)))
    top, bottom = divided(net, net.conv(second, 8, 3, 1, zero=0.4, blind=0.3), 2, 1)
    halves = divided(net, net.flat(net.residual(top, net.conv(bottom, 8, 1, 1))), 2, 1)
    final = net.classifier(net.joined(*halves))
    return _pair(net, source, early, final)


SEEDS = range(4)


@pytest.mark.parametrize("rewritten", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_network_that_splits_gives_what_the_oracle_gives(seed, rewritten, tmp_path):
    found = read(tmp_path, seed, splitting)
    if not rewritten:
        found = replace(found, optimised=found.graph)
    outcome = verdict(found, tmp_path, strict=True, sanitize=True)
    assert (outcome.mismatches, outcome.message) == (0, "")


def test_only_a_split_across_rows_is_computed(tmp_path):
    found = read(tmp_path, 0, splitting)
    assert [op.axis for op in found.graph.ops if isinstance(op, Split)] == [3, 2, 1, 1]
    assert [op.axis for op in found.optimised.ops if isinstance(op, Split)] == [2]
    (op,) = (op for op in found.optimised.ops if isinstance(op, Split))
    plan = plan_memory(found.optimised)
    alive = [b for b in plan.buffers if b.tensor in (*op.inputs, *op.outputs)]
    places = sorted((plan.start(b), plan.start(b) + b.size) for b in alive)
    assert len(places) == 4 and all(end <= start for (_, end), (start, _) in pairwise(places))


def test_a_network_that_splits_on_the_cortex_m4(tmp_path):
    if not executors.available(CORTEX_M4.compiler, *(CORTEX_M4.emulator or ())[:1]):
        pytest.skip("needs arm-none-eabi-gcc and qemu-system-arm")
    found = read(tmp_path, 1, splitting)
    program = build(write(found, tmp_path / "c", CORTEX_M4), CORTEX_M4, tmp_path / "out")
    chosen = Inputs("synthetic", samples(found, 8))
    actual = record(lambda x, limits: run_qemu(program, x, limits), chosen.samples, found.limits)
    assert compare(found, program, chosen, oracle(found, chosen.samples), actual).mismatches == 0


def test_a_constant_channel_stays_one_through_a_split(tmp_path):
    reached = 0
    for seed in SEEDS:
        (tmp_path / str(seed)).mkdir()
        found = read(tmp_path / str(seed), seed, splitting)
        values = constants(found.graph)
        known = {tensor.index for op in found.graph.ops if isinstance(op, Split) for tensor in op.outputs}
        for index, tensor in reference.tflm_tensors(found.content, samples(found, 1)[0]).items():
            fixed = values[index] != VARIES
            assert (tensor[..., fixed] == values[index][fixed]).all()
            reached += int(fixed.sum()) if index in known else 0
    assert reached > 10


def test_layers_and_the_second_opinion_know_every_output(tmp_path):
    found = read(tmp_path, 2, splitting)
    program = build(write(found, tmp_path / "c"), HOST, tmp_path / "out", options=Options())
    chosen = Inputs("synthetic", samples(found, 2))
    layers = [layer for layer in proof.layers(found, program, chosen)(1) if layer.name == "SPLIT"]
    assert len(layers) == 3
    assert all((layer.expected.ravel() == layer.actual).all() for layer in layers)
    nodes = [proof.opinion_node(op) for op in found.graph.ops]
    assert ask(found.content, nodes, chosen.samples[:ASKED]).unexplained == 0


PLANTED = [
    (Split.moved, "View(source.index, at, source.pixel_stride)", "View(source.index, 0, source.pixel_stride)"),
    (Split.moved, "at * inner", "at"),
    (Split.call, "offset * before * stride", "offset * stride * 2"),
    (Split.origins, "self._offsets[output] if", "0 if"),
]


@pytest.mark.parametrize(("function", "right", "wrong"), PLANTED, ids=[p[1] for p in PLANTED])
def test_a_planted_bug_is_found(function, right, wrong, tmp_path, monkeypatch):
    plant(function, right, wrong, monkeypatch)
    for seed in SEEDS:
        (tmp_path / str(seed)).mkdir()
        try:
            found = read(tmp_path / str(seed), seed, splitting)
        except (AssertionError, IndexError, ValueError):
            return  # shapes that do not fit together any more
        if verdict(found, tmp_path / str(seed)).mismatches:
            return
    raise AssertionError("nobody noticed")
