"""Clips, triplets, crops and their augmentation."""

import dataclasses
import itertools

import cv2
import jax
import numpy as np
import pytest

from jaxdyn.data import aligned, augment, cache, clips, crops, synthetic, triplets
from jaxdyn.models import fusion
from jaxdyn.ops import warp


def scene(random: np.random.RandomState, number: int, height: int = 96, width: int = 128) -> np.ndarray:
    """A smooth texture that slides by (3, 1) px a frame: uint8 [T, H, W, 3]."""
    large = cv2.resize(
        random.rand(20, 26, 3).astype(np.float32), (width + 80, height + 80), interpolation=cv2.INTER_CUBIC
    )
    frames = [large[20 + t : 20 + t + height, 20 + 3 * t : 20 + 3 * t + width] for t in range(number)]
    return np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, random):
    """Two clips as folders of images."""
    for name in ("one", "two"):
        (tmp_path / "clips" / name).mkdir(parents=True)
        for number, frame in enumerate(scene(random, 5)):
            cv2.imwrite(str(tmp_path / "clips" / name / f"{number}.png"), frame[..., ::-1])
    return tmp_path / "clips"


def test_find_and_read(folder, random):
    assert [path.name for path in clips.find(folder)] == ["one", "two"]
    np.testing.assert_array_equal(clips.read(folder / "one"), scene(np.random.RandomState(0), 5))
    assert len(clips.read(folder / "one", limit=2)) == 2
    with pytest.raises(ValueError, match="holds no clip"):
        clips.find(folder / "nothing")


