"""LiteRT's reference kernels as a second opinion on the oracle, operator by operator.

They are TensorFlow Lite Micro's in every operator but one: FULLY_CONNECTED requantizes in float32 there since
TensorFlow 2.20 and may differ by 1 (LiteRT #8567). So operators are compared where both interpreters
read the same inputs, and what follows a difference is passed over.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trecx.errors import TrecxError
from trecx.judge import reference

EXCUSED = "FULLY_CONNECTED"
TIMEOUT_S, LONGEST = 30.0, 200
BUDGET_S = 10.0  # no sample is begun after this


@dataclass(frozen=True)
class Node:
    """An operator: its name, the tensors it reads that other operators compute, and those that it writes."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class SecondOpinion:
    """Operator runs compared over `samples` samples, by outcome.

    `fully_connected` counts runs of FULLY_CONNECTED with an output off by 1, the known difference; `unexplained` every
    other difference, of which there should be none. `message` names the first. Where no opinion could be had
    `unavailable` says why, and nothing was compared.
    """

    interpreter: str
    samples: int
    compared: int
    equal: int
    fully_connected: int
    unexplained: int
    message: str = ""
    unavailable: str = ""


def opinion(model: bytes, nodes: Sequence[Node], inputs: np.ndarray) -> SecondOpinion:
    """`ask` in a process of its own; an interpreter that refuses, crashes or takes too long has no opinion."""
    try:
        found: SecondOpinion = reference.isolated(ask, model, nodes, inputs, timeout_s=TIMEOUT_S)
    except TrecxError as error:
        why = " ".join(" ".join(error.problems).split())
        short = why if len(why) <= LONGEST else f"{why[:LONGEST]} ..."
        return SecondOpinion(reference.litert_version(), 0, 0, 0, 0, 0, unavailable=short)
    return found


def ask(model: bytes, nodes: Sequence[Node], inputs: np.ndarray) -> SecondOpinion:
    """Run both interpreters on int8 `inputs` `(n, *shape)` and compare what each of `nodes` computes.

    Of a slow model only the first samples are asked about.
    """
    compared = equal = excused = 0
    unexplained, asked, started = [], 0, time.monotonic()
    for number, sample in enumerate(inputs):
        if asked and time.monotonic() - started > BUDGET_S:
            break
        asked += 1
        first, second = reference.tflm_tensors(model, sample), reference.litert_tensors(model, sample)
        differing: set[int] = set()
        for node in nodes:
            if differing.intersection(node.inputs):
                differing.update(node.outputs)
                continue
            compared += 1
            distance = max(np.abs(first[k].astype(int) - second[k].astype(int)).max() for k in node.outputs)
            if distance == 0:
                equal += 1
                continue
            differing.update(node.outputs)
            if node.name == EXCUSED and distance == 1:
                excused += 1
            else:
                unexplained.append(f"operator {node.index} {node.name}, sample {number}: off by {distance}")
    message = unexplained[0] if unexplained else ""
    return SecondOpinion(reference.litert_version(), asked, compared, equal, excused, len(unexplained), message)
