"""Pictures of a Route, drawn over the frame: what each patch got.

`draw`, of an interpolated frame: colour is the scale a patch is computed at, strength of colour its depth, and each
patch is labelled "scale:depth", for example "1/2:3". A patch at exit 0, where no network runs, keeps the frame's grey.
`draw_blocks`, of an upscaled frame: strength of colour is the share of residual blocks that ran on a patch, and the
label says it, "63%". A legend stands under the picture.

What each patch got is a list of `Cell`s first (`route_cells`, `block_cells`), of which a picture is one view, and the
overlay of a report page another.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from jaxdyn.ops import patches
from jaxdyn.types import SCALES, Route

PATCH, STRIDE = 256, 240  # px, Section 4.1 of CAIN-SD: patches of 256 overlap by 16
COLOURS = np.float32([[213, 94, 0], [86, 180, 233], [0, 158, 115]]) / 255  # scales 1, 1/2, 1/4; told apart by every eye
BLOCK_COLOUR = COLOURS[0]
MAX_STRENGTH = 0.7  # of a tint
LEGEND_HEIGHT = 28  # px
LEGEND_MIN_WIDTH = 240  # px; a narrower picture has no room for the legend
LABEL_MIN_SIDE = 48  # px of a patch
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclasses.dataclass(frozen=True)
class Cell:
    """What one patch got, and its own area of the frame: overlaps are halved.

    Attributes:
      top, bottom, left, right: px, the last row and column not included.
      colour: RGB in [0, 1].
      strength: how much of the colour, 0 to `MAX_STRENGTH`.
      label: a few letters.
    """

    top: int
    bottom: int
    left: int
    right: int
    colour: tuple[float, float, float]
    strength: float
    label: str


def draw(
    frame: np.ndarray, route: Route | Any, num_exit: int = 5, patch: int = PATCH, stride: int = STRIDE, index: int = 0
) -> np.ndarray:
    """A picture of a Route over a frame.

    Args:
      frame: [H, W, 3] RGB, float in [0, 1] or uint8.
      route: scale and depth, [B, n_h, n_w] int; of a single patch it is the whole frame's.
      num_exit: the deepest exit.
      patch: px, side of a patch.
      stride: px between patches.
      index: which of the B Routes.

    Returns:
      uint8 [H or H + 28, W, 3]: a legend is added under pictures of at least 240 px width.

    Raises:
      ValueError: a frame or a Route of the wrong shape, or a grid that is not the frame's.
    """
    if frame.ndim != 3 or frame.shape[-1] != 3:
        raise ValueError(f"`frame` must be [H, W, 3]; got shape {frame.shape}.")
    cells = route_cells(*frame.shape[:2], route, num_exit, patch, stride, index)
    return _with_legend(_tinted(frame, cells), functools.partial(legend, num_exit=num_exit))


def route_cells(
    height: int,
    width: int,
    route: Route | Any,
    num_exit: int = 5,
    patch: int = PATCH,
    stride: int = STRIDE,
    index: int = 0,
) -> list[Cell]:
    """What each patch of an interpolated frame of height x width px got, row by row; other arguments as for `draw`.

    Raises:
      ValueError: a Route of the wrong shape, or a grid that is not the frame's.
    """
    route = Route.of(route)
    scale, depth = np.asarray(route.scale), np.asarray(route.depth)
    if scale.ndim != 3 or scale.shape != depth.shape or not 0 <= index < len(scale):
        raise ValueError(f"`route` must hold [B, n_h, n_w] with B > {index}; got {scale.shape} and {depth.shape}.")
    is_whole = scale.shape[1:] == (1, 1)  # the frame itself is the patch
    where = patches.grid(height, width, *((max(height, width),) * 2 if is_whole else (patch, stride)))
    if scale.shape[1:] != where.shape:
        raise ValueError(f"the Route is {scale.shape[1:]} patches, a frame of {(height, width)} px has {where.shape}.")
    tints = [
        (COLOURS[s], strength(d, num_exit), label(s, d))
        for s, d in zip(scale[index].ravel(), depth[index].ravel(), strict=True)
    ]
    return _cells(where, tints)


def draw_blocks(frame: np.ndarray, blocks: np.ndarray, grid: patches.Grid) -> np.ndarray:
    """A picture of the blocks that ran over a frame.

    Args:
      frame: [H, W, 3] RGB, float in [0, 1] or uint8: the input frame, or the large one.
      blocks: bool [2, num_block, n_h, n_w], both directions: whether a block ran on a patch.
      grid: where the patches lie in the input frame.

    Returns:
      uint8 [H or H + 28, W, 3]: a legend is added under pictures of at least 240 px width.

    Raises:
      ValueError: blocks that are not the grid's, or a frame that is no whole multiple of the grid's.
    """
    scale = max(1, frame.shape[0] // grid.height)
    cells = block_cells(blocks, grid, scale)
    if frame.shape != (scale * grid.height, scale * grid.width, 3):
        raise ValueError(f"`frame` of shape {frame.shape} is no multiple of {grid.height} x {grid.width} (H x W).")
    return _with_legend(_tinted(frame, cells), legend_blocks)


def block_cells(blocks: np.ndarray, grid: patches.Grid, scale: int = 1) -> list[Cell]:
    """What each patch of an upscaled frame got, row by row.

    Args:
      blocks: bool [2, num_block, n_h, n_w], both directions: whether a block ran on a patch.
      grid: where the patches lie in the input frame.
      scale: how much larger the frame is that the cells are of.

    Raises:
      ValueError: blocks that are not the grid's.
    """
    blocks = np.asarray(blocks)
    if blocks.ndim != 4 or blocks.shape[2:] != grid.shape:
        raise ValueError(f"`blocks` must be [2, num_block, {grid.shape[0]}, {grid.shape[1]}]; got {blocks.shape}.")
    where = patches.Grid(
        height=scale * grid.height,
        width=scale * grid.width,
        rows=tuple(scale * row for row in grid.rows),
        columns=tuple(scale * column for column in grid.columns),
        patch=(scale * grid.patch[0], scale * grid.patch[1]),
    )
    shares = blocks.mean(axis=(0, 1), dtype=np.float64)  # [n_h, n_w]
    return _cells(where, [(BLOCK_COLOUR, MAX_STRENGTH * share, f"{share:.0%}") for share in shares.ravel()])


def _cells(where: patches.Grid, tints: list[tuple[np.ndarray, float, str]]) -> list[Cell]:
    """Each patch's area with its (colour, strength, label), in row-major order."""
    edges_y = itertools.pairwise(cell_edges(where.rows, where.patch[0], where.height))
    edges_x = itertools.pairwise(cell_edges(where.columns, where.patch[1], where.width))
    return [
        Cell(*rows, *columns, tuple(map(float, colour)), float(amount), text)
        for (rows, columns), (colour, amount, text) in zip(itertools.product(edges_y, edges_x), tints, strict=True)
    ]


