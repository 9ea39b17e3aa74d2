"""`trecx bench`: which models on which targets, one after another."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlperf_tiny import pretrained
from trecx.compiler.target import TARGETS, Target
from trecx.console import Console
from trecx.device import toolchain
from trecx.errors import AnswerIsNo, ToolMissing, TrecxError
from trecx.files import write_json
from trecx.judge import reference
from trecx.studies.bench import host, picture, results, variants
from trecx.studies.bench.measure import DoesNotFit, Figures, measure, pair_of, read
from trecx.studies.bench.results import Measured

COUNTED = tuple(target for target in TARGETS if target.emulator)
SHIPPED = (pretrained.folder("kws") / "kws.tflite",)
JSON, VARIANTS_JSON, HOST_JSON = "bench.json", "variants.json", "host.json"
SAMPLES = 20


@dataclass(frozen=True)
class Options:
    """What a person chose; no `targets` means all whose tools are installed, no `out` that no files are left.

    `samples` limits the answers compared; None is SAMPLES, and with `host` what `host.compare` says. `data` and `task`
    belong to `host`.
    """

    targets: tuple[str, ...] = ()
    samples: int | None = None
    optimize: str = "time"
    variants: bool = False
    host: bool = False
    data: Path | None = None
    task: str | None = None
    out: Path | None = None


@dataclass(frozen=True)
class Result:
    """The tables, the same as JSON, and what makes the answer a no."""

    text: str
    document: dict[str, Any]
    problems: tuple[str, ...] = ()


def run(models: Sequence[Path], options: Options, console: Console) -> Result:
    """Count models, by default the pair that ships, and leave bench.json and bench.png where a folder is given.

    With `variants` the competing kernels of every operator are counted instead, and left in variants.json; with `host`
    this machine is timed instead, and host.json left. A target that is too small for a model is left out, unless it
    was asked for.
    """
    _check(options)
    chosen = () if options.host else choose(options.targets)
    if options.out is not None:
        make_folder(options.out)
    count, name = _models, JSON
    if options.host:
        count, name = _host, HOST_JSON
    elif options.variants:
        count, name = _variants, VARIANTS_JSON
    result = count(tuple(models) or SHIPPED, chosen, options, console)
    if options.out is not None:
        write_json(options.out / name, result.document)
    return result


def _check(options: Options) -> None:
    """Raise TrecxError for options that mean nothing together."""
    if options.host and (options.targets or options.variants):
        raise TrecxError("--host times this machine; --target and --variants count elsewhere.", "Choose one.")
    if not options.host and (options.data or options.task):
        raise TrecxError("Only --host answers real data: --data and --task belong to it.", "Add --host.")


def _models(models: Sequence[Path], targets: Sequence[Target], options: Options, console: Console) -> Result:
    measured = [_model(path, targets, options, console) for path in models]
    if options.out is not None:
        picture.draw(measured, options.out)
    return Result(results.text(measured), results.as_json(measured, reference.tflm_version(), versions(targets)))


def _model(path: Path, targets: Sequence[Target], options: Options, console: Console) -> Measured:
    with console.step(path.stem[:10]) as step:
        model = read(path, options.samples or SAMPLES, step)
        step.outcome = f"the oracle's answers to {len(model.expected)} samples"
    figures: list[Figures] = []
    left_out: list[str] = []
    for target in targets:
        with console.step(target.name) as step:
            try:
                figures.append(measure(model, target, options.optimize, step))
                step.outcome = f"{figures[-1].exits[-1].instructions:,} instructions, bit-exact"
            except DoesNotFit as problem:
                if options.targets:
                    raise
                left_out += problem.problems
                step.outcome = "left out, too small"
    if not figures:
        raise AnswerIsNo(left_out, "Choose a smaller model.")
    return Measured(model, tuple(figures), tuple(left_out))


def _variants(models: Sequence[Path], targets: Sequence[Target], options: Options, console: Console) -> Result:
    texts, found, problems = [], [], []
    for path in models:
        pair = pair_of(path)
        choices: list[variants.Choice] = []
        for target in targets:
            with console.step(target.name) as step:
                counted = variants.compare(pair, target, options.optimize, step)
                step.outcome = f"{sum(len(c.variants) for c in counted)} kernels for {len(counted)} operators"
            choices += counted
        # Only who wants the least time wants the fastest kernel.
        problems += [c.problem for c in choices if c.problem] if options.optimize == "time" else []
        texts.append(f"{path.name}\n\n{results.plain(variants.render(choices))}")
        found.append({"file": path.name, "sha256": pair.exits.model_sha256, "operators": variants.as_json(choices)})
    document = {"format": variants.FORMAT, "optimize": options.optimize, "models": found, "problems": problems}
    return Result("\n".join(texts), document, tuple(problems))


def _host(models: Sequence[Path], targets: Sequence[Target], options: Options, console: Console) -> Result:
    chosen = (options.data, options.task, options.samples, options.optimize)
    return Result(*host.compare(models, *chosen, console))


def choose(names: Sequence[str]) -> tuple[Target, ...]:
    """The targets of these names, or all whose tools are installed."""
    known = {target.name: target for target in COUNTED}
    unknown = [name for name in names if name not in known]
    if unknown:
        problems = [f"Nothing counts instructions on the target {name!r}." for name in unknown]
        raise TrecxError(problems, f"Targets: {', '.join(known)}.")
    installed = tuple(target for target in COUNTED if all(map(shutil.which, tools(target))))
    if not names and not installed:
        raise ToolMissing("No target's compiler and emulator are installed.", f"Install them: {toolchain.ARM_HINT}")
    return tuple(known[name] for name in dict.fromkeys(names)) or installed


def tools(target: Target) -> tuple[str, str]:
    """The compiler and the emulator of a target."""
    assert target.emulator is not None
    return target.compiler, target.emulator[0]


def versions(targets: Sequence[Target]) -> dict[str, str]:
    """What the tools of these targets say about themselves."""
    needed = {tool for target in targets for tool in tools(target)}
    return {tool.name: tool.version for tool in toolchain.tools() if tool.name in needed and tool.version}


def make_folder(folder: Path) -> None:
    """Make a folder and try to write there, before anything is counted that could then not be kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrecxError(f"{folder} cannot be made: {error.strerror or error}.") from error
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="."):
            pass
    except OSError as error:
        raise TrecxError(f"{folder} cannot be written to: {error.strerror or error}.") from error
