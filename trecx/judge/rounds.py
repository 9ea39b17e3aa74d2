"""As many samples as the time allows: all of a fast model's, a handful at least of a slow one's."""

import time
from collections.abc import Iterator

FEW, GROWTH = 4, 16


def rounds(wanted: int, seconds: float | None, few: int = FEW) -> Iterator[slice]:
    """Slices of `wanted` samples, one after the other, until all are done or `seconds` are over; None is no limit.

    What a sample costs is measured on the slice before; the first has `few` samples, whatever they cost.
    """
    if seconds is None:
        yield slice(0, wanted)
        return
    started, done, size = time.monotonic(), 0, few
    while done < wanted:
        begun, size = time.monotonic(), min(size, wanted - done)
        yield slice(done, done + size)
        done, now = done + size, time.monotonic()
        affordable = int((started + seconds - now) * size / max(now - begun, 1e-6))
        if affordable < 1:
            return
        size = min(affordable, size * GROWTH)
