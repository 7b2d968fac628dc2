"""PSNR and SSIM by the papers' conventions.

`psnr` and `ssim` take pairs of images, [..., H, W, 3], and give one float64 value for each leading index, computed in
float64 on the host. `scores` gives both of one pair, in one pass on the device. An image is uint8, or float in [0, 1],
which is clamped and rounded to 8 bits first, as if it had been saved (`round=False` keeps it as it is). The data range
is always 255.

`channel="y"` compares luma, Y = 65.481 R + 128.553 G + 24.966 B + 16 of RGB in [0, 1] (ITU-R BT.601, as MATLAB's
`rgb2ycbcr`), not rounded. `border` pixels are left out on every side. Which paper uses which: Vimeo-90K-T, Vid4 and
UDM10 of BasicVSR, Y; REDS4, RGB; frame interpolation, RGB with the Gaussian SSIM, CAIN with its "volume"; Xiph's
benchmark, "uniform".
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
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
LEAST_SIDES = {"gaussian": GAUSSIAN_SIDE, "uniform": UNIFORM_SIDE, "volume": 1}  # pixels that a window needs


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
    return _decibels(np.mean((image - other) ** 2, axis=(-3, -2, -1)))


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
    _check_window(window, channel)
    image, other = _prepared(image, other, channel, border, round)
    _check_size(window, image.shape, border)
    lead = image.shape[:-3]
    pairs = zip(image.reshape(-1, *image.shape[-3:]), other.reshape(-1, *other.shape[-3:]), strict=True)
    return np.array([_ssim_map(x, y, window).mean() for x, y in pairs]).reshape(lead)[()]


@dataclasses.dataclass(frozen=True)
class Scores:
    """What one image is worth against another.

    Attributes:
      psnr: dB, see `psnr`.
      ssim: by window, see `ssim`.
    """

    psnr: float
    ssim: dict[Window, float]


def scores(
    image: Image,
    other: Image,
    channel: Channel = "rgb",
    border: int = 0,
    windows: Sequence[Window] = ("gaussian",),
    round: bool = True,
) -> Scores:
    """PSNR and SSIM of one pair of images, in one pass on the device.

    Squared errors and SSIM are added up there, row by row, in whole numbers where these are (RGB of 8 bits) and in
    float32 elsewhere, and divided at the end on the host. They equal `psnr` to 1e-4 dB and `ssim` to 1e-5.

    Args:
      image, other: [H, W, 3], each uint8 or float in [0, 1].
      channel, border, round: as for `psnr`.
      windows: of SSIM, as for `ssim`, each by itself.

    Raises:
      ValueError, TypeError: as `psnr` and `ssim`, and for more than one image.
    """
    for window in windows:
        _check_window(window, channel)
    image, other = _checked(image, other, channel, border)
    if image.ndim != 3:
        raise ValueError(f"scores are of one pair of images, [H, W, 3], got shape {image.shape}")
    height, width = (side - 2 * border for side in image.shape[:2])
    for window in windows:
        _check_size(window, (height, width, 3), border)
    image, other = (_as_range_255(x, round) for x in (image, other))
    if round or {image.dtype, other.dtype} == {np.dtype(np.uint8)}:
        image, other = (x.astype(np.uint8) for x in (image, other))  # exact, and an eighth of the bytes
    error, similar = jax.device_get(_row_sums(image, other, channel, border, tuple(windows)))
    depth = 3 if channel == "rgb" else 1
    return Scores(
        float(_decibels(error.sum(dtype=np.float64) / (height * width * depth))),
        {window: float(sums.sum(dtype=np.float64) / count) for window, (sums, count) in similar.items()},
    )


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _row_sums(image, other, channel, border, windows):
    """Sums of squared errors [H], and by window sums of SSIM [H'] with their number."""
    image, other = (x[_inside(x.shape, border)] for x in (image, other))
    is_exact = image.dtype == jnp.uint8
    difference = image.astype(jnp.int32) - other.astype(jnp.int32) if is_exact else image - other
    image, other = image.astype(jnp.float32), other.astype(jnp.float32)
    if channel == "y":
        weights = LUMA_WEIGHTS.astype(np.float32)
        difference = (difference * weights).sum(-1, keepdims=True)
        image, other = ((x * weights).sum(-1, keepdims=True) + LUMA_OFFSET for x in (image, other))
    error = (difference**2).sum(axis=(1, 2))
    maps = {window: _ssim_map(image, other, window) for window in windows}
    return error, {window: (x.sum(axis=(1, 2)), x.size) for window, x in maps.items()}


def _ssim_map(x: Image, y: Image, window: Window) -> Image:
    """SSIM at every place of one pair of images, [H, W, C] in [0, 255], on the host or on the device."""
    average = functools.partial(_average, window=window)
    # Variances do not change with the level, and around the middle of the range they keep more digits.
    x, y = x - DATA_RANGE / 2, y - DATA_RANGE / 2
    maps = [x, y, x * x, y * y, x * y]
    means = map(average, maps) if isinstance(x, np.ndarray) else jax.vmap(average)(jnp.stack(maps))
    mean_x, mean_y, square_x, square_y, product = means
    # Sample instead of population statistics for the uniform window.
    unbias = UNIFORM_SIDE**2 / (UNIFORM_SIDE**2 - 1) if window == "uniform" else 1.0
    var_x = unbias * (square_x - mean_x**2)
    var_y = unbias * (square_y - mean_y**2)
    covariance = unbias * (product - mean_x * mean_y)
    mean_x, mean_y = mean_x + DATA_RANGE / 2, mean_y + DATA_RANGE / 2
    numerator = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return numerator / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2))


