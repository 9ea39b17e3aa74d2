"""`trecx estimate`: what a run's network is predicted to take on a target, told, and left in a folder."""

from dataclasses import dataclass
from typing import Any

from trecx.console import Console
from trecx.files import write_json
from trecx.run import Run
from trecx.studies.bench.bench import make_folder
from trecx.studies.estimate import picture, results
from trecx.studies.estimate.predict import Options, predict

JSON = "estimate.json"


@dataclass(frozen=True)
class Result:
    """The tables, and the same as JSON."""

    text: str
    document: dict[str, Any]


def run(of: Run, options: Options, console: Console) -> Result:
    """Estimate, and leave estimate.json and a picture where a folder is given."""
    if options.out is not None:
        make_folder(options.out)
    found = predict(of, options, console)
    result = Result(results.text(found), results.as_json(found))
    if options.out is not None:
        picture.draw(found, options.out)
        write_json(options.out / JSON, result.document)
    return result
