"""Every criterion, and every kind of answer, from `.tflite` through the oracle to C on this machine and under QEMU."""

import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from devices import self_test
from fake import where_installed
from networks import several_exits, values
from test_end_to_end import oracle, read, samples, write

from trecx import exits as door
from trecx.compiler.target import CORTEX_M4, HOST
from trecx.decision import ALWAYS, CRITERIA, NEVER, limits
from trecx.device.build import Build, Options, build
from trecx.device.run import run_host, run_qemu
from trecx.errors import TrecxError
from trecx.judge.record import record
from trecx.steps import pair
from trecx.steps.proof import Inputs, compare

MIXED = ("gate", "entropy", "margin")
EXITS = [
    (("max_score", "max_score"), door.FINAL, (0.6, 0.7)),
    (("entropy", "entropy"), door.FINAL, (0.9, 0.6)),
    (("margin",), door.FINAL, (2.0,)),
    (("gate",), door.FINAL, (0.9999,)),
    (MIXED, door.FINAL, (0.7, 0.8, 1.5)),
    (("max_score", "max_score"), door.MOST_CONFIDENT, (0.95, 0.95)),
    (("entropy",), door.MOST_CONFIDENT, (0.3,)),
]
NAMES = ["-".join((*criteria, otherwise)) for criteria, otherwise, _ in EXITS]
# Every criterion at least once; a Cortex-M4 under emulation is slow.
EMULATED = ["gate-final", "gate-entropy-margin-final", "max_score-max_score-most_confident"]


def check(found: pair.Pair, folder: Path, target=HOST, count: int = 200) -> np.ndarray:
    """Compare a pair's C with the oracle; the exits taken."""
    options = Options(strict=True, sanitize=target is HOST)
    program = build(write(found, folder / "c", target), target, folder / "out", options=options)
    chosen = Inputs("synthetic", samples(found, count))
    run = run_host if target is HOST else run_qemu
    exits = len(found.graph.exits)
    actual = record(lambda x, limits: run(program, x, limits), chosen.samples, found.limits, exits=exits)
    verdict = compare(found, program, chosen, oracle(found, chosen.samples), actual)
    assert (verdict.mismatches, verdict.message) == (0, "")
    if target is HOST:
        assert actual.statistics is not None and actual.statistics.shape == (count, len(found.limits))
    else:
        assert self_test(program) == 0
    return actual.exit_taken


@pytest.mark.parametrize(("criteria", "otherwise", "thresholds"), EXITS, ids=NAMES)
def test_every_criterion_decides_on_the_host_as_the_oracle_says(criteria, otherwise, thresholds, tmp_path):
    found = read(tmp_path, 1, lambda seed: several_exits(seed, criteria, otherwise, thresholds))
    taken = check(found, tmp_path)
    assert len(set(taken.tolist())) > 1, f"all {len(taken)} samples leave at exit {taken[0]}: choose other thresholds"


def test_every_criterion_is_tried():
    assert {kind.name for kind in CRITERIA} == {name for criteria, *_ in EXITS for name in criteria} == set(GRIDS)
    assert {kind.name for kind in CRITERIA} == {
        name for (criteria, *_), row in zip(EXITS, NAMES, strict=True) if row in EMULATED for name in criteria
    }


@pytest.mark.parametrize("target", where_installed([CORTEX_M4]))
@pytest.mark.parametrize("name", EMULATED)
def test_every_criterion_decides_on_a_cortex_m4_as_the_oracle_says(name, target, tmp_path):
    criteria, otherwise, thresholds = EXITS[NAMES.index(name)]
    found = read(tmp_path, 1, lambda seed: several_exits(seed, criteria, otherwise, thresholds))
    check(found, tmp_path, target, 25)


# From strict to loose, for the criterion's own measure.
GRIDS = {
    "max_score": (0.999, 0.8, 0.6, 0.5, 0.4, 0.3, 0.01),
    "margin": (20.0, 4.0, 2.0, 1.0, 0.5, 0.1, 0.0),
    "entropy": (0.0, 0.3, 0.6, 0.9, 1.0, 1.2, 5.0),
    "gate": (0.999999, 0.9999, 0.99, 0.9, 0.5, 0.1, 1e-6),
}


def only(found: pair.Pair, number: int, folder: Path) -> Build:
    """The program of the same network with one exit, which is its last."""
    one = found.exits.exits[number]
    alone = replace(found.exits, exits=(replace(one, criterion=None, gate=None),), operating_points=())
    return build(write(pair.bind(found.path, alone), folder / "c"), HOST, folder / "out")


@pytest.mark.parametrize("name", GRIDS)
def test_never_is_the_tail_alone_always_the_head_alone_and_looser_thresholds_let_more_leave(name, tmp_path):
    found = read(tmp_path, 1, lambda seed: several_exits(seed, (name,), door.FINAL, (GRIDS[name][3],)))
    program, inputs = build(write(found, tmp_path / "c"), HOST, tmp_path / "out"), samples(found, 100)
    for limit, number in ((NEVER, 1), (ALWAYS, 0)):
        forced, alone = (
            run_host(program, inputs, (limit,)),
            run_host(only(found, number, tmp_path / str(number)), inputs, ()),
        )
        assert (forced.exit_taken == number).all()
        assert np.array_equal(forced.logits, alone.logits) and np.array_equal(forced.scores, alone.scores)
    left = [run_host(program, inputs, limits(found.decisions, [at])).exit_taken == 0 for at in GRIDS[name]]
    assert all((loose | ~strict).all() for strict, loose in pairwise(left))  # who leaves goes on leaving
    assert len({int(one.sum()) for one in left}) > 2


