"""A configuration's stages in order, and the weights file at their end."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chex
import numpy as np
from flax import linen as nn

from jaxdyn import models, pretrained
from train import feeds, loop, stages


def train(
    config: Any, workdir: str | Path, data: str | Path, names: Sequence[str] | None = None, is_shown: bool = True
) -> tuple[nn.Module, chex.ArrayTree]:
    """Run the stages in order, each from the result of the one before, going on where an earlier run stopped.

    Args:
      config: as in `configs/`.
      workdir: for checkpoints, logs and caches.
      data: folder of clips.
      names: of the stages to run; the others must have been run before. None: all.
      is_shown: whether progress bars are drawn.

    Returns:
      The network, and the running mean of its parameters after the last stage.
    """
    workdir = Path(workdir).absolute()
    model = models.build(config.name, **config.model)
    params = feeds.initial(model, config.seed)
    for stage in stages.of_config(config):
        if names is not None and stage.name not in names:
            params, _ = loop.finished(stage, params, workdir)
            continue
        feed = feeds.feed_of(model, stage, params, config, workdir, data)
        state = loop.run(
            model,
            stage,
            params,
            feed,
            workdir,
            seed=config.seed,
            log_every=config.log_every,
            save_every=config.save_every,
            is_shown=is_shown,
        )
        params = state.mean
    return model, params


def trained(
    config: Any, workdir: str | Path, last: str | None = None
) -> tuple[nn.Module, chex.ArrayTree, dict[str, int]]:
    """The network, the running mean of its parameters after stage `last` (None: all), and the steps of each stage."""
    model, steps = models.build(config.name, **config.model), {}
    params = feeds.initial(model, config.seed)
    for stage in stages.of_config(config):
        params, steps[stage.name] = loop.finished(stage, params, Path(workdir))
        if stage.name == last:
            break
    return model, params, steps


def export(
    config: Any, workdir: str | Path, output: str | Path, card: str | Path | None = None, last: str | None = None
) -> None:
    """Write a weights file (float16) from the checkpoints.

    Args:
      config, workdir, last: see `trained`.
      output: the file.
      card: JSON file with what a reader should know: data, licence, command, hardware, time, scores, limits.
    """
    model, params, steps = trained(config, workdir, last)
    known = json.loads(Path(card).read_text(encoding="utf-8")) if card else {}
    pretrained.save(output, model, {"params": params}, {**known, "steps": steps}, np.float16)
