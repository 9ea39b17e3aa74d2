"""Damaged and contradictory models, at random but from a seed: refused in one clear error, or computed as TFLM does."""

import random
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from differential import Judge
from flatbuffers import Builder
from networks import awkward, two_exits, values

from trecx.compiler import tflite
from trecx.device.build import Options
from trecx.errors import TrecxError

BASES = (awkward(0), two_exits(1), (values((6, 5, 2)), None))
NUMBERS = (0, 1, -1, 2, 3, 127, 255, 2**15, 2**31 - 1)


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (owner, key) below a node of an object tree: attributes, and elements of lists and arrays."""
    keys = vars(node) if hasattr(node, "__dict__") else range(len(node)) if isinstance(node, list | np.ndarray) else ()
    for key in list(keys):
        inner = getattr(node, key) if isinstance(key, str) else node[key]
        yield node, key
        if not isinstance(inner, np.ndarray) or len(inner) < 64:  # not each weight
            yield from places(inner)


def other(value: Any, rng: random.Random) -> Any:
    """Another value that could stand there."""
    if isinstance(value, bool | np.bool_):
        return not value
    if isinstance(value, int | np.integer):
        return rng.choice((*NUMBERS, int(value) + 1, int(value) - 1, -int(value)))
    if isinstance(value, float | np.floating):
        return rng.choice((0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), float(value) * 2))
    if isinstance(value, list) and value:
        return rng.choice((value[:-1], value[1:], [*value, value[0]], []))
    if isinstance(value, np.ndarray) and len(value):
        return rng.choice((value[:-1], value[1:], np.append(value, value[:1]), value[::-1].copy(), value[:0]))
    return None if rng.random() < 0.5 else rng.choice((b"", b"x", "\ud800"))


def structural(content: bytes, rng: random.Random) -> bytes | None:
    """The model with one or two places of its object tree changed; None where no file can say that."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for _ in range(rng.choice((1, 1, 2))):
        owner, key = rng.choice(list(places(model)))
        try:
            if isinstance(key, str):
                setattr(owner, key, other(getattr(owner, key), rng))
            else:
                owner[key] = other(owner[key], rng)
        except (TypeError, ValueError, OverflowError, IndexError):
            return None
    builder = Builder(len(content))
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
    except (TypeError, ValueError, OverflowError, AttributeError, struct.error, UnicodeError, AssertionError):
        return None
    return bytes(builder.Output())


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The file with some bytes changed, cut off or doubled."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 2, 8))):
        found[rng.randrange(len(found))] = rng.randrange(256)
    kind, at = rng.random(), rng.randrange(len(found))
    return bytes(found[:at] if kind < 0.1 else found[:at] + found[at // 2 :] if kind < 0.2 else found)


def mutants(seed: int, count: int) -> Iterator[tuple[bytes, Any]]:
    rng = random.Random(seed)
    for k in range(count):
        content, exits = BASES[k % len(BASES)]
        mutant = structural(content, rng) if k % 3 else damaged(content, rng)
        if mutant is not None:
            yield mutant, exits


def judged(seed: int, count: int, most: int, folder, options: Options) -> dict[str, int]:
    """How many mutants were refused, equal, or refused by TFLM; fails where one differs or is no clear refusal."""
    found = {"refused": 0, "equal": 0, "TFLM refuses": 0}
    with Judge(folder, samples=6, options=options) as judge:
        for number, (content, exits) in enumerate(mutants(seed, count)):
            try:
                tflite.parse(content, exits)
            except TrecxError as refused:
                assert refused.problems and all(refused.problems), number
                found["refused"] += 1
                continue
            if found["equal"] < most:
                verdict = judge.verdict(content, exits).partition(":")[0]
                (folder / f"{number}-{verdict}.tflite").write_bytes(content)
                assert verdict in found, f"mutant {number} of seed {seed}: {verdict}"
                found[verdict] += 1
    return found


def test_mutants_are_refused_or_computed_as_tflm_computes_them(tmp_path):
    found = judged(1, 600, 12, tmp_path, Options())
    assert found["refused"] > 200 and found["equal"] == 12


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_mutants_are_refused_or_computed_as_tflm_computes_them(seed, tmp_path):
    found = judged(seed, 6000, 150, tmp_path, Options(sanitize=True))
    print(found)
    assert found["refused"] > 2000 and found["equal"] > 50
