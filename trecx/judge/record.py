"""From a program that answers at one exit per run to a trace that knows every exit's answer."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from trecx.decision import ALWAYS, NEVER
from trecx.errors import AnswerIsNo
from trecx.judge.trace import Trace


class Answers(Protocol):
    """What one run over `n` samples answered."""

    @property
    def exit_taken(self) -> np.ndarray:
        """Index of the exit that answered, uint8 `(n,)`."""

    @property
    def labels(self) -> np.ndarray:
        """The class it answered, uint8 `(n,)`."""

    @property
    def scores(self) -> np.ndarray:
        """Its scores, int8 `(n, classes)`, or all the values of its answer."""

    @property
    def logits(self) -> np.ndarray:
        """Its logits, int8 `(n, classes)`, or `(n, 0)`."""

    @property
    def statistics(self) -> np.ndarray | None:
        """By what each exit decided that was asked, uint32 `(n, decisions)`; None where the program does not say."""

    @property
    def instructions(self) -> np.ndarray | None:
        """Instructions executed from input to answer, `(n,)`, or None where nothing counts them."""


Run = Callable[[np.ndarray, tuple[int, ...]], Answers]


def forced(decisions: int, exit_index: int) -> tuple[int, ...]:
    """Limits that make exactly `exit_index` answer: "never" before it, "always" at it and after it."""
    return tuple(NEVER if k < exit_index else ALWAYS for k in range(decisions))


def record(
    run: Run, inputs: np.ndarray, limits: Sequence[int], labels: np.ndarray | None = None, exits: int | None = None
) -> Trace:
    """The whole trace of a program: one pass per exit that forces it to answer, and one at the given limits.

    `run(inputs, limits)` answers int8 `inputs` `(n, *shape)`; `limits` has one entry per decision, which all of `exits`
    have, or all but the last (the default). Raises AnswerIsNo
    where a forced exit is not the one taken, where the pass at the limits does not return, byte by byte, the logits
    and scores of the exit that it names, or where the class is not that of the highest logit, the first of equals.
    """
    exits = len(limits) + 1 if exits is None else exits
    passes = [run(inputs, forced(len(limits), exit_index)) for exit_index in range(exits)]
    free = run(inputs, tuple(limits))
    problems = []
    for exit_index, answers in enumerate(passes):
        astray = np.flatnonzero(answers.exit_taken != exit_index)
        if len(astray):
            taken = int(answers.exit_taken[astray[0]])
            problems.append(
                f"Exit {exit_index} was forced, but sample {astray[0]} left at exit {taken} "
                f"({len(astray)} of {len(inputs)} samples)."
            )
    logits = np.stack([a.logits for a in passes], axis=1)
    scores = np.stack([a.scores for a in passes], axis=1)
    problems += _unlike_its_exit(free, logits, scores)
    problems += _wrong_labels((*passes, free))
    if problems:
        raise AnswerIsNo(
            problems, "The program does not do what its thresholds say; check the exit test in the generated C."
        )
    counts = [a.instructions for a in passes]
    return Trace(
        logits=logits,
        scores=scores,
        exit_taken=np.asarray(free.exit_taken, np.uint8),
        labels=None if labels is None else np.asarray(labels, np.int32),
        instructions=None if free.instructions is None else np.asarray(free.instructions, np.uint32),
        exit_instructions=_stacked(counts),
        # Only the last pass asks every exit.
        statistics=None if passes[-1].statistics is None else np.asarray(passes[-1].statistics, np.uint32),
    )


def _unlike_its_exit(free: Answers, logits: np.ndarray, scores: np.ndarray) -> list[str]:
    exits = logits.shape[1]
    beyond = np.flatnonzero(free.exit_taken >= exits)
    if len(beyond):
        return [f"Sample {beyond[0]} names exit {int(free.exit_taken[beyond[0]])}; the model has {exits}."]
    rows = np.arange(len(logits))
    problems = []
    for what, answered, known in (("logits", free.logits, logits), ("scores", free.scores, scores)):
        differing = np.flatnonzero((answered != known[rows, free.exit_taken]).any(axis=-1))
        if len(differing):
            sample = int(differing[0])
            problems.append(
                f"At the thresholds in force sample {sample} left at exit {int(free.exit_taken[sample])} with other "
                f"{what} than that exit gives when forced ({len(differing)} of {len(logits)} samples)."
            )
    return problems


def _wrong_labels(runs: Sequence[Answers]) -> list[str]:
    for answers in runs if runs[0].logits.shape[-1] else ():
        wrong = np.flatnonzero(answers.labels != answers.logits.argmax(axis=-1))
        if len(wrong):
            k = int(wrong[0])
            expected = int(answers.logits[k].argmax())
            return [
                f"Sample {k} is said to be class {int(answers.labels[k])}; its highest logit is class {expected}'s."
            ]
    return []


def _stacked(counts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    present = [c for c in counts if c is not None]
    return np.stack(present, axis=1).astype(np.uint32) if len(present) == len(counts) else None
