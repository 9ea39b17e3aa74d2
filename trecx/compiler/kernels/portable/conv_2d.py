"""CONV_2D by products that two output pixels share: `firmware/kernels/portable/conv_2d.h`."""

import numpy as np

from trecx.compiler.ir import KernelCall, Op, Table
from trecx.compiler.kernels.portable.scaling import Scaling, rows, scaling
from trecx.compiler.ops import activation
from trecx.compiler.ops.conv_2d import Conv2D
from trecx.compiler.ops.window import windowed
from trecx.compiler.overlap import consecutive, distance
from trecx.compiler.params import params
from trecx.compiler.target import CORTEX_M0, Target

GROUP = 4
# The most that the magnitudes of a group's weights may sum to: 255 * 128 < 2^15.
_GROUP_MOST = 255
_COUNT_MOST = 255
_EXCESS = 128


def conv_2d(op: Op, target: Target) -> KernelCall | None:
    """None where requantization needs the general form, or a channel has too many residues for its count."""
    assert isinstance(op, Conv2D)
    source = op.inputs[0]
    output = activation.output(op.activation, op.output)
    scale = scaling(op.channels, 0, output)
    if scale is None:
        return None
    small = target.name == CORTEX_M0.name
    tile, excess = (1, 1) if small else (2, 0)
    grouped, residues = split(rows(op.channels, 0))
    counts = [len(of_channel) for of_channel in residues]
    if max(counts) > _COUNT_MOST:
        return None
    groups = grouped.shape[1] // GROUP
    padded = op.rows.padded or op.columns.padded
    layer = windowed(op.rows, op.columns, source) + params(
        padded=int(padded),
        output_channels=op.output.shape[3],
        groups=groups,
        tile=tile,
        excess=excess,
        narrow=int(scale.narrow),
        output=output,
    )
    tables = (
        Table("weights", "int8_t", interleave(grouped + _EXCESS * excess, tile)),
        Table("residues", "uint32_t", _encode(residues, GROUP + excess)),
        Table("channels", "int32_t", _channels(scale, groups, counts, tile)),
    )
    scratch = 4 * groups * (GROUP + excess) + (-(-source.shape[3] // 4) * 4 if padded else 0)
    pairs = consecutive(op.rows, op.columns, source.pixel_stride, op.output.shape[3], 2)
    return KernelCall("portable/conv_2d", layer, tables, scratch=scratch, distances=(distance(pairs),))


def split(weights: np.ndarray) -> tuple[np.ndarray, list[list[tuple[int, int]]]]:
    """Weights `(channels, taps)` that fit their groups, taps filled up with zeros, and (tap, residue) per channel."""
    grouped = np.pad(weights, ((0, 0), (0, -weights.shape[1] % GROUP)))
    residues: list[list[tuple[int, int]]] = [[] for _ in grouped]
    magnitudes = np.abs(grouped).reshape(len(grouped), -1, GROUP).sum(axis=2)
    for channel, group in zip(*np.nonzero(magnitudes > _GROUP_MOST), strict=True):
        taps = grouped[channel, group * GROUP : (group + 1) * GROUP]
        excess = int(magnitudes[channel, group]) - _GROUP_MOST
        while excess > 0:
            k = int(np.argmax(np.abs(taps)))
            residue = int(np.sign(taps[k])) * min(abs(int(taps[k])), excess)
            taps[k] -= residue
            excess -= abs(residue)
            residues[channel].append((int(group) * GROUP + k, residue))
    return grouped, residues


def interleave(weights: np.ndarray, tile: int) -> np.ndarray:
    """Weights `(channels, taps)` as bytes in the order (tile, tap, channel of the tile), the last tile with zeros."""
    full = np.pad(weights, ((0, -len(weights) % tile), (0, 0)))
    return full.reshape(len(full) // tile, tile, -1).transpose(0, 2, 1).astype(np.uint8).view(np.int8)


def _channels(scale: Scaling, groups: int, counts: list[int], tile: int) -> np.ndarray:
    """Per channel: bias; what takes it and every 2^15 from the first pixel's sum; multiplier; shift and residues."""
    bias, residues = scale.bias.astype(np.int64), np.array(counts)
    back = bias + (bias << 16) - (groups + residues << 15)
    words = np.stack([bias, back, scale.multipliers, scale.rights + (residues << 8)], axis=1)
    return np.pad(words.astype(np.uint32).view(np.int32), ((0, -len(words) % tile), (0, 0)))


def _encode(residues: list[list[tuple[int, int]]], words: int) -> np.ndarray:
    """Residues as the C reads them; a group of the column takes `words` words."""
    flat = [residue for of_channel in residues for residue in of_channel] or [(0, 0)]
    return np.array([(k // GROUP * words + k % GROUP) << 8 | r & 255 for k, r in flat], np.uint32)
