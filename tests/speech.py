"""A tiny Speech Commands in the official layout, and runner files, for tests."""

import wave
from pathlib import Path

import numpy as np

from mlperf_tiny.speech_commands import COMMANDS

RATE = 16_000


def write_wav(path: Path, samples, rate: int = RATE, channels: int = 1, width: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2").tobytes())
    return path


def tone(seed: int, length: int = RATE) -> np.ndarray:
    """A chirp with noise: every seed gives other features."""
    random = np.random.default_rng(seed)
    t = np.arange(length) / RATE
    wave_ = np.sin(2 * np.pi * (200 + 40 * (seed % 37)) * t * (1 + t)) * np.exp(-((t - 0.5) ** 2) / 0.05)
    return (9000 * wave_ + 200 * random.standard_normal(length)).astype(np.int16)


def write_corpus(root: Path, words=("yes", "no", "bed"), speakers: int = 6) -> Path:
    """Speaker 0 is for validation, speaker 1 for testing, the others for training."""
    lists: dict[int, list[str]] = {0: [], 1: []}
    for w, word in enumerate(words):
        for s in range(speakers):
            name = f"{word}/{s:08x}_nohash_0.wav"
            write_wav(root / name, tone(100 * w + s))
            if s in lists:
                lists[s].append(name)
    for s, file in ((0, "validation_list.txt"), (1, "testing_list.txt")):
        (root / file).write_text("".join(f"{name}\n" for name in lists[s]))
    for k in range(2):
        noise = np.random.default_rng(k).normal(0, 500, 5 * RATE)
        write_wav(root / "_background_noise_" / f"noise{k}.wav", noise)
    return root


def write_test_set(root: Path, per_label: int = 1) -> Path:
    for label, word in enumerate((*COMMANDS, "_silence_", "_unknown_")):
        for k in range(per_label):
            write_wav(root / word / f"{9000 + k:08x}_nohash_0.wav", tone(1000 + 50 * label + k))
    return root


def write_runner(folder: Path, x: np.ndarray, y, speakers=None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"tst_{k:06d}_{label}.bin" for k, label in enumerate(y)]
    for file, row in zip(files, x, strict=True):
        (folder / file).write_bytes(row.astype(np.int8).tobytes())
    (folder / "y_labels.csv").write_text("".join(f"{f},12,{c}\n" for f, c in zip(files, y, strict=True)))
    if speakers is not None:
        (folder / "speakers.csv").write_text("".join(f"{f},{s}\n" for f, s in zip(files, speakers, strict=True)))
    return folder
