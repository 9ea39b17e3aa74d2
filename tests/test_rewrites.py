"""Rewrites that leave out channels: every bit of both exits on random networks, and planted bugs that must show."""

from dataclasses import replace

import numpy as np
import pytest
from networks import hollow
from planted import plant
from test_end_to_end import oracle, read, samples, write

from trecx.compiler import fixed_point
from trecx.compiler.ir import VARIES, Op
from trecx.compiler.ops import OPS
from trecx.compiler.ops.channels import Channels
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.ops.fully_connected import FullyConnected
from trecx.compiler.ops.pad import Pad
from trecx.compiler.ops.pooling import Pool2D
from trecx.compiler.ops.product import Dense, Product
from trecx.compiler.ops.quantize import Quantize
from trecx.compiler.ops.split import Split
from trecx.compiler.ops.strided_slice import StridedSlice
from trecx.compiler.plan import split
from trecx.compiler.rewrites import channels, constants
from trecx.compiler.target import HOST
from trecx.device.build import Options, build
from trecx.device.run import run_host
from trecx.judge import reference
from trecx.judge.record import record
from trecx.judge.verify import Operator, first_difference, pair_layers
from trecx.steps.proof import Inputs, compare

SEEDS = range(8)
CONSTANT, UNREAD = "drop constant channels", "drop unread channels"


def verdict(found, tmp_path, count=40, **options):
    program = build(write(found, tmp_path / "c"), HOST, tmp_path / "out", options=Options(**options))
    chosen = Inputs("synthetic", samples(found, count))
    actual = record(lambda x, limits: run_host(program, x, limits), chosen.samples, found.limits)
    return compare(found, program, chosen, oracle(found, chosen.samples), actual)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_network_without_its_idle_channels_gives_what_the_oracle_gives(seed, tmp_path):
    found = read(tmp_path, seed, hollow)
    counts = dict(found.optimised.rewrites)
    assert counts[CONSTANT] >= 5 and counts[UNREAD] >= 5
    assert sum(stage.macs for stage in split(found.optimised)) < 0.9 * found.macs[-1]
    outcome = verdict(found, tmp_path, strict=True, sanitize=True)
    assert (outcome.mismatches, outcome.message) == (0, "")


@pytest.mark.parametrize("name", [CONSTANT, UNREAD])
@pytest.mark.parametrize("seed", SEEDS[:4])
def test_either_rewrite_alone_changes_no_bit(name, seed, tmp_path):
    found = read(tmp_path, seed, hollow)
    rewrite = {CONSTANT: channels.drop_constant_channels, UNREAD: channels.drop_unread_channels}[name]
    graph, count = rewrite(found.graph)
    graph.check()
    assert count > 0
    assert verdict(replace(found, optimised=graph), tmp_path).mismatches == 0


def test_a_channel_called_constant_has_that_value_in_the_oracle(tmp_path):
    reached = set()
    for seed in SEEDS:
        (tmp_path / str(seed)).mkdir()
        found = read(tmp_path / str(seed), seed, hollow)
        values = constants.constants(found.graph)
        reached |= {type(op) for op in found.graph.ops if (values[op.output.index] != VARIES).any()}
        for sample in samples(found, 12):
            for index, tensor in reference.tflm_tensors(found.content, sample).items():
                fixed = values[index] != VARIES
                assert (tensor[..., fixed] == values[index][fixed]).all(), (seed, index)
    told = {op for op in OPS.values() if op.constants is not Op.constants}
    assert reached >= told - {FullyConnected, Split}  # test_split.py has networks that split


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_left_fills_words_and_keeps_its_bounds(seed, tmp_path):
    found = read(tmp_path, seed, hollow)
    before = {op.index: op for op in found.graph.ops}
    for op in found.optimised.ops:
        units = op.output.shape[-1]
        if hasattr(op, "channels"):
            whole = before[op.index].output.shape[-1]
            assert units == whole or units % channels.WORD == 0
            assert len(op.channels.bias) == len(op.channels.factors) == units
            kept = list(op.output.channels or range(whole))
            axis = 3 if op.name == "DEPTHWISE_CONV_2D" else 0
            assert (bounds(op.channels, axis) <= bounds(before[op.index].channels, axis)[kept]).all()
    assert found.optimised.input is found.graph.input
    assert all(e.logits.channels is e.scores.channels is None for e in found.optimised.exits)


