"""Random two-exit networks from `.tflite` to a running program: every bit of both exits, whatever the rewrites did."""

import hashlib
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from devices import self_test
from networks import awkward, two_exits, wide

from trecx.compiler.emit import Names, emit
from trecx.compiler.kernels import OPTIMIZE
from trecx.compiler.plan import plan_memory, split
from trecx.compiler.target import HOST, TARGETS, Target
from trecx.decision import ALWAYS, NEVER, exit_taken
from trecx.device.build import HOOKS, Options, build
from trecx.device.run import run_host, run_qemu
from trecx.errors import TrecxError
from trecx.judge import reference
from trecx.judge.record import record
from trecx.judge.verify import structured_inputs
from trecx.steps import firmware, pair
from trecx.steps.proof import Inputs, compare

SEEDS = range(8)
EMULATED = [target for target in TARGETS if target.emulator]
GUARD = """
#include <string.h>
#include "net.h"

/* The arena is the middle of a larger array, under the name that the generated code expects. */
_Alignas(16) int8_t memory[256 + NET_ARENA_BYTES + 256];
__asm__(".globl net_arena\\n.set net_arena, memory + 256");

int main(void) {
  int touched = 0;
  memset(memory, 0x5A, sizeof memory);
  const int differences = net_self_test();
  for (int k = 0; k < 256; k++) {
    touched += memory[k] != 0x5A;
    touched += memory[256 + NET_ARENA_BYTES + k] != 0x5A;
  }
  return differences != 0 || touched != 0;
}
"""


def read(folder: Path, seed: int, make=two_exits) -> pair.Pair:
    content, exits = make(seed)
    (folder / "model.tflite").write_bytes(content)
    exits.write(folder / "exits.json")
    return pair.read(folder)


def write(
    found: pair.Pair, folder: Path, target: Target = HOST, optimize: str = "time", rewritten: bool = True
) -> Path:
    graph = found.optimised if rewritten else found.graph
    names = Names("net", "a network", found.exits.model_sha256, found.exits.classes, "net")
    answers = firmware.known_answers(found)
    plan = plan_memory(graph, target, optimize)
    given = (graph, plan, names, found.thresholds, answers)
    for name, text in emit(*given, target.program in HOOKS, found.exits.operating_points).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def samples(found: pair.Pair, count: int) -> np.ndarray:
    return structured_inputs(found.graph.input.shape[1:], count, seed=3, zero_point=found.graph.input.zero_point)


