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
from trecx.options import only_option, run_argument, setting, settings_of, task_name

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
    trecx build --task FILE.py:NAME --data DIR a task of your own
    trecx build --model M.h5 --data DIR        a Keras model of your own, and images in one folder per class
    trecx compile model.tflite --out build/m   C for any int8 model of supported operators
    trecx sweep kws --data DIR                 search exits for it; build the best with --from-study
    trecx verify build/kws --samples 2000      prove it on more samples
    trecx estimate build/kws                   time, energy, and from which exit rate on exits pay
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


def given_options(
    taps: str | None = None, tap: str | None = None, heads: str | None = None, **options: Any
) -> dict[str, Any]:
    """The options that a person gave, by the names of settings."""
    if taps is not None and tap is not None:
        raise TrecxError("--tap means --exits with one layer.", "Give one of them.")
    named = (tap,) if tap is not None else listed("--exits", "layers", taps)
    return chosen(taps=named, heads=listed("--heads", "kinds of heads", heads), **options)


def listed(flag: str, what: str, text: str | None) -> tuple[str, ...]:
    """The names in an option that lists some."""
    names = tuple(name.strip() for name in text.split(",")) if text is not None else ()
    if "" in names or len(set(names)) < len(names):
        raise TrecxError(f"{flag} {text!r} does not name {what}, each once.", f"Write {flag} NAME,NAME.")
    return names


@main.command()
@click.argument("task", required=False, type=task_name())
@click.option("--task", "own_task", metavar="FILE.py:NAME", help="Task of your own. The file is run.")
@settings_of()
@click.option("--from-study", metavar="OUT[:TRIAL]", help="Build a trial of a sweep [default: the best].")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory [default: build/NAME].")
@reporting
def build(
    task: str | None, own_task: str | None, from_study: str | None, out: Path | None, as_json: bool, **options: Any
) -> None:
    """Build a task, or one or a model of your own: model, firmware, proof, evaluation, report.

    Without --train the pretrained pair is taken; with --data it is judged on that data. Steps whose inputs are
    unchanged are not run again. A task or a model of your own is always trained, but for a model that has several
    outputs: those are its exits. Without --tap, exits are tried at several layers of a model, and the best is built.
    DATA then has one folder per class.

    \b
    trecx build kws
    trecx build kws --data speech/
    trecx build kws --data speech/ --train --weights kws_ref_model --quantize qat
    trecx build --task mine.py:TASK --data DATA
    trecx build --model mine.h5 --data DATA --pixels 0..1
    trecx build kws --model two_exits_savedmodel --data speech/
    trecx build --from-study build/sweep/kws
    """
    from trecx import pipeline, request
    from trecx.console import Console

    if task is not None and own_task is not None:
        raise TrecxError(f"{task} and --task {own_task} are two tasks.", "Give one of them.")
    console, given = Console(quiet=as_json), given_options(**options)
    if from_study is None:
        run = request.start(task or own_task, out, given, console)
    elif task or own_task:
        raise TrecxError("A study is about a task of its own.", "Give --from-study, or a task.")
    else:
        from trecx.studies.sweep import chosen as study

        run = study.start(from_study, out, given, console)
    pipeline.build(run, console)
    show(run, console, as_json)


def verb(name: str, *options: Callable[[Command], Command], help: str) -> None:
    """Add one step as a command on a run directory."""

    def command(run: Path, as_json: bool, task: str | None = None, **given: Any) -> None:
        from trecx import pipeline, request
        from trecx.console import Console

        console = Console(quiet=as_json)
        only = given.pop("targets", ())
        options = given_options(**given)
        begins = task is not None or "model" in options
        opened = (
            request.start(task, run, {"train": True, **options}, console)
            if begins
            else request.resume(run, options, name)
        )
        result = pipeline.single(opened, name, console, only)
        if as_json:
            click.echo(json.dumps(result, indent=2))
        elif name == "report":
            show(opened, console, as_json)

    command.__doc__ = help
    decorated: Any = reporting(command)
    for option in (settings_of(name), *reversed(options)):
        decorated = option(decorated)
    main.command(name)(run_argument(decorated))


verb(
    "train",
    click.option("--task", type=task_name("FILE.py:NAME"), help="Begin a new run directory for this task."),
    help="""Train the float model with its exits; an interrupted training is taken up where it stopped.

    \b
    trecx train build/kws --task kws --data speech/ --weights kws_ref_model
    trecx quantize build/kws && trecx calibrate build/kws && trecx compile build/kws && trecx verify build/kws
    """,
)
verb("scout", help="Find out where exits go and which, where that is left open: --method auto, or no --exits.")
verb("quantize", help="Make the int8 model, and the int8 backbone alone to compare with.")
verb("calibrate", help="Choose the exits' thresholds on the int8 model's validation scores.")
verb("verify", only_option, help="Prove the firmware bit-exact against TensorFlow Lite Micro.")
verb("evaluate", help="Judge the firmware once on the test data: accuracy, exit rate, MACs.")
verb("report", help="Write and print the report with its curve.")


