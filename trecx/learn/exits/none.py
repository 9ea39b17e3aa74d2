"""No exits: the plain network, built and proven like the others, so that they have something to be compared with."""

from dataclasses import dataclass
from typing import Any, ClassVar

from trecx import exits as door
from trecx.learn.exits.method import Exits, Phase, specs
from trecx.learn.settings import TrainSettings


@dataclass(frozen=True)
class Plain(Exits):
    """The backbone with its own head."""

    name: ClassVar[str] = "none"
    taps: ClassVar[tuple[int, int]] = (0, 0)
    untunable: ClassVar[str] = "The plain network is quantized after training, as the benchmark does it."

    def layers(self, name: str) -> Any:
        """None: nothing attaches."""
        raise AssertionError(f"the plain network has no exit {name}")

    def exit_specs(self) -> tuple[door.ExitSpec, ...]:
        """The final exit."""
        return specs(self.exits)

    def phases(self, _: Any, __: TrainSettings) -> tuple[Phase, ...]:
        """None: the backbone's own training is all."""
        return ()
