"""The verify step: every target's program against the oracle, sample by sample, both exits and the exit taken."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from trecx.compiler.graph import Graph
from trecx.compiler.ir import Op
from trecx.compiler.plan import split
from trecx.console import Step
from trecx.decision import exit_taken
from trecx.device import run as device
from trecx.device import toolchain
from trecx.device.build import Build
from trecx.errors import AnswerIsNo, ToolMissing
from trecx.files import write_json
from trecx.judge import reference
from trecx.judge.record import forced, record
from trecx.judge.second_opinion import Node, SecondOpinion, opinion
from trecx.judge.trace import Trace
from trecx.judge.verify import PATTERNS, Layer, Operator, Verification, pair_layers, structured_inputs, verify
from trecx.settings import Folders, Settings
from trecx.steps import counting, effort
from trecx.steps import pair as pairs
from trecx.steps.data import data, quantized
from trecx.steps.firmware import programs
from trecx.steps.pair import Pair

SYNTHETIC = 1000
EMULATED = 300
SYNTHETIC_BYTES = 2**28  # a thousand samples of some megabytes take minutes to make
BUDGET_S = 60.0  # of the whole step, whatever the model, unless it is said how many samples
RESULT, COSTS, OPINION, NOT_RUN = "verify.json", "costs.json", "second_opinion.json", "not_run.json"
ASKED = 100


@dataclass(frozen=True)
class Inputs:
    """Samples of one origin, int8 `(n, *Graph.sample_shape)`."""

    what: str
    samples: np.ndarray


@dataclass(frozen=True)
class Costs:
    """What an emulated target needed: mean instructions to each exit's answer over `samples`, and bytes of stack.

    `backbone` are those of the backbone alone in one inference; None where there is no early exit to compare with it.
    """

    inputs: str
    samples: int
    instructions: tuple[float, ...]
    stack: int
    backbone: float | None = None


def prove(settings: Settings, folders: Folders, out: Path, step: Step) -> None:
    """Compare every program with the oracle; raises AnswerIsNo with the first difference, layer by layer."""
    pair = pairs.read(folders["model"])
    sets = inputs(settings, pair, step)
    programs_there, not_run = _runnable(programs(folders["compile"], settings))
    budget = None if settings.samples else BUDGET_S
    expected = effort.oracle(pair, [one.samples for one in sets], None if budget is None else budget / 3, step)
    jobs = [
        effort.Job(program, chosen.samples[: min(len(trace), EMULATED if program.target.emulator else len(trace))])
        for program in programs_there
        for chosen, trace in zip(sets, expected, strict=True)
    ]
    found, costs = [], {}
    for number, (actual, stack) in enumerate(effort.answers(pair, jobs, None if budget is None else budget / 2, step)):
        program, few, trace = jobs[number].program, sets[number % len(sets)], expected[number % len(sets)]
        actual.save(out / f"{program.target.name}-{few.what}.npz".replace(" ", "-"))
        compared = compare(pair, program, few, trace.first(len(actual)), actual)
        wanted = min(len(few.samples), EMULATED) if program.target.emulator else len(few.samples)
        found.append(replace(compared, of=wanted))
        if actual.exit_instructions is not None and program.target.name not in costs:
            means = tuple(float(n) for n in actual.exit_instructions.mean(axis=0))
            alone = _backbone(pair, program, settings.optimize)
            costs[program.target.name] = Costs(few.what, len(actual), means, stack, alone)
    wrong = [one for program in programs_there for one in astray(pair, program, sets[0], expected[0], step)]
    if not found:
        raise ToolMissing(not_run or "There is no program to verify.", "Install what is missing and verify again.")
    write_json(out / RESULT, [asdict(v) for v in found])
    write_json(out / NOT_RUN, not_run)
    second = second_opinion(pair, sets[0], step)
    write_json(out / OPINION, asdict(second))
    write_json(out / COSTS, {name: asdict(cost) for name, cost in costs.items()})
    wrong += [v.message for v in found if v.mismatches]
    if second.unexplained:
        wrong.append(f"The oracle and {second.interpreter} disagree: {second.message}.")
    if wrong:
        raise AnswerIsNo(wrong, "The generated C and the oracle disagree; this build must not be used.")
    step.outcome = "bit-exact: " + ", ".join(f"{_count(v)} {v.inputs} on {v.target}" for v in found)
    if len(pair.exits.operating_points) > 1:
        step.outcome += f"; {len(pair.exits.operating_points)} operating points, every table read back"
    step.outcome += "; no second opinion" if second.unavailable else ""


def astray(pair: Pair, program: Build, chosen: Inputs, expected: Trace, step: Step) -> list[str]:
    """Sentences on operating points that a program has otherwise, or at which it answers otherwise than the oracle.

    The whole table is read back; what an emulator answers is compared on a few samples of each, others every time.
    """
    count = program.model.points
    if not count:
        return []
    where = f"{program.target.name}, operating point"
    there = device.points(program)
    wanted = tuple(_row(pair, number) for number in range(count))
    problems = [
        f"{where} {number} has the limits {is_!r}, expected {should!r}."
        for number, (is_, should) in enumerate(zip(there, wanted, strict=True))
        if is_ != should
    ]
    few = min(len(expected), max(ASKED // count, 1) if program.target.emulator else ASKED)
    for number in range(count):
        # A stream begins with its first sample.
        rows = ((0 if pair.graph.states else number * few) + np.arange(few)) % len(expected)
        with step.progress(f"{where} {number}") as progress:
            run = device.run_qemu if program.target.emulator else device.run_host
            found = run(program, chosen.samples[rows], device.Point(number), progress)
        taken = exit_taken(expected.decided(pair.decisions)[rows], pair.limits_at(number), expected.exits)
        same = (found.exit_taken == taken) & (found.scores == expected.scores[rows, taken]).all(axis=1)
        if not same.all():
            at = int(np.flatnonzero(~same)[0])
            left = f"sample {rows[at]} left at exit {int(found.exit_taken[at])}, expected {int(taken[at])}"
            problems.append(f"{where} {number}: {int((~same).sum())} of {few} samples differ; {left}.")
    return problems


def _backbone(pair: Pair, program: Build, optimize: str) -> float | None:
    """Instructions of the backbone alone; None without early exits, and where programs run here but cannot be built."""
    if len(pair.exits.exits) == 1:
        return None
    try:
        return counting.backbone(pair, program.target, optimize)
    except ToolMissing:
        return None


def _row(pair: Pair, number: int) -> str:
    """An operating point as a program tells it."""
    named, early = pair.exits.operating_points[number].thresholds, [e.name for e in pair.exits.exits[:-1]]
    off = [number > 0 and not pair.optimised.most_confident and name not in named for name in early]
    off += [False] * (len(pair.decisions) - len(early))
    return ",".join(f"off {at}" if left else str(at) for at, left in zip(pair.limits_at(number), off, strict=True))


def _runnable(built: Iterable[Build]) -> tuple[list[Build], list[str]]:
    """The programs that this machine can run, and a sentence on each other."""
    runnable, not_run = [], []
    for program in built:
        try:
            if program.target.emulator is not None:
                toolchain.require(program.target.emulator[0])
            runnable.append(program)
        except ToolMissing as missing:
            not_run.append(f"Not verified on {program.target.title}: {' '.join(missing.problems)} {missing.hint}")
    return runnable, not_run


def _count(one: Verification) -> str:
    return f"{one.samples:,}" + (f" of {one.of:,}" if one.of is not None and one.of > one.samples else "")


def inputs(settings: Settings, pair: Pair, step: Step) -> tuple[Inputs, ...]:
    """The test split where there is data, and always random and structured samples."""
    found = data(settings, step)
    sets = []
    if found is not None:
        samples = quantized(found.test.x, pair.graph)[: settings.samples]
        sets.append(Inputs("test samples", samples))
    fitting = max(SYNTHETIC_BYTES // prod(pair.graph.sample_shape), len(PATTERNS))
    return (*sets, synthetic(pair.graph, min(SYNTHETIC, settings.samples or fitting), seed=0))


def synthetic(graph: Graph, count: int, seed: int) -> Inputs:
    """Random and structured samples that reach what recordings do not; each input of several has its own."""
    tensors = [one.tensor for one in graph.inputs]
    made = [structured_inputs(t.shape[1:] or (1,), count, seed + k, t.zero_point) for k, t in enumerate(tensors)]
    samples = made[0] if len(made) == 1 else np.concatenate([one.reshape(count, -1) for one in made], axis=1)
    return Inputs("synthetic samples", samples)


def oracle(pair: Pair, chosen: Inputs, step: Step) -> Trace:
    """TensorFlow Lite Micro's answers to all of the samples, in this process alone."""
    with step.progress(f"oracle, {chosen.what}") as progress:
        return reference.tflm_trace(pair.content, pair.reading, chosen.samples, pair.limits, None, progress)


