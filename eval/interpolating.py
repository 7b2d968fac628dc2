"""What makes middle frames: averaging, and CAIN-SD or CAIN at operating points, see `eval.methods`."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from eval.methods import Interpolates, Label, Made, Pair, Weights, budget_of, refuse
from jaxdyn import flops, pretrained
from jaxdyn.interpolator import Interpolator
from jaxdyn.models.cain import CAIN
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.types import SCALES, Cost, Route


@dataclasses.dataclass(frozen=True)
class Averaging:
    """The mean of both frames."""

    dense: Interpolator | None = None
    label = Label("frame averaging")

    def tune(self, pairs: Callable[[], Iterable[Pair]]) -> None:
        """There is nothing to choose."""

    def middle(self, frame0: np.ndarray, frame1: np.ndarray) -> Made:
        """See `Interpolates`."""
        return Made(np.asarray(_mean(frame0, frame1)), _cost_of_mean(*frame0.shape[:2]))


@dataclasses.dataclass(frozen=True)
class Network:
    """A network at one operating point.

    Attributes:
      label, dense: see `Interpolates`.
      interpolator: runs it.
      choice: scale (an index into `SCALES`) and exit that every patch gets; None: what the network decides.
      budget: a share of the dense FLOPs that `tune` meets, or None.
    """

    label: Label
    dense: Interpolator
    interpolator: Interpolator
    choice: tuple[int, int] | None = None
    budget: float | None = None

    def tune(self, pairs: Callable[[], Iterable[Pair]]) -> None:
        """See `Interpolates`."""
        if self.budget is not None:
            self.interpolator.meet(self.budget, pairs())

    def middle(self, frame0: np.ndarray, frame1: np.ndarray) -> Made:
        """See `Interpolates`."""
        route = None
        if self.choice is not None:
            shape = (1, *self.interpolator.model.grid(*frame0.shape[:2]).shape)
            route = Route(*(np.full(shape, value, np.int32) for value in self.choice))
        made = self.interpolator.middle(frame0, frame1, route)
        is_routed = made.route is not None and self.interpolator.execution == "packed"
        return Made(made.frame, made.cost, counts(made.route, self.interpolator.model.num_group) if is_routed else {})


def counts(route: Route, num_group: int) -> dict[str, int]:
    """Patches that are computed by scale, and all patches by exit."""
    scales = np.bincount(route.scale[route.depth > 0].ravel(), minlength=len(SCALES))
    exits = np.bincount(route.depth.ravel(), minlength=num_group + 1)
    names = [f"scale {_fraction(factor)}" for factor in SCALES]
    return {name: int(n) for name, n in zip(names, scales, strict=True)} | {
        f"exit {number}": int(n) for number, n in enumerate(exits)
    }


class Table:
    """The rows of some weights, by name.

    Raises:
      UserError: weights that make no middle frames.
    """

    def __init__(self, weights: Sequence[Weights]):
        self.weights = list(weights)
        for one in self.weights:
            if not isinstance(one.model, CAIN | CainSD):
                raise refuse(one, "interpolate", "cain_sd or cain")
        self.dense = {one.name: Interpolator(*static(one)) for one in self.weights}

    def usual(self) -> list[str]:
        """Every operating point that needs no number, as far as the weights have it."""
        is_dynamic = any(isinstance(one.model, CainSD) for one in self.weights)
        return ["averaging", *(["dense"] if self.weights else []), *(["exits", "finders"] if is_dynamic else [])]

    def known(self) -> list[str]:
        """The names that there are, as an error lists them."""
        known = self.usual()
        return [*known, "exitD", "exitD/S at scale 1/S", "budgetN%"] if "finders" in known else known

    def methods(self, name: str) -> list[Interpolates]:
        """Those of a name.

        Raises:
          UserError: a budget that is no share.
        """
        if name == "averaging":
            return [Averaging(next(iter(self.dense.values()), None))]
        return [method for one in self.weights for method in self._of(one, name)]

    def _of(self, weights: Weights, name: str) -> list[Interpolates]:
        """Those of one network."""
        model, dense = weights.model, self.dense[weights.name]
        if isinstance(model, CAIN):
            label = Label("CAIN", "dense", weights.name, weights.parameters())
            return [Network(label, dense, dense)] if name == "dense" else []
        if name == "dense":
            label = _label(weights, name, "cain", *(["flow"] if model.is_aligned else []))
            executes = Interpolator(model, weights.variables, "dense") if model.is_aligned else dense
            return [Network(label, dense, executes)]
        packed = Interpolator(model, weights.variables)
        if name == "finders":
            return [Network(_label(weights, name), dense, packed)]
        if name == "exits":
            return [self._fixed(weights, packed, 0, depth) for depth in model.depths]
        budget, fixed = budget_of(name), re.fullmatch(r"exit(\d+)(?:/([124]))?", name)
        if budget is not None:
            return [Network(_label(weights, f"budget {100 * budget:g}%"), dense, packed, budget=budget)]
        if fixed and int(fixed[1]) in model.depths:
            return [self._fixed(weights, packed, SCALES.index(int(fixed[2] or 1)), int(fixed[1]))]
        return []

    def _fixed(self, weights: Weights, packed: Interpolator, scale: int, depth: int) -> Network:
        """Every patch at one scale, to one exit."""
        parts = (["cain"] if depth else []) + (["flow"] if weights.model.is_aligned else [])
        point = f"exit {depth}"
        if scale and depth:
            parts.append("carn_m")
            point += f" at {_fraction(SCALES[scale])}"
        label = _label(weights, point, *parts) if parts else Label("CAIN-SD", point, weights.name, 0)
        return Network(label, self.dense[weights.name], packed, (scale, depth))


def static(weights: Weights) -> tuple[CAIN, dict]:
    """The static network of the same widths, and its variables.

    Those of an aligned CAIN-SD have no such network of their own: theirs are drawn, for its time.
    """
    model = weights.model
    if isinstance(model, CAIN):
        return model, weights.variables
    network = CAIN(model.num_feat, model.num_group, model.num_block, model.reduction)
    if not model.is_aligned:
        return network, {"params": weights.variables["params"]["cain"]}
    random = np.random.RandomState(0)
    draw = lambda leaf: (0.02 * random.standard_normal(leaf.shape)).astype(np.float32)  # noqa: E731
    return network, {"params": jax.tree.map(draw, pretrained.parameter_shapes(network))}


def _label(weights: Weights, point: str, *parts: str) -> Label:
    return Label("CAIN-SD", point, weights.name, weights.parameters(*parts))


def _fraction(factor: int) -> str:
    return f"1/{factor}" if factor > 1 else "1"


@jax.jit
def _mean(frame0, frame1):
    return (frame0 + frame1) / 2


@functools.cache
def _cost_of_mean(height: int, width: int) -> Cost:
    image = jax.ShapeDtypeStruct((height, width, 3), jnp.float32)
    return Cost((flops.measure("mean", _mean, image, image),))