@main.command(name="compile")
@click.argument("source", type=click.Path(path_type=Path), default=Path("build/kws"))
@click.option(
    "--exits", type=click.Path(path_type=Path), help="exits.json of the model; without it its output is the final exit."
)
@click.option("--out", type=click.Path(path_type=Path), help="Run directory for a model [default: build/NAME].")
@settings_of("compile")
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
    from trecx import pipeline, request
    from trecx.console import Console

    console = Console(quiet=as_json)
    if source.suffix.lower() == ".tflite":
        run = request.adopt(source, exits, name, out, chosen(**options))
    else:
        if exits or out or name is not None:
            raise TrecxError("--exits, --out and --name belong to a .tflite of your own.", "Leave them out for a run.")
        run = request.resume(source, chosen(**options), "compile")
    result = pipeline.single(run, "compile", console)
    if as_json:
        click.echo(json.dumps(result, indent=2))


@main.command()
@click.argument("models", metavar="[MODEL...]", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="An emulated one; may be repeated [default: all whose tools are installed].",
)
@click.option("--optimize", type=click.Choice(["time", "ram", "flash"]), default="time", show_default=True)
@click.option("--samples", type=click.IntRange(1), help="Answers compared with the oracle's [default: 20].")
@click.option("--variants", is_flag=True, help="Count the competing kernels of every operator instead.")
@click.option("--host", is_flag=True, help="Time the C on this machine beside TFLM's wheel instead.")
@click.option("--data", type=click.Path(path_type=Path), help="With --host: answer the test data in this folder.")
@click.option("--task", type=task_name(), help="With --data: the data's task [default: the one that exits.json names].")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for bench.json and the picture bench.png.")
@reporting
def bench(models: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Count what models cost on emulated targets: instructions, estimated cycles, memory, layer by layer.

    MODEL is a .tflite, with its exits.json beside it or with one output; without one, the pair that ships is counted.
    Models of MLPerf Tiny are shown beside recorded figures of TFLM and CMSIS-NN. See docs/bench.md.

    \b
    trecx bench
    trecx bench kws.tflite ic.tflite --target cortex-m4 --out build/bench
    trecx bench ic.tflite --host --data cifar10/ --task ic
    """
    from trecx.console import Console
    from trecx.studies.bench import bench as benchmark

    result = benchmark.run(models, benchmark.Options(**options), Console(quiet=as_json))
    click.echo(json.dumps(result.document, indent=2) if as_json else result.text, nl=as_json)
    for problem in result.problems:
        click.echo(f"Error: {problem}", err=True)
    if result.problems:
        sys.exit(1)


@main.command()
@run_argument
@click.option("--target", help="An emulated one [default: the run's first].")
@click.option(
    "--exit-rate",
    "exit_rates",
    type=float,
    multiple=True,
    help="Share of the samples that leaves at an early exit, once for each [default: what the run knows].",
)
@click.option("--energy", type=click.Path(path_type=Path), help="JSON file of clock, power and a second unit.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for estimate.json and a picture.")
@reporting
def estimate(run: Path, as_json: bool, **options: Any) -> None:
    """Predict time and energy of a run's network: exits one after the other, or beside it on a second unit.

    From the instructions of one inference, counted operator by operator. Says from which exit rate on exits pay, and
    which execution suits. See docs/estimate.md.

    \b
    trecx estimate build/kws
    trecx estimate build/kws --target cortex-m55 --exit-rate 0.3
    trecx estimate build/kws --energy board.json
    """
    from trecx import request
    from trecx.console import Console
    from trecx.studies.estimate import estimate as estimating

    opened = request.resume(run, {}, "estimate")
    result = estimating.run(opened, estimating.Options(**options), Console(quiet=as_json))
    click.echo(json.dumps(result.document, indent=2) if as_json else result.text, nl=as_json)


@main.command()
@click.argument("task", type=task_name())
@setting("data")
@setting("weights")
@setting("teacher")
@click.option("--seeds", default="5", show_default=True, help='How many ("5"), or which ("1,3" or "4-6").')
@click.option("--only", help="Train only this variant: with-early-view, without-early-view or trecx.")
@click.option("--confidence", type=click.FloatRange(0.5, 0.999), default=0.9, show_default=True)
@setting("against")
@click.option("--report-only", is_flag=True, help="Train nothing; write what is there.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the trainings [default: build/reproduce/TASK].")
@click.option("--docs", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
@reporting
def reproduce(task: str, seeds: str, as_json: bool, **options: Any) -> None:
    """Repeat the paper on a task with several seeds: train, judge, and write its part of docs/results.md.

    Finished trainings are kept and interrupted ones go on. Two of these may work side by side in one folder.

    \b
    trecx reproduce kws --data speech/ --weights kws_ref_model
    trecx reproduce ic --data cifar10/ --weights ic.h5 --against final --seeds 3
    """
    from trecx.console import Console
    from trecx.studies.reproduce import plan
    from trecx.studies.reproduce.reproduce import run

    result = run(task, plan.Options(seeds=plan.seeds(seeds), **chosen(**options)), Console(quiet=as_json))
    if as_json:
        click.echo(json.dumps(result, indent=2))


@main.command()
@click.argument("task", required=False, type=task_name())
@click.option("--task", "own_task", metavar="FILE.py:NAME", help="Task of your own. The file is run.")
@setting("model")
@setting("name")
@setting("pixels")
@setting("data")
@setting("weights")
@setting("teacher")
@setting("epochs")
@setting("seed")
@setting("points")
@setting("confidence")
@setting("against")
@setting("cost")
@click.option(
    "--methods", help="METHOD[,METHOD...] to try; sdn:joint trains the backbone too [default: dyce,pteenet,sdn]."
)
@click.option("--exits", "taps", metavar="TAP[,TAP...]", help="Taps to choose from [default: all that suit an exit].")
@click.option("--most-exits", type=click.IntRange(1, 3), help="Taps of a candidate at most [default: 2].")
@click.option("--trials", type=click.IntRange(1), help="Trials wanted in all [default: 20].")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes on this machine [default: 2].")
@click.option("--storage", help="Optuna's: a journal's file or a database's URL [default: OUT/journal.log].")
@click.option("--study", help="Name of the study in its storage [default: trecx-NAME].")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the sweep [default: build/sweep/NAME].")
@reporting
def sweep(task: str | None, own_task: str | None, as_json: bool, **options: Any) -> None:
    """Search taps, method, criterion and price of exits for a task or a model, on validation data alone.

    Each trial trains exits and chooses their thresholds; what is told is the best trades of accuracy for cost. What was
    interrupted goes on with the same command; several of them, on several machines, may share a storage.

    \b
    trecx sweep kws --data speech/ --weights kws_ref_model
    trecx sweep --model mine.h5 --data DATA --pixels 0..1 --trials 40
    trecx sweep kws --data speech/ --weights kws.h5 --storage mysql://user:password@host/studies
    trecx build --from-study build/sweep/kws
    """
    from trecx.console import Console
    from trecx.studies.sweep import plan, results
    from trecx.studies.sweep.sweep import run

    if task is not None and own_task is not None:
        raise TrecxError(f"{task} and --task {own_task} are two tasks.", "Give one of them.")
    console = Console(quiet=as_json)
    found, out = run(task or own_task, plan.options(**chosen(**options)), console)
    if as_json:
        click.echo((out / results.FILE).read_text(encoding="utf-8"), nl=False)
    else:
        console.out(results.render(found, out))


@main.command()
@click.argument("task", type=task_name())
@setting("data")
@setting("weights")
@click.option("--only", help="Train these candidates alone, by name: trecx-paper,dyce,…")
@click.option("--seeds", type=click.IntRange(1, 20), default=3, show_default=True, help="Of candidates near the best.")
@setting("epochs")
@click.option("--confidence", type=click.FloatRange(0.5, 0.999), default=0.9, show_default=True)
@setting("against")
@click.option("--report-only", is_flag=True, help="Train nothing; write what is there.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the runs [default: build/compare/TASK].")
@click.option("--docs", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
@reporting
def compare(task: str, only: str | None, as_json: bool, **options: Any) -> None:
    """Compare every exit method on a task, with controls: train, judge, and write docs/compare-TASK.md.

    Finished runs are kept and interrupted ones go on. The same command may work in several processes at once.

    \b
    trecx compare kws --data speech/ --weights kws_ref_model
    trecx compare ic --data cifar10/ --weights ic.h5 --against final --only none,trecx-best,dyce
    """
    from trecx.console import Console
    from trecx.studies.compare import plan
    from trecx.studies.compare.compare import run

    names = tuple(name.strip() for name in only.split(",")) if only is not None else ()
    result = run(task, plan.Options(only=names, **chosen(**options)), Console(quiet=as_json))
    if as_json:
        click.echo(json.dumps(result, indent=2))


@main.command()
@run_argument
@click.option("--target", help="Which of the run's emulated targets [default: the first].")
@reporting
def serve(run: Path, target: str | None, as_json: bool) -> None:
    """Run the firmware under QEMU with its UART on a pseudo-terminal, for MLPerf Tiny's runner.

    \b
    trecx serve build/kws
    """
    from trecx import pipeline, request
    from trecx.console import Console

    pipeline.serve(request.resume(run, {}, "serve"), target, Console(quiet=as_json))


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
