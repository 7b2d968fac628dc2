"""Which neighbouring frames belong together: scene cuts and repeated frames.

Both are judged from one pair alone, so a job that is resumed, or starts in the middle, decides as a whole job does.
"""

import enum

import cv2
import numpy as np

from jaxdyn import motion

CUT_THRESHOLD = 0.2
THUMB_EDGE = 48  # px of the short side on which cuts are judged
BLOCK = 16  # px; repeats are judged block by block, so that a small moving thing in a still scene counts
REPEAT_THRESHOLD = 1 / 255
FLAT = (2 / 255) ** 2  # variance of a picture without structure


class Pair(enum.Enum):
    """What a source frame and the next one are to each other."""

    MOTION = "motion"  # one scene: something to interpolate
    REPEAT = "repeat"  # the same picture: the in-between is a copy
    CUT = "cut"  # two scenes: nothing lies between them


def judge(frame0: np.ndarray, frame1: np.ndarray) -> Pair:
    """What two neighbouring frames, float32 [H, W, 3] RGB in [0, 1], are to each other."""
    if is_repeat(frame0, frame1):
        return Pair.REPEAT
    return Pair.CUT if cut_score(frame0, frame1) > CUT_THRESHOLD else Pair.MOTION


def is_repeat(frame0: np.ndarray, frame1: np.ndarray) -> bool:
    """Whether no 16 px block differs by one 8-bit step or more on average: the same picture, up to coding noise."""
    difference = cv2.absdiff(frame0, frame1)  # [H, W, 3]
    height, width = difference.shape[:2]
    blocks = (max(1, width // BLOCK), max(1, height // BLOCK))
    return bool(cv2.resize(difference, blocks, interpolation=cv2.INTER_AREA).max() < REPEAT_THRESHOLD)


def cut_score(frame0: np.ndarray, frame1: np.ndarray) -> float:
    """How much a pair looks like two scenes, 0 to 1: sqrt(h * c) on thumbnails of 48 px.

    h is what the colour histograms (16 bins a channel) do not share, c is what correlation leaves unexplained after
    frame 1 is warped to frame 0 by DIS motion. Fast motion keeps h low, a flash or a fade keeps c low, a cut does
    neither: the score of 1,300 neighbours in 24 clips is at most 0.12, of 552 pairs across clips at least 0.32.
    """
    thumb0, thumb1 = _thumb(frame0), _thumb(frame1)  # [h, w, 3]
    unshared = 1 - np.minimum(_histogram(thumb0), _histogram(thumb1)).sum()
    grey0, grey1 = (cv2.cvtColor(thumb, cv2.COLOR_RGB2GRAY) for thumb in (thumb0, thumb1))
    flow = motion.search(*(np.rint(grey * 255).astype(np.uint8) for grey in (grey0, grey1)), finest_scale=0)
    x, y = np.meshgrid(np.arange(grey0.shape[1], dtype=np.float32), np.arange(grey0.shape[0], dtype=np.float32))
    warped = cv2.remap(grey1, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    unexplained = 1 - np.clip(_correlation(grey0, warped), 0, 1)
    return float(np.sqrt(max(0.0, unshared) * unexplained))


def _thumb(frame: np.ndarray) -> np.ndarray:
    height, width = motion.grid_size(*frame.shape[:2], THUMB_EDGE)
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def _histogram(thumb: np.ndarray) -> np.ndarray:
    """[3, 16], sums to 1."""
    counts = [np.histogram(thumb[..., channel], bins=16, range=(0, 1))[0] for channel in range(3)]
    return np.stack(counts) / thumb.size


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, with two flat pictures alike and a flat picture unlike any other."""
    a, b = a - a.mean(), b - b.mean()
    return float((np.mean(a * b) + FLAT) / np.sqrt(max(np.mean(a * a), FLAT) * max(np.mean(b * b), FLAT)))
