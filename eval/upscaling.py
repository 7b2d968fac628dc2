"""What makes large frames: bicubic, CARN-M frame by frame, and SkipVSR or BasicVSR at operating points, see
`eval.methods`."""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from eval.methods import Label, Made, Pair, Upscales, Weights, budget_of, refuse
from jaxdyn import flops, routing
from jaxdyn.models.basicvsr import SCALE, BasicVSR
from jaxdyn.models.carn import CARNM
from jaxdyn.models.skipvsr import SkipVSR
from jaxdyn.ops import resample
from jaxdyn.types import Cost, Stage
from jaxdyn.upscaler import Upscaler

POLICIES = ("uniform", "shallow", "deep")
"""Fixed halves of the blocks (Table 4), see `routing.skip_policy`."""

SCALES_OF_CARN = {"x4": (4,), "x2x2": (2, 2)}
"""By row, what CARN-M enlarges by in turn."""


@dataclasses.dataclass(frozen=True)
class FrameByFrame:
    """Enlarges every frame by itself.

    Attributes:
      label, dense: see `Upscales`.
      enlarge: [H, W, 3] -> [4 H, 4 W, 3].
      cost: of a frame of height and width.
    """

    label: Label
    dense: Upscaler | None
    enlarge: Callable[[np.ndarray], jax.Array]
    cost: Callable[[int, int], Cost]
    overlap = 0

    def tune(self, windows: Callable[[], Sequence[Pair]]) -> None:
        """There is nothing to choose."""

    def window_length(self, height: int, width: int) -> None:
        """Any number."""

    def window(self, frames: np.ndarray, starts: np.ndarray, keep: tuple[int, int]) -> list[Made]:
        """See `Upscales`."""
        del starts
        cost = self.cost(*frames.shape[1:3])
        return [Made(np.clip(np.asarray(self.enlarge(frame)), 0, 1), cost) for frame in frames[slice(*keep)]]


@dataclasses.dataclass(frozen=True)
class Network:
    """A network at one operating point.

    Attributes:
      label, dense: see `Upscales`.
      upscaler: runs it.
      budget: a share of the dense FLOPs that `tune` meets, or None.
    """

    label: Label
    dense: Upscaler
    upscaler: Upscaler
    budget: float | None = None
    overlap = Upscaler.overlap

    def tune(self, windows: Callable[[], Sequence[Pair]]) -> None:
        """See `Upscales`."""
        if self.budget is not None:
            self.upscaler.meet(self.budget, windows())

    def window_length(self, height: int, width: int) -> int:
        """See `Upscales`."""
        return self.upscaler.window_length(height, width)

    def window(self, frames: np.ndarray, starts: np.ndarray, keep: tuple[int, int]) -> list[Made]:
        """See `Upscales`."""
        larges = self.upscaler.window(frames, starts, keep)
        return [Made(large.frame, large.cost, {} if large.blocks is None else counts(large.blocks)) for large in larges]


def counts(blocks: np.ndarray) -> dict[str, int]:
    """Tiles of a frame that each block ran on, both directions together, and how many there are: [2, M, n_h, n_w]."""
    ran = blocks.sum(axis=(0, 2, 3))
    return {"tiles": int(blocks[:, 0].size)} | {f"block {m}": int(n) for m, n in enumerate(ran, 1)}


