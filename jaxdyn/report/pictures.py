"""Pictures inside the page: JPEG as a data URI, limited in size and in bytes."""

import base64

import cv2
import numpy as np

from jaxdyn import images

SIDE = 1280  # px, of the longer side
BYTES = 180_000  # of a picture's JPEG; a page holds a few dozen
QUALITIES = (90, 80, 70, 55)  # the first one that fits


def data_uri(image: np.ndarray) -> str:
    """A picture to stand in an `src`: [H, W, 3] RGB, uint8 or float in [0, 1].

    Its longer side is reduced to `SIDE`, its quality until it fits `BYTES`, and then its sides again.

    Raises:
      ValueError: not a picture.
    """
    if image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise ValueError(f"`image` must be [H, W, 3]; got shape {image.shape}.")
    pixels = cv2.cvtColor(np.ascontiguousarray(_codes(image)), cv2.COLOR_RGB2BGR)
    side = SIDE
    while True:
        pixels = _reduced(pixels, side)
        for quality in QUALITIES:
            done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
            if not done:
                raise OSError(f"OpenCV could not encode a JPEG of shape {pixels.shape}")
            if data.size <= BYTES:
                return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
        side = side * 3 // 4


def enlarged(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture as a player would fit it to a larger screen, by bicubic interpolation: [h, w, 3] -> [H, W, 3] uint8."""
    return cv2.resize(_codes(image), (width, height), interpolation=cv2.INTER_CUBIC)


def _codes(image: np.ndarray) -> np.ndarray:
    """uint8 of uint8 or of float in [0, 1]."""
    return image if image.dtype == np.uint8 else images.codes(image, is_deep=False)


def _reduced(pixels: np.ndarray, side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return pixels
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
