"""PSNR and SSIM against reference values, scikit-image, and slow loops."""

import jax.numpy as jnp
import numpy as np
import pytest
from skimage import metrics as oracle

from jaxdyn import metrics


@pytest.fixture
def pair(random):
    image = random.randint(0, 256, (24, 31, 3)).astype(np.uint8)
    noise = random.randint(-20, 21, image.shape)
    return image, np.clip(image + noise, 0, 255).astype(np.uint8)


def test_parity(shared):
    reference = np.load(shared / "parity" / "metrics.npz")
    pair = reference["image"], reference["other"]
    for key, value in {
        "psnr_rgb": metrics.psnr(*pair),
        "psnr_rgb_crop4": metrics.psnr(*pair, border=4),
        "psnr_y": metrics.psnr(*pair, channel="y"),
        "psnr_skimage": metrics.psnr(*pair),
    }.items():
        np.testing.assert_allclose(value, reference[key], atol=1e-4, err_msg=key)  # dB
    for key, value in {
        "ssim_rgb": metrics.ssim(*pair),
        "ssim_y": metrics.ssim(*pair, channel="y"),
        "ssim_y_crop4": metrics.ssim(*pair, channel="y", border=4),
        "ssim_skimage_default": metrics.ssim(*pair, window="uniform"),
        "ssim_3d_cain": metrics.ssim(*pair, window="volume"),
    }.items():
        np.testing.assert_allclose(value, reference[key], atol=1e-5, err_msg=key)


def test_scores_on_the_device_parity(shared):
    reference = np.load(shared / "parity" / "metrics.npz")
    pair = reference["image"], reference["other"]
    every, y = metrics.scores(*pair, windows=("gaussian", "uniform", "volume")), metrics.scores(*pair, channel="y")
    crop4, y_crop4 = (metrics.scores(*pair, channel=c, border=4) for c in ("rgb", "y"))
    found = {"psnr_rgb": every.psnr, "psnr_rgb_crop4": crop4.psnr, "psnr_y": y.psnr}
    for key, value in found.items():
        np.testing.assert_allclose(value, reference[key], atol=1e-4, err_msg=key)  # dB
    found = {"ssim_rgb": every.ssim["gaussian"], "ssim_skimage_default": every.ssim["uniform"]}
    found |= {"ssim_3d_cain": every.ssim["volume"], "ssim_y": y.ssim["gaussian"]}
    for key, value in (found | {"ssim_y_crop4": y_crop4.ssim["gaussian"]}).items():
        np.testing.assert_allclose(value, reference[key], atol=1e-5, err_msg=key)


@pytest.mark.parametrize("channel", ["rgb", "y"])
@pytest.mark.parametrize("round", [True, False])
@pytest.mark.parametrize("border", [0, 3])
def test_scores_equal_psnr_and_ssim(random, channel, round, border):
    """Also of flat, bright pictures, where float32 has fewest digits for a variance, and of halves, which round."""
    windows = ("gaussian", "uniform") + (("volume",) if channel == "rgb" else ())
    flat = (250 + random.randint(0, 3, (40, 33, 3))).astype(np.uint8)
    other = np.clip(flat + random.randint(-2, 3, flat.shape), 0, 255).astype(np.uint8)
    halves = (flat / np.float32(255) + other / np.float32(255)) / 2
    for image in (other, halves):
        found = metrics.scores(image, flat, channel, border, windows, round)
        np.testing.assert_allclose(found.psnr, metrics.psnr(image, flat, channel, border, round), atol=1e-5)
        for window in windows:
            expected = metrics.ssim(image, flat, channel, border, window, round)
            np.testing.assert_allclose(found.ssim[window], expected, atol=1e-5, err_msg=window)
    assert metrics.scores(flat, flat, channel, border, windows).psnr == np.inf


def test_scores_do_not_overflow():
    black, white = np.zeros((8, 3000, 3), np.uint8), np.full((8, 3000, 3), 255, np.uint8)
    assert metrics.scores(black, white, windows=()).psnr == 0


def test_scikit_image_agrees(pair):
    np.testing.assert_allclose(metrics.psnr(*pair), oracle.peak_signal_noise_ratio(*pair), rtol=1e-12)
    uniform = oracle.structural_similarity(*pair, channel_axis=-1, data_range=255)
    np.testing.assert_allclose(metrics.ssim(*pair, window="uniform"), uniform, rtol=1e-10)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255, "full": True}
    _, full = oracle.structural_similarity(*pair, channel_axis=-1, **options)
    np.testing.assert_allclose(metrics.ssim(*pair), full[5:-5, 5:-5].mean(), rtol=1e-10)


