"""Ten steps under one plan after the other, in a process with devices of its own: losses and first gradients.

    python tests/many_devices.py FOLDER PLAN...

writes FOLDER/PLAN-PROCESS.npz; names are "STAGE loss" and "STAGE PARAMETER". Devices are counted by XLA_FLAGS; several
processes find each other by the variables of `train.parallel.initialize`. Functions here are for tests to import.
"""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np

from jaxdyn import models, pretrained
from jaxdyn.models.spynet import SpyNet
from train import parallel, stages, step

NUM_STEP = 10
SPYNET = SpyNet(num_level=1, widths=(4, 4, 4, 4))
FLOW = stages.Stage("flow", "spynet", (("", 1.0),), num_step=NUM_STEP, learning_rate=1e-3, batch=8, size=16, clip=1e9)
FIELDS = {"num_feat": 4, "num_block": 1, "num_hr": 4, "motion": "dis", "tile": 8, "stride": 8, "interval": 1}
TEACHER = stages.Stage(
    "teacher",
    "teacher",
    (("gate", 0.0), ("", 1.0)),
    num_step=NUM_STEP,
    learning_rate=1e-3,
    error="charbonnier",
    batch=8,
    size=8,
    num_frame=2,
)
TOY = stages.Stage("toy", "exits", (("", 1.0),), num_step=NUM_STEP, learning_rate=0.1, batch=8, clip=1e9)


def pairs(number: int, batch: int = FLOW.batch) -> dict[str, np.ndarray]:
    """What a network for motion is fed, at random."""
    generator = np.random.default_rng(number)
    channels = {"frame0": 3, "frame1": 3, "flow01": 2}
    return {k: generator.random((batch, FLOW.size, FLOW.size, c), np.float32) for k, c in channels.items()}


def sequences(number: int, batch: int = TEACHER.batch) -> dict[str, np.ndarray]:
    """What a teacher is fed, at random."""
    generator = np.random.default_rng(number)
    side, time = TEACHER.size, TEACHER.num_frame
    flows = generator.normal(size=(2, batch, time - 1, side, side, 2)).astype(np.float16)
    return {
        "clip": generator.integers(0, 256, (batch, time, side, side, 3), np.uint8),
        "target": generator.integers(0, 256, (batch, time, 4 * side, 4 * side, 3), np.uint8),
        "gain": generator.uniform(0.9, 1.1, (batch, 1, 1, 1, 3)).astype(np.float32),
        "shift": generator.uniform(-0.1, 0.1, (batch, 1, 1, 1, 3)).astype(np.float32),
        "to_next": flows[0],
        "to_previous": flows[1],
    }


def points(number: int, batch: int = TOY.batch) -> dict:
    """What `toy_loss` is fed, float64, with entries that are not spread over devices."""
    generator = np.random.default_rng(number)
    whole = {"teacher": {"w": np.linspace(-1, 1, 3)}, "frame_size": np.zeros((0, 5, 7))}
    return {"x": generator.normal(size=(batch, 3)), **whole}


def toy_loss(model, stage, params, batch, key, variant):
    """A loss without a network that uses all that can be in a batch, and a random number."""
    del model, stage, variant
    height, width = batch["frame_size"].shape[1:]
    error = jnp.tanh(batch["x"] @ params["w"] + params["b"]) - batch["x"] @ batch["teacher"]["w"]
    return height / width * jnp.square(error).mean(), {"drawn": jax.random.normal(key)}


def toy_params() -> dict:
    return {"w": np.linspace(0.5, 1, 3), "b": np.zeros(())}


def first_gradient(state: step.State) -> dict[str, np.ndarray]:
    """Gradients of the first step by path: Adam's first moment is a tenth of them, clipped."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.moments):
        names = [getattr(part, "name", None) for part in path]
        if "mu" in names:
            found[stages.path_of(path[names.index("mu") + 1 :])] = np.asarray(leaf)
    return found


def some_params(model) -> dict:
    """Parameters at random, without compiling what makes fresh ones."""
    generator = np.random.default_rng(0)
    draw = lambda leaf: generator.normal(0, 0.1, leaf.shape).astype(leaf.dtype)  # noqa: E731
    return jax.tree.map(draw, pretrained.parameter_shapes(model))


def run(plan: parallel.Plan, model, stage: stages.Stage, params, feed, **options) -> dict[str, np.ndarray]:
    """Losses and drawn numbers of all steps, gradients of the first."""
    state = plan.put_state(step.start(stage, params))
    one, key = plan.compile(functools.partial(step.make_step, model, stage, **options)), jax.random.key(0)
    found = []
    for number in range(NUM_STEP):
        batch = plan.put_batch(plan.part_of(feed(number)))
        state, metrics = one(state, batch, jax.random.fold_in(key, number), step.Variant())
        if not found:
            gradient = first_gradient(state)
        found.append({name: float(metrics[name]) for name in metrics.keys() & {"loss", "drawn"}})
    assert state.step.shape == ()
    assert int(state.step) == NUM_STEP
    return {**{name: np.array([metrics[name] for metrics in found]) for name in found[0]}, **gradient}


def main(folder: Path, kinds: list[str]) -> None:
    """BasicVSR in one process, SpyNet in several, where collectives are slow; then the toy in float64."""
    parallel.initialize()
    step.LOSSES["exits"] = step.LOSSES["finders"] = toy_loss
    plans = {kind: parallel.plan_of(kind) for kind in kinds}
    is_alone = jax.process_count() == 1
    model, stage, feed = (models.build("skipvsr", **FIELDS), TEACHER, sequences) if is_alone else (SPYNET, FLOW, pairs)
    params = some_params(model)
    results = {}
    for kind, plan in plans.items():
        found = run(plan, model, stage, params, feed) if is_alone or kind == "pmap" else {}
        results[kind] = {f"{stage.name} {name}": value for name, value in found.items()}
    jax.config.update("jax_enable_x64", True)
    each = stages.Stage(**{**vars(TOY), "kind": "finders"})  # whose elements draw for themselves
    for kind, plan in plans.items():
        for name, stage in (("toy", TOY), ("drawn", each))[: 2 if is_alone else 1]:
            results[kind] |= {f"{name} {k}": v for k, v in run(plan, None, stage, toy_params(), points).items()}
        np.savez(folder / f"{kind}-{jax.process_index()}.npz", **results[kind])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
