"""What each kind of stage is fed: a `loading.Feed`, number of a sample -> arrays.

Everything random about a sample is drawn by the configuration's seed, the stage's name and the sample's number; what
the samples of one step have in common, by the step's number. Nothing else decides.

Data is a folder of clips, or a data set: an object with a length that gives, for an index, {"frame0", "target",
"frame1"} (uint8 [H, W, 3] each) to the stages of frame interpolation and {"frames"} (uint8 [T, H, W, 3]) to those of
super-resolution. Clips are cut once and kept on disk; a data set is read as samples are drawn. The stages on tables of
errors need a folder, those on synthetic motion nothing.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdyn import models, motion
from jaxdyn.data import cache, crops, sequences, synthetic, triplets
from train import loading, stages, table

Data = str | Path | Any
"""A folder of clips, or a data set."""


def initial(model: Any, seed: int) -> chex.ArrayTree:
    """Fresh parameters. The generator is XLA's own, because the default one takes long to compile."""
    arguments = models.example_arguments(model)
    return jax.jit(model.init)(jax.random.key(seed, impl="rbg"), *arguments)["params"]


def feed_of(
    model: Any, stage: stages.Stage, params: chex.ArrayTree, config: Any, workdir: Path, data: Data
) -> loading.Feed:
    """The feed of a stage.

    Args:
      model, params: as the stage starts; tables of errors are made with them.
      stage: a row of the curriculum.
      config: seed, and how data is cut.
      workdir: what takes long to make is kept in its cache.
      data: folder of clips, or a data set.

    Raises:
      ValueError: data that the stage cannot use.
    """
    return FEEDS[stage.kind](model, stage, params, config, Path(workdir), data)


@dataclasses.dataclass(frozen=True)
class Draws:
    """Random numbers of a stage: a generator for each sample, and one for each step."""

    seed: int
    stage: str

    def of_sample(self, index: int) -> np.random.Generator:
        """The same for the same sample."""
        return np.random.default_rng([self.seed, zlib.crc32(self.stage.encode()), index])

    def of_step(self, number: int) -> np.random.Generator:
        """The same for the same step, and unlike any sample's."""
        return np.random.default_rng([self.seed, zlib.crc32(f"steps of {self.stage}".encode()), number])


def is_folder(data: Data, kind: str = "triplet") -> bool:
    """Whether data is a path, and not a data set.

    Args:
      data: the one or the other.
      kind: what a data set must hold, "triplet" or "sequence", if it says what it holds.

    Raises:
      ValueError: neither, or a data set of the other kind.
    """
    if isinstance(data, str | Path):
        return True
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise ValueError(
            f"data is a {type(data).__name__}, expected a folder of clips or an object with length and index"
        )
    if getattr(data, "kind", kind) != kind:
        raise ValueError(f"data is a data set of kind {data.kind!r}, this stage needs {kind!r}; choose another one")
    return False


def exits_feed(model, stage, params, config, workdir, data):
    """Stage 1: augmented crops of sources; for a network that is not aligned, of plain frames."""
    del params
    source = _crops(config, workdir, data, model.is_aligned)
    sample = functools.partial(exits_sample, source, Draws(config.seed, stage.name), stage.size, model.is_aligned)
    return loading.Feed(sample, stage.batch)


def exits_sample(source, draws: Draws, size: int, is_aligned: bool, index: int) -> dict[str, np.ndarray]:
    """One crop; see `crops.Crops.sample`."""
    sample = source.sample(draws.of_sample(index), size)
    if not is_aligned and sample["flows"].shape[-1]:  # f0 and f1 alone
        sample |= {"pictures": sample["pictures"][..., 18:24], "flows": sample["flows"][..., :0]}
    return sample


def upscale_feed(model, stage, params, config, workdir, data):
    """CARN-M: crops of true middle frames as large pictures."""
    del model, params
    source = _crops(config, workdir, data, is_aligned=False)
    return loading.Feed(
        functools.partial(upscale_sample, source, Draws(config.seed, stage.name), stage.size), stage.batch
    )


def upscale_sample(source, draws: Draws, size: int, index: int) -> dict[str, np.ndarray]:
    """One large picture: target [P, P, 3] in [0, 1]."""
    return {"target": source.sample(draws.of_sample(index), size)["target"].astype(np.float32) / 255}


def _crops(config, workdir, data, is_aligned):
    """What crops are drawn from."""
    if is_folder(data):
        return crops.build(data, workdir / "cache", crops.Recipe(**config.crops))
    return crops.Drawn(data, is_aligned, config.crops.edge)


def frames_feed(model, stage, params, config, workdir, data):
    """Stages 2 and 3: whole frames. Those of a step come from one clip, so that they have one size; the frames of a
    data set must all have one size unless a step takes one of them."""
    del params
    draws = Draws(config.seed, stage.name)
    if is_folder(data):
        recipe = triplets.Recipe(**config.triplets)
        source = ClipTriplets(triplets.build(data, workdir / "cache", recipe), draws, stage.batch)
    else:
        source = DataTriplets(data)
    edge = config.crops.edge if model.motion == "dis" else None
    return loading.Feed(functools.partial(frames_sample, source, draws, edge), stage.batch)


