"""A `.tflite` through the compiler and the host's C, and through TFLM: the same bytes, or a refusal."""

import hashlib
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from trecx import exits as door
from trecx.compiler.target import HOST
from trecx.device.build import Options, build
from trecx.device.run import run_host
from trecx.errors import TrecxError
from trecx.judge import reference
from trecx.judge.record import record
from trecx.judge.trace import Trace
from trecx.judge.verify import structured_inputs
from trecx.steps import firmware
from trecx.steps import pair as pairs

SANITIZED = Options(sanitize=True)


class Judge:
    """Compares models one after another; programs of equal C are built once, and TFLM runs in a process of its own."""

    def __init__(self, folder: Path, samples: int = 12, options: Options = SANITIZED) -> None:
        self.folder, self.samples, self.options = folder, samples, options
        self.pool: ProcessPoolExecutor | None = None
        self.known: dict[str, Trace] = {}

    def __enter__(self) -> "Judge":
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown()

    def verdict(self, content: bytes, exits: door.Exits | None) -> str:
        """`equal`, `differs`, `refused: why` by the compiler, or `TFLM refuses: why`, which needs no C."""
        path = self.folder / "mutant.tflite"
        path.write_bytes(content)
        try:
            pair = pairs.plain(path) if exits is None else pairs.bind(path, exits)
        except TrecxError as refused:
            return f"refused: {'; '.join(refused.problems)}"
        inputs = structured_inputs(pair.graph.input.shape[1:], self.samples, seed=3)
        expected = self._oracle(pair, inputs)
        if isinstance(expected, str):
            return f"TFLM refuses: {expected}"
        actual = self._answers(pair, inputs)
        same = np.array_equal(actual.logits, expected.logits) and np.array_equal(actual.scores, expected.scores)
        return "equal" if same and np.array_equal(actual.exit_taken, expected.exit_taken) else "differs"

    def _oracle(self, pair: pairs.Pair, inputs: np.ndarray) -> Trace | str:
        self.pool = self.pool or ProcessPoolExecutor(1, get_context("spawn"))
        arguments = (pair.content, pair.reading, inputs, pair.limits)
        try:
            trace: Trace = self.pool.submit(reference.tflm_trace, *arguments).result(60)
            return trace
        except BrokenProcessPool:
            self.pool = None
            return "it crashes"
        except Exception as error:
            return str(error)

    def _answers(self, pair: pairs.Pair, inputs: np.ndarray) -> Trace:
        sources = firmware.compile_for(pair, pair.optimised, HOST, self.folder / "c", "time")
        text = b"".join(p.read_bytes() for p in sorted(sources.rglob("*")) if p.is_file())
        key = hashlib.sha256(text + inputs.tobytes()).hexdigest()
        if key not in self.known:
            program = build(sources, HOST, self.folder / "out", options=self.options)
            self.known[key] = record(
                lambda x, limits: run_host(program, x, limits), inputs, pair.limits, exits=len(pair.graph.exits)
            )
        return self.known[key]