def _tinted(frame: np.ndarray, cells: list[Cell]) -> np.ndarray:
    """The frame in grey, each patch tinted and labelled -> uint8."""
    rgb = frame.astype(np.float32) / (255 if frame.dtype == np.uint8 else 1)
    grey = (0.8 * rgb @ np.float32([0.299, 0.587, 0.114]))[..., None]  # [H, W, 1]
    picture = np.repeat(grey, 3, axis=-1)
    for cell in cells:
        area = picture[cell.top : cell.bottom, cell.left : cell.right]
        area += np.float32(cell.strength) * (np.float32(cell.colour) - area)
    canvas = np.ascontiguousarray(np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8))
    for cell in cells:
        cv2.rectangle(canvas, (cell.left, cell.top), (cell.right - 1, cell.bottom - 1), (255, 255, 255), 1)
        if min(cell.bottom - cell.top, cell.right - cell.left) >= LABEL_MIN_SIDE:
            _label(canvas, cell.label, (cell.left + cell.right) // 2, (cell.top + cell.bottom) // 2)
    return canvas


def _with_legend(canvas: np.ndarray, legend_of: Callable[[int], np.ndarray]) -> np.ndarray:
    """The canvas, and where there is room the legend of its width under it."""
    width = canvas.shape[1]
    return np.concatenate([canvas, legend_of(width)]) if width >= LEGEND_MIN_WIDTH else canvas


def cell_edges(starts: tuple[int, ...], patch: int, side: int) -> list[int]:
    """Where one patch's area ends and the next begins, px: the middle of their overlap; n patches have n + 1 edges."""
    inner = [(start + patch + after) // 2 for start, after in itertools.pairwise(starts)]
    return [0, *inner, side]


def strength(depth: int, num_exit: int) -> float:
    """How much a patch is tinted: 0 at exit 0, else from 0.2 to 0.7."""
    return 0.0 if depth == 0 else 0.2 + (MAX_STRENGTH - 0.2) * (depth - 1) / max(1, num_exit - 1)


def scale_name(index: int) -> str:
    """What a scale is called: "scale 1", "scale 1/2"."""
    return "scale 1" if SCALES[index] == 1 else f"scale 1/{SCALES[index]}"


def label(scale: int, depth: int) -> str:
    """What a patch got, "1/2:3"; exit 0 is "0"."""
    if depth == 0:
        return "0"
    return f"{'1' if scale == 0 else f'1/{SCALES[scale]}'}:{depth}"


def legend(width: int, num_exit: int) -> np.ndarray:
    """uint8 [28, W, 3]: a row of colours for each scale, weak to strong as depth grows."""
    strip = np.full((LEGEND_HEIGHT, width, 3), 24, np.uint8)
    step = width // len(SCALES)
    for index, _ in enumerate(SCALES):
        x = index * step + 4
        cv2.putText(strip, scale_name(index), (x, 18), FONT, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
        for depth in range(1, num_exit + 1):
            colour = 0.35 + strength(depth, num_exit) * (COLOURS[index] - 0.35)
            left = x + 56 + (depth - 1) * 14
            if left + 12 <= (index + 1) * step:
                strip[8:20, left : left + 12] = np.rint(colour * 255)
    return strip


def legend_blocks(width: int) -> np.ndarray:
    """uint8 [28, W, 3]: from a patch where no block ran to one where all did."""
    strip = np.full((LEGEND_HEIGHT, width, 3), 24, np.uint8)
    cv2.putText(strip, "blocks that ran", (4, 18), FONT, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
    for index in range(5):
        colour = 0.35 + MAX_STRENGTH * index / 4 * (BLOCK_COLOUR - 0.35)
        left = 104 + 14 * index
        strip[8:20, left : left + 12] = np.rint(colour * 255)
    cv2.putText(strip, "0 to 100%", (178, 18), FONT, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
    return strip


def _label(canvas: np.ndarray, text: str, x: int, y: int) -> None:
    """White on a dark rim, centred."""
    (width, height), _ = cv2.getTextSize(text, FONT, 0.5, 1)
    place = (x - width // 2, y + height // 2)
    cv2.putText(canvas, text, place, FONT, 0.5, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(canvas, text, place, FONT, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
