"""Models with a state: streams of frames through the host's program, the emulated firmware and TFLM, from reset."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from networks import Network, _pair
from planted import plant
from test_end_to_end import read, write
from test_params import of_call
from vectors import executors

from trecx.compiler.ir import Node, Refused, Tensor
from trecx.compiler.ops.circular_buffer import EVERY_FRAME, CircularBuffer
from trecx.compiler.plan import memory, plan_memory, steps
from trecx.compiler.target import CORTEX_M4, HOST
from trecx.device.build import Options, build
from trecx.device.run import layer_outputs, run_host, run_qemu
from trecx.errors import TrecxError
from trecx.judge import reference
from trecx.judge.record import record
from trecx.steps import effort, proof
from trecx.steps.proof import Inputs, compare

FRAMES = 320


def ring(net: Network, x: Tensor, frames: int) -> Tensor:
    """CIRCULAR_BUFFER of as many frames."""
    output = net.build.activation((1, frames, *x.shape[2:]), x.scale, x.zero_point)
    return net.add("CIRCULAR_BUFFER", (x,), replace(output, variable=True), EVERY_FRAME)


def streaming(seed: int, late: bool = False):
    """A convolution of each frame, a ring of them, another ring of what is made of that, an early exit in between."""
    net = Network(seed)
    source = net.activation(1, 1, 10)
    frames = ring(net, net.conv(source, 8, 1, 1), 5)
    tap = net.conv(frames, 8, 3, 2)
    x = net.conv(net.prefix(net.conv(frames, 8, 1, 1), 4), 4, 1, 1)
    x = x if late else tap
    longer = ring(net, net.pool(x, *x.shape[1:3]), 4)
    row = net.flat(net.pool(longer, 4, 1))
    early = net.classifier(net.flat(net.pool(tap, *tap.shape[1:3])) if late else row)
    final = net.classifier(net.joined(row, net.flat(net.pool(net.conv(tap, 8, 3, 1), 3, 1))))
    return _pair(net, source, early, final)


def stream(found, count: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(5).integers(-128, 128, (count, *found.graph.input.shape[1:])).astype(np.int8)


def oracle(found, inputs: np.ndarray):
    return reference.tflm_trace(found.content, found.reading, inputs, found.limits)


def differing(found, program, inputs: np.ndarray, run) -> int:
    chosen = Inputs("a stream", inputs)
    actual = record(lambda x, limits: run(program, x, limits), inputs, found.limits)
    return compare(found, program, chosen, oracle(found, inputs), actual).mismatches


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_gives_what_the_oracle_gives_on_the_host(seed, tmp_path):
    found = read(tmp_path, seed, streaming)
    program = build(write(found, tmp_path / "c"), HOST, tmp_path / "out", options=Options(strict=True, sanitize=True))
    assert program.model.state_bytes == 5 * 8 + 4 * 8
    assert differing(found, program, stream(found), run_host) == 0


def test_a_stream_gives_what_the_oracle_gives_on_the_cortex_m4(tmp_path):
    if not executors.available(CORTEX_M4.compiler, *(CORTEX_M4.emulator or ())[:1]):
        pytest.skip("needs arm-none-eabi-gcc and qemu-system-arm")
    found = read(tmp_path, 1, streaming)
    program = build(write(found, tmp_path / "c", CORTEX_M4), CORTEX_M4, tmp_path / "out")
    assert differing(found, program, stream(found), run_qemu) == 0


def test_the_state_matters(tmp_path):
    found = read(tmp_path, 0, streaming)
    inputs = stream(found, 6)
    assert (oracle(found, inputs).logits[-1] != oracle(found, inputs[-1:]).logits[0]).any()
    apart = reference.tflm_trace(found.content, found.reading, inputs, found.limits, apart=True)
    assert all((apart.logits[k] == oracle(found, inputs[k : k + 1]).logits[0]).all() for k in range(6))


def test_known_answers_start_from_reset(tmp_path):
    if not executors.available(CORTEX_M4.compiler, *(CORTEX_M4.emulator or ())[:1]):
        pytest.skip("needs arm-none-eabi-gcc and qemu-system-arm")
    from trecx.device.qemu import counting

    found = read(tmp_path, 2, streaming)
    program = build(write(found, tmp_path / "c", CORTEX_M4), CORTEX_M4, tmp_path / "out")
    with counting(program) as console:
        console.infer(bytes(program.model.input_bytes))
        assert [console.value("test", "test") for _ in range(2)] == ["0", "0"]


def test_layers_are_those_of_the_stream_up_to_the_sample(tmp_path):
    found = read(tmp_path, 0, streaming)
    program = build(write(found, tmp_path / "c"), HOST, tmp_path / "out")
    chosen = Inputs("a stream", stream(found, 9))
    layers = list(proof.layers(found, program, chosen)(8))
    assert sum(layer.name == "CIRCULAR_BUFFER" for layer in layers) == 2
    assert all((layer.expected.ravel() == layer.actual).all() for layer in layers)
    first = layer_outputs(program, chosen.samples[8:], (0,))
    assert any((first[layer.index] != layer.actual).any() for layer in layers)


def test_the_state_lies_apart_from_everything_in_every_step(tmp_path):
    graph = read(tmp_path, 0, streaming).optimised
    plan = plan_memory(graph)
    states = [b for b in plan.buffers if b.tensor.variable]
    assert len(states) == 2
    for state in states:
        assert (state.first, state.last) == (0, len(steps(plan.stages)) - 1)
        low, high = plan.start(state), plan.start(state) + state.size
        assert all(b is state or plan.start(b) >= high or plan.start(b) + b.size <= low for b in plan.buffers)


class Quiet:
    """A step that says nothing."""

    @contextmanager
    def progress(self, *_):
        yield lambda *_: None


def test_the_proof_never_cuts_a_stream(tmp_path, monkeypatch):
    monkeypatch.setattr(effort, "ALONE_S", 0.0)
    found = read(tmp_path, 0, streaming)
    program = build(write(found, tmp_path / "c"), HOST, tmp_path / "out")
    inputs = stream(found, 300)
    direct = oracle(found, inputs)
    (expected,) = effort.oracle(found, [inputs], 60.0, Quiet())
    ((actual, _),) = effort.answers(found, [effort.Job(program, inputs)], 60.0, Quiet())
    assert len(direct) == len(expected) == len(actual) == 300
    assert (expected.logits == direct.logits).all() and (actual.logits == direct.logits).all()


def test_a_state_that_an_early_exit_would_skip_is_refused(tmp_path):
    with pytest.raises(
        TrecxError, match="CIRCULAR_BUFFER, keeps a state, which would miss every run that exit 'early'"
    ):
        read(tmp_path, 0, lambda seed: streaming(seed, late=True))


def node(frames: int = 3, options: bytes = EVERY_FRAME, variable: bool = True, height: int = 1, depth: int = 4) -> Node:
    net = Network(0)
    source = net.build.activation((1, height, 1, 4), 0.5, 3)
    output = replace(net.build.activation((1, frames, 1, depth), 0.5, 3), variable=variable)
    return Node(0, "CIRCULAR_BUFFER", (source,), (output,), options)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"options": EVERY_FRAME.replace(b"\1\1\1\1", b"\1\1\1\2")}, "custom options are not cycles_max = 1"),
        ({"options": b""}, "custom options are not cycles_max = 1"),
        ({"variable": False}, "no variable tensor"),
        ({"height": 2}, "supported: one frame"),
        ({"depth": 5}, "output has shape"),
    ],
)
def test_what_the_oracle_computes_otherwise_is_refused(changes, reason):
    CircularBuffer.read(node())
    with pytest.raises(Refused, match=reason):
        CircularBuffer.read(node(**changes))


def test_the_header_declares_what_python_passes():
    assert of_call(CircularBuffer.read(node()).call()) == []


PLANTED = [
    (memory.lifetimes, "first[tensor.index], last[tensor.index] = 0, number", "pass"),
    (CircularBuffer.call, "frame=frame", "frame=frame - 1"),
]


@pytest.mark.parametrize(("function", "right", "wrong"), PLANTED, ids=[p[1] for p in PLANTED])
def test_a_planted_bug_is_found(function, right, wrong, tmp_path, monkeypatch):
    plant(function, right, wrong, monkeypatch)
    found = read(tmp_path, 0, streaming)
    program = build(write(found, tmp_path / "c"), HOST, tmp_path / "out")
    assert differing(found, program, stream(found, 20), run_host) > 0
