"""Milliseconds of what `eval.costs` counts, on this machine, with random weights: dense and routed in turn."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from eval.bench import time_interleaved
from eval.costs import CAIN_FIELDS, Work
from jaxdyn import models, pretrained
from jaxdyn.models.cain_sd import CainSD


def milliseconds(works: Sequence[Work], rounds: int, frames: int = 5) -> tuple[list[float], float]:
    """Medians for one made frame: of each work, executed packed, and of the dense network, which is a work's own time
    where it has no Route. Compilation is left out.

    Args:
      works: of one size and one dense network; several Routes of one network are compiled once.
      rounds: in which everything is timed in turn.
      frames: of a clip, for super-resolution, as many as Routes are of.

    Raises:
      ValueError: works of different sizes, a Route of another number of frames, no round.
    """
    if rounds < 1:
        raise ValueError(f"rounds (={rounds}) must be at least 1")
    if len({work.size for work in works}) > 1:
        raise ValueError(f"works have the sizes {sorted({work.size for work in works})}, expected one")
    of_pairs = isinstance(works[0].model, CainSD)
    routed = [work for work in works if work.route is not None]
    calls = _of_pairs(works[0], routed) if of_pairs else _of_clips(works[0], routed, frames)
    seconds, _ = time_interleaved(calls, rounds)
    dense, *spent = (1e3 * one / (1 if of_pairs else frames) for one in seconds)
    own = dict(zip(routed, spent, strict=True))
    return [own.get(work, dense) for work in works], dense


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

    def whole():
        return dense(static_weights, *pair)

    def run(work):
        motion = (jnp.zeros((1, height, width, 2)),) * 2 if work.model.motion == "dis" else None
        return dynamic(work.model, weights(work.model), *pair, motion, work.route)

    static_weights = _random(static)
    return [whole, *(functools.partial(run, work) for work in routed)]


def _of_clips(first: Work, routed: Sequence[Work], frames: int) -> list[Callable[[], Any]]:
    """Calls that enlarge a clip: the dense network's, then each routed work's."""
    width, height = first.size
    clip = jnp.asarray(np.random.RandomState(0).rand(1, frames, height, width, 3), jnp.float32)
    motion = None
    if first.model.motion == "dis":
        motion = (jnp.zeros((1, frames - 1, height, width, 2)),) * 2
    static = models.build("basicvsr", **{name: getattr(first.model, name) for name in BASICVSR_FIELDS})
    weights = functools.cache(_random)
    static_weights = _random(static)

    @jax.jit
    def dense(v, x):
        return static.apply(v, x, motion=motion)[0]

    @functools.partial(jax.jit, static_argnums=0)
    def dynamic(model, v, x, route):
        large, aux = model.apply(v, x, 0.0, route, "packed", motion=motion)
        return large, aux["scores"]  # the gates' answers, so that their work is done

    def whole():
        return dense(static_weights, clip)

    def run(work):
        if work.route.blocks.shape[2] != frames:
            raise ValueError(f"a Route of {work.route.blocks.shape[2]} frames does not fit a clip of {frames}")
        return dynamic(work.model, weights(work.model), clip, work.route)

    return [whole, *(functools.partial(run, work) for work in routed)]


BASICVSR_FIELDS = ("num_feat", "num_block", "num_hr", "motion")
"""What a SkipVSR and its dense BasicVSR have in common."""


def _random(model: nn.Module) -> dict[str, Any]:
    """Weights whose values are of no account: small and not zero."""
    random = np.random.RandomState(0)
    draw = lambda leaf: jnp.asarray(0.02 * random.standard_normal(leaf.shape), jnp.float32)  # noqa: E731
    return {"params": jax.tree.map(draw, pretrained.parameter_shapes(model))}
