"""The host's loop: feeds steps, keeps checkpoints, tells how it goes. Everything impure about training is here."""

import functools
import json
import math
import time
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
import orbax.checkpoint as ocp
from rich import progress

from train import loading, parallel, stages, step


def run(
    model: Any,
    stage: stages.Stage,
    params: chex.ArrayTree,
    feed: loading.Feed,
    workdir: str | Path,
    *,
    plan: parallel.Plan = parallel.Plan(),  # noqa: B008
    seed: int = 0,
    log_every: int = 50,
    save_every: int = 500,
    is_shown: bool = True,
) -> step.State:
    """Train one stage to its end, going on from its last checkpoint if there is one.

    Args:
      model: the network.
      stage: a row of the curriculum.
      params: where to start, unless there is a checkpoint.
      feed: makes batches; called from a thread, some steps ahead.
      plan: where steps run.
      workdir: checkpoints go to workdir/stage.name, a line of JSON for each logged step to workdir/stage.name.jsonl.
      seed: of the steps' random numbers.
      log_every, save_every: steps.
      is_shown: whether a progress bar is drawn.

    Returns:
      The last state.

    Raises:
      FloatingPointError: a loss that is not finite, with step and stage.
    """
    workdir = Path(workdir).absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    state = step.start(stage, params)
    one_step = plan.compile(functools.partial(step.make_step, model, stage))
    num_group = getattr(model, "num_group", 1)
    with checkpoints(workdir / stage.name, save_every) as manager:
        if manager.latest_step() is not None:
            state = restore(manager, state)
        first = int(state.step)
        state = plan.put_state(state)
        key = jax.random.key(seed)
        began, window = time.monotonic(), []
        with _bar(is_shown) as bar, open(workdir / f"{stage.name}.jsonl", "a", encoding="utf-8") as log:
            task = bar.add_task(stage.name, total=stage.num_step, completed=first)
            for number, batch in loading.batches(feed, first, stage.num_step):
                variant = step.variant_at(stage, number, num_group)
                state, metrics = one_step(state, plan.put_batch(batch), jax.random.fold_in(key, number), variant)
                window.append(metrics)
                done = number + 1
                if done % log_every == 0 or done == stage.num_step:
                    means = {name: float(np.mean([float(m[name]) for m in window])) for name in window[0]}
                    if not all(map(math.isfinite, means.values())):
                        raise FloatingPointError(
                            f"{stage.name}: {means} is not finite between steps {done + 1 - len(window)} and {done}; "
                            "lower the learning rate, or look at the data of these steps"
                        )
                    rate = (done - first) * stage.batch / (time.monotonic() - began)
                    print(json.dumps({"stage": stage.name, "step": done, **means, "rate": rate}), file=log, flush=True)
                    bar.update(task, completed=done, description=f"{stage.name} loss {means['loss']:.4f}")
                    window = []
                manager.save(done, args=ocp.args.StandardSave(state), force=done == stage.num_step)
    return state


def checkpoints(folder: Path, save_every: int = 1) -> ocp.CheckpointManager:
    """Orbax's manager of one stage's checkpoints; the last two are kept."""
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2, save_interval_steps=save_every, create=True, enable_async_checkpointing=False
    )
    return ocp.CheckpointManager(folder, options=options, item_handlers=ocp.StandardCheckpointHandler())


def restore(manager: ocp.CheckpointManager, like: step.State) -> step.State:
    """The last checkpoint, which must have the shapes of `like`.

    Raises:
      ValueError: a parameter of another shape, named.
    """
    number = manager.latest_step()
    stored = manager.item_metadata(number)
    found, wanted = (_shapes(tree) for tree in (getattr(stored, "tree", stored)["params"], like.params))
    for path in sorted(found.keys() | wanted.keys()):
        if found.get(path) != wanted.get(path):
            raise ValueError(
                f"checkpoint {manager.directory}: {path} has shape {found.get(path)}, the configuration wants "
                f"{wanted.get(path)}; use another --workdir"
            )
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    return manager.restore(number, args=ocp.args.StandardRestore(abstract))


def _shapes(tree: chex.ArrayTree) -> dict[str, tuple[int, ...]]:
    """Shape of each leaf by its path."""
    return {stages.path_of(path): tuple(leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def finished(stage: stages.Stage, params: chex.ArrayTree, workdir: Path) -> tuple[chex.ArrayTree, int]:
    """The running mean of the parameters in a stage's last checkpoint, and its step.

    Raises:
      ValueError: there is no checkpoint.
    """
    folder = Path(workdir).absolute() / stage.name
    if not folder.is_dir():
        raise ValueError(f"workdir (={workdir}) has no checkpoint of stage {stage.name}; train it first")
    with checkpoints(folder) as manager:
        state = restore(manager, step.start(stage, params))
    return state.mean, int(state.step)


def _bar(is_shown: bool) -> progress.Progress:
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    return progress.Progress(*columns, disable=not is_shown)
