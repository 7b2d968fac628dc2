"""Turning one training crop into another that is as true: mirrored, transposed, played backwards, in other colours.

What a network sees of a pair of frames are its `sources`, [..., H, W, 28] (see `jaxdyn.models.fusion`): eight
pictures A0, B1, C0, C1, D0, D1, f0, f1 of RGB, then two flows u and v, each (x, y) in pixels. A plain pair has 6
channels, frame 0 and frame 1. To change the frames first and make the sources then gives the same (the tests compare
them).
"""

import dataclasses

import numpy as np

NUM_PICTURE = 8
BACKWARDS = (1, 0, 5, 4, 3, 2, 7, 6)
"""Which picture takes the place of which when time runs backwards."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What to do with one crop."""

    mirror_x: bool = False
    mirror_y: bool = False
    transpose: bool = False
    reverse: bool = False

    @classmethod
    def draw(cls, generator: np.random.Generator) -> "Choice":
        """Each with probability one half."""
        return cls(*(bool(bit) for bit in generator.integers(0, 2, 4)))


def pictures(stack: np.ndarray, choice: Choice) -> np.ndarray:
    """Pictures [H, W, 3 n] with n = 8 (of sources), 2 (a pair) or 1 (the target)."""
    stack = _geometry(stack, choice)
    number = stack.shape[-1] // 3
    if choice.reverse and number > 1:
        order = BACKWARDS if number == NUM_PICTURE else range(number)[::-1]
        stack = np.concatenate([stack[..., 3 * i : 3 * i + 3] for i in order], axis=-1)
    return stack


def flows(stack: np.ndarray, choice: Choice) -> np.ndarray:
    """Flows [H, W, 4]: u and v, pixels. Time backwards exchanges them."""
    stack = _geometry(stack, choice)
    u, v = _turned(stack[..., :2], choice), _turned(stack[..., 2:], choice)
    return np.concatenate([v, u] if choice.reverse else [u, v], axis=-1)


def frames(stack: np.ndarray, choice: Choice) -> np.ndarray:
    """Frames of a sequence, [T, H, W, C]."""
    stack = stack[::-1] if choice.reverse else stack
    return np.moveaxis(_geometry(np.moveaxis(stack, 0, 2), choice), 2, 0)


def motions(to_next: np.ndarray, to_previous: np.ndarray, choice: Choice) -> tuple[np.ndarray, np.ndarray]:
    """Motion of a sequence, [T - 1, H, W, 2] px each: frame t -> t + 1, and back. Time backwards exchanges them."""
    first, second = (
        frames(flow, choice) for flow in ((to_previous, to_next) if choice.reverse else (to_next, to_previous))
    )
    return _turned(first, choice), _turned(second, choice)


def draw_colours(generator: np.random.Generator, strength: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Gain and shift of one crop's channels, [1, 1, 3] each; all its pictures get the same."""
    gain = 1 + strength * (generator.uniform(-1, 1, (1, 1, 1)) + 0.5 * generator.uniform(-1, 1, (1, 1, 3)))
    shift = strength * generator.uniform(-1, 1, (1, 1, 3))
    return gain.astype(np.float32), shift.astype(np.float32)


def _geometry(stack: np.ndarray, choice: Choice) -> np.ndarray:
    """Mirror, then transpose."""
    stack = stack[:, ::-1] if choice.mirror_x else stack
    stack = stack[::-1] if choice.mirror_y else stack
    return stack.swapaxes(0, 1) if choice.transpose else stack


def _turned(flow: np.ndarray, choice: Choice) -> np.ndarray:
    """The vectors of a flow [..., 2] that has been moved to its new places."""
    flow = np.array(flow)
    for channel, is_mirrored in enumerate((choice.mirror_x, choice.mirror_y)):
        if is_mirrored:
            np.negative(flow[..., channel], out=flow[..., channel])
    return flow[..., ::-1] if choice.transpose else flow
