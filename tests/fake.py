"""The model of `fake_model/` in numpy, and the emulated targets that it runs on."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trecx.compiler.target import TARGETS, Target
from trecx.device.build import Options
from trecx.device.run import Answers

FAKE = Path(__file__).parent / "fake_model"
STRICT = Options(strict=True)
LIMIT = 20


def where_installed(targets: Iterable[Target]) -> list[Any]:
    """Parameters of a test: the targets, skipped where this machine lacks the compiler or the emulator."""
    return [pytest.param(target, marks=_needs(target), id=target.name) for target in targets]


def _needs(target: Target) -> pytest.MarkDecorator:
    programs = [target.compiler, *(target.emulator or ())[:1]]
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {' and '.join(missing)}")


EMULATED = where_installed(target for target in TARGETS if target.emulator)


def samples(n: int) -> np.ndarray:
    drawn = np.random.default_rng(7).integers(-128, 128, (n, 490), dtype=np.int8)
    drawn[:, 1] = 0  # on the microcontroller: high byte of the rounds to spend
    return drawn


def expected(inputs: np.ndarray, limit: int) -> Answers:
    """The fake model in numpy: sums modulo 256 over every twelfth input."""

    def sums(part: np.ndarray) -> np.ndarray:
        padded = np.zeros((len(part), -(-part.shape[1] // 12) * 12), np.int64)
        padded[:, : part.shape[1]] = part
        return padded.reshape(len(part), -1, 12).sum(axis=1).astype(np.uint8).view(np.int8)

    early, final = sums(inputs[:, :245]), sums(inputs)
    leaves = 127 - early.max(axis=1).astype(int) < limit
    logits = np.where(leaves[:, np.newaxis], early, final)
    scores = logits >> 1
    return Answers((~leaves).astype(np.uint8), scores.argmax(axis=1).astype(np.uint8), scores, logits)


def assert_same(one: Answers, other: Answers) -> None:
    for field in ("exit_taken", "labels", "scores", "logits"):
        assert np.array_equal(getattr(one, field), getattr(other, field)), field
