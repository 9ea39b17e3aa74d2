"""MFCC front end of MLPerf Tiny's keyword spotting benchmark, in numpy."""

from functools import cache

import numpy as np

SAMPLE_RATE = 16_000
SAMPLES = 16_000
FRAME = 480  # 30 ms
STEP = 320  # 20 ms
FFT = 512
MEL_BINS = 40
MEL_LOW_HZ, MEL_HIGH_HZ = 20.0, 4000.0
COEFFICIENTS = 10
FRAMES = 1 + (SAMPLES - FRAME) // STEP
SHAPE = (FRAMES, COEFFICIENTS, 1)

# Input quantization of MLPerf Tiny's int8 reference model; the runner's .bin files use it.
SCALE = 0.58470291
ZERO_POINT = 83

_LOG_OFFSET = np.float32(1e-6)
_BATCH = 256  # clips per step: 256 x 49 frames x 512 points keep every temporary below 60 MB


def mfcc(clips: np.ndarray) -> np.ndarray:
    """Return the features of a batch of clips.

    Input: `(n, 16000)` mono samples at 16 kHz, zero after the end of a shorter clip; any numeric type. The scale is
    free, every clip is divided by its largest sample. Output: float32 `(n, 49, 10, 1)`.

    Source: `wav / reduce_max(wav)`, `tf.signal.stft` with a periodic Hann window, magnitude, mel filters, logarithm,
    `tf.signal.mfccs_from_log_mel_spectrograms`, as `get_dataset.py` of the benchmark's training code chains them.
    """
    if clips.ndim != 2 or clips.shape[1] != SAMPLES:
        raise ValueError(f"clips have shape {clips.shape}, expected (n, {SAMPLES})")
    features = np.empty((len(clips), *SHAPE), np.float32)
    for start in range(0, len(clips), _BATCH):
        block = slice(start, start + _BATCH)
        features[block, :, :, 0] = _mfcc(clips[block].astype(np.float32))
    return features


def quantize(features: np.ndarray, scale: float = SCALE, zero_point: int = ZERO_POINT) -> np.ndarray:
    """Return int8 features exactly as the runner's .bin files were made; the default scale is theirs.

    The reference casts `x / scale + zero_point` to int8: it rounds towards zero and wraps around beyond 127. Both are
    kept, a model is judged on inputs made this way (15 of the 490,000 official values are wrapped ones).
    """
    scaled = features.astype(np.float32) / np.float32(scale) + np.float32(zero_point)
    return scaled.astype(np.int32).astype(np.int8)


def dequantize(features: np.ndarray, scale: float = SCALE, zero_point: int = ZERO_POINT) -> np.ndarray:
    """Return float32 features from int8 ones; the default scale is the runner's."""
    return ((features.astype(np.float32) - zero_point) * np.float32(scale)).astype(np.float32)


def fit(pcm: np.ndarray) -> np.ndarray:
    """Return one clip cut or padded with zeros at its end to 16,000 samples; the type stays."""
    clip = np.zeros(SAMPLES, pcm.dtype)
    clip[: min(len(pcm), SAMPLES)] = pcm[:SAMPLES]
    return clip


def _mfcc(clips: np.ndarray) -> np.ndarray:
    """Return `(n, 49, 10)` from float32 `(n, 16000)`."""
    # The reference divides by the signed maximum, not by the peak. A clip without a positive sample would become
    # infinite or change its sign there; it is left as it is instead.
    largest = clips.max(axis=1, keepdims=True)
    clips = clips / np.where(largest > 0, largest, 1)
    frames = np.lib.stride_tricks.sliding_window_view(clips, FRAME, axis=1)[:, ::STEP]
    spectrum = np.abs(np.fft.rfft(frames * _hann(), FFT, axis=-1)).astype(np.float32)
    log_mel = np.log(spectrum @ _mel_weights() + _LOG_OFFSET)
    return log_mel @ _dct()


@cache
def _hann() -> np.ndarray:
    """Return the periodic Hann window, `(480,)`."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)


def _mel(hertz: np.ndarray | float) -> np.ndarray:
    """Return frequencies on HTK's mel scale."""
    return 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)


@cache
def _mel_weights() -> np.ndarray:
    """Return triangular filters `(257, 40)`, linear in mel, peak 1, as `tf.signal.linear_to_mel_weight_matrix`."""
    bins = _mel(np.linspace(0, SAMPLE_RATE / 2, FFT // 2 + 1))[:, None]
    edges = np.linspace(_mel(MEL_LOW_HZ), _mel(MEL_HIGH_HZ), MEL_BINS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    weights = np.maximum(0, np.minimum(rising, falling))
    return weights.astype(np.float32)


@cache
def _dct() -> np.ndarray:
    """Return the first ten columns of the DCT-II, `(40, 10)`.

    Scaled by sqrt(2/40) throughout: unlike the orthonormal DCT, the reference does not halve the energy of the
    first coefficient.
    """
    angle = np.pi / MEL_BINS * np.outer(np.arange(MEL_BINS) + 0.5, np.arange(COEFFICIENTS))
    return (np.sqrt(2 / MEL_BINS) * np.cos(angle)).astype(np.float32)