@dataclasses.dataclass(frozen=True)
class ClipTriplets:
    """Triplets of clips; those of a step are of one clip."""

    clips: list[cache.Stored]
    draws: Draws
    batch: int

    def draw(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First, middle and last frame of a sample, [H, W, 3] each."""
        clip = self.clips[self.draws.of_step(index // self.batch).integers(len(self.clips))]
        numbers = clip["triplets"]
        frames = clip["frames"]
        return tuple(np.array(frames[i]) for i in numbers[generator.integers(len(numbers))])


@dataclasses.dataclass(frozen=True)
class DataTriplets:
    """Triplets of a data set."""

    data: Any

    def draw(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First, middle and last frame of a sample, [H, W, 3] each."""
        del index
        triplet = self.data[int(generator.integers(len(self.data)))]
        return tuple(np.asarray(triplet[name]) for name in ("frame0", "target", "frame1"))


def frames_sample(source, draws: Draws, edge: int | None, index: int) -> dict[str, np.ndarray]:
    """One triplet of whole frames, forwards or backwards, with its DIS motion if that has an edge."""
    generator = draws.of_sample(index)
    first, target, last = source.draw(index, generator)
    if generator.random() < 0.5:
        first, last = last, first
    row = {"frame0": first, "frame1": last, "target": target}
    if edge is not None:
        row["flow01"], row["flow10"] = motion.dis(first, last, edge)
    return row


def finders_feed(model, stage, params, config, workdir, data):
    """Both finders: entries of one clip's table a step, each forwards or backwards."""
    if not is_folder(data):
        raise ValueError(f'stage {stage.name}: kind (="finders") learns from tables of clips; give a folder of clips')
    frozen = {name: part for name, part in params.items() if name in ("cain", "carn_m")}
    tables = table.build(model, params, data, workdir / "cache" / f"table-{fingerprint(frozen)}", **dict(config.table))
    source = Tables(list(tables.values()), Draws(config.seed, stage.name), stage.batch)
    return loading.Feed(source.sample, stage.batch, source.common)


@dataclasses.dataclass(frozen=True)
class Tables:
    """Tables of errors, see `table.build`; entries of a step are of one clip."""

    tables: list[dict[str, np.ndarray]]
    draws: Draws
    batch: int

    def of_step(self, number: int) -> dict[str, np.ndarray]:
        """The table of a step, with probability in proportion to its length."""
        sizes = np.array([len(entries["errors"]) for entries in self.tables], float)
        return self.tables[self.draws.of_step(number).choice(len(sizes), p=sizes / sizes.sum())]

    def sample(self, index: int) -> dict[str, np.ndarray]:
        """One entry."""
        entries, generator = self.of_step(index // self.batch), self.draws.of_sample(index)
        at = generator.integers(len(entries["errors"]))
        entry = {name: entries[name][at] for name in ("small0", "small1", "flow01", "flow10", "errors")}
        return reversed_in_time(entry) if generator.random() < 0.5 else entry

    def common(self, number: int) -> dict[str, np.ndarray]:
        """The size of the frames, as the shape of an empty array."""
        height, width = self.of_step(number)["size"]
        return {"frame_size": np.zeros((0, height, width))}


def reversed_in_time(entry: dict) -> dict:
    """An entry of a table played backwards: the errors stay, since every candidate has its counterpart.

    Of a network that is not aligned they would differ a little: CAIN takes its frames in order.
    """
    return {
        **entry,
        "small0": entry["small1"],
        "small1": entry["small0"],
        "flow01": entry["flow10"],
        "flow10": entry["flow01"],
    }


def flow_feed(model, stage, params, config, workdir, data):
    """PWC-Net and SpyNet: waves moved by known motion."""
    del model, params, workdir, data
    sample = functools.partial(flow_sample, Draws(config.seed, stage.name), stage.size, stage.reach)
    return loading.Feed(sample, stage.batch)


def flow_sample(draws: Draws, size: int, reach: float, index: int) -> dict[str, np.ndarray]:
    """One pair; see `synthetic.pair`."""
    return synthetic.pair(draws.of_sample(index), (size, size), reach)


def sequence_feed(model, stage, params, config, workdir, data):
    """BasicVSR: augmented sequences of small frames, their large ones, and DIS motion where the network takes that."""
    del params
    recipe = sequences.Recipe(**config.sequences, has_motion=model.motion == "dis")
    if is_folder(data, "sequence"):
        source = sequences.build(data, workdir / "cache", recipe).windows(stage.num_frame, stage.size)
    else:
        source = sequences.Drawn(data, recipe.degradation, recipe.gaps, recipe.has_motion, stage.num_frame, stage.size)
    return loading.Feed(functools.partial(sequence_sample, source, Draws(config.seed, stage.name)), stage.batch)


def sequence_sample(source, draws: Draws, index: int) -> dict[str, np.ndarray]:
    """One sequence; see `sequences.Windows.sample`."""
    return source.sample(draws.of_sample(index))


def gates_feed(model, stage, params, config, workdir, data):
    """SkipVSR: sequences, and the parameters as the stage starts, which are the teacher of all samples.

    A run that is resumed has the same teacher, because the stage before ends the same.
    """
    teacher = jax.tree.map(jnp.asarray, params)
    feed = sequence_feed(model, stage, params, config, workdir, data)
    return dataclasses.replace(feed, common=lambda number: {"teacher": teacher})


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
