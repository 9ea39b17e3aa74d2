"""How far a kernel may write into its input: the inequality that lets an output share memory with an input that it
consumes. A kernel is described by its steps in execution order; each reads before it writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # operators say their distances by what is here
    from trecx.compiler.ops.window import Window


@dataclass(frozen=True)
class Step:
    """A step reads the input from byte `reads_from` on and leaves the output written up to byte `writes_to`, exclusive.

    A step must have read all its input, or copied it to scratch, before its first write.
    """

    reads_from: int
    writes_to: int


class Exactly(int):
    """A distance that allows no other while the two overlap.

    A kernel that goes through the whole image channel by channel is exact in place, but not a few bytes further away,
    where its output would cover channels that it has still to read.
    """


def distance(steps: Iterable[Step]) -> int:
    """The fewest bytes, at least 0, by which the input must start above the output's start.

    No step may write where a later one still reads: for t < u, writes_to[t] <= distance + reads_from[u].
    """
    needed = 0
    first_read = None
    for step in reversed(list(steps)):
        if first_read is not None:
            needed = max(needed, step.writes_to - first_read)
        first_read = step.reads_from if first_read is None else min(first_read, step.reads_from)
    return needed


def channelwise(steps: Iterable[Step], last: int) -> Iterator[Step]:
    """The steps of a kernel that writes the channels of a step one by one and reads again for each of them.

    For the last channel it reads from `last` bytes after where it read for the first: 0 where every channel reads
    everything. Only the last channel counts, as reads move at most as fast as writes do.
    """
    for step in steps:
        yield Step(step.reads_from, step.writes_to - 1)
        yield Step(step.reads_from + last, step.writes_to)


def windows(
    rows: Window, columns: Window, pixel_stride: int, channels: int, tile: int, every: bool = False
) -> Iterator[Step]:
    """The steps of a kernel that computes all `channels` of up to `tile` pixels of one output row at a time.

    `pixel_stride` is the input's, in bytes. Without `every` only steps that can decide the distance, see `_telling`;
    their number does not grow with the image.
    """
    for y in range(rows.output) if every else _telling(rows, 1):
        top = _first(rows, y)
        for x in range(0, columns.output, tile) if every else _telling(columns, tile):
            left = _first(columns, x)
            end = min(x + tile, columns.output)
            yield Step((top * columns.size + left) * pixel_stride, (y * columns.output + end) * channels)


def _telling(axis: Window, tile: int) -> list[int]:
    """The places along an axis, `tile` apart, that decide a distance.

    Writes move evenly and reads do so between bends, where windows enter and leave the image, so the distance is
    decided beside a bend or an end, with the step before it.
    """
    last = (axis.output - 1) // tile
    bends = [0, last, *((edge + axis.before) // axis.stride // tile for edge in (0, axis.size - 1))]
    near = {bend + k for bend in bends for k in range(-2, 4)}
    return [number * tile for number in sorted(near) if 0 <= number <= last]


def pairs_of_rows(rows: Window, columns: Window) -> Iterator[Step]:
    """The steps, in pixels, of a kernel that copies two more input rows, the first four, before it writes the output
    rows whose windows it has then: two of them, or one at stride 2."""
    at_once = 2 if rows.stride == 1 else 1
    for step, y in enumerate(range(0, rows.output, at_once)):
        row = max(2 * step + 2 - rows.before, 0) if step else 0
        yield Step(min(row, rows.size) * columns.size, min(y + at_once, rows.output) * columns.output)


def one_channel_after_another(steps: Iterable[Step], pixel_stride: int, channels: int) -> Exactly | None:
    """The distance of a kernel that goes through the whole image per channel; `steps` are one channel's, in pixels.

    In place, where pixels of the input are n times as far apart as those of the output, output p of a channel covers
    the input of the same channel in pixel p / n, or one outside the view where n does not divide p; never the input of
    another channel. At any other distance it does.
    """
    apart, rest = divmod(pixel_stride, channels)
    safe = rest == 0 and distance(Step(step.reads_from * apart, step.writes_to) for step in steps) == 0
    return Exactly(0) if safe else None


def consecutive(rows: Window, columns: Window, pixel_stride: int, channels: int, tile: int) -> tuple[Step, ...]:
    """The steps of a kernel that computes all `channels` of `tile` consecutive pixels at a time, rows running on.

    Only the two that decide the distance: where most has been written before a step that reads what lies lowest.
    """
    above = np.clip(np.arange(rows.output) * rows.stride - rows.before, 0, rows.size - 1) * columns.size
    left = np.clip(np.arange(columns.output) * columns.stride - columns.before, 0, columns.size - 1)
    starts = (above[:, np.newaxis] + left).ravel()
    firsts = np.arange(0, len(starts), tile)
    reads = np.minimum.reduceat(starts, firsts) * pixel_stride
    if len(firsts) < 2:
        return (Step(int(reads[0]), len(starts) * channels),)
    late = int(np.argmax(firsts[1:] * channels - reads[1:])) + 1
    ends = [min(int(firsts[step]) + tile, len(starts)) for step in (late - 1, late)]
    return Step(int(reads[late - 1]), ends[0] * channels), Step(int(reads[late]), ends[1] * channels)


def _first(axis: Window, place: int) -> int:
    """The first input that the window at `place` reads, one inside the image where it reads padding only."""
    return min(max(place * axis.stride - axis.before, 0), axis.size - 1)