def test_volume_window_is_the_naive_loop(random):
    x, y = random.randint(0, 256, (2, 5, 6, 3)).astype(np.float64)
    offset = np.arange(-5, 6)
    line = np.exp(-(offset**2) / (2 * 1.5**2))
    kernel = line[:, None, None] * line[None, :, None] * line[None, None, :]
    kernel /= kernel.sum()

    def average(image):
        padded = np.pad(image, 5, mode="edge")
        out = np.zeros_like(image)
        for i, j, k in np.ndindex(*image.shape):
            out[i, j, k] = (kernel * padded[i : i + 11, j : j + 11, k : k + 11]).sum()
        return out

    mx, my = average(x), average(y)
    vx, vy, cov = average(x * x) - mx**2, average(y * y) - my**2, average(x * y) - mx * my
    c1, c2 = 2.55**2, 7.65**2
    expected = ((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()
    result = metrics.ssim(x.astype(np.uint8), y.astype(np.uint8), window="volume")
    np.testing.assert_allclose(result, expected, rtol=1e-10)


def test_luma_is_not_rounded():
    """A red step of one: Y moves by 65.481 / 255, which a rounded Y would lose."""
    image = np.full((8, 8, 3), 100, np.uint8)
    other = image + np.array([1, 0, 0], np.uint8)
    expected = 20 * np.log10(255 / (65.481 / 255))
    np.testing.assert_allclose(metrics.psnr(image, other, channel="y"), expected, rtol=1e-12)


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
def test_one_value_for_each_leading_index(pair, metric):
    image, other = pair
    images = np.stack([image, other, image, image, other, other]).reshape(2, 3, *image.shape)
    others = np.stack([other, other, image[::-1], image, image, other]).reshape(2, 3, *image.shape)
    values = metric(images, others)
    assert values.shape == (2, 3)
    assert values.dtype == np.float64
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(values[index], metric(images[index], others[index]))
    assert np.ndim(metric(image, other)) == 0


@pytest.mark.parametrize("channel", ["rgb", "y"])
def test_equal_images(pair, channel):
    assert metrics.psnr(pair[0], pair[0], channel=channel) == np.inf
    for window in ("gaussian", "uniform") + (("volume",) if channel == "rgb" else ()):
        np.testing.assert_allclose(metrics.ssim(pair[0], pair[0], channel=channel, window=window), 1, rtol=1e-9)


def test_floats_are_clamped_and_rounded_first(pair):
    image, other = pair
    as_float = image / np.float32(255)
    assert metrics.psnr(as_float, image) == np.inf
    assert metrics.psnr(jnp.asarray(as_float), jnp.asarray(image)) == np.inf
    near = as_float + 0.4 / 255
    assert metrics.psnr(near, image) == np.inf or metrics.psnr(near, image) > 60
    np.testing.assert_allclose(metrics.psnr(near, image, round=False), 20 * np.log10(255 / 0.4), rtol=1e-4)
    beyond = np.where(image == 255, 3.0, as_float)
    assert metrics.psnr(beyond, image) == np.inf
    assert metrics.psnr(beyond, image, round=False) < 60
    np.testing.assert_array_equal(metrics.ssim(as_float, other), metrics.ssim(image, other))
    half = as_float.astype(np.float16)
    assert np.isfinite(metrics.psnr(half, other))
    assert metrics.psnr(jnp.asarray(as_float, jnp.bfloat16), image) > 40


def test_border_is_left_out(pair):
    image, other = pair
    changed = other.copy()
    changed[:3], changed[:, -3:] = 0, 255
    for metric in (metrics.psnr, metrics.ssim):
        np.testing.assert_array_equal(metric(image, changed, border=3), metric(image, other, border=3))
        np.testing.assert_array_equal(metric(image, other, border=3), metric(image[3:-3, 3:-3], other[3:-3, 3:-3]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: metrics.psnr(x, x[1:]), ValueError, r"one shape, got \(20, 20, 3\) and \(19, 20, 3\)"),
        (lambda x: metrics.ssim(x[..., :1], x[..., :1]), ValueError, r"\[..., H, W, 3\], got shape \(20, 20, 1\)"),
        (lambda x: metrics.psnr(x.astype(np.int64), x), TypeError, "uint8, or float in .*, got dtype int64"),
        (lambda x: metrics.psnr(x, x, channel="luma"), ValueError, "got 'luma'"),
        (lambda x: metrics.psnr(x, x, border=10), ValueError, "border=10 leaves nothing of images of 20 x 20"),
        (lambda x: metrics.psnr(x, x, border=-1), ValueError, "border=-1"),
        (lambda x: metrics.ssim(x, x, window="box"), ValueError, "'gaussian', 'uniform', 'volume', got 'box'"),
        (lambda x: metrics.ssim(x, x, channel="y", window="volume"), ValueError, "three colours"),
        (lambda x: metrics.scores(x[None], x[None]), ValueError, r"one pair of images, \[H, W, 3\], got shape \(1, 20"),
        (lambda x: metrics.scores(x, x, windows=("box",)), ValueError, "'gaussian', 'uniform', 'volume', got 'box'"),
        (lambda x: metrics.scores(x, x, border=5), ValueError, "at least 11 x 11 pixels, got images of 10 x 10"),
        (lambda x: metrics.ssim(x, x, border=5), ValueError, "at least 11 x 11 pixels, got images of 10 x 10"),
    ],
)
def test_errors_name_what_came(call, error, message):
    with pytest.raises(error, match=message):
        call(np.zeros((20, 20, 3), np.uint8))
