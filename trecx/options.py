"""Options that several commands take, and those of long commands; clicks only, so that `--help` is instant."""

from pathlib import Path

import click
from click.types import StringParamType


class MethodName(StringParamType):
    """The name of an exit method. Help lists the registered ones, which are imported no earlier."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what help and usage call the value."""
        from trecx.learn.exits import METHODS

        return "|".join(method.name for method in METHODS)


class TaskName(StringParamType):
    """The name of a task. Help lists the registered ones, which are imported no earlier, and then `others`."""

    def __init__(self, *others: str) -> None:
        self.others = others

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what help and usage call the value."""
        from mlperf_tiny import TASKS

        return "|".join((*(task.name for task in TASKS), *self.others))


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
    help="Confidence that no more is lost on new samples; 0.5 takes the loss as observed [default: 0.9].",
)
against_option = click.option(
    "--against",
    type=click.Choice(["backbone", "final"]),
    help="Thresholds are chosen against the backbone alone, or the own final exit: where the weights that training "
    "began with have seen the validation samples [default: backbone].",
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
exit_option = click.option("--exit", help="Which of the task's exits is attached [default: its first].")
method_option = click.option("--method", type=MethodName(), help="How exits attach and are trained [default: trecx].")
taps_option = click.option(
    "--exits", metavar="TAP[,TAP...]", help="Layers of the backbone that early exits read, in place of --exit."
)
tap_option = click.option("--tap", help="The same for one layer, whatever its name.")
early_view_option = click.option(
    "--no-early-view", "no_early_view", is_flag=True, help="The final exit keeps the backbone's own head."
)
teacher_option = click.option(
    "--teacher", type=click.Path(path_type=Path), help="Trained backbone whose scores guide the training."
)
model_option = click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Keras model of your own: .h5, .keras or SavedModel folder. It starts from its weights.",
)
pixels_option = click.option(
    "--pixels",
    type=click.Choice(["0..255", "0..1", "-1..1"]),
    help="Range of values in which the model wants images [default: 0..255].",
)
name_option = click.option("--name", help="Name of the C functions and files [default: the model's file name].")
only_option = click.option(
    "--target", "targets", multiple=True, help="Only this one of the run's targets; may be repeated [default: all]."
)
