"""Recording a trace exit by exit, comparing two traces, and the inputs made for it."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from networks import values
from synthetic_traces import DECISION, synthetic
from synthetic_traces import taken as exits_taken

from trecx.console import Console
from trecx.decision import ALWAYS, NEVER
from trecx.errors import AnswerIsNo, TrecxError
from trecx.judge.record import forced, record
from trecx.judge.verify import (
    PATTERNS,
    Layer,
    Operator,
    first_difference,
    pair_layers,
    structured_inputs,
    verify,
)
from trecx.settings import Settings
from trecx.steps import pair as pairs
from trecx.steps import proof


@dataclass(frozen=True)
class Answers:
    exit_taken: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    scores: np.ndarray
    instructions: np.ndarray | None
    statistics: np.ndarray | None = None


class Program:
    """Behaves as generated C does: it computes one exit's answer and says which."""

    def __init__(self, trace, counts=True):
        self.trace, self.counts, self.calls = trace, counts, []

    def __call__(self, inputs, limits):
        self.calls.append(limits)
        rows = np.arange(len(inputs))
        taken = exits_taken(self.trace.logits, (DECISION,) * len(limits), limits)
        counted = (1000 * (taken.astype(np.uint64) + 1) + rows.astype(np.uint64)) if self.counts else None
        logits = self.trace.logits[rows, taken]
        return Answers(taken, logits.argmax(axis=-1).astype(np.uint8), logits, self.trace.scores[rows, taken], counted)


INPUTS = np.zeros((90, 4), np.int8)


@pytest.mark.parametrize("accuracies", [(0.9,), (0.8, 0.9), (0.7, 0.8, 0.9)])
def test_recording_finds_every_exits_answer(accuracies):
    expected = synthetic(90, accuracies, threshold=0.9)
    program = Program(expected)
    limits = (DECISION.limit(0.9),) * (len(accuracies) - 1)
    trace = record(program, INPUTS, limits, expected.labels)
    assert np.array_equal(trace.logits, expected.logits) and np.array_equal(trace.scores, expected.scores)
    assert np.array_equal(trace.exit_taken, expected.exit_taken) and np.array_equal(trace.labels, expected.labels)
    assert trace.exit_instructions[3].tolist() == [1000 * (k + 1) + 3 for k in range(len(accuracies))]
    assert trace.instructions[3] == 1000 * (int(trace.exit_taken[3]) + 1) + 3
    assert len(program.calls) == len(accuracies) + 1 and trace.problems() == []


def test_forced_exits_are_reached_past_the_earlier_ones():
    assert forced(2, 0) == (ALWAYS, ALWAYS)
    assert forced(2, 1) == (NEVER, ALWAYS)
    assert forced(2, 2) == (NEVER, NEVER)


def test_programs_that_do_not_count_leave_instructions_out():
    trace = record(Program(synthetic(90), counts=False), INPUTS, (DECISION.limit(0.9),))
    assert trace.instructions is None and trace.exit_instructions is None and trace.labels is None


def test_a_program_that_ignores_its_thresholds_is_found():
    program = Program(synthetic(90))
    with pytest.raises(AnswerIsNo, match="Exit 1 was forced"):
        record(lambda inputs, limits: program(inputs, (ALWAYS,)), INPUTS, (0,))


@pytest.mark.parametrize("field", ["logits", "scores"])
def test_a_program_whose_answer_depends_on_how_it_got_there_is_found(field):
    program = Program(synthetic(90))

    def stale(inputs, limits):
        answers = program(inputs, limits)
        if limits not in ((ALWAYS,), (NEVER,)):
            changed = getattr(answers, field).copy()
            changed[41, 2] ^= 1
            answers = replace(answers, **{field: changed})
        return answers

    with pytest.raises(AnswerIsNo, match=f"sample 41 .*other {field}"):
        record(stale, INPUTS, (DECISION.limit(0.9),))


def test_a_class_that_is_not_the_highest_logits_is_found():
    program = Program(synthetic(90))

    def confused(inputs, limits):
        answers = program(inputs, limits)
        labels = answers.labels.copy()
        labels[33] = (labels[33] + 1) % 12
        return replace(answers, labels=labels)

    with pytest.raises(AnswerIsNo, match="Sample 33 is said to be class"):
        record(confused, INPUTS, (DECISION.limit(0.9),))


def test_an_exit_index_beyond_the_model_is_found():
    program = Program(synthetic(90))

    def beyond(inputs, limits):
        answers = program(inputs, limits)
        forced_pass = limits in ((ALWAYS,), (NEVER,))
        return answers if forced_pass else replace(answers, exit_taken=np.full(90, 7, np.uint8))

    with pytest.raises(AnswerIsNo, match="names exit 7; the model has 2"):
        record(beyond, INPUTS, (DECISION.limit(0.9),))


def test_equal_traces_have_no_mismatch():
    found = verify(synthetic(90), synthetic(90), target="host", oracle="tflite-micro 1", inputs="test")
    assert (found.mismatches, found.exit_mismatches, found.taken_mismatches, found.samples) == (0, (0, 0), 0, 90)
    assert found.message == "" and found.first_sample is None
    found.require_equal()


def _changed(trace, field, where, value):
    array = getattr(trace, field).copy()
    array[where] = value
    return replace(trace, **{field: array})


