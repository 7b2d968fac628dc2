"""How much of a run's time its steps have, and how much they wait for data.

    python -m eval.feeding --config configs/cain_sd.py:tiny --data FOLDER [--workers 2] [--steps 100]

Each stage of the configuration starts from fresh parameters. What happens once is not counted: the compilation of the
step for each variant and size, the start of the workers and the first batches, for which every run waits.
"""

import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from jaxdyn import models
from train import feeds, loading, parallel, stages, step

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration and variant: configs/cain_sd.py:tiny.")
_DATA = flags.DEFINE_string("data", None, "Folder of clips.")
_WORKERS = flags.DEFINE_integer("workers", 0, "Processes that make batches; 0: threads.", lower_bound=0)
_STEPS = flags.DEFINE_integer("steps", 100, "Steps of each stage that are measured.", lower_bound=1)

NUM_BEFORE = 10
"""Steps before the clock starts."""


def main(argv: list[str]) -> None:
    """Print one line for each stage."""
    del argv
    logging.set_verbosity(logging.WARNING)
    config = _CONFIG.value
    model = models.build(config.name, **config.model)
    params = feeds.initial(model, config.seed)
    with tempfile.TemporaryDirectory() as workdir:
        for stage in stages.of_config(config):
            feed = feeds.feed_of(model, stage, params, config, Path(workdir), _DATA.value)
            spent, waited = measure(model, stage, params, feed, _STEPS.value, _WORKERS.value)
            each, idle = (1e3 * seconds / _STEPS.value for seconds in (spent, waited))
            print(
                f"{stage.name}, {_WORKERS.value} workers: {each:.1f} ms a step, {idle:.2f} ms of them waiting for "
                f"data: {1 - waited / spent:.2%} in the step"
            )


def measure(
    model: Any, stage: stages.Stage, params: Any, feed: loading.Feed, num_step: int, num_worker: int
) -> tuple[float, float]:
    """Seconds that some steps took in all, and those of them spent waiting for data.

    Args:
      model, stage, params: as for `train.loop.run`.
      feed: of the stage.
      num_step: how many steps are measured, after `NUM_BEFORE`, and one of each variant and size, that are not.
      num_worker: see `loading.batches`.
    """
    plan = parallel.Plan()
    one_step = plan.compile(functools.partial(step.make_step, model, stage))
    key, num_group = jax.random.key(0), getattr(model, "num_group", 1)
    variant_at = functools.partial(step.variant_at, stage, num_group=num_group)
    state = plan.put_state(step.start(stage, params))
    total, compiled = NUM_BEFORE + num_step, set()
    for number in range(total):
        batch = feed(number)
        kind = (variant_at(number), *(np.shape(leaf) for leaf in jax.tree.leaves(batch)))
        if kind not in compiled:
            compiled.add(kind)
            state, _ = one_step(state, plan.put_batch(batch), key, variant_at(number))
    began = waited = 0.0
    loader = loading.batches(feed, 0, total, num_worker=num_worker)
    for number, batch in loader:
        if number == NUM_BEFORE:  # this batch is there already
            began, waited = time.perf_counter(), loader.waited
        state, metrics = one_step(state, plan.put_batch(batch), jax.random.fold_in(key, number), variant_at(number))
        jax.block_until_ready(metrics)
    return time.perf_counter() - began, loader.waited - waited


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "data"])
    app.run(main)
