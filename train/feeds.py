"""What each kind of stage is fed: step number -> batch.

A batch depends on the configuration's seed and the step's number alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdyn import models, motion
from jaxdyn.data import clips, crops, sequences, synthetic
from train import loading, stages, table


def initial(model: Any, seed: int) -> chex.ArrayTree:
    """Fresh parameters. The generator is XLA's own, because the default one takes long to compile."""
    arguments = models.example_arguments(model)
    return jax.jit(model.init)(jax.random.key(seed, impl="rbg"), *arguments)["params"]


def feed_of(
    model: Any, stage: stages.Stage, params: chex.ArrayTree, config: Any, workdir: Path, data: str
) -> loading.Feed:
    """The feed of a stage.

    Args:
      model, params: as the stage starts; tables of errors are made with them.
      stage: a row of the curriculum.
      config: seed, and how data is cut.
      workdir: what takes long to make is kept in its cache.
      data: folder of clips.
    """
    return FEEDS[stage.kind](model, stage, params, config, Path(workdir), data)


def exits_feed(model, stage, params, config, workdir, data):
    """Stage 1: augmented crops of sources; for a network that is not aligned, of plain frames."""
    del params
    cut = crops.build(data, workdir / "cache", crops.Recipe(**config.crops))

    def feed(number):
        batch = cut.batch(np.random.default_rng([config.seed, number]), stage.batch, stage.size)
        if not model.is_aligned:  # f0 and f1 alone
            batch["pictures"], batch["flows"] = batch["pictures"][..., 18:24], batch["flows"][..., :0]
        return batch

    return feed


def frames_feed(model, stage, params, config, workdir, data):
    """Stages 2 and 3: whole frames of one clip a step, so that they have one size."""
    del params, workdir
    paths = clips.find(data)

    def feed(number):
        generator = np.random.default_rng([config.seed, number])
        while True:
            frames = clips.read(paths[generator.integers(len(paths))])
            found = clips.triplets(frames, int(generator.integers(1, 3)), 4 * stage.batch)
            if found:
                break
        chosen = [found[i] for i in generator.integers(0, len(found), stage.batch)]
        rows = []
        for triplet in chosen:
            first, target, last = (frames[i] for i in (triplet.first, triplet.middle, triplet.last))
            if generator.random() < 0.5:
                first, last = last, first
            row = {"frame0": first, "frame1": last, "target": target}
            if model.motion == "dis":
                row["flow01"], row["flow10"] = motion.dis(first, last, config.crops.edge)
            rows.append(row)
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    return feed


def finders_feed(model, stage, params, config, workdir, data):
    """Both finders: entries of one clip's table a step, forwards or backwards."""
    tables = table.build(
        model, params, data, workdir / "cache" / f"table-{fingerprint(params['cain'])}", **dict(config.table)
    )
    clips_of = list(tables.values())
    sizes = np.array([len(t["errors"]) for t in clips_of], float)

    def feed(number):
        generator = np.random.default_rng([config.seed, number])
        chosen = clips_of[generator.choice(len(clips_of), p=sizes / sizes.sum())]
        index = generator.integers(0, len(chosen["errors"]), stage.batch)
        batch = {name: chosen[name][index] for name in ("small0", "small1", "flow01", "flow10", "errors")}
        batch = reversed_in_time(batch) if generator.random() < 0.5 else batch
        height, width = chosen["size"]
        return {**batch, "frame_size": np.zeros((0, height, width))}

    return feed


def reversed_in_time(batch: dict) -> dict:
    """Entries of a table played backwards: the errors stay, since every candidate has its counterpart."""
    return {
        **batch,
        "small0": batch["small1"],
        "small1": batch["small0"],
        "flow01": batch["flow10"],
        "flow10": batch["flow01"],
    }


def flow_feed(model, stage, params, config, workdir, data):
    """PWC-Net and SpyNet: waves moved by known motion."""
    del model, params, workdir, data
    size = (stage.size, stage.size)

    def feed(number):
        return synthetic.batch(np.random.default_rng([config.seed, number]), stage.batch, size, stage.reach)

    return feed


def upscale_feed(model, stage, params, config, workdir, data):
    """CARN-M: crops of true middle frames as large pictures."""
    del model, params
    cut = crops.build(data, workdir / "cache", crops.Recipe(**config.crops))

    def feed(number):
        batch = cut.batch(np.random.default_rng([config.seed, number]), stage.batch, stage.size)
        return {"target": batch["target"].astype(np.float32) / 255}

    return feed


def sequence_feed(model, stage, params, config, workdir, data):
    """BasicVSR: augmented sequences of small frames, their large ones, and DIS motion where the network takes that."""
    del params
    recipe = sequences.Recipe(**config.sequences, has_motion=model.motion == "dis")
    made = sequences.build(data, workdir / "cache", recipe)
    return lambda number: made.batch(
        np.random.default_rng([config.seed, number]), stage.batch, stage.num_frame, stage.size
    )


def gates_feed(model, stage, params, config, workdir, data):
    """SkipVSR: sequences, and the parameters as the stage starts, which are the teacher.

    A run that is resumed has the same teacher, because the stage before ends the same.
    """
    teacher = jax.tree.map(jnp.asarray, params)
    of_step = sequence_feed(model, stage, params, config, workdir, data)
    return lambda number: {**of_step(number), "teacher": teacher}


FEEDS: dict[str, Callable] = {
    "exits": exits_feed,
    "depth": frames_feed,
    "scale": frames_feed,
    "finders": finders_feed,
    "flow": flow_feed,
    "upscale": upscale_feed,
    "teacher": sequence_feed,
    "gates": gates_feed,
    "spynet": flow_feed,
}


def fingerprint(params: chex.ArrayTree) -> str:
    """Eight letters that differ where parameters differ."""
    total = sum(float(np.abs(np.asarray(leaf, np.float64)).sum()) for leaf in jax.tree.leaves(params))
    return np.float64(total).tobytes().hex()[:12]
