"""Bias, multipliers and shifts as the vector kernels take them: those of four channels together."""

import numpy as np

from trecx.compiler.ir import Table, Tensor
from trecx.compiler.ops.channels import Channels

GROUP = 4


def shifts_right(channels: Channels) -> bool:
    """Whether every channel shifts right by at least one bit; one whose factor is 0 does as well as any other."""
    return all(factor.shift < 0 or factor.value == 0 for factor in channels.factors)


def table(channels: Channels) -> Table:
    """Per group of four channels: a word of their shifts, the first lowest, then bias and multiplier of each."""
    count = -(-len(channels.factors) // GROUP) * GROUP
    words = np.zeros((count, 2), np.int32)
    shifts = np.full(count, -1, np.int8)
    for c, factor in enumerate(channels.factors):
        words[c] = channels.bias[c], factor.value
        shifts[c] = min(factor.shift, -1)
    groups = shifts.view("<i4").reshape(-1, 1), words.reshape(-1, 2 * GROUP)
    return Table("channels", "int32_t", np.concatenate(groups, axis=1))


def vectors(channels: Channels) -> Table:
    """Per group of four channels: their biases, their multipliers, their shifts."""
    count = -(-len(channels.factors) // GROUP) * GROUP
    words = np.zeros((3, count), np.int32)
    words[0, : len(channels.bias)] = channels.bias
    words[1:, : len(channels.bias)] = np.array([(f.value, min(f.shift, -1)) for f in channels.factors]).T
    return Table("requantization", "int32_t", words.reshape(3, -1, GROUP).transpose(1, 0, 2))


def aligned(output: Tensor) -> bool:
    """Whether every pixel of an output begins at a multiple of 4 bytes; one inside another tensor may not."""
    return output.view is None and output.shape[-1] % 4 == 0
