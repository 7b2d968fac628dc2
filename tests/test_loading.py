"""Feeds and their loading: a sample depends on its number alone, whoever makes it."""

import dataclasses
import functools
import pickle

import cv2
import jax
import numpy as np
import pytest

from configs import cain_sd, skipvsr
from jaxdyn import models
from train import feeds, loading, stages

BATCH = 4
CAIN_SD, SKIPVSR = (module.get_config("tiny") for module in (cain_sd, skipvsr))
ROWS = {
    "exits": (CAIN_SD, "interpolation"),
    "depth": (CAIN_SD, "depth"),
    "gates": (SKIPVSR, "gates"),
}


def scene(seed: int, number: int, height: int = 144, width: int = 160) -> np.ndarray:
    """A smooth texture that slides by (16, 8) px a frame: uint8 [T, H, W, 3]."""
    random = np.random.RandomState(seed)
    large = cv2.resize(random.rand(10, 12, 3).astype(np.float32), (width + 96, height + 56), None, 0, 0, 2)
    frames = [large[8 * t : 8 * t + height, 16 * t : 16 * t + width] for t in range(number)]
    return np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips as folders of images, and room for caches."""
    folder = tmp_path_factory.mktemp("loading")
    for seed, name in enumerate(("one", "two")):
        (folder / "clips" / name).mkdir(parents=True)
        for number, frame in enumerate(scene(seed, 5)):
            cv2.imwrite(str(folder / "clips" / name / f"{number}.png"), frame[..., ::-1])
    return folder


class Entries:
    """A data set of triplets and sequences at once."""

    def __init__(self, height: int = 144):
        self.height = height

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict:
        frames = scene(index, 3, self.height if index else 144)
        return {"frames": frames, "frame0": frames[0], "target": frames[1], "frame1": frames[2]}


@functools.cache
def teacher():
    """Parameters of the tiny SkipVSR."""
    return feeds.initial(models.build("skipvsr", **SKIPVSR.model), 0)


def feed_of(kind: str, folder, data=None, **fields) -> loading.Feed:
    config, name = ROWS.get(kind, (CAIN_SD, "interpolation"))
    stage = next(stage for stage in stages.of_config(config) if stage.name == name)
    scales = (2,) if kind == "upscale" else stage.scales
    stage = dataclasses.replace(stage, kind=kind, batch=BATCH, scales=scales)
    model = models.build(config.name, **{**config.model, **fields})
    params = teacher() if kind == "gates" else None
    return feeds.feed_of(model, stage, params, config, folder / "work", data or folder / "clips")


def tables() -> feeds.Tables:
    """Tables of two clips, of different sizes."""
    generator = np.random.default_rng(0)
    shapes = {
        "small0": (6, 8, 3),
        "small1": (6, 8, 3),
        "flow01": (6, 8, 2),
        "flow10": (6, 8, 2),
        "errors": (2, 2, 3, 2),
    }
    made = [
        {name: generator.random((length, *shape)) for name, shape in shapes.items()} | {"size": np.array([96, width])}
        for length, width in ((3, 128), (5, 160))
    ]
    return feeds.Tables(made, feeds.Draws(0, "finders"), BATCH)


def assert_same(found: list, expected: list) -> None:
    assert [number for number, _ in found] == [number for number, _ in expected]
    for (_, one), (_, two) in zip(found, expected, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, two)


def toy_sample(index: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(index).normal(size=3), "index": np.array(index)}


TOY = loading.Feed(toy_sample, 4)


@pytest.mark.parametrize("kind", ["exits", "depth", "finders", "upscale", "flow", "gates"])
def test_every_feed_gives_one_step_the_same_samples_to_any_number_of_hosts(kind, folder):
    made = tables()
    feed = loading.Feed(made.sample, BATCH, made.common) if kind == "finders" else feed_of(kind, folder)
    whole = list(loading.batches(feed, 2, 5))
    assert [number for number, _ in whole] == [2, 3, 4]
    assert_same([(number, feed(number)) for number in (2, 3, 4)], whole)
    hosts = [list(loading.batches(feed, 2, 5, process=(host, 2))) for host in range(2)]
    common = feed.common(2).keys()
    for (_, batch), *parts in zip(whole, *hosts, strict=True):
        for name, value in batch.items():
            joined = [part[name] for _, part in parts]
            if name in common:
                jax.tree.map(np.testing.assert_array_equal, *joined)
            else:
                np.testing.assert_array_equal(np.concatenate(joined), value)
                assert value.shape[0] == BATCH
    first, second = (batch for _, batch in whole[:2])
    assert any(not np.array_equal(first[name], second[name]) for name in first.keys() - common)
    # Samples differ within a step, too, and go to other processes as little more than paths.
    assert any(len(np.unique(first[name], axis=0)) > 1 for name in first.keys() - common)
    if kind != "finders":
        assert len(pickle.dumps(feed.sample)) < 5000


def test_a_step_s_frames_are_of_one_clip_and_steps_of_both(folder):
    feed = feed_of("depth", folder)
    means = [feed(number)["target"].mean(axis=(1, 2, 3)) for number in range(8)]
    assert max(np.ptp(step) for step in means) < np.ptp([step.mean() for step in means])


def test_entries_of_a_step_are_of_the_table_whose_size_it_tells():
    made = tables()
    steps = {number: made.of_step(number) for number in range(20)}
    assert {entries["size"][1] for entries in steps.values()} == {128, 160}
    for number, entries in steps.items():
        assert made.common(number)["frame_size"].shape == (0, *entries["size"])
        for index in range(number * BATCH, (number + 1) * BATCH):
            sample = made.sample(index)
            assert any(np.array_equal(sample["errors"], errors) for errors in entries["errors"])
    both = [made.sample(index) for index in range(40)]
    is_turned = {any(np.array_equal(s["small0"], x) for t in made.tables for x in t["small1"]) for s in both}
    assert is_turned == {True, False}


def test_stages_do_not_draw_alike():
    draws = [feeds.Draws(0, name) for name in ("interpolation", "depth")]
    first, second = (d.of_sample(0).random(3) for d in draws)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, draws[0].of_step(0).random(3))
    np.testing.assert_array_equal(first, feeds.Draws(0, "interpolation").of_sample(0).random(3))


def test_a_run_that_is_resumed_sees_what_it_would_have_seen():
    whole = list(loading.batches(TOY, 0, 9))
    assert_same(list(loading.batches(TOY, 5, 9)), whole[5:])
    assert [batch["index"].tolist() for _, batch in whole[:2]] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert list(loading.batches(TOY, 9, 9)) == list(loading.batches(TOY, 9, 3)) == []


def test_processes_make_the_same_batches_in_memory_of_their_own(folder):
    feed = feed_of("exits", folder)
    expected = list(loading.batches(feed, 1, 6))
    loader = loading.batches(feed, 1, 6, num_worker=2)
    found = list(loader)
    assert_same(found, expected)
    assert all(type(value) is np.ndarray and value.flags.owndata for _, batch in found for value in batch.values())
    assert loader.waited > 0
    loader.close()
    assert list(loader) == []


def test_batches_share_no_memory_with_what_they_are_made_of():
    memory = np.zeros(3)
    feed = loading.Feed(lambda index: {"x": memory}, 1)
    for _, batch in loading.batches(feed, 0, 2):
        assert not np.shares_memory(batch["x"], memory)


def test_whole_batches_are_loaded_as_they_are():
    assert_same(list(loading.batches(TOY.__call__, 3, 6)), list(loading.batches(TOY, 3, 6)))
    with pytest.raises(ValueError, match=r"cannot be divided among hosts \(=2\)"):
        loading.batches(TOY.__call__, 0, 1, process=(0, 2))


def test_what_is_common_is_not_divided_nor_copied():
    teacher = {"w": np.ones(3)}
    feed = dataclasses.replace(TOY, common=lambda number: {"teacher": teacher, "step": number})
    for number, batch in loading.batches(feed, 2, 4, process=(1, 2)):
        assert batch["teacher"] is teacher
        assert batch["step"] == number
        assert batch["x"].shape == (2, 3)


def test_an_error_in_a_sample_is_raised_at_its_step():
    def sample(index):
        if index == 9:
            raise ValueError("frame 9 is broken")
        return toy_sample(index)

    loader = loading.batches(loading.Feed(sample, 4), 0, 5)
    assert [next(loader)[0], next(loader)[0]] == [0, 1]
    with pytest.raises(ValueError, match="frame 9 is broken"):
        next(loader)
    loader.close()


def test_hosts_and_shapes_that_do_not_fit_are_refused(folder):
    with pytest.raises(ValueError, match=r"batch \(=4\) must be a multiple of the number of hosts \(=3\)"):
        loading.batches(TOY, 0, 1, process=(0, 3))
    with pytest.raises(ValueError, match=r"process \(=\(2, 2\)\)"):
        loading.batches(TOY, 0, 1, process=(2, 2))
    feed = feed_of("depth", folder, Entries(96))
    with pytest.raises(ValueError, match=r"samples of one step have \w+ of shapes"):
        [feed(number) for number in range(4)]
    with pytest.raises(ValueError, match="give a folder of clips"):
        feeds.finders_feed(None, stages.of_config(CAIN_SD)[3], None, CAIN_SD, folder, Entries())
    with pytest.raises(ValueError, match="data is a int, expected a folder of clips"):
        feed_of("exits", folder, 3)
    entries = Entries()
    entries.kind = "triplet"
    with pytest.raises(ValueError, match="of kind 'triplet', this stage needs 'sequence'"):
        feed_of("gates", folder, entries)


@pytest.mark.parametrize("kind", ["exits", "depth", "upscale", "gates"])
def test_a_data_set_takes_the_place_of_a_folder(kind, folder):
    found, expected = feed_of(kind, folder, Entries())(1), feed_of(kind, folder)(1)
    assert found.keys() == expected.keys()
    for name in found.keys() - {"teacher"}:
        assert (found[name].shape, found[name].dtype) == (expected[name].shape, expected[name].dtype), name
    again = feed_of(kind, folder, Entries())(1)
    jax.tree.map(np.testing.assert_array_equal, found, again)


def test_a_network_that_is_not_aligned_sees_plain_frames(folder):
    fields = {"is_aligned": False, "has_exit0": False, "motion": "difference"}
    for data in (None, Entries()):
        batch = feed_of("exits", folder, data, **fields)(0)
        assert batch["pictures"].shape == (BATCH, 64, 64, 6)
        assert batch["flows"].shape == (BATCH, 64, 64, 0)
    assert "flow01" not in feed_of("depth", folder, **fields)(0)