def test_triplets_drop_cuts_repeats_and_uneven_steps(random):
    frames = scene(random, 8)
    assert [t.middle for t in clips.triplets(frames)] == [1, 2, 3, 4, 5, 6]
    assert [dataclasses.astuple(t) for t in clips.triplets(frames, gap=2, limit=2)] == [(0, 2, 4), (3, 5, 7)]
    repeated = frames.copy()
    repeated[4] = repeated[3]
    assert [t.middle for t in clips.triplets(repeated)] == [1, 2, 5, 6]
    cut = np.concatenate([frames[:4], scene(np.random.RandomState(1), 4) // 4])
    assert not {3, 4} & {t.middle for t in clips.triplets(cut)}
    with pytest.raises(ValueError, match="gap"):
        clips.triplets(frames, gap=0)


@pytest.mark.parametrize("bits", list(itertools.product([False, True], repeat=4)))
def test_augmented_sources_are_the_sources_of_augmented_frames(bits, random):
    choice = augment.Choice(*bits)
    frames = scene(random, 2, 48, 64).astype(np.float32) / 255
    flow01 = cv2.resize(random.randn(5, 6, 2).astype(np.float32), (64, 48), interpolation=cv2.INTER_CUBIC)
    flow10 = -flow01 + 0.3 * cv2.resize(random.randn(5, 6, 2).astype(np.float32), (64, 48))

    def sources(frame0, frame1, motion):
        moved = fusion.displacements(tuple(flow[None] for flow in motion), frame0.shape[:2])
        return np.asarray(fusion.sources(frame0[None], frame1[None], moved)[0])

    before = sources(*frames, (flow01, flow10))
    after = np.concatenate(
        [augment.pictures(before[..., :24], choice), augment.flows(before[..., 24:], choice)], axis=-1
    )
    pair = augment.pictures(np.concatenate(list(frames), axis=-1), choice)
    motion = augment.flows(np.concatenate([flow01, flow10], axis=-1), choice)
    expected = sources(pair[..., :3], pair[..., 3:], (motion[..., :2], motion[..., 2:]))
    np.testing.assert_allclose(after, expected, atol=2e-4)


def test_colour_changes_commute_with_sources(random):
    gain, shift = augment.draw_colours(np.random.default_rng(0))
    assert gain.shape == shift.shape == (1, 1, 3)
    frames = scene(random, 2, 32, 40).astype(np.float32) / 255
    flow = (random.randn(1, 32, 40, 2).astype(np.float32),) * 2
    moved = fusion.displacements(flow, (32, 40))
    before = np.asarray(fusion.sources(*(frame[None] for frame in frames), moved))
    after = np.asarray(fusion.sources(*(frame[None] * gain[0] + shift[0] for frame in frames), moved))
    np.testing.assert_allclose(before[..., :24] * np.tile(gain, 8) + np.tile(shift, 8), after[..., :24], atol=1e-5)


def test_places_are_where_the_error_is():
    error = np.zeros((128, 160))
    error[:, 100:] = 400.0
    places = crops.draw_places(error, 40, 20, np.random.default_rng(0))
    assert places.shape == (20, 2)
    assert (places % 8 == 0).all()
    assert (places[:, 0] <= 88).all()
    assert (places[:, 1] <= 120).all()
    assert np.mean(places[:, 1] > 60) > 0.8


def test_crops_are_cut_once_and_drawn_alike(folder, tmp_path):
    recipe = crops.Recipe(size=64, num_triplet=(2,), gaps=(1,), num_crop=3, edge=48)
    said = []
    cut = crops.build(folder, tmp_path / "cache", recipe, said.append)
    assert len(cut) == 12
    assert sorted(said) == ["one: 6 crops", "two: 6 crops"]
    again = crops.build(folder, tmp_path / "cache", recipe, said.append)
    assert len(said) == 2
    first, second = (c.sample(np.random.default_rng(5), 48) for c in (cut, again))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert first["pictures"].shape == (48, 48, 24)
    batch = jax.tree.map(lambda *rows: np.stack(rows), *(cut.sample(np.random.default_rng(i), 48) for i in range(4)))
    stack, target = crops.stack_of(batch), crops.target_of(batch)
    assert stack.shape == (4, 48, 48, 28)
    # The texture slides evenly, so the aligned mean is almost the truth.
    assert np.abs(np.asarray(stack[..., :3] + stack[..., 3:6]) / 2 - target).mean() < 0.02
    assert np.abs(np.asarray(stack[..., 24:])).max(axis=(1, 2, 3)).min() > 4
    with pytest.raises(ValueError, match="at most that of the crops, 64"):
        cut.sample(np.random.default_rng(5), 72)
    with pytest.raises(ValueError, match="multiple of 8"):
        crops.build(folder, tmp_path / "cache", crops.Recipe(size=60), said.append)


class Moving:
    """A data set of triplets of a sliding texture."""

    def __init__(self, number: int = 2):
        self.clips = [scene(np.random.RandomState(i), 3) for i in range(number)]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict:
        return dict(zip(("frame0", "target", "frame1"), self.clips[index], strict=True))


def test_sources_on_the_host_are_those_of_the_network(random):
    frame0, _, frame1 = scene(random, 3)
    flow01 = cv2.resize(6 * random.randn(5, 6, 2).astype(np.float32), (64, 48), interpolation=cv2.INTER_CUBIC)
    flows = (flow01, 0.3 * flow01[::-1] - flow01)
    moved = aligned.displacements(flows, (96, 128))
    expected_moved = fusion.displacements(tuple(flow[None] for flow in flows), (96, 128))
    np.testing.assert_allclose(moved, expected_moved[0], atol=1e-4)
    floats = [frame[None].astype(np.float32) / 255 for frame in (frame0, frame1)]
    expected = np.asarray(jax.jit(fusion.sources)(*floats, expected_moved)[0])
    found = aligned.sources_at(frame0, frame1, moved, (8, 40), 48)
    window = np.s_[8:56, 40:88]
    np.testing.assert_allclose(found[..., :24] / 255, expected[window][..., :24], atol=1e-4)
    np.testing.assert_allclose(found[..., 24:], expected[window][..., 24:], atol=1e-3)
    exit0 = np.asarray(fusion.exit0(expected)) * 255
    assert np.abs(aligned.mean(frame0, frame1, moved) - exit0).max() < 3


@pytest.mark.parametrize("is_aligned", [True, False])
def test_crops_of_a_data_set_are_drawn_from_its_triplets(is_aligned):
    source = crops.Drawn(Moving(), is_aligned, edge=48)
    rows = [source.sample(np.random.default_rng(i), 48) for i in (3, 3, 4)]
    jax.tree.map(np.testing.assert_array_equal, rows[0], rows[1])
    assert not np.array_equal(rows[0]["target"], rows[2]["target"])
    assert rows[0]["pictures"].shape == (48, 48, 24 if is_aligned else 6)
    assert rows[0]["flows"].shape == (48, 48, 4 if is_aligned else 0)
    batch = jax.tree.map(lambda *values: np.stack(values), *rows)
    stack, target = crops.stack_of(batch), crops.target_of(batch)
    mean = np.asarray(stack[..., :3] + stack[..., 3:6]) / 2
    if is_aligned:
        assert np.abs(mean - target).mean() < 0.02
    with pytest.raises(ValueError, match="expected sides of at least 100 px"):
        source.sample(np.random.default_rng(0), 100)


def test_triplets_are_kept_with_the_frames_they_need(folder, tmp_path):
    said = []
    recipe = triplets.Recipe(num_triplet=(2, 1), gaps=(1, 2))
    first, second = triplets.build(folder, tmp_path / "cache", recipe, said.append)
    assert sorted(said) == ["one: 3 triplets", "two: 3 triplets"]
    numbers = first["triplets"]
    assert numbers.dtype == np.int32
    frames = clips.read(folder / "one")
    np.testing.assert_array_equal(first["frames"][numbers[2]], frames[[0, 2, 4]])
    assert not np.array_equal(first["frames"], second["frames"])
    with pytest.raises(ValueError, match="give longer clips"):
        triplets.build(folder, tmp_path / "cache", triplets.Recipe((2,), (3,)), said.append)


def test_frames_of_triplets_are_reduced_by_a_whole_number(folder, tmp_path):
    whole, small = (
        triplets.build(folder, tmp_path / "cache", recipe, lambda line: None)[0]
        for recipe in (triplets.Recipe((1,), (1,)), triplets.Recipe((1,), (1,), largest=30))
    )
    frames = np.asarray(whole["frames"])
    cells = frames.reshape(3, 24, 4, 32, 4, 3)  # 96 px and at most 30: by 4
    np.testing.assert_allclose(small["frames"], cells.mean(axis=(2, 4)), atol=0.51)
    np.testing.assert_array_equal(triplets.Recipe().reduced(frames[0]), frames[0])
    with pytest.raises(ValueError, match=r"largest \(=0\) must be at least 1 px"):
        triplets.Recipe(largest=0)


def test_clips_of_one_name_are_kept_apart(tmp_path, random):
    for number, name in enumerate(("a", "b")):
        (tmp_path / "clips" / name / "left").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "clips" / name / "left" / "0.png"), np.full((16, 16, 3), number, np.uint8))
    make = lambda number, path: ({"frames": clips.read(path)}, "made")  # noqa: E731
    recipe, said = triplets.Recipe(), []
    made = cache.build(tmp_path / "clips", tmp_path / "cache", recipe, make, "kept", said.append)
    assert sorted(said) == ["a_left: made", "b_left: made"]
    assert [int(clip["frames"].max()) for clip in made] == [0, 1]
    assert len(list((tmp_path / "cache").iterdir())) == 3  # the recipe, and nothing half made


