"""PSNR and SSIM by the papers' conventions, in float64 on the host.

Both take pairs of images, [..., H, W, 3], and give one float64 value for each leading index. An image is uint8, or
float in [0, 1], which is clamped and rounded to 8 bits first, as if it had been saved (`round=False` keeps it as it
is). The data range is always 255.

`channel="y"` compares luma, Y = 65.481 R + 128.553 G + 24.966 B + 16 of RGB in [0, 1] (ITU-R BT.601, as MATLAB's
`rgb2ycbcr`), not rounded. `border` pixels are left out on every side. Which paper uses which: Vimeo-90K-T, Vid4 and
UDM10 of BasicVSR, Y; REDS4, RGB; frame interpolation, RGB with the Gaussian SSIM, CAIN with its "volume"; Xiph's
benchmark, "uniform".
"""

import functools
from typing import Literal

import jax
import numpy as np

Channel = Literal["rgb", "y"]
Window = Literal["gaussian", "uniform", "volume"]
Image = np.ndarray | jax.Array

DATA_RANGE = 255.0
LUMA_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255.0  # of RGB in [0, 255]
LUMA_OFFSET = 16.0
C1 = (0.01 * DATA_RANGE) ** 2  # Wang et al. 2004
C2 = (0.03 * DATA_RANGE) ** 2
GAUSSIAN_SIDE, GAUSSIAN_SIGMA = 11, 1.5
UNIFORM_SIDE = 7


def psnr(image: Image, other: Image, channel: Channel = "rgb", border: int = 0, round: bool = True) -> np.ndarray:
    """Peak signal-to-noise ratio: `10 log10(255^2 / mean((image - other)^2))`, in dB.

    Args:
      image, other: [..., H, W, 3], each uint8 or float in [0, 1].
      channel: "rgb", or "y" for luma alone.
      border: pixels left out on every side.
      round: clamp and round float images to 8 bits first.

    Returns:
      [...] float64; equal images give inf.

    Raises:
      ValueError: shapes that differ or are not images, a border that leaves nothing, an unknown channel.
      TypeError: a dtype that is neither uint8 nor floating point.
    """
    image, other = _prepared(image, other, channel, border, round)
    error = np.mean((image - other) ** 2, axis=(-3, -2, -1))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(DATA_RANGE**2 / error)


def ssim(
    image: Image,
    other: Image,
    channel: Channel = "rgb",
    border: int = 0,
    window: Window = "gaussian",
    round: bool = True,
) -> np.ndarray:
    """Structural similarity (Wang et al. 2004, Eq. 13), the mean over places and channels.

    `(2 m_x m_y + C1)(2 s_xy + C2) / ((m_x^2 + m_y^2 + C1)(s_x^2 + s_y^2 + C2))` with local means m, variances and
    covariance s in

        "gaussian"  11 x 11, sigma 1.5, inside the image only, channel by channel: MATLAB's and BasicSR's;
        "uniform"   7 x 7, sample covariance, inside the image only: scikit-image's default;
        "volume"    11 x 11 x 11 Gaussian over rows, columns and colours, borders replicated: CAIN's `ssim_matlab`.

    Args:
      image, other: [..., H, W, 3], each uint8 or float in [0, 1].
      channel: "rgb", or "y" for luma alone (not for "volume").
      border: pixels left out on every side.
      window: the local window.
      round: clamp and round float images to 8 bits first.

    Returns:
      [...] float64, at most 1.

    Raises:
      ValueError: shapes that differ or are not images, a border that leaves nothing, an image smaller than the
        window, an unknown channel or window.
      TypeError: a dtype that is neither uint8 nor floating point.
    """
    windows = {"gaussian": GAUSSIAN_SIDE, "uniform": UNIFORM_SIDE, "volume": 1}
    if window not in windows:
        raise ValueError(f"window must be one of {', '.join(map(repr, windows))}, got {window!r}")
    if window == "volume" and channel != "rgb":
        raise ValueError('window="volume" spans the three colours; use it with channel="rgb"')
    image, other = _prepared(image, other, channel, border, round)
    if min(image.shape[-3:-1]) < windows[window]:
        raise ValueError(
            f"window={window!r} needs at least {windows[window]} x {windows[window]} pixels, got images of "
            f"{image.shape[-3]} x {image.shape[-2]} after border={border}"
        )
    lead = image.shape[:-3]
    pairs = zip(image.reshape(-1, *image.shape[-3:]), other.reshape(-1, *other.shape[-3:]), strict=True)
    return np.array([_ssim_map(x, y, window).mean() for x, y in pairs]).reshape(lead)[()]


