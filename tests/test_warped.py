"""Images turned, moved, scaled and mirrored: the geometry, one change at a time."""

import numpy as np
import pytest

from trecx.learn.batches import warped
from trecx.learn.settings import TrainSettings


class Drawn:
    """Random numbers that are known: what `uniform` and `random` give, as shares of the range."""

    def __init__(self, angle=0.0, scale=(0.0, 0.0), moved=(0.0, 0.0), mirrored=False, cut=(0.0, 0.0, (0.0, 0.0))):
        self.mirrored = mirrored
        self.uniforms = iter([angle, scale, moved, *cut])

    def random(self, size):
        return np.full(size, 0.0 if self.mirrored else 1.0)

    def uniform(self, low, high, size):
        share = np.asarray(next(self.uniforms), float)
        middle, half = (low + high) / 2, (high - low) / 2
        return middle + np.broadcast_to(share[:, None] if share.ndim else share, size) * half


def noise(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def test_without_augmentation_the_input_itself_comes_back():
    x = noise(2, 6, 5, 3)
    assert warped(x, TrainSettings(), np.random.default_rng(0)) is x


def test_a_flip_mirrors_left_and_right_of_about_half_the_images():
    x = noise(200, 4, 5, 3)
    y = warped(x, TrainSettings(flip=True), np.random.default_rng(0))
    same = np.array([np.array_equal(a, b) for a, b in zip(x, y, strict=True)])
    mirrored = np.array([np.array_equal(a[:, ::-1], b) for a, b in zip(x, y, strict=True)])
    assert (same ^ mirrored).all() and 60 < mirrored.sum() < 140
    assert y.dtype == np.float32


@pytest.mark.parametrize(("down", "right"), [(2, 0), (0, 3), (-1, 2), (0, -4)])
@pytest.mark.parametrize("shape", [(2, 10, 10, 3), (2, 8, 16, 1), (2, 16, 8, 3)])
def test_a_shift_by_whole_pixels_moves_them_and_the_edge_fills_the_gap(shape, down, right):
    x = noise(*shape)
    height, width = shape[1:3]
    # What is drawn says where an image is looked at; it moves the other way.
    drawn = Drawn(moved=(-down / height / 0.5, -right / width / 0.5))
    y = warped(x, TrainSettings(shift=0.5), drawn)
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    assert np.allclose(y, x[:, rows][:, :, columns], atol=1e-5)
    inside = np.s_[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
    assert np.allclose(y[inside], np.roll(x, (down, right), (1, 2))[inside], atol=1e-5)


@pytest.mark.parametrize(("turns", "channels"), [(1, 3), (-1, 1), (2, 3)])
def test_a_quarter_turn_of_a_square_is_exact(turns, channels):
    x = noise(3, 9, 9, channels)
    y = warped(x, TrainSettings(rotation=180), Drawn(angle=turns / 2))
    assert np.allclose(y, np.rot90(x, turns, (1, 2)), atol=1e-4)


def test_a_turn_keeps_the_middle_and_does_not_stretch_an_oblong_image():
    x = np.zeros((1, 9, 21, 1), np.float32)
    x[0, 4, 7:14] = 1  # a line of seven pixels through the middle
    y = warped(x, TrainSettings(rotation=90), Drawn(angle=1.0))
    expected = np.zeros_like(x)
    expected[0, 1:8, 10] = 1
    assert np.allclose(y, expected, atol=1e-4)


def test_zoom_scales_each_axis_about_the_middle():
    x = np.broadcast_to(np.arange(9, dtype=np.float32)[None, :, None, None], (1, 9, 9, 1))
    still = warped(x, TrainSettings(zoom=0.5), Drawn(scale=(0.0, 1.0)))
    assert np.allclose(still, x, atol=1e-5)  # only columns are scaled, and they are all alike
    near = warped(x, TrainSettings(zoom=0.5), Drawn(scale=(-1.0, 0.0)))
    assert np.allclose(near[0, :, 4, 0], 4 + 0.5 * (np.arange(9) - 4), atol=1e-5)
    far = warped(x, TrainSettings(zoom=0.5), Drawn(scale=(1.0, 0.0)))
    assert np.allclose(far[0, :, 4, 0], np.clip(4 + 1.5 * (np.arange(9) - 4), 0, 8), atol=1e-5)


@pytest.mark.parametrize(("down", "right"), [(-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0), (0.5, -0.25)])
def test_a_cut_is_a_window_that_fills_the_image_and_lies_inside(down, right):
    rows, columns = np.meshgrid(np.arange(12.0), np.arange(20.0), indexing="ij")
    x = np.stack([rows, columns], axis=-1)[None].astype(np.float32)  # each pixel says where it was
    # Half of the sides, a quarter of the area: the smallest that crop=0.75 allows.
    y = warped(x, TrainSettings(crop=0.75), Drawn(cut=(-1.0, 0.0, (down, right))))[0]
    middle = np.array([5.5 + down * 2.75, 9.5 + right * 4.75])
    expected = middle + ((x[0] - [5.5, 9.5]) / 2)
    assert np.allclose(y, expected, atol=1e-4)


def test_cuts_keep_the_area_drawn_and_are_stretched_by_a_third_at_most():
    drawn = Drawn(cut=(0.0, 1.0, (0.0, 0.0)))
    rows, columns = np.meshgrid(np.arange(25.0), np.arange(25.0), indexing="ij")
    y = warped(np.stack([rows, columns], axis=-1)[None].astype(np.float32), TrainSettings(crop=0.75), drawn)[0]
    height, width = (np.ptp(y[..., k]) / 24 for k in range(2))
    assert height / width == pytest.approx(4 / 3, rel=1e-4) and height * width == pytest.approx(0.625, rel=1e-4)


def test_a_cut_never_leaves_the_image():
    rows, columns = np.meshgrid(np.arange(16.0), np.arange(16.0), indexing="ij")
    x = np.repeat(np.stack([rows, columns], axis=-1)[None].astype(np.float32), 200, axis=0)
    y = warped(x, TrainSettings(crop=0.9), np.random.default_rng(2))
    # Where the window ends at the edge of the image, the gaps' filling would repeat pixels.
    assert (np.diff(y[..., 0], axis=1) > 0.1).all() and (np.diff(y[..., 1], axis=2) > 0.1).all()


def test_ranges_drawn_at_their_middle_leave_images_as_they_are():
    x = noise(2, 7, 12, 3)
    y = warped(x, TrainSettings(rotation=20, shift=0.3, zoom=0.4), Drawn())
    assert np.allclose(y, x, atol=1e-5)


def test_gaps_are_filled_with_the_edge_and_never_with_zeros():
    x = noise(50, 8, 12, 1) + 100
    y = warped(x, TrainSettings(rotation=45, shift=0.5, zoom=0.5), np.random.default_rng(3))
    assert (y.min(axis=(1, 2, 3)) >= x.min(axis=(1, 2, 3)) - 1e-3).all()
    assert (y.max(axis=(1, 2, 3)) <= x.max(axis=(1, 2, 3)) + 1e-3).all()


def test_images_stay_float32_of_their_shape_and_each_is_changed_in_its_own_way():
    x = np.repeat(noise(1, 8, 12, 3), 5, axis=0)
    y = warped(x, TrainSettings(rotation=10, shift=0.1, zoom=0.1, flip=True), np.random.default_rng(0))
    assert y.shape == x.shape and y.dtype == np.float32
    assert len({image.tobytes() for image in y}) == 5


def test_equal_seeds_give_equal_images_and_others_give_others():
    x, settings = noise(4, 8, 8, 3), TrainSettings(rotation=10, shift=0.1, zoom=0.1, flip=True)
    one, again, other = (warped(x, settings, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
