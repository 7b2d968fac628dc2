"""A run in a process of its own, for `test_loop` and `test_parallel`: `python -m tests.toy_run WORKDIR SIGNAL STEP`.

It sends itself the signal when the data of that step is made, some steps before it is taken; 0 is no signal. The loss
needs no network: mean((x w - 1)^2). Several processes that know of each other, see `train.parallel.initialize`, share
the batch.
"""

import os
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np

from train import loading, loop, parallel, signals, stages, step

STAGE = stages.Stage("toy", "exits", (("w", 1.0),), num_step=12, learning_rate=0.1, batch=4)
START = {"w": np.zeros(3, np.float32)}


def loss(model, stage, params, batch, key, variant):
    del model, stage, key, variant
    return jnp.square(batch["x"] @ params["w"] - 1).mean(), {}


def batch(number: int) -> dict:
    return {"x": np.random.default_rng(number).normal(size=(STAGE.batch, 3)).astype(np.float32)}


def main() -> int:
    workdir, number, at = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    parallel.initialize()
    plan, once = parallel.plan_of("sharding" if jax.process_count() > 1 else "single"), threading.Lock()

    def sample(index):
        step_number, row = divmod(index, STAGE.batch)
        if step_number == at and number and once.acquire(blocking=False):  # a second signal would end the process
            os.kill(os.getpid(), number)
        return {"x": batch(step_number)["x"][row]}

    step.LOSSES["exits"] = loss
    feed = loading.Feed(sample, STAGE.batch)
    try:
        loop.run(None, STAGE, START, feed, workdir, plan=plan, save_every=2, log_every=1, is_shown=False)
    except signals.StoppedError as stopped:
        print(stopped)
        return stopped.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
