"""Which samples a training step sees, and how they are augmented. Everything follows from a seed, nothing is kept."""

from collections.abc import Iterator

import numpy as np

from mlperf_tiny.task import Split
from trecx.errors import TrecxError
from trecx.learn.keras import tensorflow
from trecx.learn.settings import TrainSettings


def steps_per_epoch(split: Split, settings: TrainSettings) -> int:
    """Training steps of one epoch: as set, else enough for one pass over the split."""
    return settings.steps_per_epoch or -(-len(split) // settings.batch)


def probabilities(split: Split, settings: TrainSettings) -> np.ndarray | None:
    """Probability of drawing each sample, float64 `(n,)`; None where all are alike and an epoch is a permutation."""
    if not settings.class_balance and not settings.source_weights:
        return None
    weight = np.ones(len(split))
    for source, factor in settings.source_weights:
        if split.source is not None:
            weight[split.source == source] *= factor
    if not weight.any():
        raise TrecxError("The source weights leave no training sample.", "Give one of the sources a weight above 0.")
    # Classes are counted by weight, so that a source drawn less often also makes its classes rarer.
    count = np.bincount(split.y, weights=weight, minlength=int(split.y.max()) + 1)
    weight *= np.maximum(count, 1e-12)[split.y] ** -settings.class_balance
    return weight / weight.sum()


def batches(
    split: Split, classes: int, settings: TrainSettings, key: tuple[int, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of one epoch: `x` float32 `(b, ...)` and targets float32 `(b, classes)`.

    `key` and the seed of the settings name the random numbers: equal keys, equal batches.
    Mixing follows Zhang et al., "mixup", arXiv:1710.09412, with a uniform share. A teacher scores the mixture itself,
    which shows it at far more inputs than there are samples (Beyer et al., arXiv:2106.05237).
    """
    rng = np.random.default_rng((settings.seed, *key))
    steps = steps_per_epoch(split, settings)
    chance = probabilities(split, settings)
    for index in _indices(rng, len(split), steps, settings.batch, chance):
        x = split.x[index]
        if settings.time_shift:
            x = shifted(x, rng.integers(-settings.time_shift, settings.time_shift + 1, len(x)))
        x = warped(x, settings, rng)
        target = np.eye(classes, dtype=np.float32)[split.y[index]]
        if settings.mixup:
            other = rng.permutation(len(x))
            share = rng.uniform(0, settings.mixup, len(x)).astype(np.float32)
            x, target = _mixed(x, x[other], share), _mixed(target, target[other], share)
        yield x, target


def shifted(x: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Samples `(n, frames, ...)` moved by `shift` `(n,)` frames, later for positive; the edge frame fills the gap."""
    frames = x.shape[1]
    frame = np.clip(np.arange(frames)[None, :] - shift[:, None], 0, frames - 1)
    return x[np.arange(len(x))[:, None], frame]


def warped(x: np.ndarray, settings: TrainSettings, rng: np.random.Generator) -> np.ndarray:
    """Images `(n, height, width, channels)` turned, moved, scaled, cut and mirrored at random; the edge fills the gaps.

    Cuts follow Szegedy et al., arXiv:1409.4842: a uniform share of the area, sides of 3 to 4 up to 4 to 3.
    """
    if settings.flip:
        mirrored = rng.random(len(x)) < 0.5
        x = np.where(mirrored[:, None, None, None], x[:, :, ::-1], x)
    if not (settings.rotation or settings.shift or settings.zoom or settings.crop):
        return x
    size = np.array(x.shape[1:3], np.float64)
    angle = np.deg2rad(rng.uniform(-settings.rotation, settings.rotation, len(x)))
    scale = 1 + rng.uniform(-settings.zoom, settings.zoom, (2, len(x)))
    moved = rng.uniform(-settings.shift, settings.shift, (2, len(x))) * size[:, None]
    if settings.crop:
        sides = _sides(rng.uniform(1 - settings.crop, 1, len(x)), rng.uniform(-1, 1, len(x)))
        scale *= sides
        moved += rng.uniform(-0.5, 0.5, (2, len(x))) * (1 - sides) * (size[:, None] - 1)
    # Output pixel (column, row) comes from input pixel M (column, row) + offset, with the image's centre fixed.
    sine, cosine = np.sin(angle), np.cos(angle)
    matrix = np.stack([cosine * scale[1], -sine * scale[1], sine * scale[0], cosine * scale[0]], axis=1)
    middle = (size[::-1] - 1) / 2
    offset_x = middle[0] - matrix[:, 0] * middle[0] - matrix[:, 1] * middle[1] + moved[1]
    offset_y = middle[1] - matrix[:, 2] * middle[0] - matrix[:, 3] * middle[1] + moved[0]
    zero = np.zeros(len(x))
    rows = [matrix[:, 0], matrix[:, 1], offset_x, matrix[:, 2], matrix[:, 3], offset_y, zero, zero]
    return np.asarray(
        tensorflow().raw_ops.ImageProjectiveTransformV3(
            images=x,
            transforms=np.stack(rows, axis=1).astype(np.float32),
            output_shape=x.shape[1:3],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="NEAREST",
        )
    )


def _sides(area: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """Height and width `(2, n)`, as shares of the image's, of windows of an area; `stretch` -1 is 3:4, 1 is 4:3."""
    aspect = (4 / 3) ** (stretch / 2)
    return np.minimum(np.sqrt(area) * np.stack([aspect, 1 / aspect]), 1)


def _mixed(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share.reshape(-1, *(1,) * (a.ndim - 1))
    return (1 - share) * a + share * b


def _indices(rng: np.random.Generator, count: int, steps: int, batch: int, chance: np.ndarray | None) -> np.ndarray:
    """Sample numbers, int `(steps, batch)`; the last batch of a pass is filled up from another permutation."""
    if chance is not None:
        return rng.choice(count, (steps, batch), p=chance)
    passes = -(-steps * batch // count)
    return np.concatenate([rng.permutation(count) for _ in range(passes)])[: steps * batch].reshape(steps, batch)