def oracle(found: pair.Pair, inputs: np.ndarray):
    return reference.tflm_trace(found.content, found.reading, inputs, found.limits)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_network_gives_what_the_oracle_gives_at_both_exits(seed, tmp_path):
    found = read(tmp_path, seed)
    program = build(write(found, tmp_path / "c"), HOST, tmp_path / "out", options=Options(strict=True, sanitize=True))
    chosen = Inputs("synthetic", samples(found, 60))
    actual = record(lambda x, limits: run_host(program, x, limits), chosen.samples, found.limits)
    verdict = compare(found, program, chosen, oracle(found, chosen.samples), actual)
    assert (verdict.mismatches, verdict.message) == (0, "")
    assert 0 < (actual.exit_taken == 0).sum() < 60 or seed not in (0, 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_rewrites_change_no_bit_and_only_save_memory(seed, tmp_path):
    found = read(tmp_path, seed)
    assert sum(count for _, count in found.optimised.rewrites) >= 5
    plain = build(write(found, tmp_path / "plain", rewritten=False), HOST, tmp_path / "p")
    better = build(write(found, tmp_path / "better"), HOST, tmp_path / "b")
    inputs = samples(found, 40)
    for limits in ((NEVER,), (ALWAYS,), found.limits):
        a, b = run_host(plain, inputs, limits), run_host(better, inputs, limits)
        assert (a.logits == b.logits).all() and (a.scores == b.scores).all() and (a.exit_taken == b.exit_taken).all()
    assert better.model.arena_bytes <= plain.model.arena_bytes


@pytest.mark.parametrize(("make", "argument"), [(awkward, 0), (awkward, 1), (wide, 255), (wide, 256)])
def test_awkward_networks_give_what_the_oracle_gives(make, argument, tmp_path):
    found = read(tmp_path, argument, make)
    program = build(write(found, tmp_path / "c"), HOST, tmp_path / "out", options=Options(strict=True, sanitize=True))
    chosen = Inputs("synthetic", samples(found, 40))
    actual = record(lambda x, limits: run_host(program, x, limits), chosen.samples, found.limits)
    verdict = compare(found, program, chosen, oracle(found, chosen.samples), actual)
    assert (verdict.mismatches, verdict.message) == (0, "")


@pytest.mark.parametrize("make", [awkward, two_exits])
def test_rewrites_give_no_exit_more_to_do(make, tmp_path):
    found = read(tmp_path, 0, make)
    executed = [stage.macs for stage in split(found.optimised)]
    assert [sum(executed[: k + 1]) for k in range(2)] <= list(found.macs)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_generated_c_is_clean_under_strict_warnings(compiler, tmp_path):
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    found = read(tmp_path, 0)
    build(
        write(found, tmp_path / "c"), replace(HOST, compiler=compiler), tmp_path / "out", options=Options(strict=True)
    )
    assert (tmp_path / "out" / "trace").is_file()


def test_inference_touches_nothing_around_its_arena(tmp_path):
    found = read(tmp_path, 1)
    sources = write(found, tmp_path / "c")
    (sources / "guard.c").write_text(GUARD)
    command = ["cc", "-O1", "-DNET_EXTERNAL_ARENA", "net.c", "net_test.c", "guard.c", "-o", "guard"]
    subprocess.run(command, cwd=sources, check=True)
    assert subprocess.run(["./guard"], cwd=sources).returncode == 0


@pytest.mark.parametrize("optimize", OPTIMIZE)
@pytest.mark.parametrize("target", EMULATED, ids=lambda target: target.name)
def test_firmware_under_qemu_gives_the_same_bits_and_passes_its_known_answers(target, optimize, tmp_path):
    if not (shutil.which(target.compiler) and shutil.which(target.emulator[0])):
        pytest.skip(f"needs {target.compiler} and {target.emulator[0]}")
    found = read(tmp_path, 2)
    sources = write(found, tmp_path / "c", target, optimize)
    program = build(sources, target, tmp_path / "out", options=Options(strict=True, optimize=optimize))
    chosen = Inputs("synthetic", samples(found, 20))
    actual = record(lambda x, limits: run_qemu(program, x, limits), chosen.samples, found.limits)
    assert compare(found, program, chosen, oracle(found, chosen.samples), actual).mismatches == 0
    assert self_test(program) == 0


def test_what_a_damaged_file_still_builds_into_is_right(tmp_path):
    """Damage that leaves a model which the reader accepts: then the C must do what the oracle does with that file."""
    content, exits = two_exits(0)
    rng = np.random.default_rng(4)
    proven = 0
    for number in range(200):
        damaged = bytearray(content)
        for place in rng.integers(8, len(content), rng.integers(1, 4)):
            damaged[place] ^= 1 << int(rng.integers(0, 8))
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "model.tflite").write_bytes(damaged)
        replace(exits, model_sha256=hashlib.sha256(damaged).hexdigest()).write(folder / "exits.json")
        try:
            found = pair.read(folder)
        except TrecxError:
            continue
        inputs = samples(found, 12)
        arguments = (found.content, found.reading, inputs, found.limits)
        try:
            expected = reference.isolated(reference.tflm_trace, *arguments)
        except TrecxError:
            continue  # the oracle itself gives up on this file
        program = build(write(found, folder / "c"), HOST, folder / "out", options=Options(strict=True))
        actual = record(lambda x, limits, program=program: run_host(program, x, limits), inputs, found.limits)
        assert compare(found, program, Inputs("synthetic", inputs), expected, actual).mismatches == 0
        proven += 1
        if proven == 10:
            break
    assert proven >= 5


PLANTED = [
    ("kernels/portable/scale.h", "(int32_t)((uint32_t)product >> 31)", "0", r"operator \d+ \w+"),
    ("kernels/portable/depthwise_conv_2d.h", "memset(scratch, p.", "memset(scratch, 1 + p.", r"DEPTHWISE_CONV_2D"),
    ("kernels/average_pool_2d.h", "-(taps / 2)", "-(taps / 3)", r"AVERAGE_POOL_2D"),
    ("net.c", "<= limits[0]", "< limits[0]", "left at"),
    ("kernels/exit/max_score.h", "uint32_t sum = 0", "uint32_t sum = 1", "decided by"),
    ("net.c", "portable_conv_2d_dot_0(input, ", "portable_conv_2d_dot_0(input + 4, ", r"CONV_2D"),
]


@pytest.mark.parametrize(("file", "right", "wrong", "named"), PLANTED, ids=[f"{p[0]}: {p[2]}" for p in PLANTED])
def test_a_planted_bug_is_found_and_named(file, right, wrong, named, tmp_path):
    found = read(tmp_path, 0)
    sources = write(found, tmp_path / "c")
    text = (sources / file).read_text()
    assert right in text
    (sources / file).write_text(text.replace(right, wrong, 1))
    program = build(sources, HOST, tmp_path / "out")
    chosen = Inputs("synthetic", samples(found, 200))
    expected = oracle(found, chosen.samples)
    limits = found.limits
    if "limits" in right:  # the two comparisons differ only for a sample exactly on the limit
        limits = (int(expected.statistics[0, 0]),)
        taken = exit_taken(expected.statistics, limits, 2)
        expected = replace(expected, exit_taken=taken)
    actual = record(lambda x, limits: run_host(program, x, limits), chosen.samples, limits)
    verdict = compare(found, program, chosen, expected, actual)
    assert verdict.mismatches > 0
    assert re.search(named, verdict.message), verdict.message
