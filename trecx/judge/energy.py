"""Energy tables: what turns instructions of a target into seconds and joules, and what a second unit is like.

Only figures that somebody published stand here, each with its source; a user's own table is a JSON file with the same
keys, which takes the place of the whole table. What a table does not say is not known, and is not guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from trecx import documents
from trecx.errors import TrecxError

MOST = 1e12
Positive = Annotated[float, Field(gt=0, le=MOST)]
NotNegative = Annotated[float, Field(ge=0, le=MOST)]


@dataclass(frozen=True)
class Second:
    """A second unit, which computes an exit's head while the first goes on.

    `speed` is how much faster it computes a head than the first unit would. `watts` is what it draws more while it
    computes, as much as the first where nothing is said, and `idle_watts` what its being there draws all the time.
    `synchronisation` is what handing over a map and waiting for a decision takes (Ts), in instructions of the first.
    """

    speed: Positive = 1.0
    watts: Positive | None = None
    idle_watts: NotNegative = 0.0
    synchronisation: NotNegative = 0.0


@dataclass(frozen=True)
class Table:
    """What a chip makes of instructions: Hz and watts while it computes; None is not known.

    `cycles_per_instruction` is a measured one; without it the estimate without flash waits is taken. `dispatch` is what
    going on behind an exit that was not taken costs (Td), in instructions: nothing where the network is one function.
    Without a `second` unit one is imagined that is like the first and waits for nothing.
    """

    name: str
    source: str = ""
    clock_hz: Positive | None = None
    cycles_per_instruction: Positive | None = None
    watts: Positive | None = None
    dispatch: NotNegative = 0.0
    second: Second | None = None


TABLES: Mapping[str, Table] = {
    # The small board of the paper: "Small" in its tables.
    "cortex-m4": Table(
        "STM32L432KC", "Ghanathe and Wilton, QUTE, arXiv:2404.12599v2: 80 MHz, 25 mW", clock_hz=80e6, watts=25e-3
    )
}


def read(path: Path) -> Table:
    """The table in a JSON file; TrecxError with everything that is wrong with it."""
    hint = "Its keys are described in docs/estimate.md."
    try:
        table: Table = documents.typed(Table, documents.read(path))
    except documents.Unreadable as error:
        raise TrecxError([f"{path}: {problem}." for problem in error.problems], hint) from error
    if table.second is not None and table.watts is None and (table.second.watts or table.second.idle_watts):
        raise TrecxError(f"{path}: the second unit's watts say nothing without those of the first.", hint)
    return table
