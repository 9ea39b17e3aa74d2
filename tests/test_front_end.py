"""The MFCC front end against its definition, and against the official inputs where the data is at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from speech import tone

from mlperf_tiny import front_end, runner_files, speech_commands

DATA = os.environ.get("TRECX_DATA", "")


def textbook(clip):
    """The features of one clip, frame by frame and in double precision, straight from the definitions."""
    clip = clip.astype(float) / clip.max()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(480) / 480)
    mel = lambda hertz: 1127 * np.log(1 + hertz / 700)  # noqa: E731
    edges = np.linspace(mel(20), mel(4000), 42)
    rows = []
    for frame in range(49):
        magnitude = np.abs(np.fft.fft(clip[320 * frame : 320 * frame + 480] * window, 512))[:257]
        log_mel = []
        for low, peak, high in zip(edges, edges[1:], edges[2:], strict=False):
            energy = 0.0
            for k in range(1, 257):
                at = mel(k * 16000 / 512)
                energy += magnitude[k] * max(0, min((at - low) / (peak - low), (high - at) / (high - peak)))
            log_mel.append(np.log(energy + 1e-6))
        rows.append(
            [
                np.sqrt(2 / 40) * sum(v * np.cos(np.pi / 40 * (m + 0.5) * c) for m, v in enumerate(log_mel))
                for c in range(10)
            ]
        )
    return np.array(rows)[..., None]


def test_features_follow_the_definition():
    clip = tone(3)
    clip[5000] = -30_000  # the largest sample is not the peak
    features = front_end.mfcc(clip[None])
    assert features.shape == (1, 49, 10, 1)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[0], textbook(clip), atol=2e-3)


def test_a_batch_equals_its_clips_one_by_one():
    clips = np.stack([tone(k) for k in range(5)])
    one_by_one = np.concatenate([front_end.mfcc(clip[None]) for clip in clips])
    np.testing.assert_allclose(front_end.mfcc(clips), one_by_one, atol=1e-4)


def test_the_scale_of_a_clip_is_free():
    clip = tone(4).astype(np.float32)
    np.testing.assert_allclose(front_end.mfcc(clip[None]), front_end.mfcc(clip[None] / 32768), atol=1e-3)


@pytest.mark.parametrize("value", [0, -5])
def test_a_clip_without_a_positive_sample_has_finite_features(value):
    assert np.isfinite(front_end.mfcc(np.full((1, 16000), value, np.int16))).all()


def test_a_short_clip_is_padded_and_a_long_one_cut():
    assert front_end.fit(np.ones(3, np.int16)).sum() == 3
    assert len(front_end.fit(np.ones(20_000, np.int16))) == 16_000


def test_another_length_is_refused():
    with pytest.raises(ValueError, match="16000"):
        front_end.mfcc(np.zeros((1, 8000)))


def test_quantization_rounds_towards_zero_and_wraps_as_the_official_files():
    scale = front_end.SCALE
    given = np.array([0.0, 0.9 * scale, -0.1 * scale, -84.9 * scale, 45 * scale], np.float32)
    assert front_end.quantize(given).tolist() == [83, 83, 82, -1, -128]


def test_every_int8_value_survives_dequantize_and_rounding():
    grid = np.arange(-128, 128).astype(np.int8)
    values = front_end.dequantize(grid)
    assert np.array_equal(np.rint(values / front_end.SCALE) + front_end.ZERO_POINT, grid)


@pytest.mark.skipif(not DATA, reason="TRECX_DATA names no folder with the official data")
def test_front_end_equals_the_official_inputs():
    """Clips and kws01 inputs do not share names, so that each input is matched with the nearest clip of its label."""
    root = Path(DATA)
    folders = [root / "mlperf_tiny" / "kws01", root / "speech_commands_test_set_v0.02"]
    if not all(folder.is_dir() for folder in folders):
        pytest.skip("TRECX_DATA holds no kws01 and no test set")
    official = runner_files.read(folders[0], 490, 12)
    features, labels = [], []
    for clips, samples in speech_commands.read_blocks(speech_commands.read_test_set(folders[1])):
        features.append(front_end.quantize(front_end.mfcc(samples)).reshape(len(clips), 490).astype(int))
        labels += [clip.word for clip in clips]
    ours, labels = np.concatenate(features), np.array(labels)
    words = (*speech_commands.COMMANDS, "_silence_", "_unknown_")
    same = off = total = 0
    for x, label in zip(official.x.astype(int), official.y, strict=True):
        differences = np.abs(ours[labels == words[label]] - x)
        nearest = differences[differences.sum(axis=1).argmin()]
        same += int((nearest == 0).sum())
        off = max(off, int(nearest.max()))
        total += nearest.size
    print(f"{same:,} of {total:,} int8 values identical ({100 * same / total:.2f} %), largest difference {off}")
    assert total == 490_000
    assert same >= 0.995 * total
    assert off <= 1
