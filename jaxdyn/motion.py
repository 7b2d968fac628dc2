"""Motion on the host: dense inverse search (DIS), by OpenCV.

Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016; OpenCV's preset "medium". It has no weights
and no FLOPs that XLA could count; its time is real and is always measured.

The preset searches and refines at half of the pictures' size at the finest. For frames that are aligned by it a flow is
refined once more at their own size (Brox et al., "High Accuracy Optical Flow Estimation Based on a Theory for Warping",
ECCV 2004), with half of the preset's smoothness both times: `REFINEMENT`.

Flow is in pixels of its own grid, channel 0 = x, and `warp(frame1, flow01)` looks like `frame0`.
"""

import itertools
from concurrent import futures

import cv2
import numpy as np

MIN_SIDE = 16  # px; DIS wants a 12 px side at the least, smaller pictures are padded by their own edge

SMOOTHNESS = 10.0  # weight of the flow's gradient in a refined search; the preset's is 20
REFINEMENT = {"FixedPointIterations": 3, "SorIterations": 5, "Alpha": SMOOTHNESS, "Delta": 5.0, "Gamma": 10.0}
"""Of `cv2.VariationalRefinement`; Delta and Gamma, the weights of colour and of its gradient, are the preset's."""


def dis(
    frame0: np.ndarray, frame1: np.ndarray, edge: int = 384, is_refined: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Motion between two frames, both ways.

    The frames are turned to 8-bit grey and shrunk (area average) so that the short side has `edge` pixels; a smaller
    frame keeps its size. Pictures under 16 px are padded by their own edge for the search and the flow is cropped back.

    Args:
      frame0: [H, W, 3] RGB, uint8, or float in [0, 1].
      frame1: the same shape and type.
      edge: px of the short side of the flow's grid, 1 or more.
      is_refined: see `search`.

    Returns:
      (flow01, flow10): float32 [h, w, 2], px of their own grid, min(h, w) = min(edge, H, W).

    Raises:
      ValueError: frames that are not [H, W, 3], differ in shape or are empty; an edge under 1.
    """
    if frame0.ndim != 3 or frame0.shape[-1] != 3 or 0 in frame0.shape:
        raise ValueError(f"`frame0` must be [H, W, 3] with at least one pixel; got shape {frame0.shape}.")
    if frame0.shape != frame1.shape:
        raise ValueError(f"Both frames must have one shape; got {frame0.shape} and {frame1.shape}.")
    if edge < 1:
        raise ValueError(f"`edge` (={edge}) must be 1 px or more.")
    height, width = grid_size(*frame0.shape[:2], edge)
    grey0, grey1 = (_grey(frame, height, width) for frame in (frame0, frame1))  # uint8 [h, w]
    return search(grey0, grey1, is_refined=is_refined), search(grey1, grey0, is_refined=is_refined)


def dis_of_clips(clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Motion between neighbouring frames of clips, both ways, at their own size, not refined.

    Args:
      clips: [B, T, H, W, 3] RGB, uint8, or float in [0, 1].

    Returns:
      (to_next, to_previous): float32 [B, T - 1, H, W, 2], px; from frame t to t + 1, and from t + 1 to t.

    Raises:
      ValueError: clips of another shape.
    """
    clips = np.asarray(clips)
    if clips.ndim != 5 or clips.shape[-1] != 3 or 0 in clips.shape:
        raise ValueError(f"`clips` must be [B, T, H, W, 3] with at least one pixel; got shape {clips.shape}.")
    batch, time, height, width, _ = clips.shape
    firsts, seconds = [], []
    for clip in clips:
        greys = [_grey(frame, height, width) for frame in clip]  # uint8 [H, W] each
        for first, second in itertools.pairwise(greys):
            firsts += [first, second]
            seconds += [second, first]
    flows = np.zeros((len(firsts), height, width, 2), np.float32)
    with futures.ThreadPoolExecutor(2) as threads:  # a pair this small fills one core only
        for flow, found in zip(flows, threads.map(search, firsts, seconds), strict=True):
            flow[...] = found
    flows = flows.reshape(batch, time - 1, 2, height, width, 2)
    return flows[:, :, 0], flows[:, :, 1]


def search(
    grey0: np.ndarray, grey1: np.ndarray, finest_scale: int | None = None, is_refined: bool = False
) -> np.ndarray:
    """Motion from one grey picture to another, at their own size.

    Args:
      grey0: uint8 [h, w].
      grey1: uint8 [h, w].
      finest_scale: how many times the finest searched level is halved; None = the preset's.
      is_refined: less smooth, and refined at the pictures' own size.

    Returns:
      flow01, float32 [h, w, 2], px.
    """
    height, width = grey0.shape
    pad_y, pad_x = max(0, MIN_SIDE - height), max(0, MIN_SIDE - width)
    if pad_y or pad_x:
        grey0, grey1 = (cv2.copyMakeBorder(grey, 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE) for grey in (grey0, grey1))
    engine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # it keeps state: one for each call
    if finest_scale is not None:
        engine.setFinestScale(finest_scale)
    if is_refined:
        engine.setVariationalRefinementAlpha(SMOOTHNESS)
    flow = engine.calc(grey0, grey1, None)
    if is_refined:
        flow = _refined(grey0, grey1, flow)
    return np.ascontiguousarray(flow[:height, :width], dtype=np.float32)


def _refined(grey0: np.ndarray, grey1: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A flow whose error and roughness are less, by `REFINEMENT`."""
    engine = cv2.VariationalRefinement_create()
    for name, value in REFINEMENT.items():
        getattr(engine, f"set{name}")(value)
    return np.stack(engine.calcUV(grey0, grey1, *map(np.ascontiguousarray, np.moveaxis(flow, -1, 0))), axis=-1)


def grid_size(height: int, width: int, edge: int) -> tuple[int, int]:
    """Size (h, w) of a grid whose short side is `edge`, of a frame's shape, never larger than the frame."""
    scale = min(1.0, edge / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _grey(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [h, w]. Shrunk first, in the frame's own type, so that rounding comes last."""
    if frame.shape[:2] != (height, width):
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    if frame.dtype != np.uint8:
        frame = np.rint(np.clip(frame, 0, 1) * 255).astype(np.uint8)
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
