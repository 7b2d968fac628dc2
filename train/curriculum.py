"""What a configuration's stages have trained, and the weights file at their end."""

import json
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jaxdyn import models, pretrained
from jaxdyn.errors import UserError
from train import feeds, loop, stages

train = loop.train


def params_of(config: Any, weights: str | Path) -> chex.ArrayTree:
    """Parameters to start from: those of a weights file, or of weights that come with the package by name.

    Args:
      config: as in `configs/`; its network's parameters must be the file's, other fields may differ.
      weights: a name or a file.

    Raises:
      UserError: no such weights, or those of another network.
    """
    _, variables = pretrained.load(weights)
    return checked(config, variables, weights)


def checked(config: Any, variables: dict[str, Any], weights: str | Path) -> chex.ArrayTree:
    """Parameters that were loaded, if they are those of a configuration's network.

    Raises:
      UserError: they are another network's; it calls them by what `weights` says.
    """
    model = models.build(config.name, **config.model)
    pretrained.check(Path(weights), model, flatten_dict(variables["params"], sep="/"))
    return variables["params"]


def trained(
    config: Any, workdir: str | Path, last: str | None = None
) -> tuple[nn.Module, chex.ArrayTree, dict[str, int]]:
    """The network, the running mean of its parameters after stage `last` (None: all), and the steps of each stage.

    Stages before it that have no checkpoint were left out, see `loop.train`, and are so here.

    Raises:
      UserError: there is no stage `last`.
      checkpoints.MissingError: it has no checkpoint.
    """
    model, steps, workdir = models.build(config.name, **config.model), {}, Path(workdir)
    params = feeds.initial(model, config.seed)
    table = stages.of_config(config)
    last = last or table[-1].name
    stages.check_names([last], table)
    for stage in table:
        if stage.name == last or (workdir / stage.name).exists():
            params, steps[stage.name] = loop.finished(stage, params, workdir)
        if stage.name == last:
            break
    return model, params, steps


def export(
    config: Any,
    workdir: str | Path,
    output: str | Path,
    card: str | Path | None = None,
    last: str | None = None,
    mean: str | Path | None = None,
) -> None:
    """Write a weights file (float16) from the checkpoints.

    Args:
      config, workdir, last: see `trained`.
      output: the file.
      card: JSON file with what a reader should know: data, licence, command, hardware, time, scores, limits.
      mean: name or file of weights of the same network, usually those that training started from: the mean of both is
        written, (trained + these) / 2.

    Raises:
      UserError: see `trained` and `params_of`; a card that is not there or not JSON.
    """
    try:
        known = json.loads(Path(card).read_text(encoding="utf-8")) if card else {}
    except (OSError, ValueError) as error:
        raise UserError(f"card (={card}) is to be a JSON file; {error}") from None
    model, params, steps = trained(config, workdir, last)
    if mean:
        params = jax.tree.map(lambda own, other: (own + other) / 2, params, params_of(config, mean))
    pretrained.save(output, model, {"params": params}, {**known, "steps": steps}, np.float16)
