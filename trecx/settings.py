"""What a person chose for a run; kept in `run.json`, so that every verb on the run directory finds it again."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from trecx.errors import TrecxError

# The method that is none: what to take is found out (steps/scouting.py).
AUTO = "auto"
# The folder of every step of a run, by the step's name.
Folders = Mapping[str, Path]
# The steps that only a run has that trains.
TRAINED = ("train", "quantize", "calibrate")
TRAINING = ("scout", *TRAINED)


@dataclass(frozen=True)
class Option:
    """How a person gives a setting: `flag` on the command line, which `help` explains.

    `steps` read it; `trecx build` offers it, and so do the verbs `on`. A `kind` of Path names what is read there: its
    content counts, not its name. A number is from `least` to `most`, a text one of the `choices`, or of `names`
    where the registered ones are only known when they are imported.
    """

    flag: str
    help: str
    steps: tuple[str, ...]
    on: tuple[str, ...]
    kind: type = str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    names: Callable[[], tuple[str, ...]] | None = None
    metavar: str | None = None
    default: Any = None


def option(default: Any, flag: str, help: str, *steps: str, on: tuple[str, ...] | None = None, **more: Any) -> Any:
    """A setting that a person may give; without `on`, the first step that reads it offers it."""
    found = Option(
        flag, help, steps, steps[:1] if on is None else on, default=None if default is MISSING else default, **more
    )
    return field(default=default, metadata={"option": found})


def _methods() -> tuple[str, ...]:
    from trecx.learn.exits import METHODS

    return (*(method.name for method in METHODS), AUTO)


def _costs() -> tuple[str, ...]:
    from trecx.compiler.target import TARGETS

    return ("macs", *(f"instructions:{target.name}" for target in TARGETS if target.emulator))


def _criteria() -> tuple[str, ...]:
    from trecx.decision import CRITERIA

    return tuple(one.name for one in CRITERIA)


@dataclass(frozen=True)
class Studied:
    """The study whose trial chose the settings of a run, among so many candidates."""

    study: str
    trial: int
    candidates: int


@dataclass(frozen=True)
class Settings:
    """Choices of a run: what a person may say is an `option`; what is left out has its default.

    `task` is a registered task, `FILE.py:NAME` for one of the user's own, or None for a model of the user's own; `name`
    names the C files. A `model` of the user's own is trained on or, where it is `complete`, has its exits already;
    `shape` is its input's. `study` is where the rest was found, if it was.
    """

    name: str = option(
        MISSING,
        "--name",
        "Name of the C functions and files [default: the model's file name].",
        "quantize",
        "compile",
        on=("train", "compile"),
    )
    task: str | None = field(default=None, metadata={"steps": ("scout", "train", "model", "compile", "report")})
    model: str | None = option(
        None,
        "--model",
        "Keras model of your own: .h5, .keras or SavedModel folder. It starts from its weights.",
        "train",
        kind=Path,
    )
    complete: bool = False
    shape: tuple[int, ...] = ()
    method: str = option(
        "trecx",
        "--method",
        "How exits attach and are trained; auto tries heads at several layers and takes the best [default: trecx, or "
        "auto for a model without --tap].",
        "train",
        "scout",
        names=_methods,
    )
    taps: tuple[str, ...] = option(
        (),
        "--exits",
        "Layers of the backbone that early exits read, or the input itself, in place of --exit.",
        "train",
        "scout",
        metavar="TAP[,TAP...]",
    )
    pixels: str | None = option(
        None,
        "--pixels",
        "Range of values in which the model wants images [default: 0..255].",
        "train",
        "scout",
        choices=("0..255", "0..1", "-1..1"),
    )
    data: str | None = option(
        None,
        "--data",
        "Folder with the data, in its official layout.",
        "train",
        "verify",
        "evaluate",
        "scout",
        kind=Path,
    )
    train: bool = option(False, "--train", "Train instead of taking the pretrained pair.", kind=bool)
    weights: str | None = option(
        None,
        "--weights",
        "Trained backbone to start from: SavedModel folder, .h5 or .keras.",
        "train",
        kind=Path,
    )
    teacher: str | None = option(
        None, "--teacher", "Trained backbone whose scores guide the training.", "train", kind=Path
    )
    width: float = option(
        1.0,
        "--width",
        "Share of the backbone's filters: a narrower network, trained from scratch [default: 1].",
        "train",
        "scout",
        kind=float,
        least=0.01,
        most=1,
    )
    exit: str | None = option(
        None, "--exit", "Which of the task's exits is attached [default: its first].", "train", "model"
    )
    price: float | None = option(
        None,
        "--price",
        "Lambda of methods with gates: what a whole plain network's computation costs in the loss [default: 1].",
        "train",
        kind=float,
        least=0,
    )
    gate_prior: float | None = option(
        None,
        "--gate-prior",
        "What gates lose at first by being wrong about whether their exit is right [default: 0.5, of pteenet 0].",
        "train",
        kind=float,
        least=0,
    )
    mac_budget: float | None = option(
        None,
        "--mac-budget",
        "In place of a price: the share of the plain network's MACs that may be spent in the mean at no cost in the "
        "loss.",
        "train",
        kind=float,
        least=0,
        most=1,
    )
    loss: str | None = option(
        None,
        "--loss",
        "What eenet's gates learn by, as its authors call them: the mixture (v1), those of every exit (v2), mean gates "
        "as weights (v3), or each sample's best exit (v4) [default: v1].",
        "train",
        choices=("v1", "v2", "v3", "v4"),
    )
    learn_from: str | None = option(
        None,
        "--learn-from",
        "What teaches exits on a frozen backbone: the true labels, its answers (pseudo), or its scores as well (kl).",
        "train",
        choices=("labels", "pseudo", "kl"),
    )
    heads_only: bool = option(False, "--heads-only", "Leave the backbone as it is.", "train", kind=bool)
    heads: tuple[str, ...] = option(
        (),
        "--heads",
        "Heads of dyce at every tap, linear, mlp or conv, or TAP:KIND [default: linear,mlp].",
        "train",
        metavar="KIND[,KIND...]",
    )
    early_view: bool = option(
        True, "--no-early-view", "The final exit keeps the backbone's own head.", "train", kind=bool
    )
    scheme: str = option(
        "ptq",
        "--quantize",
        "After training, or quantization-aware [default: ptq].",
        "quantize",
        choices=("ptq", "qat"),
    )
    criterion: str | None = option(
        None,
        "--criterion",
        "What early exits decide by [default: the method's].",
        "calibrate",
        "scout",
        names=_criteria,
    )
    points: float = option(
        1.0,
        "--points",
        "Accuracy that may be lost against the backbone alone [default: 1].",
        "calibrate",
        "scout",
        kind=float,
        least=0,
        most=100,
    )
    confidence: float = option(
        0.9,
        "--confidence",
        "Confidence that no more is lost on new samples; 0.5 takes the loss as observed [default: 0.9].",
        "calibrate",
        "scout",
        kind=float,
        least=0.5,
        most=0.999,
    )
    promise: str = option(
        "confidence",
        "--promise",
        "What is promised of that accuracy on new samples: with --confidence, or only in the mean, by conformal risk "
        "control [default: confidence].",
        "calibrate",
        choices=("confidence", "mean"),
    )
    unlabelled: str | None = option(
        None,
        "--unlabelled",
        "Folder with samples without labels, of the kind that the device will meet: they narrow the bound.",
        "calibrate",
        kind=Path,
    )
    folds: int | None = option(
        None,
        "--folds",
        "Parts of the training data that heads on a frozen backbone are trained without, once each, so that "
        "thresholds are chosen on these as well [default: none].",
        "train",
        "quantize",
        "calibrate",
        kind=int,
        least=2,
        most=20,
    )
    choices: int = option(
        1,
        "--operating-points",
        "Entries of a table that the firmware changes between at run time: the calibrated thresholds first, then "
        "trades of accuracy for cost [default: 1].",
        "calibrate",
        kind=int,
        least=1,
        most=64,
    )
    cost: str | None = option(
        None,
        "--cost",
        "What taps and operating points are chosen by, macs or instructions:TARGET [default: instructions:cortex-m4, "
        "or macs where its compiler or emulator is missing].",
        "calibrate",
        "scout",
        names=_costs,
    )
    against: str = option(
        "backbone",
        "--against",
        "Thresholds are chosen against the backbone alone, or the own final exit: where the weights that training "
        "began with have seen the validation samples [default: backbone].",
        "calibrate",
        choices=("backbone", "final"),
    )
    epochs: int | None = option(
        None,
        "--epochs",
        "Epochs of each training stage [default: the recipe's].",
        "train",
        "quantize",
        "scout",
        kind=int,
        least=1,
    )
    seed: int = option(
        1,
        "--seed",
        "Seed of everything random [default: 1].",
        "train",
        "quantize",
        "scout",
        kind=int,
        least=0,
        most=2**32 - 1,
    )
    targets: tuple[str, ...] = option(
        (),
        "--target",
        "host, cortex-m0, -m3, -m4, -m55 or riscv; may be repeated [default: host and cortex-m4].",
        "compile",
        "verify",
        "report",
    )
    optimize: str = option(
        "time",
        "--optimize",
        "What kernels and memory plan are chosen for [default: time].",
        "compile",
        choices=("time", "ram", "flash"),
    )
    samples: int | None = option(
        None,
        "--samples",
        "Samples compared on the host [default: all test samples and 1,000 synthetic].",
        "verify",
        kind=int,
        least=1,
    )

    study: Studied | None = field(default=None, metadata={"steps": ("calibrate",)})

    @property
    def own_files(self) -> tuple[Path, ...]:
        """The user's own files that say what the run is about: a task's or a model's."""
        task = [self.task.rpartition(":")[0]] if self.task and ":" in self.task else []
        return tuple(Path(path) for path in (*task, *([self.model] if self.model else [])))

    def read_by(self, step: str) -> dict[str, Any]:
        """The values that a step reads; not where its files lie."""
        return {name: getattr(self, name) for name in _read_by(step)}

    def changed(self, options: dict[str, Any]) -> "Settings":
        """These settings with some replaced; paths become absolute, so that a later verb may run from elsewhere."""
        plain: dict[str, Any] = {k: str(v.absolute()) if isinstance(v, Path) else v for k, v in options.items()}
        return replace(self, **plain)

    def as_json(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Settings":
        """Settings from `run.json`, which a person may have edited; TrecxError with all that no option would say."""
        from trecx import documents

        known = {f.name for f in fields(cls)}
        if "tap" in document:  # of runs that were made when there was only one
            document = dict(document)
            tap = document.pop("tap")
            document.setdefault("taps", [tap] if tap else [])
        if not set(document) <= known:
            raise TrecxError(f"run.json: its settings are not {', '.join(sorted(known))}.", "Build into a new folder.")
        try:
            settings: Settings = documents.typed(cls, document)
            problems = list(_out_of_range(settings))
        except documents.Unreadable as error:
            problems = list(error.problems)
        if problems:
            raise TrecxError([f"run.json, settings: {one}." for one in problems], "Build into a new folder.")
        return settings


# What a person may give, by the name of the setting.
OPTIONS: Mapping[str, Option] = {f.name: f.metadata["option"] for f in fields(Settings) if "option" in f.metadata}

# Those that some exit methods have a use for; a method says for which (`Method.options`).
OF_METHODS = ("price", "gate_prior", "mac_budget", "loss", "learn_from", "heads_only", "heads")


def _out_of_range(settings: Settings) -> Iterator[str]:
    """What no option would have let through, as fragments."""
    for name, one in OPTIONS.items():
        value = getattr(settings, name)
        known = one.choices or (one.names() if one.names else ())
        if value is None:
            continue
        if known and value not in known:
            yield f"{name} is {value!r}; supported: {', '.join(known)}"
        least, most = (bound if bound is not None else value for bound in (one.least, one.most))
        if one.kind in (int, float) and not least <= value <= most:
            yield f"{name} is {value!r}, out of range"


@cache
def _read_by(step: str) -> tuple[str, ...]:
    named = {name: one.steps for name, one in OPTIONS.items() if one.kind is not Path}
    named |= {f.name: f.metadata["steps"] for f in fields(Settings) if "steps" in f.metadata}
    return tuple(name for name, steps in named.items() if step in steps)
