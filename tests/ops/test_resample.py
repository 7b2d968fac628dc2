"""Resizing against reference outputs, slow loops, and what must hold for any linear resize."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn.ops import resample

SCALES = {"quarter": 0.25, "half": 0.5, "double": 2, "quadruple_strided": 4}


def keys_cubic(x):
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def imresize_line(line, num_out, scale):
    """One line of an image, resized by the definition: mirror it far, weigh every sample, normalise."""
    num_in = len(line)
    shrink = min(scale, 1)
    out = np.zeros((num_out, line.shape[1]))
    for i in range(num_out):
        place = (i + 0.5) / scale - 0.5
        total = 0.0
        for j in range(int(np.floor(place - 2 / shrink)) - 1, int(np.ceil(place + 2 / shrink)) + 2):
            weight = keys_cubic((place - j) * shrink)
            mirrored = j % (2 * num_in)
            out[i] += weight * line[mirrored if mirrored < num_in else 2 * num_in - 1 - mirrored]
            total += weight
        out[i] /= total
    return out


@pytest.mark.parametrize("name", ["resample", "resample_odd"])
def test_parity(shared, name):
    reference = np.load(shared / "parity" / f"{name}.npz")
    image = reference["image"] / np.float32(255)
    for key, scale in SCALES.items():
        result = np.asarray(resample.imresize(image, scale))
        if key.endswith("strided"):
            result = result[1::2, ::2]
        np.testing.assert_allclose(result, reference[key], atol=1e-4 * np.ptp(reference[key]), err_msg=key)
    np.testing.assert_allclose(resample.blur_down4(image), reference["blur_down4"], atol=1e-4)


@pytest.mark.parametrize("scale", [0.25, 1 / 3, 0.37, 0.5, 1, 1.1, 2, 3.7, 4])
@pytest.mark.parametrize("size", [(13, 10), (3, 1)])
def test_imresize_is_the_naive_loop(random, scale, size):
    image = random.rand(*size, 2)
    height, width = (int(np.ceil(round(scale * side, 6))) for side in size)
    rows = imresize_line(image.reshape(size[0], -1), height, scale).reshape(height, size[1], 2)
    both = imresize_line(rows.transpose(1, 0, 2).reshape(size[1], -1), width, scale)
    expected = both.reshape(width, height, 2).transpose(1, 0, 2)
    result = resample.imresize(image.astype(np.float32), scale)
    assert result.shape == (height, width, 2)
    np.testing.assert_allclose(result, expected, atol=2e-6)


def test_blur_down4_is_the_naive_loop(random):
    image = random.rand(11, 14, 1)
    offset = np.arange(12) - 5.5
    kernel = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.6**2))
    kernel /= kernel.sum()
    expected = np.zeros((2, 3, 1))
    for i, j, u, v in np.ndindex(2, 3, 12, 12):
        expected[i, j] += kernel[u, v] * image[np.clip(4 * i + u - 4, 0, 10), np.clip(4 * j + v - 4, 0, 13)]
    np.testing.assert_allclose(resample.blur_down4(image.astype(np.float32)), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(5, 7), (12, 20), (1, 1), (24, 3)])
def test_bilinear_is_the_naive_loop(random, size):
    image = random.rand(6, 9, 2).astype(np.float32)
    for align_corners in (False, True):
        expected = np.zeros((*size, 2))
        for i, j in np.ndindex(*size):
            if align_corners:
                y, x = i * 5 / max(size[0] - 1, 1), j * 8 / max(size[1] - 1, 1)
            else:
                y, x = (i + 0.5) * 6 / size[0] - 0.5, (j + 0.5) * 9 / size[1] - 0.5
            y, x = np.clip(y, 0, 5), np.clip(x, 0, 8)
            for v, u in np.ndindex(6, 9):
                expected[i, j] += image[v, u] * max(0, 1 - abs(y - v)) * max(0, 1 - abs(x - u))
        np.testing.assert_allclose(resample.resize_bilinear(image, size, align_corners), expected, atol=1e-6)


def test_sizes_round_up_for_imresize_and_down_for_blur():
    image = np.zeros((2, 3, 47, 61, 3), np.float32)
    assert resample.imresize(image, 0.25).shape == (2, 3, 12, 16, 3)
    assert resample.imresize(image, 0.5).shape == (2, 3, 24, 31, 3)
    assert resample.blur_down4(image).shape == (2, 3, 11, 15, 3)
    assert resample.imresize(np.zeros((10, 30, 1), np.float32), 1.1).shape == (11, 33, 1)  # 1.1 * 10 > 11 in float64
    assert resample.resize_bicubic(image, (19, 64)).shape == (2, 3, 19, 64, 3)


RESIZES = {
    "imresize": lambda x: resample.imresize(x, 0.43),
    "imresize up": lambda x: resample.imresize(x, 3),
    "resize_bicubic": lambda x: resample.resize_bicubic(x, (4, 31)),
    "bilinear": lambda x: resample.resize_bilinear(x, (5, 23)),
    "bilinear corners": lambda x: resample.resize_bilinear(x, (25, 6), align_corners=True),
    "blur_down4": resample.blur_down4,
}


@pytest.mark.parametrize("resize", RESIZES.values(), ids=RESIZES.keys())
def test_constants_stay_and_nothing_is_clipped(resize):
    for value in (-3.0, 0.0, 250.0):
        np.testing.assert_allclose(resize(jnp.full((16, 17, 2), value)), value, rtol=1e-6)


@pytest.mark.parametrize("resize", RESIZES.values(), ids=RESIZES.keys())
def test_gradient_is_the_transposed_matrix(random, resize):
    """<A x, y> = <x, A^T y> for the linear map A: the gradient of the left side to x is A^T y."""
    x = random.standard_normal((16, 17, 2)).astype(np.float32)
    result, pull_back = jax.vjp(jax.jit(resize), x)
    y = random.standard_normal(result.shape).astype(np.float32)
    np.testing.assert_allclose(np.vdot(result, y), np.vdot(x, pull_back(y)[0]), rtol=1e-4, atol=1e-4)
    dense = jax.jacobian(resize)(jnp.asarray(x))  # [h, w, 2, 16, 17, 2]
    np.testing.assert_allclose(np.tensordot(y, dense, 3), pull_back(y)[0], atol=1e-5)


@pytest.mark.parametrize("resize", RESIZES.values(), ids=RESIZES.keys())
def test_leading_axes_and_integers(random, resize):
    images = random.randint(0, 256, (2, 3, 16, 17, 2)).astype(np.uint8)
    result = resize(images)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result[1, 2], resize(images[1, 2].astype(np.float32)), rtol=1e-5, atol=1e-4)


def test_resize_bicubic_scales_each_axis_by_itself(random):
    image = random.rand(20, 30, 3).astype(np.float32)
    np.testing.assert_allclose(resample.resize_bicubic(image, (10, 15)), resample.imresize(image, 0.5), atol=1e-6)
    np.testing.assert_allclose(resample.resize_bicubic(image, (20, 30)), image, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: resample.imresize(x, 0), "scale must be positive and finite, got 0"),
        (lambda x: resample.imresize(x, float("nan")), "scale must be positive and finite, got nan"),
        (lambda x: resample.imresize(x[0], 2), r"\[..., H, W, C\].*got shape \(8, 3\)"),
        (lambda x: resample.imresize(x[:0], 2), r"at least one pixel, got shape \(0, 8, 3\)"),
        (lambda x: resample.resize_bicubic(x, (0, 4)), r"at least 1 pixel each, got \(0, 4\)"),
        (lambda x: resample.resize_bilinear(x, (4,)), r"\(height, width\)"),
        (lambda x: resample.blur_down4(x[:3]), r"at least 4 x 4 pixels, got image of shape \(3, 8, 3\)"),
    ],
)
def test_errors_name_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.zeros((8, 8, 3), np.float32))
