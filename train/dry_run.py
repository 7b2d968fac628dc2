"""What a curriculum would train and cost, without training: `python -m train.main --dry_run`."""

import copy
import dataclasses
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
import rich
from rich import table

from jaxdyn import models, pretrained
from jaxdyn.data import clips
from train import drawn, feeds, stages, step


@dataclasses.dataclass(frozen=True)
class Row:
    """A stage's cost.

    Attributes:
      stage: its name.
      steps: in all.
      trained, frozen: parameters.
      flops: of the first step at least, by XLA's analysis, which counts the body of a loop once.
      memory: bytes of parameters, running mean, moments and a batch; what a step keeps in between comes on top.
      batch: bytes of it.
    """

    stage: str
    steps: int
    trained: int
    frozen: int
    flops: float
    memory: int
    batch: int


def rows(config: Any) -> list[Row]:
    """A row for each stage; batches are made of small clips that are drawn, whole frames are 360 x 640.

    Args:
      config: as in `configs/`.
    """
    model = models.build(config.name, **config.model)
    shapes = pretrained.parameter_shapes(model)
    hollow = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    config = _limited(config)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        data = drawn.clips(Path(folder) / "drawn", num_clip=1)
        for stage in stages.of_config(config):
            batch = feeds.feed_of(model, stage, hollow, config, Path(folder), data)(0)
            found.append(row(model, stage, shapes, batch))
    return found


def row(model: Any, stage: stages.Stage, shapes: chex.ArrayTree, batch: dict) -> Row:
    """The cost of a stage, from the shapes of its parameters and one of its batches."""
    factors = stages.factors(shapes, stage.trains)
    sizes = [(leaf.size, factor) for leaf, factor in zip(*map(jax.tree.leaves, (shapes, factors)), strict=True)]
    trained = sum(size for size, factor in sizes if factor > 0)
    state = jax.eval_shape(lambda params: step.start(stage, params), shapes)
    inputs = jax.tree.map(lambda value: jax.ShapeDtypeStruct(np.shape(value), value.dtype), batch)
    key = jax.eval_shape(lambda: jax.random.key(0))
    variant = step.variant_at(stage, 0, getattr(model, "num_group", 1))
    traced = jax.jit(step.make_step(model, stage), static_argnums=3).trace(state, inputs, key, variant)
    cost = traced.lower(lowering_platforms=("cpu",)).cost_analysis() or {}
    total = sum(size for size, _ in sizes)
    memory = (_bytes(state), _bytes(inputs))
    return Row(stage.name, stage.num_step, trained, total - trained, cost.get("flops", 0.0), sum(memory), memory[1])


def show(found: Iterable[Row], data: str | Path | None = None) -> None:
    """Print rows as a table, and the size of a folder of clips."""
    drawn_table = table.Table("stage", "steps", "trained", "frozen", "FLOPs a step", "memory", "batch")
    for r in found:
        sizes = [f"{number / 2**20:,.1f} MiB" for number in (r.memory, r.batch)]
        counts = [f"{number:,}" for number in (r.steps, r.trained, r.frozen)]
        drawn_table.add_row(r.stage, *counts, f"at least {r.flops:.3g}", *sizes)
    rich.print(drawn_table)
    rich.print(
        "FLOPs: the first step by XLA's analysis, the body of a loop counted once. Memory: parameters, their mean, "
        "moments and a batch, without what a step keeps for its gradient. Whole frames: 360 x 640."
    )
    if data is not None:
        number, size = dataset(data)
        rich.print(f"Data: {number} clips, {size / 2**20:,.1f} MiB on disk, in {data}")


def dataset(data: str | Path) -> tuple[int, int]:
    """How many clips a folder holds, and their bytes on disk."""
    paths = clips.find(data)
    inside = (file for path in paths for file in (path.iterdir() if path.is_dir() else (path,)))
    return len(paths), sum(file.stat().st_size for file in inside if file.is_file())


def _limited(config: Any) -> Any:
    """The configuration with as little data as a batch can be made of."""
    config = copy.deepcopy(config)
    for name in ("crops", "triplets", "table"):
        if hasattr(config, name):
            part = getattr(config, name)
            part["num_triplet"] = (2, *(1 for _ in part["gaps"][1:]))
    return config


def _bytes(tree: chex.ArrayTree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
