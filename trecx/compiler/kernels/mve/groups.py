"""Kernels that compute the channels of a pixel in groups."""

from collections.abc import Iterable, Iterator

from trecx.compiler.overlap import Step


def in_groups(steps: Iterable[Step], channels: int, lanes: int) -> Iterator[Step]:
    """The steps of a kernel that reads and writes `lanes` channels of a pixel at a time, from steps of whole pixels."""
    for step in steps:
        for c in range(0, channels, lanes):
            yield Step(step.reads_from + c, step.writes_to - channels + min(c + lanes, channels))
