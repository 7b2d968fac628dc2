"""How long what `work` describes takes on this machine, with random weights: dense and routed in turn."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from eval import timing
from eval.paper.work import BASICVSR_FIELDS, CAIN_FIELDS, Work
from jaxdyn import models, pretrained
from jaxdyn.models.cain_sd import CainSD


@dataclasses.dataclass(frozen=True)
class Latency:
    """Of one made frame, in milliseconds, and the peak of memory in bytes.

    Attributes:
      own, dense: medians, of a work and of its dense network.
      peak_memory: see `timing.Measured`.
    """

    own: float
    dense: float
    peak_memory: int | None


def measure(works: Sequence[Work], rounds: int, frames: int = 5) -> dict[Work, Latency]:
    """Times works, executed packed, and their dense network; without a Route a work is the dense network.

    Args:
      works: of one size and one dense network; several Routes of one network are compiled once.
      rounds: in which everything is timed in turn.
      frames: of a clip, for super-resolution, as many as Routes are of.

    Raises:
      ValueError: works of different sizes, a Route of another number of frames, no round.
    """
    if len({work.size for work in works}) > 1:
        raise ValueError(f"works have the sizes {sorted({work.size for work in works})}, expected one")
    routed = [work for work in works if work.route is not None]
    is_clip = not isinstance(works[0].model, CainSD)
    calls = _of_clips(works[0], routed, frames) if is_clip else _of_pairs(works[0], routed)
    for call in calls:  # compiles
        jax.block_until_ready(call())
    dense, *found = timing.interleaved(calls, rounds)
    found = dict(zip(routed, found, strict=True))
    per = 1e3 / (frames if is_clip else 1)
    own = {work: found.get(work, dense) for work in works}
    return {work: Latency(per * one.seconds, per * dense.seconds, one.peak_memory) for work, one in own.items()}


def _of_pairs(first: Work, routed: Sequence[Work]) -> list[Callable[[], Any]]:
    """Calls that make a middle frame: the dense network's, then each routed work's."""
    width, height = first.size
    pair = jnp.asarray(np.random.RandomState(0).rand(2, 1, height, width, 3), jnp.float32)
    static = models.build("cain", **{name: getattr(first.model, name) for name in CAIN_FIELDS})
    weights = functools.cache(_random)

    @jax.jit
    def dense(v, a, b):
        return static.apply(v, a, b)[0]

    @functools.partial(jax.jit, static_argnums=0)
    def dynamic(model, v, a, b, motion, route):
        frame, aux = model.apply(v, a, b, motion, route, "packed")
        return frame, aux["scale_logits"], aux["depth_logits"]  # the finders' answers, so that their work is done

    def run(work):
        motion = (jnp.zeros((1, height, width, 2)),) * 2 if work.model.motion == "dis" else None
        return dynamic(work.model, weights(work.model), *pair, motion, work.route)

    static_weights = _random(static)
    whole = functools.partial(dense, static_weights, *pair)
    return [whole, *(functools.partial(run, work) for work in routed)]


def _of_clips(first: Work, routed: Sequence[Work], frames: int) -> list[Callable[[], Any]]:
    """Calls that enlarge a clip: the dense network's, then each routed work's."""
    for work in routed:
        if work.route.blocks.shape[2] != frames:
            raise ValueError(f"a Route of {work.route.blocks.shape[2]} frames does not fit a clip of {frames}")
    width, height = first.size
    clip = jnp.asarray(np.random.RandomState(0).rand(1, frames, height, width, 3), jnp.float32)
    motion = (jnp.zeros((1, frames - 1, height, width, 2)),) * 2 if first.model.motion == "dis" else None
    static = models.build("basicvsr", **{name: getattr(first.model, name) for name in BASICVSR_FIELDS})
    weights = functools.cache(_random)

    @jax.jit
    def dense(v, x):
        return static.apply(v, x, motion=motion)[0]

    @functools.partial(jax.jit, static_argnums=0)
    def dynamic(model, v, x, route):
        large, aux = model.apply(v, x, 0.0, route, "packed", motion=motion)
        return large, aux["scores"]  # the gates' answers, so that their work is done

    def run(work):
        return dynamic(work.model, weights(work.model), clip, work.route)

    static_weights = _random(static)
    whole = functools.partial(dense, static_weights, clip)
    return [whole, *(functools.partial(run, work) for work in routed)]


def _random(model: nn.Module) -> dict[str, Any]:
    """Weights whose values are of no account: small and not zero."""
    random = np.random.RandomState(0)
    draw = lambda leaf: jnp.asarray(0.02 * random.standard_normal(leaf.shape), jnp.float32)  # noqa: E731
    return {"params": jax.tree.map(draw, pretrained.parameter_shapes(model))}
