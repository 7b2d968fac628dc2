"""Tests of `jaxdyn.colour`."""

import av
import numpy as np
import pytest

from jaxdyn import colour

WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}


def decoded(format_name, height=32, width=48, seed=0, matrix=1, range_=1, low=0.3, high=0.7):
    """A frame of smooth random code values that stays inside the RGB cube."""
    depth = colour.bit_depth(format_name)
    random = np.random.default_rng(seed)
    frame = av.VideoFrame(width, height, format_name)
    for index, plane in enumerate(frame.planes):
        view = colour._samples(plane, depth)
        middle, spread = (0.5, 0.2) if index == 0 else (0.5, 0.03)
        view[...] = np.rint((middle + spread * (2 * random.random(view.shape) - 1)) * 2**depth)
    return colour.tag(frame, colour.Colour(1, 1, matrix, range_))


def arrays(frame):
    depth = colour.bit_depth(frame.format.name)
    return [colour._samples(plane, depth).astype(int) for plane in frame.planes]


@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize("range_", [1, 2])
@pytest.mark.parametrize("format_name", ["yuv444p", "yuv444p10le"])
def test_rgb_follows_the_equations(format_name, matrix, range_):
    frame = decoded(format_name, matrix=matrix, range_=range_)
    unit = 2 ** (colour.bit_depth(format_name) - 8)
    y, u, v = (plane / unit for plane in arrays(frame))
    full = (2 ** colour.bit_depth(format_name) - 1) / unit
    kr, kb = WEIGHTS[matrix]
    luma, cb, cr = (
        (y / full, (u - 128) / full, (v - 128) / full)
        if range_ == 2
        else ((y - 16) / 219, (u - 128) / 224, (v - 128) / 224)
    )
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    rgb = colour.to_rgb(frame)
    assert rgb.dtype == np.float32
    np.testing.assert_allclose(rgb, np.stack([red, green, blue], -1), atol=5e-6)


@pytest.mark.parametrize("range_", [1, 2])
@pytest.mark.parametrize("size", [(32, 48), (2, 2), (31, 47), (1, 1), (2, 64)])
@pytest.mark.parametrize(
    "format_name",
    [
        "yuv420p",
        "yuvj420p",
        "yuv422p",
        "yuv440p",
        "yuv444p",
        "yuv420p10le",
        "yuv422p10le",
        "yuv444p12le",
        "gray",
        "gray10le",
    ],
)
def test_there_and_back_is_what_it_was(format_name, size, range_):
    frame = decoded(format_name, *size, range_=range_)
    back = colour.from_rgb(colour.to_rgb(frame), format_name, colour.colour_of(frame))
    assert back.format.name == format_name
    assert colour.colour_of(back) == colour.colour_of(frame)
    for before, after in zip(arrays(frame), arrays(back), strict=True):
        assert np.abs(before - after).max() == 0


@pytest.mark.parametrize("format_name", ["nv12", "yuyv422", "p010le", "yuv410p", "yuv411p", "yuv420p10be"])
def test_unusual_layouts_go_through_a_plain_one(format_name):
    plain = decoded("yuv444p16le")
    depth = colour.bit_depth(format_name)
    frame = plain.reformat(format=format_name)
    np.testing.assert_allclose(
        colour.to_rgb(frame).mean((0, 1)), colour.to_rgb(plain).mean((0, 1)), atol=2.5 / 2 ** min(depth, 8)
    )
    back = colour.from_rgb(colour.to_rgb(frame), format_name, colour.colour_of(frame))
    assert back.format.name == format_name


@pytest.mark.parametrize(
    ("format_name", "top"), [("rgb24", 255), ("rgb48le", 65535), ("gbrp", 255), ("rgba", 255), ("bgr24", 255)]
)
def test_rgb_formats_are_exact(format_name, top):
    pixels = np.random.default_rng(0).integers(0, top + 1, (5, 7, 3))
    source = av.VideoFrame.from_ndarray(
        pixels.astype(np.uint8 if top == 255 else np.uint16), format="rgb24" if top == 255 else "rgb48le"
    )
    frame = source.reformat(format=format_name)
    np.testing.assert_allclose(colour.to_rgb(frame) * top, pixels, atol=1e-2)
    back = colour.from_rgb(colour.to_rgb(frame), "rgb24" if top == 255 else "rgb48le", colour.SRGB).to_ndarray()
    np.testing.assert_array_equal(back, pixels)


def test_alpha_is_left_out_and_new_frames_are_opaque():
    frame = decoded("yuva420p")
    assert colour.has_alpha("yuva420p")
    assert not colour.has_alpha("yuv420p")
    rgb = colour.to_rgb(frame)
    assert rgb.shape == (32, 48, 3)
    assert (arrays(colour.from_rgb(rgb, "yuva420p", colour.colour_of(frame)))[3] == 255).all()


@pytest.mark.parametrize("format_name", ["yuv420p", "yuv420p10le", "yuv422p"])
def test_full_size_chroma_keeps_luma_and_the_picture(format_name):
    frame = decoded(format_name, 31, 47)
    wide = colour.to_444(frame, "yuv444p10le" if "10" in format_name else "yuv444p")
    np.testing.assert_array_equal(arrays(wide)[0], arrays(frame)[0])
    np.testing.assert_allclose(colour.to_rgb(wide), colour.to_rgb(frame), atol=1.1 / 2 ** colour.bit_depth(format_name))


def test_unsaid_matrix_is_guessed_by_height():
    for height, matrix in [(720, 1), (576, 6)]:
        unsaid, said = decoded("yuv444p", height, 16, matrix=2), decoded("yuv444p", height, 16, matrix=matrix)
        np.testing.assert_array_equal(colour.to_rgb(unsaid), colour.to_rgb(said))


def test_out_of_range_codes_are_clipped():
    frame = decoded("yuv420p")
    colour._samples(frame.planes[0], 8)[...] = 250
    assert colour.to_rgb(frame).max() == 1


def test_detail_is_filtered_before_chroma_is_shrunk():
    # Columns of red and blue alternate: their mean is what a half-size chroma sample can hold.
    rgb = np.zeros((16, 16, 3), np.float32)
    rgb[:, ::2, 0], rgb[:, 1::2, 2] = 1, 1
    soft = colour.from_rgb(rgb, "yuv420p", colour.SRGB, is_upsampled=False)
    even = colour.from_rgb(np.broadcast_to(np.float32([0.5, 0, 0.5]), (16, 16, 3)).copy(), "yuv420p", colour.SRGB)
    for a, b in zip(arrays(soft)[1:], arrays(even)[1:], strict=True):
        assert np.abs(a - b)[:, 1:-1].max() <= 1