def second_opinion(pair: Pair, chosen: Inputs, step: Step) -> SecondOpinion:
    """What LiteRT's reference kernels say to the first samples, operator by operator."""
    nodes = [opinion_node(op) for op in pair.graph.ops]
    with step.progress("second opinion"):
        return opinion(pair.content, nodes, chosen.samples[:ASKED])


def opinion_node(op: Op) -> Node:
    """An operator as the second opinion sees it."""
    inputs, outputs = (tuple(tensor.index for tensor in of) for of in (op.inputs, op.outputs))
    return Node(op.index, op.name, inputs, outputs)


def answers(pair: Pair, program: Build, chosen: Inputs, step: Step) -> tuple[Trace, int]:
    """Answers with exits never, always and at the thresholds in force, and the bytes of stack that took."""
    emulated = program.target.emulator is not None
    stacks = [0]
    with step.progress(f"{program.target.name}, {chosen.what}") as progress:

        def run(samples: np.ndarray, limits: tuple[int, ...]) -> device.Answers:
            found = (device.run_qemu if emulated else device.run_host)(program, samples, limits, progress)
            stacks.append(found.stack or 0)
            return found

        return record(run, chosen.samples, pair.limits, exits=len(pair.graph.exits)), max(stacks)


def compare(pair: Pair, program: Build, chosen: Inputs, expected: Trace, actual: Trace) -> Verification:
    """A program's answers against the oracle's; where they differ on the host, down to the first differing element."""
    return verify(
        expected,
        actual,
        None if program.target.emulator else layers(pair, program, chosen),
        target=program.target.name,
        oracle=reference.tflm_version(),
        inputs=chosen.what,
    )