def bounds(found: Channels, axis: int) -> np.ndarray:
    rows = np.moveaxis(found.weights, axis, 0).reshape(len(found.bias), -1).astype(np.int64)
    return np.abs(found.bias.astype(np.int64)) + 128 * np.abs(rows).sum(axis=1)


def test_a_second_time_finds_nothing(tmp_path):
    graph = read(tmp_path, 0, hollow).graph
    for rewrite in (channels.drop_constant_channels, channels.drop_unread_channels):
        graph, _ = rewrite(graph)
    for rewrite in (channels.drop_constant_channels, channels.drop_unread_channels):
        assert rewrite(graph) == (graph, 0)


PLANTED = [
    (Product.absorbed, "| (not self.padded))", "| True)"),
    (Dense.constants, "+ weights[:, :, constant].sum(axis=1) @ inputs[0][constant]", ""),
    (DepthwiseConv2D.constants, "+ weights.sum(axis=0) * taken", ""),
    (fixed_point.scaled, "zero_point + requantize(x, factor)", "zero_point"),
    (Quantize.value, "taken[0] - self.inputs[0].zero_point, self.factor", "taken[0], self.factor"),
    (Pool2D.value, "min(max(taken[0], low), high)", "low"),
    (Pad.constants, "(not any(map(any, self.paddings[:2])))", "True"),
    (Channels.dense, "@ constants[gone]", "@ (0 * constants[gone])"),
    (Channels.dense, "bias = self.bias[outputs]", "bias = self.bias[: len(outputs)]"),
    (Dense.agree, "[~outputs[0]].any", "[outputs[0]].any"),
    (StridedSlice.loses, "np.logical_and.accumulate(flags[::-1])[::-1]", "flags"),
    (Op.agree, "follows[here] &= source[origin[here]]", "pass"),
    (Op.agree, "np.logical_and.at(source, taken, flags[here])", "pass"),
    (Dense.narrowed, "np.where(values[0] == VARIES, 0, values[0])", "self.inputs[0].zero_point + 0 * values[0]"),
]


@pytest.mark.parametrize(("function", "right", "wrong"), PLANTED, ids=[p[1] for p in PLANTED])
def test_a_planted_bug_is_found(function, right, wrong, tmp_path, monkeypatch):
    plant(function, right, wrong, monkeypatch)
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            found = read(folder, seed, hollow)
        except (AssertionError, IndexError, ValueError):
            return  # shapes that do not fit together any more
        if verdict(found, folder).mismatches:
            return
    raise AssertionError("nobody noticed")


def test_a_difference_is_named_by_the_channel_of_the_file():
    expected = {7: np.arange(24, dtype=np.int8).reshape(1, 2, 2, 6)}
    actual = expected[7][..., [1, 3, 4]].copy()
    operator = Operator(2, "CONV_2D", 7, (1, 3, 4))
    assert first_difference(pair_layers([operator], expected, {2: actual.reshape(-1)})) is None
    actual[0, 1, 0, 1] = 100
    found = first_difference(pair_layers([operator], expected, {2: actual.reshape(-1)}))
    assert (found.element, found.expected, found.actual, found.size) == ((0, 1, 0, 3), 15, 100, 12)


def test_a_fault_in_a_network_without_its_idle_channels_is_named_by_operator(tmp_path):
    found = read(tmp_path, 0, hollow)
    sources = write(found, tmp_path / "c")
    text = (sources / "kernels/requantize.h").read_text()
    (sources / "kernels/requantize.h").write_text(text.replace("+ (1 << 30)", "+ (1 << 29)", 1))
    program = build(sources, HOST, tmp_path / "out")
    chosen = Inputs("synthetic", samples(found, 60))
    actual = record(lambda x, limits: run_host(program, x, limits), chosen.samples, found.limits)
    outcome = compare(found, program, chosen, oracle(found, chosen.samples), actual)
    assert outcome.mismatches > 0 and len(outcome.difference.element) == 4
