"""Make the pair that ships out of a finished run: `python -m trecx.steps.publish RUN FOLDER PROTOCOL`.

Copies the pair with its validation answers and the test answers it was judged by, and completes `provenance.json` with
the text of the file PROTOCOL and with what was measured on what. The backbone is left out: it is somebody else's model.
So are answers to samples without labels, which nobody can judge.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from trecx import documents
from trecx.files import write_json
from trecx.run import open_
from trecx.stamp import STAMP
from trecx.steps.judging import BACKBONE_TEST, SPLIT, TEST
from trecx.steps.pair import BACKBONE, UNLABELLED

UNFINISHED = "Build the run to its end."
MEASURED = ("accuracy", "exits", "exit_rate", "loss", "macs", "operating_point", "calibration", "verification")


def publish(run_folder: Path, out: Path, protocol: str) -> None:
    """Fill `out` from the run's `model/`, `evaluate/` and `report/` folders; TrecxError where it is no finished run."""
    run = open_(run_folder)
    report = documents.required(run.folder("report") / "report.json", UNFINISHED, *MEASURED)
    out.mkdir(parents=True, exist_ok=True)
    files = [*run.folder("model").iterdir(), *(run.folder("evaluate") / name for name in (TEST, BACKBONE_TEST, SPLIT))]
    for file in files:
        if file.name in (BACKBONE, UNLABELLED, STAMP):
            continue
        shutil.copyfile(file, out / file.name)
    provenance = documents.required(out / "provenance.json", UNFINISHED, "task")
    write_json(out / "provenance.json", {**provenance, "protocol": protocol, "measured": measured(report)})


def measured(report: dict[str, Any]) -> dict[str, Any]:
    """The figures of a report that belong to the pair itself."""
    return {key: report[key] for key in MEASURED}


if __name__ == "__main__":
    publish(Path(sys.argv[1]), Path(sys.argv[2]), " ".join(Path(sys.argv[3]).read_text(encoding="utf-8").split()))