def _average(x: Image, window: Window) -> Image:
    """The window's weighted mean around each place where it fits, [H, W, C] -> [H', W', C]."""
    side = UNIFORM_SIDE if window == "uniform" else GAUSSIAN_SIDE
    if window == "uniform":
        weights = np.full(side, 1 / side)
    else:
        weights = np.exp(-0.5 * ((np.arange(side) - side // 2) / GAUSSIAN_SIGMA) ** 2)
        weights /= weights.sum()
    if window == "volume":
        x = (np if isinstance(x, np.ndarray) else jnp).pad(x, side // 2, mode="edge")
    for axis in (0, 1, 2) if window == "volume" else (0, 1):
        size, before = x.shape[axis] - side + 1, (slice(None),) * axis
        x = sum(float(w) * x[(*before, slice(k, k + size))] for k, w in enumerate(weights))
    return x


def _check_window(window: Window, channel: Channel) -> None:
    if window not in LEAST_SIDES:
        raise ValueError(f"window must be one of {', '.join(map(repr, LEAST_SIDES))}, got {window!r}")
    if window == "volume" and channel != "rgb":
        raise ValueError('window="volume" spans the three colours; use it with channel="rgb"')


def _check_size(window: Window, shape: tuple[int, ...], border: int) -> None:
    """Refuses images [..., H, W, C] without their border that are smaller than the window."""
    least = LEAST_SIDES[window]
    if min(shape[-3:-1]) < least:
        raise ValueError(
            f"window={window!r} needs at least {least} x {least} pixels, got images of "
            f"{shape[-3]} x {shape[-2]} after border={border}"
        )


def _prepared(image: Image, other: Image, channel: Channel, border: int, round: bool) -> tuple[np.ndarray, np.ndarray]:
    """Checks a pair and brings it to float64 in [0, 255], [..., H, W, 3 or 1], without its border."""
    image, other = _checked(image, other, channel, border)
    image, other = (_as_range_255(x[_inside(x.shape, border)], round).astype(np.float64) for x in (image, other))
    if channel == "y":
        image, other = ((x @ LUMA_WEIGHTS + LUMA_OFFSET)[..., None] for x in (image, other))
    return image, other


def _checked(image: Image, other: Image, channel: Channel, border: int) -> tuple[np.ndarray, np.ndarray]:
    """The pair on the host, if it can be compared."""
    image, other = np.asarray(image), np.asarray(other)
    if image.shape != other.shape:
        raise ValueError(f"images must have one shape, got {image.shape} and {other.shape}")
    if image.ndim < 3 or image.shape[-1] != 3:
        raise ValueError(f"images must be [..., H, W, 3], got shape {image.shape}")
    if channel not in ("rgb", "y"):
        raise ValueError(f'channel must be "rgb" or "y", got {channel!r}')
    if border < 0 or min(image.shape[-3:-1]) <= 2 * border:
        raise ValueError(f"border={border} leaves nothing of images of {image.shape[-3]} x {image.shape[-2]} pixels")
    return image, other


def _inside(shape: tuple[int, ...], border: int) -> tuple:
    """What is left of images [..., H, W, C] without a border."""
    height, width = shape[-3:-1]
    return (..., slice(border, height - border), slice(border, width - border), slice(None))


def _decibels(error: np.ndarray) -> np.ndarray:
    """A mean squared error as PSNR."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(DATA_RANGE**2 / error)


def _as_range_255(image: np.ndarray, round: bool) -> np.ndarray:
    """In [0, 255]: uint8 as it is, else float64, rounded unless told otherwise."""
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f" and image.dtype.name != "bfloat16":
        raise TypeError(f"images must be uint8, or float in [0, 1], got dtype {image.dtype}")
    image = image.astype(np.float64) * DATA_RANGE
    return np.clip(image, 0, DATA_RANGE).round() if round else image
