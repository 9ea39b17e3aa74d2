"""Where blocks of bytes lie in one arena, given which distances between them are forbidden.

A pair may exclude any open interval of the difference of its starts. Two blocks that must be apart exclude
(-first's size, second's size); an output that may run into a dying input excludes less. Lower starts are always tried
first, and the search over the order in which blocks are put down is seeded, so that equal problems give equal arenas.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

ALIGNMENT = 4
# The search puts down about this many blocks, in some tenths of a second; where more than so many pairs to the block
# restrict each other, as many fewer.
EFFORT = 200_000
PAIRS_TO_A_BLOCK = 10


@dataclass(frozen=True)
class Forbidden:
    """start[first] - start[second] must not lie strictly between `low` and `high`."""

    first: int
    second: int
    low: int
    high: int


def apart(first: int, second: int, sizes: Sequence[int]) -> Forbidden:
    """The two blocks share no byte."""
    return Forbidden(first, second, -sizes[first], sizes[second])


def aligned(size: int) -> int:
    """`size` rounded up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def most_shared(first: int, second: int, forbidden: Sequence[Forbidden]) -> int:
    """The most bytes that two blocks of these sizes can have in common.

    The common part grows until the smaller block lies inside the larger one, so the best start is such a one, or the
    end of a forbidden interval.
    """
    ends = [(-aligned(-pair.low), aligned(pair.high)) for pair in forbidden]
    differences = [0, second - first, *(end for pair in ends for end in pair)]
    allowed = [d for d in differences if not any(low < d < high for low, high in ends)]
    return max(0, *(min(d + first, second) - max(d, 0) for d in allowed))


def place(
    sizes: Sequence[int],
    forbidden: Sequence[Forbidden],
    enough: int,
    orders: Sequence[Sequence[int]],
    effort: int = EFFORT,
) -> tuple[int, ...]:
    """Aligned starts whose highest end is as low as the search finds, from the best of `orders` on.

    It ends once everything lies within `enough` bytes. In ascending order of the starts of a best placement, putting
    each block as low as it goes finds one as good, but for views deep inside wider blocks; so orders are what it
    searches.
    """
    if not sizes:
        return ()
    neighbours = _neighbours(len(sizes), forbidden)
    order = min((list(tried) for tried in orders), key=lambda tried: _end(_stack(tried, neighbours), sizes))
    best = _stack(order, neighbours)
    end = _end(best, sizes)
    random = Random(0)
    for _ in range(effort // max(len(sizes), len(forbidden) // PAIRS_TO_A_BLOCK)):
        if end <= enough:
            break
        # random() gives the same numbers in every version of Python, as randrange() need not.
        taken, put = (int(random.random() * len(sizes)) for _ in range(2))
        trial = list(order)
        trial.insert(put, trial.pop(taken))
        starts = _stack(trial, neighbours)
        reached = _end(starts, sizes)
        if reached <= end:
            end, order, best = reached, trial, starts
    return tuple(best)


def _end(starts: Sequence[int], sizes: Sequence[int]) -> int:
    return max(start + size for start, size in zip(starts, sizes, strict=True))


def _neighbours(count: int, forbidden: Sequence[Forbidden]) -> list[list[tuple[int, int, int]]]:
    """Per block (other, low, high): its start minus the other's must not lie between; rounded outwards to starts."""
    found: list[list[tuple[int, int, int]]] = [[] for _ in range(count)]
    for pair in forbidden:
        low, high = -aligned(-pair.low), aligned(pair.high)
        found[pair.first].append((pair.second, low, high))
        found[pair.second].append((pair.first, -high, -low))
    return found


def _stack(order: Sequence[int], neighbours: Sequence[Sequence[tuple[int, int, int]]]) -> list[int]:
    """Give each block in turn the lowest start that those before it allow."""
    starts = [-1] * len(order)
    for block in order:
        taken = sorted(
            (starts[other] + low, starts[other] + high) for other, low, high in neighbours[block] if starts[other] >= 0
        )
        start = 0
        for low, high in taken:
            if low < start < high:
                start = high
        starts[block] = start
    return starts