@pytest.mark.parametrize("field", ["logits", "scores"])
@pytest.mark.parametrize("exit_index", [0, 1])
def test_one_wrong_byte_anywhere_is_one_mismatch(field, exit_index):
    expected = synthetic(90)
    wrong = _changed(expected, field, (17, exit_index, 5), getattr(expected, field)[17, exit_index, 5] ^ 1)
    found = verify(expected, wrong)
    assert (found.mismatches, found.first_sample, found.taken_mismatches) == (1, 17, 0)
    assert found.exit_mismatches == tuple(int(k == exit_index) for k in range(2))
    with pytest.raises(AnswerIsNo, match=f"sample 17; {field} of exit {exit_index}, class 5"):
        found.require_equal()


def test_another_exit_taken_is_a_mismatch():
    expected = synthetic(90)
    found = verify(expected, _changed(expected, "exit_taken", 30, 1 - expected.exit_taken[30]))
    assert (found.mismatches, found.taken_mismatches, found.exit_mismatches) == (1, 1, (0, 0))
    assert "left at exit" in found.message


def test_layers_are_asked_for_the_first_differing_sample_only_and_named():
    expected = synthetic(90)
    asked = []

    def layers(sample):
        asked.append(sample)
        whole = np.arange(24, dtype=np.int8).reshape(1, 2, 3, 4)
        broken = whole.copy()
        broken[0, 1, 2, 3] = -9
        yield Layer(4, "CONV_2D", whole, whole.reshape(-1))
        yield Layer(5, "ADD", whole, broken.reshape(-1))
        raise AssertionError("nothing after the first difference is needed")

    found = verify(expected, _changed(expected, "logits", (slice(20, 25), 1, 0), 127), layers, target="QEMU")
    assert asked == [20]
    assert found.difference.element == (0, 1, 2, 3) and found.difference.name == "ADD"
    assert (found.difference.expected, found.difference.actual, found.difference.differing) == (23, -9, 1)
    assert "operator 5 ADD, element [0, 1, 2, 3]: -9, expected 23" in found.message
    assert found.message.startswith("QEMU: 5 of 90 samples differ")


def test_a_fault_after_the_last_operator_is_said_to_be_there():
    expected = synthetic(90)
    same = np.zeros((1, 4), np.int8)
    wrong = _changed(expected, "exit_taken", 30, 1 - expected.exit_taken[30])
    found = verify(expected, wrong, lambda sample: [Layer(0, "SOFTMAX", same, same)])
    assert found.difference is None and "exit test" in found.message


def test_a_dump_of_another_size_is_a_difference():
    found = first_difference([Layer(2, "MEAN", np.zeros((1, 8), np.int8), np.zeros(6, np.int8))])
    assert found.element == () and "wrote 6 bytes, expected 8" in str(found)


def test_operators_without_a_dump_are_passed_over_and_unsigned_dumps_are_read_as_bytes():
    operators = [Operator(0, "CONV_2D", 10), Operator(1, "RESHAPE", 11), Operator(2, "SOFTMAX", 12)]
    tensors = {k: np.full((1, 3), -k, np.int8) for k in (10, 11, 12)}
    dumps = {0: tensors[10].view(np.uint8).reshape(-1), 2: tensors[12]}
    assert [layer.index for layer in pair_layers(operators, tensors, dumps)] == [0, 2]
    assert first_difference(pair_layers(operators, tensors, dumps)) is None


def test_traces_of_different_samples_are_not_compared():
    with pytest.raises(TrecxError, match="do not fit together"):
        verify(synthetic(90), synthetic(80))


def test_structured_inputs_are_deterministic_and_varied():
    inputs = structured_inputs((49, 10, 1), 1000, seed=0, zero_point=83)
    assert inputs.shape == (1000, 49, 10, 1) and inputs.dtype == np.int8
    assert np.array_equal(inputs, structured_inputs((49, 10, 1), 1000, seed=0, zero_point=83))
    assert not np.array_equal(inputs, structured_inputs((49, 10, 1), 1000, seed=1, zero_point=83))
    assert len({i.tobytes() for i in inputs}) > 950
    flat = {int(i.flat[0]) for i in inputs if (i == i.flat[0]).all()}
    assert {-128, 127, 83, 0} <= flat
    assert sum(bool(np.isin(i, (-128, 127)).all()) for i in inputs) >= 2 * (1000 // len(PATTERNS))
    impulses = [i for i in inputs if (i != 83).sum() == 1]
    assert len(impulses) >= 1000 // len(PATTERNS)


@pytest.mark.parametrize("shape", [(1, 1, 1), (32, 32, 3), (5, 1, 2), (7,)])
def test_structured_inputs_fit_any_shape(shape):
    inputs = structured_inputs(shape, 60)
    assert inputs.shape == (60, *shape) and inputs.min() == -128 and inputs.max() == 127


@pytest.mark.parametrize(
    ("room", "asked", "count"), [(20, None, 20), (0, None, len(PATTERNS)), (5000, None, 1000), (20, 50, 50)]
)
def test_of_vast_inputs_only_so_many_are_made_unless_asked_for(room, asked, count, monkeypatch, tmp_path):
    (tmp_path / "model.tflite").write_bytes(values((3,)))
    pair = pairs.plain(tmp_path / "model.tflite")
    monkeypatch.setattr(proof, "SYNTHETIC_BYTES", room * pair.graph.input.size)
    with Console(quiet=True).step("verify") as step:
        (made,) = proof.inputs(Settings("model", samples=asked), pair, step)
    assert len(made.samples) == count
