"""The command line: options and printing. Every command imports what it needs when it runs, so `--help` is instant."""

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from trecx.errors import TrecxError

Command = TypeVar("Command", bound=Callable[..., Any])


class Group(click.Group):
    """A click group that ends in a clear message where output cannot be written or a person interrupts."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program; what it printed is on its way before it ends."""
        try:
            try:
                return super().main(*args, **kwargs)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            _discard_output()
            sys.exit(141)  # what a shell reports for a program that its reader has left
        except OSError as error:
            _discard_output()
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"Error: {where}{error.strerror or error}.", err=True)
            sys.exit(2)


def _discard_output() -> None:
    """Standard output cannot be written: let nobody try again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="trecx")
def main() -> None:
    """Early exits for microcontrollers.

    \b
    trecx build kws                            a trained pair, compiled, proven and judged, in build/kws/
    trecx build kws --data DIR --train         the same from speech
    trecx compile model.tflite --out build/m   C for any int8 model of supported operators
    trecx verify build/kws --samples 2000      prove it on more samples
    trecx doctor                               what is installed and what is missing

    Exit status: 0 fine, 1 the answer is no (outputs differ, it does not fit), 2 something to correct.
    """


def reporting(command: Command) -> Command:
    """Print a user's error with all its problems and its hint, without a traceback; `--json` gives it as JSON too."""

    @wraps(command)
    def wrapper(*args: Any, as_json: bool = False, **kwargs: Any) -> None:
        from mlperf_tiny.task import DataError

        try:
            command(*args, as_json=as_json, **kwargs)
        except (TrecxError, DataError) as error:
            if as_json:
                click.echo(json.dumps({"error": {"problems": list(error.problems), "hint": error.hint}}, indent=2))
            for problem in error.problems:
                click.echo(f"Error: {problem}", err=True)
            if error.hint:
                click.echo(error.hint, err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Interrupted. The same command again goes on; a training takes up where it stopped.", err=True)
            sys.exit(130)

    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")(wrapper)  # type: ignore[return-value]


def chosen(**options: Any) -> dict[str, Any]:
    """The options a person gave; the others keep the run's own values."""
    return {name: value for name, value in options.items() if value is not None and value != ()}


run_argument = click.argument("run", type=click.Path(path_type=Path), default=Path("build/kws"))
target_option = click.option(
    "--target",
    "targets",
    multiple=True,
    help="host, cortex-m0, -m3, -m4, -m55 or riscv; may be repeated [default: host and cortex-m4].",
)
optimize_option = click.option(
    "--optimize",
    type=click.Choice(["time", "ram", "flash"]),
    help="What kernels and memory plan are chosen for [default: time].",
)
points_option = click.option(
    "--points", type=click.FloatRange(0, 100), help="Accuracy that may be lost against the backbone alone [default: 1]."
)
confidence_option = click.option(
    "--confidence",
    type=click.FloatRange(0.5, 0.999),
    help="Confidence that no more is lost on new samples; 0.5 takes the loss as observed [default: 0.5].",
)
samples_option = click.option(
    "--samples",
    type=click.IntRange(1),
    help="Samples compared on the host [default: all test samples and 1,000 synthetic].",
)
data_option = click.option(
    "--data", type=click.Path(path_type=Path), help="Folder with the data, in its official layout."
)
weights_option = click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Trained backbone to start from: SavedModel folder, .h5 or .keras.",
)
quantize_option = click.option(
    "--quantize",
    "scheme",
    type=click.Choice(["ptq", "qat"]),
    help="After training, or quantization-aware [default: ptq].",
)
epochs_option = click.option(
    "--epochs", type=click.IntRange(1), help="Epochs of each training stage [default: the recipe's]."
)
seed_option = click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of everything random [default: 1].")


@main.command()
@click.argument("task")
@data_option
@click.option("--train", is_flag=True, default=None, help="Train instead of taking the pretrained pair.")
@weights_option
@quantize_option
@points_option
@confidence_option
@epochs_option
@seed_option
@target_option
@optimize_option
@samples_option
@click.option("--out", type=click.Path(path_type=Path), help="Run directory [default: build/TASK].")
@reporting
def build(task: str, out: Path | None, as_json: bool, **options: Any) -> None:
    """Build a task (kws) all the way: model, firmware, proof, evaluation, report.

    Without --train the pretrained pair is taken; with --data it is judged on that data. Steps whose inputs are
    unchanged are not run again.

    \b
    trecx build kws
    trecx build kws --data speech/
    trecx build kws --data speech/ --train --weights kws_ref_model --quantize qat
    """
    from trecx import pipeline
    from trecx.console import Console

    console = Console(quiet=as_json)
    run = pipeline.start(task, out or Path("build") / task, chosen(**options))
    pipeline.build(run, console)
    show(run, console, as_json)


def verb(name: str, *options: Callable[[Command], Command], help: str) -> None:
    """Add one step as a command on a run directory."""

    def command(run: Path, as_json: bool, task: str | None = None, **given: Any) -> None:
        from trecx import pipeline
        from trecx.console import Console

        console = Console(quiet=as_json)
        only = given.pop("targets", ())
        options = chosen(**given)
        opened = pipeline.start(task, run, {"train": True, **options}) if task else pipeline.resume(run, options, name)
        result = pipeline.single(opened, name, console, only)
        if as_json:
            click.echo(json.dumps(result, indent=2))
        elif name == "report":
            show(opened, console, as_json)

    command.__doc__ = help
    decorated: Any = reporting(command)
    for option in reversed(options):
        decorated = option(decorated)
    main.command(name)(run_argument(decorated))


