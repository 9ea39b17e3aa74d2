"""Are two traces the same, byte by byte, and if not, which operator went wrong first?"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trecx.errors import AnswerIsNo, TrecxError
from trecx.judge.trace import Trace

PATTERNS = (
    "uniform",
    "constant",
    "horizontal ramp",
    "vertical ramp",
    "checkerboard",
    "impulse",
    "gaussian",
    "saturated halves",
    "extremes only",
)


@dataclass(frozen=True)
class Operator:
    """An output of an operator, to compare layer by layer: the operator's position and name, and the tensor's index.

    `channels` are those that the compiled program computes, in the order of its output; None is all. `begin` and `end`
    say where the output lies among the bytes of all of the operator's.
    """

    index: int
    name: str
    tensor: int
    channels: tuple[int, ...] | None = None
    begin: int = 0
    end: int | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """One operator's output as the oracle and the device computed it; `actual` is flat, in NHWC order.

    Both hold the channels `channels` of the file's tensor only; None is all.
    """

    index: int
    name: str
    expected: np.ndarray
    actual: np.ndarray
    channels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Difference:
    """The first element of the first operator that differs; `element` is its NHWC coordinate in the file's tensor."""

    index: int
    name: str
    element: tuple[int, ...]
    expected: int
    actual: int
    differing: int
    size: int

    def __str__(self) -> str:
        if not self.element:
            return f"operator {self.index} {self.name} wrote {self.actual} bytes, expected {self.expected}"
        return (
            f"operator {self.index} {self.name}, element {list(self.element)}: {self.actual}, expected {self.expected} "
            f"({self.differing} of {self.size} elements differ)"
        )


@dataclass(frozen=True)
class Verification:
    """Outcome of comparing `samples` samples on `target` with the oracle.

    `mismatches` counts samples with any difference; `exit_mismatches`, per exit, samples whose logits or scores there
    differ; `taken_mismatches`, samples that left at another exit. `message` describes the first difference. `of` is how
    many samples there were: a slow model is compared on fewer.
    """

    target: str
    oracle: str
    inputs: str
    samples: int
    mismatches: int
    exit_mismatches: tuple[int, ...]
    taken_mismatches: int
    first_sample: int | None = None
    difference: Difference | None = None
    message: str = ""
    of: int | None = None

    def require_equal(self) -> None:
        """Raise AnswerIsNo with the message where anything differs."""
        if self.mismatches:
            raise AnswerIsNo(self.message, "The generated C and the oracle disagree; this build must not be used.")


def verify(
    expected: Trace,
    actual: Trace,
    layers: Callable[[int], Iterable[Layer]] | None = None,
    *,
    target: str = "host",
    oracle: str = "",
    inputs: str = "",
) -> Verification:
    """Compare logits, scores, what exits decide by and the exit taken of every sample; bit-exact means `==`.

    `layers(sample)` gives the operators' outputs in execution order (see `pair_layers`); it is called once, for the
    first sample that differs. Raises TrecxError where the two traces are not about the same samples and exits.
    """
    if expected.logits.shape != actual.logits.shape or expected.scores.shape != actual.scores.shape:
        raise TrecxError(
            f"The traces do not fit together: oracle {expected.logits.shape}, {target} {actual.logits.shape} "
            "(samples, exits, classes).",
            "Record both again from the same model and inputs.",
        )
    logits = (expected.logits != actual.logits).any(axis=-1)
    scores = (expected.scores != actual.scores).any(axis=-1)
    taken = expected.exit_taken != actual.exit_taken
    any_difference = (logits | scores).any(axis=1) | taken | _otherwise_decided(expected, actual)
    wrong = np.flatnonzero(any_difference)
    sample = int(wrong[0]) if len(wrong) else None
    difference = first_difference(layers(sample)) if sample is not None and layers else None
    return Verification(
        target=target,
        oracle=oracle,
        inputs=inputs,
        samples=len(expected),
        mismatches=len(wrong),
        exit_mismatches=tuple(int(n) for n in (logits | scores).sum(axis=0)),
        taken_mismatches=int(taken.sum()),
        first_sample=sample,
        difference=difference,
        message="" if sample is None else _message(expected, actual, target, wrong, difference, layers is not None),
    )


def _otherwise_decided(expected: Trace, actual: Trace) -> np.ndarray:
    """Samples for which an exit's decision is made of another number, where both traces say it: bool `(n,)`."""
    if expected.statistics is None or actual.statistics is None:
        return np.zeros(len(expected), bool)
    return np.asarray((expected.statistics != actual.statistics).any(axis=1))


def pair_layers(
    operators: Sequence[Operator], expected: Mapping[int, np.ndarray], dumps: Mapping[int, np.ndarray]
) -> Iterator[Layer]:
    """The operators that both sides know, in the order given.

    `expected` is by tensor index (`reference.tflm_tensors`), `dumps` by operator index. Operators that an exact rewrite
    removed have no dump and are passed over: a fault before them shows at the next one that has. So do channels.
    """
    for operator in operators:
        if operator.index in dumps and operator.tensor in expected:
            whole, channels = expected[operator.tensor], operator.channels
            wanted = whole if channels is None else whole[..., list(channels)]
            actual = dumps[operator.index][operator.begin : operator.end]
            yield Layer(operator.index, operator.name, wanted, actual, channels)