def outputs(op: Op) -> Iterator[Operator]:
    """An operator for layer-by-layer comparison, once per output."""
    begin = 0
    for tensor in op.outputs:
        end = None if tensor is op.outputs[-1] else begin + tensor.size
        yield Operator(op.index, op.name, tensor.index, tensor.channels, begin, end)
        begin += tensor.size


def layers(pair: Pair, program: Build, chosen: Inputs) -> Callable[[int], Iterable[Layer]]:
    """Outputs of every operator for one sample, as the oracle and the program compute them."""
    computed = [op for stage in split(pair.optimised) for op in stage.ops]
    scores = [e.scores for e in pair.optimised.exits if e.logits is not None]
    answering = [op for tensor in scores if (op := pair.optimised.producer(tensor)) not in computed]
    every = [op for op in (*computed, *answering) if op is not None]
    operators = [operator for op in every for operator in outputs(op)]
    decisions, exits = len(pair.limits), len(pair.graph.exits)

    def of_sample(sample: int) -> Iterable[Layer]:
        # Of a stream, all that came before belongs to the sample.
        upto = chosen.samples[0 if pair.graph.states else sample : sample + 1]
        # Every exit in turn, since the softmax of an exit runs only where it is taken.
        dumps = [device.layer_outputs(program, upto, forced(decisions, exit_index)) for exit_index in range(exits)]
        merged = {index: values for dump in dumps for index, values in dump.items()}
        return pair_layers(operators, reference.tflm_tensors(pair.content, *upto), merged)

    return of_sample
