"""What each kind of stage is fed: step number -> batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdyn.data import crops
from train import loop, stages


def initial(model: Any, key: chex.PRNGKey) -> chex.ArrayTree:
    """Fresh parameters."""
    frame = jnp.zeros((1, 64, 64, 3))
    arguments = (frame, frame)
    if getattr(model, "motion", None) == "dis":
        arguments += ((jnp.zeros((1, 64, 64, 2)),) * 2,)
    return jax.jit(model.init)(key, *arguments)["params"]


def feed_of(model: Any, stage: stages.Stage, params: chex.ArrayTree, config: Any, workdir: Path, data: str) -> loop.Feed:
    """The feed of a stage; what takes long to make is kept in workdir/cache."""
    return FEEDS[stage.kind](model, stage, params, config, workdir, data)


def exits_feed(model, stage, params, config, workdir, data):
    """Augmented crops of sources."""
    del model, params
    recipe = crops.Recipe(**config.crops)
    cut = crops.build(data, workdir / "cache", recipe)
    return lambda number: cut.batch(np.random.default_rng([config.seed, number]), stage.batch, stage.size)


FEEDS: dict[str, Callable] = {"exits": exits_feed}