class Table:
    """The rows of some weights, by name.

    Args:
      weights: whose.
      length: frames that a network sees at once, or None.

    Raises:
      UserError: weights that enlarge nothing.
    """

    def __init__(self, weights: Sequence[Weights], length: int | None = None):
        self.weights, self.length = list(weights), length
        for one in self.weights:
            if not isinstance(one.model, BasicVSR | CARNM):
                raise refuse(one, "upscale", "skipvsr, basicvsr or carn_m")
        recurrent = [one for one in self.weights if isinstance(one.model, BasicVSR)]
        self.dense = {one.name: self._upscaler(one, execution="dense") for one in recurrent}

    def usual(self) -> list[str]:
        """Every operating point that needs no number, as far as the weights have it."""
        kinds = {type(one.model) for one in self.weights}
        rows = ["bicubic", *(SCALES_OF_CARN if CARNM in kinds else ()), *(["dense"] if self.dense else [])]
        return [*rows, *(["alpha0", "gates"] if SkipVSR in kinds else [])]

    def known(self) -> list[str]:
        """The names that there are, as an error lists them."""
        known = self.usual()
        return [*known[:-2], "gates", "alphaA", "budgetN%", *POLICIES] if "gates" in known else known

    def methods(self, name: str) -> list[Upscales]:
        """Those of a name.

        Raises:
          UserError: a budget that is no share, a threshold out of range.
        """
        first = next(iter(self.dense.values()), None)
        if name == "bicubic":
            return [FrameByFrame(Label("bicubic"), first, _bicubic, _cost_of_bicubic)]
        if name in SCALES_OF_CARN:
            factors = SCALES_OF_CARN[name]
            return [_carn(one, factors, first) for one in self.weights if isinstance(one.model, CARNM)]
        return [method for one in self.weights if one.name in self.dense for method in self._of(one, name)]

    def _of(self, weights: Weights, name: str) -> list[Upscales]:
        """Those of one recurrent network."""
        dense, label = self.dense[weights.name], functools.partial(self._label, weights)
        if name == "dense":
            return [Network(label(name, has_gates=False), dense, dense)]
        if not isinstance(weights.model, SkipVSR):
            return []
        budget, threshold = budget_of(name), re.fullmatch(r"alpha(\d*\.?\d+)", name)
        if budget is not None:
            return [Network(label(f"budget {100 * budget:g}%"), dense, self._upscaler(weights), budget)]
        if name in POLICIES:
            blocks = routing.skip_policy(name, weights.model.num_block)
            return [Network(label(name, has_gates=False), dense, self._upscaler(weights, blocks=blocks))]
        if name == "gates" or threshold:
            upscaler = self._upscaler(weights, threshold=float(threshold[1]) if threshold else None)
            return [Network(label(f"alpha {upscaler.threshold:g}"), dense, upscaler)]
        return []

    def _upscaler(self, weights: Weights, **options) -> Upscaler:
        return Upscaler(weights.model, weights.variables, length=self.length, **options)

    def _label(self, weights: Weights, point: str, has_gates: bool = True) -> Label:
        is_dynamic = isinstance(weights.model, SkipVSR)
        parts = [part for part in weights.variables["params"] if has_gates or not part.startswith("gate_")]
        return Label("SkipVSR" if is_dynamic else "BasicVSR", point, weights.name, weights.parameters(*parts))


def _carn(weights: Weights, factors: tuple[int, ...], dense: Upscaler | None) -> FrameByFrame:
    """CARN-M, frame by frame, by some factors in turn."""

    def apply(variables, image, factor):
        return weights.model.apply(variables, image, factor)[0]

    @jax.jit
    def run(variables, image):
        for factor in factors:
            image = apply(variables, image, factor)
        return image

    @functools.cache
    def cost(height: int, width: int) -> Cost:
        stages: list[Stage] = []
        for factor in factors:
            image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
            one = functools.partial(apply, factor=factor)
            stages.append(flops.measure(f"CARN-M x{factor}", one, flops.shapes(weights.model), image))
            height, width = factor * height, factor * width
        return Cost(tuple(stages))

    variables = jax.device_put(weights.variables)
    point = "x4" if factors == (4,) else "x2 twice"
    label = Label("CARN-M", point, weights.name, weights.parameters() + flops.MEAN_SHIFT)
    return FrameByFrame(label, dense, lambda frame: run(variables, frame[None])[0], cost)


@jax.jit
def _bicubic(frame):
    return resample.imresize(frame, SCALE)


@functools.cache
def _cost_of_bicubic(height: int, width: int) -> Cost:
    return Cost((flops.measure("bicubic", _bicubic, jax.ShapeDtypeStruct((height, width, 3), jnp.float32)),))