def _ssim_map(x: np.ndarray, y: np.ndarray, window: Window) -> np.ndarray:
    """SSIM at every place of one pair of images, [H, W, C] float64."""
    average = functools.partial(_average, window=window)
    mean_x, mean_y = average(x), average(y)
    # Sample instead of population statistics for the uniform window.
    unbias = UNIFORM_SIDE**2 / (UNIFORM_SIDE**2 - 1) if window == "uniform" else 1.0
    var_x = unbias * (average(x * x) - mean_x**2)
    var_y = unbias * (average(y * y) - mean_y**2)
    covariance = unbias * (average(x * y) - mean_x * mean_y)
    numerator = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return numerator / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2))


def _average(x: np.ndarray, window: Window) -> np.ndarray:
    """The window's weighted mean around each place where it fits, [H, W, C] -> [H', W', C]."""
    side = UNIFORM_SIDE if window == "uniform" else GAUSSIAN_SIDE
    if window == "uniform":
        weights = np.full(side, 1 / side)
    else:
        weights = np.exp(-0.5 * ((np.arange(side) - side // 2) / GAUSSIAN_SIGMA) ** 2)
        weights /= weights.sum()
    if window == "volume":
        x = np.pad(x, side // 2, mode="edge")
    for axis in (0, 1, 2) if window == "volume" else (0, 1):
        size = x.shape[axis] - side + 1
        x = sum(w * x.take(range(k, k + size), axis=axis) for k, w in enumerate(weights))
    return x


def _prepared(image: Image, other: Image, channel: Channel, border: int, round: bool) -> tuple[np.ndarray, np.ndarray]:
    """Checks a pair and brings it to float64 in [0, 255], [..., H, W, 3 or 1], without its border."""
    image, other = np.asarray(image), np.asarray(other)
    if image.shape != other.shape:
        raise ValueError(f"images must have one shape, got {image.shape} and {other.shape}")
    if image.ndim < 3 or image.shape[-1] != 3:
        raise ValueError(f"images must be [..., H, W, 3], got shape {image.shape}")
    if channel not in ("rgb", "y"):
        raise ValueError(f'channel must be "rgb" or "y", got {channel!r}')
    if border < 0 or min(image.shape[-3:-1]) <= 2 * border:
        raise ValueError(f"border={border} leaves nothing of images of {image.shape[-3]} x {image.shape[-2]} pixels")
    height, width = image.shape[-3:-1]
    inside = (..., slice(border, height - border), slice(border, width - border), slice(None))
    image, other = (_as_range_255(x[inside], round) for x in (image, other))
    if channel == "y":
        image, other = ((x @ LUMA_WEIGHTS + LUMA_OFFSET)[..., None] for x in (image, other))
    return image, other


def _as_range_255(image: np.ndarray, round: bool) -> np.ndarray:
    if image.dtype == np.uint8:
        return image.astype(np.float64)
    if image.dtype.kind != "f" and image.dtype.name != "bfloat16":
        raise TypeError(f"images must be uint8, or float in [0, 1], got dtype {image.dtype}")
    image = image.astype(np.float64) * DATA_RANGE
    return np.clip(image, 0, DATA_RANGE).round() if round else image