def first_difference(layers: Iterable[Layer]) -> Difference | None:
    """The first differing operator and, within it, the first differing element; None where all are equal."""
    for layer in layers:
        actual = np.asarray(layer.actual).reshape(-1)
        if actual.size != layer.expected.size:
            return Difference(layer.index, layer.name, (), layer.expected.size, actual.size, 0, layer.expected.size)
        # Dumps are bytes: compare as int8, whatever type they arrived in.
        unequal = actual.astype(np.int8, copy=False) != layer.expected.reshape(-1)
        if unequal.any():
            flat = int(unequal.argmax())
            *place, channel = (int(k) for k in np.unravel_index(flat, layer.expected.shape))
            return Difference(
                index=layer.index,
                name=layer.name,
                element=(*place, layer.channels[channel] if layer.channels else channel),
                expected=int(layer.expected.reshape(-1)[flat]),
                actual=int(actual.astype(np.int8, copy=False)[flat]),
                differing=int(unequal.sum()),
                size=int(unequal.size),
            )
    return None


def _message(
    expected: Trace, actual: Trace, target: str, wrong: np.ndarray, difference: Difference | None, looked: bool
) -> str:
    sample = int(wrong[0])
    parts = [f"{target}: {len(wrong)} of {len(expected)} samples differ from the oracle; the first is sample {sample}"]
    for what, ours, theirs in (("logits", actual.logits, expected.logits), ("scores", actual.scores, expected.scores)):
        where = np.argwhere(ours[sample] != theirs[sample])
        if len(where):
            k, label = (int(v) for v in where[0])
            found, wanted = int(ours[sample, k, label]), int(theirs[sample, k, label])
            parts.append(f"{what} of exit {k}, class {label}: {found}, expected {wanted}")
    if _otherwise_decided(expected, actual)[sample]:
        assert actual.statistics is not None and expected.statistics is not None
        parts.append(
            f"decided by {actual.statistics[sample].tolist()}, expected {expected.statistics[sample].tolist()}"
        )
    if actual.exit_taken[sample] != expected.exit_taken[sample]:
        parts.append(f"left at exit {int(actual.exit_taken[sample])}, expected {int(expected.exit_taken[sample])}")
    if difference is not None:
        parts.append(f"first wrong is {difference}")
    elif looked:
        parts.append("every operator's output agrees, so the fault lies after them: the exit test or the result")
    return "; ".join(parts) + "."


def structured_inputs(shape: Sequence[int], count: int = 1000, seed: int = 0, zero_point: int = 0) -> np.ndarray:
    """Random and structured int8 inputs `(count, *shape)` that reach what recordings do not: saturation, flat, edges.

    The patterns of `PATTERNS` take turns, the constants run through -128, 127, `zero_point` and random values; equal
    arguments give equal bytes. `shape` is (height, width, channels).
    """
    rng = np.random.default_rng(seed)
    inputs = np.empty((count, *shape), np.int8)
    for k in range(count):
        turn, pattern = divmod(k, len(PATTERNS))
        inputs[k] = _pattern(PATTERNS[pattern], tuple(shape), rng, turn, zero_point)
    return inputs


def _pattern(name: str, shape: tuple[int, ...], rng: np.random.Generator, turn: int, zero_point: int) -> np.ndarray:
    low, high = sorted(int(v) for v in rng.integers(-128, 128, 2))
    place = np.indices(shape)
    if name == "constant":
        value = (-128, 127, zero_point, 0, -1)[turn] if turn < 5 else low
        pattern = np.full(shape, value)
    elif name in ("horizontal ramp", "vertical ramp"):
        axis = 1 if name == "horizontal ramp" and len(shape) > 1 else 0
        pattern = low + (high - low) * place[axis] // max(shape[axis] - 1, 1)
        pattern = pattern if turn % 2 else low + high - pattern
    elif name == "checkerboard":
        period = 1 + turn % 4
        pattern = np.where((place[: max(len(shape) - 1, 1)] // period).sum(axis=0) % 2, low, high)
    elif name == "impulse":
        pattern = np.full(shape, zero_point)
        pattern[tuple(int(rng.integers(n)) for n in shape)] = (127, -128)[turn % 2]
    elif name == "gaussian":
        pattern = np.rint(rng.normal(zero_point, float(rng.uniform(2, 80)), shape))
    elif name == "saturated halves":
        # A plane in a random direction parts the samples, so that every kind of edge meets every kernel window.
        height = np.tensordot(rng.normal(size=len(shape)), place, 1)
        pattern = np.where(height < rng.choice(height.reshape(-1)), -128, 127)
    elif name == "extremes only":
        pattern = rng.choice((-128, 127), shape)
    else:
        pattern = rng.integers(-128, 128, shape)
    return np.clip(pattern, -128, 127).astype(np.int8)