def test_where_nothing_is_sure_the_surest_answers_unless_the_last_is_made_to(tmp_path):
    found = read(tmp_path, 1, lambda seed: several_exits(seed, ("max_score",), door.MOST_CONFIDENT, ()))
    program = build(write(found, tmp_path / "c"), HOST, tmp_path / "out")
    inputs = samples(found, 60)
    free, forced = run_host(program, inputs, (0, 0)), run_host(program, inputs, (0, ALWAYS))
    assert free.statistics is not None
    assert np.array_equal(free.exit_taken == 0, free.statistics[:, 0] < free.statistics[:, 1])
    assert 0 < (free.exit_taken == 0).sum() < 60 and (forced.exit_taken == 1).all()


def plain(folder: Path, content: bytes) -> pair.Pair:
    (folder / "model.tflite").write_bytes(content)
    return pair.plain(folder / "model.tflite")


@pytest.mark.parametrize(
    ("shape", "more"), [((1,), 0), ((640,), 0), ((12, 12, 3), 0), ((6, 6, 2), 2)], ids=["value", "many", "map", "three"]
)
def test_answers_that_are_no_classes_are_those_of_the_oracle(shape, more, tmp_path):
    found = plain(tmp_path, values(shape, more))
    assert found.graph.classes == 0 and found.exits.classes == ()
    check(found, tmp_path, count=40)


@pytest.mark.parametrize("target", where_installed([CORTEX_M4]))
@pytest.mark.parametrize(("shape", "more"), [((1,), 0), ((12, 12, 3), 1)])
def test_answers_that_are_no_classes_are_those_of_the_oracle_on_a_cortex_m4(shape, more, target, tmp_path):
    check(plain(tmp_path, values(shape, more)), tmp_path, target, 10)


USE = """
#include <stdio.h>
#include <string.h>
#include "net.h"
int main(void) {
  static const uint32_t shape[] = NET_OUTPUT_SHAPE;
  net_result_t result;
  net_init();
  memset(net_input(), net_quantized(0.0f), NET_INPUT_BYTES);
  net_run(&result);
  printf("%u %u %g %d %d\\n", (unsigned)shape[0], NET_OUTPUT_BYTES, (double)net_real(net_output()[0]),
         net_quantized(1e9f), net_quantized(-1e9f));
  return net_self_test() + result.exit;
}
"""


def test_a_program_can_use_values_as_real_numbers(tmp_path):
    found = plain(tmp_path, values((7,)))
    sources = write(found, tmp_path / "c")
    (sources / "use.c").write_text(USE)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion", "-Wdouble-promotion"]
    subprocess.run(["cc", *flags, "net.c", "net_test.c", "use.c", "-o", "use"], cwd=sources, check=True)
    done = subprocess.run(["./use"], cwd=sources, capture_output=True, text=True, check=True)
    zero = np.full((1, *found.graph.input.shape[1:]), found.graph.input.zero_point, np.int8)
    tensor = found.graph.exits[0].scores
    real = tensor.scale * (int(oracle(found, zero).scores[0, 0, 0]) - tensor.zero_point)
    rows, size, first, high, low = done.stdout.split()
    assert (int(rows), int(size), int(high), int(low)) == (7, 7, 127, -128)
    assert float(first) == pytest.approx(real, rel=1e-5)


def document(**changes) -> door.Exits:
    content, spec = several_exits(1, ("gate", "entropy"))
    del content
    return door.Exits(**{**vars(spec), **changes})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"exits": (door.ExitSpec("a", "scores0", "gate"), door.ExitSpec("f", "final"))}, "must name the output"),
        ({"exits": (door.ExitSpec("a", "scores0", "margin", "gate0"), door.ExitSpec("f", "final"))}, "names a gate"),
        ({"classes": ()}, "there are no 'classes'"),
        ({"otherwise": "luck"}, "'otherwise' is 'luck'"),
        ({"otherwise": door.MOST_CONFIDENT}, "all early exits need one criterion, max_score or entropy"),
        ({"operating_points": (door.OperatingPoint("p", {"exit0": 1.0}),)}, r"outside \(0, 1\)"),
    ],
)
def test_what_exits_json_cannot_mean_is_refused(changes, told, tmp_path):
    document(**changes).write(tmp_path / "exits.json")
    with pytest.raises(TrecxError, match=told):
        door.read(tmp_path / "exits.json")


def test_what_is_written_is_read_back(tmp_path):
    spec = document(exits=(door.ExitSpec("a", "scores0", "gate", "gate0"), door.ExitSpec("f", "final")))
    spec = door.Exits(**{**vars(spec), "operating_points": ()})
    spec.write(tmp_path / "exits.json")
    assert door.read(tmp_path / "exits.json") == spec


def test_a_gate_of_several_values_is_refused(tmp_path):
    content, spec = several_exits(1, ("gate",))
    exits = (door.ExitSpec("a", "gate0", "gate", "scores0"), spec.exits[-1])
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(TrecxError, match="a gate of 5 values; supported: one"):
        pair.bind(tmp_path / "model.tflite", door.Exits(**{**vars(spec), "exits": exits, "operating_points": ()}))
