"""Tests of `jaxdyn.images`: image folders."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from jaxdyn import images
from jaxdyn.errors import SourceBrokenError, UserError
from tests.clips import pan, texture


def save(folder, frames, suffix=".png"):
    folder.mkdir(exist_ok=True)
    for index, frame in enumerate(frames):
        order = [2, 1, 0, 3][: frame.shape[-1]] if frame.ndim == 3 else slice(None)
        assert cv2.imwrite(str(folder / f"f{index}{suffix}"), frame[..., order] if frame.ndim == 3 else frame)
    return folder


def test_order_is_that_of_the_numbers(tmp_path):
    save(tmp_path / "in", pan(12, 8, 8))
    source = images.FolderSource(tmp_path / "in", Fraction(10))
    assert [file.name for file in source.files] == [f"f{index}.png" for index in range(12)]
    pictures = list(source.pictures())
    assert [picture.time for picture in pictures] == [Fraction(index, 10) for index in range(12)]
    for picture, frame in zip(pictures, pan(12, 8, 8), strict=True):
        np.testing.assert_array_equal(picture.image, frame)
        np.testing.assert_allclose(picture.rgb, frame / 255, atol=1e-6)


def test_reading_from_a_time(tmp_path):
    source = images.FolderSource(save(tmp_path / "in", pan(5, 8, 8)), Fraction(10))
    assert [p.time for p in source.pictures(Fraction(2, 10))] == [Fraction(index, 10) for index in (2, 3, 4)]
    assert [p.time for p in source.pictures(Fraction(21, 100))] == [Fraction(index, 10) for index in (3, 4)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
def test_depth_and_opacity(tmp_path, dtype, channels):
    top = np.iinfo(dtype).max
    frame = np.random.default_rng(0).integers(0, top, (6, 9, channels)).astype(dtype)
    source = images.FolderSource(save(tmp_path / "in", [frame]), Fraction(10))
    picture = next(source.pictures())
    np.testing.assert_array_equal(picture.image, frame)
    assert (picture.alpha is None) == (channels == 3)
    if channels == 4:
        np.testing.assert_allclose(picture.alpha, frame[..., 3] / top, atol=1e-6)
    images.write_image(tmp_path / "out.png", frame)
    np.testing.assert_array_equal(images.read_image(tmp_path / "out.png"), frame)


def test_grey_and_jpeg(tmp_path):
    grey = texture(8, 8)[..., 0]
    picture = next(images.FolderSource(save(tmp_path / "grey", [grey]), Fraction(1)).pictures())
    np.testing.assert_array_equal(picture.image, np.repeat(grey[..., None], 3, axis=-1))
    picture = next(images.FolderSource(save(tmp_path / "jpeg", [texture(8, 8)], ".JPG"), Fraction(1)).pictures())
    assert picture.image.shape == (8, 8, 3)


def test_a_source_png_is_copied_byte_for_byte(tmp_path):
    source = images.FolderSource(save(tmp_path / "in", [texture(8, 8)]), Fraction(1))
    writer = images.FolderWriter(tmp_path / "out", 7)
    writer.write_source(next(source.pictures()), Fraction(0))
    assert (tmp_path / "out" / "00000007.png").read_bytes() == source.files[0].read_bytes()


def test_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: holds no image; give a folder of \.png or \.jpg"):
        images.FolderSource(tmp_path / "empty", Fraction(1))
    bad = save(tmp_path / "bad", pan(3, 8, 8))
    (bad / "f1.png").write_bytes(b"nothing")
    with pytest.raises(SourceBrokenError, match=r"f1\.png: cannot be read as an image.*--keep-partial"):
        list(images.FolderSource(bad, Fraction(10)).pictures())
    mixed = save(tmp_path / "mixed", [texture(8, 8), texture(8, 9)])
    with pytest.raises(SourceBrokenError, match=r"f1\.png: is 9x8, the first image 8x8"):
        list(images.FolderSource(mixed, Fraction(10)).pictures())


def test_only_folders_of_frames_are_replaced(tmp_path):
    (tmp_path / "00000001.png").write_bytes(b"")
    images.check_replaceable(tmp_path)
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"not frames of an earlier run \(holiday\.jpg\)"):
        images.check_replaceable(tmp_path)
