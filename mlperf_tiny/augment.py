"""Augmentation of one-second clips, and silence cut from background recordings; seeded per clip, whatever the order."""

import zlib
from collections.abc import Sequence

import numpy as np

from mlperf_tiny.front_end import SAMPLES

SHIFT = 1_600  # samples, 100 ms either way, as the benchmark's training code
NOISE_SHARE, NOISE_VOLUME = 0.8, 0.1  # share of clips with background, largest volume against a peak of 1: as there
SPEED_SHARE, SPEED = 0.6, 0.12  # share of clips resampled, by up to 12 % either way: stands in for missing speakers

# The end of every background recording is kept for validation.
_HELD_OUT = 0.15


def generator(seed: int, name: str, copy: int) -> np.random.Generator:
    """Return the random numbers of one copy of one clip."""
    return np.random.default_rng((seed, zlib.crc32(name.encode()), copy))


def perturb(clip: np.ndarray, backgrounds: Sequence[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Return another reading of a clip, float32 `(16000,)` with a peak near 1: speed, time shift, background noise."""
    samples = clip.astype(np.float32)
    samples /= max(1.0, float(np.abs(samples).max()))
    if random.random() < SPEED_SHARE:
        samples = _resampled(samples, 1 + random.uniform(-SPEED, SPEED))
    samples = _shifted(samples, int(random.integers(-SHIFT, SHIFT + 1)))
    if len(backgrounds) and random.random() < NOISE_SHARE:
        samples += random.uniform(0, NOISE_VOLUME) * _cut(backgrounds, random) / 32768
    return samples.astype(np.float32)


def silence(count: int, backgrounds: Sequence[np.ndarray], seed: int, held_out: bool) -> np.ndarray:
    """Return `count` clips without a word, int16 `(count, 16000)`, at random places and volumes.

    Held-out clips come from the last 15 % of every recording, the others from the rest.
    """
    parts = [_part(recording, held_out) for recording in backgrounds]
    clips = np.empty((count, SAMPLES), np.int16)
    for k in range(count):
        random = generator(seed, "silence held out" if held_out else "silence", k)
        # Square root: loud clips, which rounding to 16 bit hardly touches, are the most frequent.
        clips[k] = np.rint(np.sqrt(random.random()) * _cut(parts, random)).astype(np.int16)
    return clips


def _part(recording: np.ndarray, held_out: bool) -> np.ndarray:
    """Return the part of a recording for training, or the one held out; a short recording serves as a whole."""
    border = int(len(recording) * (1 - _HELD_OUT))
    part = recording[border:] if held_out else recording[:border]
    return part if len(part) >= SAMPLES else recording


def _cut(recordings: Sequence[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Return one second of one of the recordings, float32 `(16000,)` in 16-bit units."""
    recording = recordings[int(random.integers(len(recordings)))]
    start = int(random.integers(max(1, len(recording) - SAMPLES + 1)))
    second = np.zeros(SAMPLES, np.float32)
    piece = recording[start : start + SAMPLES]
    second[: len(piece)] = piece
    return second


def _resampled(samples: np.ndarray, factor: float) -> np.ndarray:
    """Return a clip played faster by `factor`, about its middle; zero beyond its ends."""
    middle = SAMPLES / 2
    places = (np.arange(SAMPLES) - middle) * factor + middle
    return np.interp(places, np.arange(SAMPLES), samples, left=0, right=0).astype(np.float32)


def _shifted(samples: np.ndarray, shift: int) -> np.ndarray:
    """Return a clip moved to the right by `shift` samples, filled with zeros."""
    moved = np.zeros_like(samples)
    if shift >= 0:
        moved[shift:] = samples[: SAMPLES - shift]
    else:
        moved[:shift] = samples[-shift:]
    return moved