def test_a_clip_that_another_process_made_first_is_taken(tmp_path):
    (tmp_path / "clips" / "one").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "clips" / "one" / "0.png"), np.zeros((16, 16, 3), np.uint8))

    def make(number, path):
        kept = tmp_path / "cache" / "one.kept"
        kept.mkdir()
        np.save(kept / "frames.npy", np.ones(2))
        return {"frames": np.zeros(2)}, "made"

    (made,) = cache.build(tmp_path / "clips", tmp_path / "cache", triplets.Recipe(), make, "kept", lambda line: None)
    np.testing.assert_array_equal(made["frames"], 1)


def test_synthetic_motion_is_exact():
    generator = np.random.default_rng(3)
    texture, moves = synthetic.Waves.draw(generator), synthetic.Motion.draw(generator, 8.0)
    places = synthetic.grid((40, 56))
    made = synthetic.pair(np.random.default_rng(3), (40, 56), 8.0)
    np.testing.assert_allclose(made["flow01"], moves.at(places, (40, 56)), rtol=1e-6)
    assert np.abs(made["flow01"]).max() > 1
    # Frame 0 is frame 1, the texture itself, where the flow points to: real-valued, so no interpolation errs.
    np.testing.assert_allclose(made["frame0"], texture.at(places + moves.at(places, (40, 56))), atol=1e-6)
    np.testing.assert_allclose(made["frame1"], texture.at(places), atol=1e-6)
    assert made["frame1"].std() > 0.05


def test_synthetic_pairs_agree_with_the_library_s_warp():
    # Only long waves, so that bilinear interpolation is nearly exact.
    picture = scene(np.random.RandomState(0), 1, 120, 160)[0]
    made = synthetic.from_picture(np.random.default_rng(1), picture, (96, 128), 6.0)
    warped = warp.backward_warp(made["frame1"][None], made["flow01"][None], "border")[0]
    inside = np.s_[16:-16, 16:-16]
    assert np.abs(np.asarray(warped) - made["frame0"])[inside].max() < 0.03
    with pytest.raises(ValueError, match="at least 96x128"):
        synthetic.from_picture(np.random.default_rng(1), picture[:50], (96, 128))
