"""Instructions of one seed's model to each exit's answer, and of the backbone alone, on an emulated Cortex-M4."""

import tempfile
from pathlib import Path

import numpy as np

from trecx import pipeline
from trecx import program as code
from trecx.compiler.target import CORTEX_M4
from trecx.console import Step
from trecx.device import run as device
from trecx.device import toolchain
from trecx.device.build import build
from trecx.errors import AnswerIsNo, ToolMissing
from trecx.files import write_json
from trecx.judge.record import record
from trecx.judge.trace import Trace
from trecx.run import Run
from trecx.stamp import Origin
from trecx.steps import pair as pairs
from trecx.steps.data import quantized
from trecx.steps.firmware import compile_for
from trecx.steps.judging import BACKBONE_TEST, TEST
from trecx.steps.pair import Pair
from trecx.studies.reproduce.seed import Job

FOLDER, COUNTED = "instructions", "instructions.json"
SAMPLES = 20


def count(job: Job, out: Run, step: Step) -> str:
    """Leave the counts of a complete seed in `out`; returns why there are none where tools are missing.

    Raises AnswerIsNo where the emulated program answers otherwise than the host's, which was proven.
    """
    model = job.run.folder(pipeline.folder("calibrate"))
    pair, plain = pairs.read(model), pairs.plain(model / pairs.BACKBONE)
    hashes = {"model": pair.exits.model_sha256, "backbone": plain.exits.model_sha256}
    # Counts are of the program as it is now, unlike answers, which are the same whatever the compiler does.
    asked = {"models": hashes, "data": job.material.hashes["test"], "samples": SAMPLES}

    def measure(folder: Path) -> None:
        assert CORTEX_M4.emulator is not None
        toolchain.require(CORTEX_M4.emulator[0])
        counts = {"exits": _counted(pair, job, TEST, step), "backbone": _counted(plain, job, BACKBONE_TEST, step)[-1]}
        known = {"target": CORTEX_M4.title, "samples": SAMPLES, "seed": job.seed}
        write_json(folder / COUNTED, known | counts)

    try:
        out.step(FOLDER, Origin(asked, code.digest(_counted), whole=True), measure)
    except ToolMissing as missing:
        return " ".join((*missing.problems, missing.hint))
    return ""


def _counted(pair: Pair, job: Job, known: str, step: Step) -> list[float]:
    """Mean instructions from the input to each exit's answer."""
    samples = quantized(job.material.data.test.x, pair.graph)[:SAMPLES]
    expected = Trace.load(job.run.folder("evaluate") / known).first(SAMPLES)
    with tempfile.TemporaryDirectory(prefix="trecx-reproduce-") as folder:
        sources = compile_for(pair, pair.optimised, CORTEX_M4, Path(folder) / "c", "time")
        program = build(sources, CORTEX_M4, Path(folder) / "program")
        with step.progress(f"{CORTEX_M4.name}, {known}") as progress:
            run = lambda inputs, limits: device.run_qemu(program, inputs, limits, progress)  # noqa: E731
            found = record(run, samples, pair.limits, exits=len(pair.graph.exits))
    if not np.array_equal(found.logits, expected.logits) or not np.array_equal(found.scores, expected.scores):
        problem = f"{CORTEX_M4.title}: {pair.path} answers otherwise than on this machine."
        raise AnswerIsNo(problem, "The generated C is wrong; none of its figures must be used.")
    assert found.exit_instructions is not None
    return [float(mean) for mean in found.exit_instructions.mean(axis=0)]
