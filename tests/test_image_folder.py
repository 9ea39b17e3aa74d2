"""Images of a folder per class: found, decoded, resized, and refused where they are none."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mlperf_tiny import DataError, image_folder

SHAPE = (8, 12, 3)


def save(path, x, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(x, np.uint8)).save(path, **options)
    return path


def noise(seed, shape=SHAPE):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its content does not have."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def test_an_image_of_the_right_size_keeps_every_pixel(tmp_path):
    images = [noise(k) for k in range(3)]
    paths = [
        save(tmp_path / f"{k}.{kind}", x) for k, (x, kind) in enumerate(zip(images, ("png", "bmp", "ppm"), strict=True))
    ]
    read = image_folder.read(paths, SHAPE)
    assert read.dtype == np.uint8
    assert np.array_equal(read, images)


def test_another_size_is_squeezed_not_cut(tmp_path):
    x = np.zeros((40, 20, 3), np.uint8)
    x[:20, :10, 0], x[20:, 10:, 1] = 200, 100
    read = image_folder.read([save(tmp_path / "a.png", x)], SHAPE)[0]
    assert read[:3, :5, 0].min() == 200 and read[5:, 7:, 1].min() == 100
    assert read[5:, :5].max() == 0 and read[:3, 7:].max() == 0


def test_one_channel_is_brightness_and_three_are_made_of_grey(tmp_path):
    path = save(tmp_path / "a.png", np.full((4, 4, 3), (255, 0, 0)))
    assert set(image_folder.read([path], (4, 4, 1)).ravel().tolist()) == {76}
    grey = save(tmp_path / "b.png", noise(1, (4, 4)))
    assert np.array_equal(image_folder.read([grey], (4, 4, 3))[0], np.repeat(noise(1, (4, 4))[..., None], 3, 2))


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    x = noise(1, (12, 8, 3))
    path = save(tmp_path / "a.png", x, exif=exif)
    assert np.array_equal(image_folder.read([path], SHAPE)[0], np.rot90(x, -1))


def test_files_are_found_with_their_class_and_hidden_ones_are_not(tmp_path):
    names = ["b/z.png", "a/2.JPG", "a/deep/1.jpeg", "b/y.bmp"]
    for name in [*names, "a/.hidden.png", "a/.thumbnails/3.png", "c/4.png", "a/notes.txt"]:
        save(tmp_path / name, noise(0), format="png")
    found = [
        (path.relative_to(tmp_path).as_posix(), label) for path, label in image_folder.listed(tmp_path, ("b", "a"))
    ]
    assert found == [("b/y.bmp", 0), ("b/z.png", 0), ("a/2.JPG", 1), ("a/deep/1.jpeg", 1)]


def test_every_class_without_images_is_named(tmp_path):
    save(tmp_path / "b" / "1.png", noise(0))
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError) as caught:
        image_folder.listed(tmp_path, ("a", "b", "c"))
    assert [str(tmp_path / name) in problem for name, problem in zip("ac", caught.value.problems, strict=True)] == [
        True,
        True,
    ]


def test_files_that_are_no_images_are_all_named(tmp_path):
    good = save(tmp_path / "good.png", noise(0))
    whole = save(tmp_path / "whole.jpg", noise(0, (64, 64, 3))).read_bytes()
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 12), 40_000, np.uint16)).save(deep)
    bad = {
        "empty.png": (b"", "none of JPEG"),
        "text.jpg": (b"not an image", "none of JPEG"),
        "cut.jpg": (whole[: len(whole) // 2], "cannot be read"),
        "script.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "none of JPEG"),
        "bomb.png": (png_of(60_000, 60_000), "too many pixels"),
        "large.png": (png_of(9_000, 9_000), "too many"),
        "deep.png": (deep.read_bytes(), "more than 8 bits"),
    }
    for name, (content, _) in bad.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        image_folder.read([good, *(tmp_path / name for name in bad), tmp_path / "missing.png"], SHAPE)
    *told, missing = caught.value.problems
    for (name, (_, says)), problem in zip(bad.items(), told, strict=True):
        assert name in problem and says in problem
    assert "missing.png" in missing and "No such file" in missing


def test_a_decoder_that_would_start_another_program_is_never_asked(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    def start(*_, **__):
        raise AssertionError("Ghostscript was to be started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", start)
    path = tmp_path / "a.png"
    Image.fromarray(noise(0)).save(path, format="EPS")
    with pytest.raises(DataError, match="none of JPEG"):
        image_folder.read([path], SHAPE)


def test_progress_counts_every_file(tmp_path):
    paths = [save(tmp_path / f"{k}.png", noise(k)) for k in range(3)]
    seen = []
    image_folder.read(paths, SHAPE, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3) and seen == sorted(seen)
