"""What the aligned network sees of a pair, made on the host: `fusion.sources_at` in NumPy.

Loading runs in processes that must leave the device alone, so samples that are cut as they are drawn cannot call the
network's own functions. The tests compare both.

Frames are uint8 [H, W, 3]; pictures made of them are float32 in grey levels, 0 to 255. Flow as in `jaxdyn.motion`.
"""

import cv2
import numpy as np

from jaxdyn.models import fusion
from jaxdyn.ops import warp


def displacements(flows: tuple[np.ndarray, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """`fusion.displacements` of one pair: (flow01, flow10) [h, w, 2], frames of (H, W) -> [h, w, 8] px of frames."""
    flow01, flow10 = flows
    field = np.concatenate([flow10, flow01, project(flow10), project(flow01)], axis=-1)
    height, width = flow01.shape[:2]
    return field * (np.array([size[1] / width, size[0] / height] * 4, np.float32) / 2)


def project(flow: np.ndarray) -> np.ndarray:
    """`fusion.project` of one flow [h, w, 2]."""
    carried = flow
    for _ in range(fusion.NUM_PROJECTION):
        carried = sample(flow, pixel_grid(*flow.shape[:2]) - carried / 2)
    return carried


def mean(frame0: np.ndarray, frame1: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """About exit 0, [H, W, 3] in grey levels: OpenCV reads between pixels in steps of 1/32 px, which is fast and enough
    to see where it errs."""
    height, width = frame0.shape[:2]
    look = cv2.resize(moved[..., :4], (width, height), interpolation=cv2.INTER_LINEAR)
    grid = pixel_grid(height, width)
    at = grid + look[..., :2], grid + look[..., 2:]
    read = [
        cv2.remap(frame, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for frame, place in zip((frame0, frame1), at, strict=True)
    ]
    first, second = completed(*read, *at, (height, width))
    return (first.astype(np.float32) + second) / 2


def sources_at(
    frame0: np.ndarray, frame1: np.ndarray, moved: np.ndarray, place: tuple[int, int], size: int
) -> np.ndarray:
    """`fusion.sources_at` of one patch: row and column of its first pixel -> [P, P, 28], pictures in grey levels."""
    y, x = place
    grid = pixel_grid(size, size) + np.array([x, y], np.float32)
    ratio = np.array([moved.shape[1] / frame0.shape[1], moved.shape[0] / frame0.shape[0]], np.float32)
    f10, f01, u, v = np.split(sample(moved, (grid + 0.5) * ratio - 0.5), 4, axis=-1)
    pictures = []
    for move0, move1 in ((f10, f01), (u, -u), (-v, v)):
        at0, at1 = grid + move0, grid + move1
        pictures += completed(sample(frame0, at0), sample(frame1, at1), at0, at1, frame0.shape[:2])
    plain = [frame[y : y + size, x : x + size].astype(np.float32) for frame in (frame0, frame1)]
    return np.concatenate([*pictures, *plain, 2 * u, 2 * v], axis=-1)


def completed(
    first: np.ndarray, second: np.ndarray, at0: np.ndarray, at1: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """`fusion.completed`."""
    is_in0, is_in1 = warp.is_inside(at0, size), warp.is_inside(at1, size)
    return np.where(is_in1 & ~is_in0, second, first), np.where(is_in0 & ~is_in1, first, second)


def sample(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """`warp.sample` of one image, border repeated: [H, W, C] at places [h, w, 2] (x, y) -> [h, w, C] float32."""
    height, width, channels = image.shape
    x, y = np.moveaxis(places, -1, 0)
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    x0, y0 = (np.floor(c).astype(np.intp) for c in (x, y))
    fx, fy = (x - x0).astype(np.float32)[..., None], (y - y0).astype(np.float32)[..., None]
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    pixels = image.reshape(-1, channels)
    upper, lower = (pixels[row * width + x0] * (1 - fx) + pixels[row * width + x1] * fx for row in (y0, y1))
    return upper * (1 - fy) + lower * fy


def pixel_grid(height: int, width: int) -> np.ndarray:
    """Places of all pixels, float32 [H, W, 2], x first."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x, y], axis=-1)