verb(
    "train",
    click.option("--task", help="Begin a new run directory for this task (kws)."),
    data_option,
    weights_option,
    epochs_option,
    seed_option,
    help="""Train the float model with its exits; an interrupted training is taken up where it stopped.

    \b
    trecx train build/kws --task kws --data speech/ --weights kws_ref_model
    trecx quantize build/kws && trecx calibrate build/kws && trecx compile build/kws && trecx verify build/kws
    """,
)
verb("quantize", quantize_option, help="Make the int8 model, and the int8 backbone alone to compare with.")
verb(
    "calibrate",
    points_option,
    confidence_option,
    help="Choose the exits' thresholds on the int8 model's validation scores.",
)
only_option = click.option(
    "--target", "targets", multiple=True, help="Only this one of the run's targets; may be repeated [default: all]."
)
verb("verify", samples_option, only_option, help="Prove the firmware bit-exact against TensorFlow Lite Micro.")
verb("evaluate", help="Judge the firmware once on the test data: accuracy, exit rate, MACs.")
verb("report", help="Write and print the report with its curve.")


@main.command(name="compile")
@click.argument("source", type=click.Path(path_type=Path), default=Path("build/kws"))
@click.option(
    "--exits", type=click.Path(path_type=Path), help="exits.json of the model; without it its output is the final exit."
)
@click.option("--out", type=click.Path(path_type=Path), help="Run directory for a model [default: build/NAME].")
@click.option("--name", help="Name of the C functions and files [default: the model's file name].")
@target_option
@optimize_option
@reporting
def compile_(
    source: Path, exits: Path | None, out: Path | None, name: str | None, as_json: bool, **options: Any
) -> None:
    """Compile a run directory's pair, or any int8 .tflite, to C, and build it for each target.

    \b
    trecx compile build/kws
    trecx compile model.tflite --exits exits.json --out build/mine
    trecx compile model.tflite --target cortex-m55 --optimize ram
    """
    from trecx import pipeline
    from trecx.console import Console

    console = Console(quiet=as_json)
    if source.suffix.lower() == ".tflite":
        run = pipeline.adopt(source, exits, name, out, chosen(**options))
    else:
        if exits or out or name is not None:
            raise TrecxError("--exits, --out and --name belong to a .tflite of your own.", "Leave them out for a run.")
        run = pipeline.resume(source, chosen(**options), "compile")
    result = pipeline.single(run, "compile", console)
    if as_json:
        click.echo(json.dumps(result, indent=2))


@main.command()
@click.argument("models", metavar="[MODEL...]", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="cortex-m0, -m3, -m4, -m55 or riscv; may be repeated [default: all whose tools are installed].",
)
@click.option("--optimize", type=click.Choice(["time", "ram", "flash"]), default="time", show_default=True)
@click.option(
    "--samples", type=click.IntRange(1), default=20, show_default=True, help="Answers compared with the oracle's."
)
@click.option("--variants", is_flag=True, help="Count the competing kernels of every operator instead.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for bench.json and the picture bench.png.")
@reporting
def bench(models: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Count what models cost on emulated targets: instructions, estimated cycles, memory, layer by layer.

    MODEL is a .tflite, with its exits.json beside it or with one output; without one, the pair that ships is counted.
    Models of MLPerf Tiny are shown beside recorded figures of TFLM and CMSIS-NN. See docs/bench.md.

    \b
    trecx bench
    trecx bench kws.tflite ic.tflite --target cortex-m4 --out build/bench
    """
    from trecx.bench import bench as benchmark
    from trecx.console import Console

    result = benchmark.run(models, benchmark.Options(**options), Console(quiet=as_json))
    click.echo(json.dumps(result.document, indent=2) if as_json else result.text, nl=as_json)
    for problem in result.problems:
        click.echo(f"Error: {problem}", err=True)
    if result.problems:
        sys.exit(1)


@main.command()
@run_argument
@click.option("--target", help="Which of the run's emulated targets [default: the first].")
@reporting
def serve(run: Path, target: str | None, as_json: bool) -> None:
    """Run the firmware under QEMU with its UART on a pseudo-terminal, for MLPerf Tiny's runner.

    \b
    trecx serve build/kws
    """
    from trecx import pipeline
    from trecx.console import Console

    pipeline.serve(pipeline.resume(run, {}, "serve"), target, Console(quiet=as_json))


@main.command()
@reporting
def doctor(as_json: bool) -> None:
    """Say what is installed, what is missing and how to get it."""
    from trecx import doctor as findings
    from trecx.console import Console

    found = findings.examine()
    if as_json:
        click.echo(json.dumps(findings.as_json(found), indent=2))
    else:
        findings.show(found, Console())


def show(run: Any, console: Any, as_json: bool) -> None:
    """Print the report of a finished run."""
    from trecx.judge import report, summary

    path = run.folder("report") / "report.json"
    if as_json:
        click.echo(path.read_text(encoding="utf-8"), nl=False)
    else:
        console.out(summary.render(report.read(path)))
