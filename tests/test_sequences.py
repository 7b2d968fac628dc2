"""Sequences for super-resolution: made once, drawn and augmented with their motion."""

import itertools

import cv2
import jax
import numpy as np
import pytest

from jaxdyn.data import augment, sequences
from jaxdyn.ops import resample, warp

RECIPE = sequences.Recipe(smallest=16)


def batch_of(source, number: int, seed: int = 0) -> dict:
    rows = [source.sample(np.random.default_rng([seed, i])) for i in range(number)]
    return jax.tree.map(lambda *values: np.stack(values), *rows)


def scene(seed: int, number: int, height: int = 240, width: int = 320) -> np.ndarray:
    """A smooth texture that slides by (16, 8) px a frame, 2 and 1 in small frames: uint8 [T, H, W, 3]."""
    random = np.random.RandomState(seed)
    large = cv2.resize(random.rand(10, 15, 3).astype(np.float32), (width + 256, height + 128), None, 0, 0, 2)
    frames = [large[8 * t : 8 * t + height, 16 * t : 16 * t + width] for t in range(number)]
    return np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)


def write(folder, frames) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:02d}.png"), frame[..., ::-1])


@pytest.fixture(scope="module")
def frames():
    """Seven frames of one shot, one of them twice, then five of another."""
    first, second = scene(0, 7), scene(1, 5) // 3
    return np.concatenate([first[:3], first[2:], second])


@pytest.fixture(scope="module")
def made(frames, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    write(folder / "clips" / "two", frames)
    write(folder / "clips" / "tiny", frames[:2, :48, :48])
    said = []
    built = sequences.build(folder / "clips", folder / "cache", RECIPE, said.append)
    return built, said, folder


def test_frames_are_halved_degraded_and_split_into_shots(made, frames):
    built, said, _ = made
    assert said[0].startswith("tiny: left out")
    assert said[1] == "two: 12 frames, 40x30, 2 shots"
    (clip,) = built.clips
    assert clip.shots.tolist() == [0] * 7 + [1] * 5
    target, small_frames = clip.stored["target"], clip.stored["small"]
    assert target.shape == (12, 120, 160, 3)
    assert clip.size == (30, 40)
    halved = np.asarray(resample.imresize(frames[0].astype(np.float32) / 255, 0.5)).clip(0, 1) * 255
    assert np.abs(target[0] - halved).max() <= 0.51
    small = np.asarray(resample.imresize(target[0].astype(np.float32) / 255, 0.25)).clip(0, 1) * 255
    assert np.abs(small_frames[0] - small).max() <= 0.51
    assert clip.starts(4, 1).tolist() == [0, 1, 2, 3, 7, 8]
    assert clip.starts(3, 2).tolist() == [0, 1, 2, 7]
    assert clip.starts(20, 1).size == 0


def test_small_frames_are_clipped_before_they_are_rounded():
    target = np.zeros((32, 32, 3), np.uint8)
    target[:, 16:] = 255  # bicubic overshoots beside the edge
    exact = np.asarray(resample.imresize(target.astype(np.float32) / 255, 0.25))
    assert exact.min() < -0.01
    assert exact.max() > 1.01
    small = np.asarray(sequences.degrade(target))
    assert small.dtype == np.uint8
    assert np.abs(small - exact.clip(0, 1) * 255).max() <= 0.51
    blurred = np.asarray(resample.blur_down4(target.astype(np.float32) / 255))
    assert np.abs(np.asarray(sequences.degrade(target, "bd")) - blurred * 255).max() <= 0.51


def test_a_second_build_takes_what_is_there(made):
    built, said, folder = made
    again = []
    second = sequences.build(folder / "clips", folder / "cache", RECIPE, again.append)
    assert again == said[:1]
    one, two = (batch_of(s.windows(3, 16), 3) for s in (built, second))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert one["clip"].shape == (3, 3, 16, 16, 3)
    assert one["target"].shape == (3, 3, 64, 64, 3)
    assert one["clip"].dtype == one["target"].dtype == np.uint8
    assert one["to_next"].shape == one["to_previous"].shape == (3, 2, 16, 16, 2)
    assert one["gain"].shape == one["shift"].shape == (3, 1, 1, 1, 3)


def test_a_broken_build_does_no_harm(frames, tmp_path):
    write(tmp_path / "clips" / "one", frames[:3])
    recipe = sequences.Recipe(smallest=16, degradation="bd", has_motion=False)
    partial = tmp_path / "cache" / recipe.name / "one.clip.x.partial"
    partial.mkdir(parents=True)
    (partial / "small.npy").write_bytes(b"half a file")
    built = sequences.build(tmp_path / "clips", tmp_path / "cache", recipe, lambda line: None)
    batch = batch_of(built.windows(2, 16), 1)
    assert "to_next" not in batch
    assert sequences.motion_of(batch) is None


def test_small_frames_belong_to_their_targets(made):
    batch = batch_of(made[0].windows(3, 16), 8)
    again = np.asarray(sequences.degrade(batch["target"]))
    inside = np.s_[:, :, 2:-2, 2:-2]  # beyond the crop's edge the whole frame was seen
    assert np.abs(again[inside].astype(int) - batch["clip"][inside]).max() <= 1
    clip, target = sequences.clip_of(batch), sequences.target_of(batch)
    before, after = batch["clip"].mean(axis=(1, 2, 3)), np.asarray(clip).mean(axis=(1, 2, 3)) * 255
    assert np.abs(before - after).max() > 1
    np.testing.assert_allclose(np.asarray(target).mean(axis=(1, 2, 3)) * 255, after, atol=3)


@pytest.mark.parametrize("bits", list(itertools.product([False, True], repeat=4)))
@pytest.mark.parametrize("gap", [1, 2])
def test_motion_leads_to_the_neighbour_after_every_augmentation(made, bits, gap):
    choice = augment.Choice(*bits)
    clip = made[0].clips[0].stored
    frames = clip["small"][0 : 3 * gap : gap].astype(np.float32)
    flows = clip[f"motion{gap}"][0 : 2 * gap : gap].astype(np.float32)
    moved = augment.frames(frames, choice)
    to_next, to_previous = augment.motions(flows[:, 0], flows[:, 1], choice)
    assert to_next.shape == (2, *moved.shape[1:3], 2)
    inside = np.s_[:, 5:-5, 5:-5]
    error = lambda found, wanted: np.abs(np.asarray(found) - wanted)[inside].mean()  # noqa: E731
    still = error(moved[1:], moved[:-1])
    assert error(warp.backward_warp(moved[1:], to_next, "border"), moved[:-1]) < 0.35 * still
    assert error(warp.backward_warp(moved[:-1], to_previous, "border"), moved[1:]) < 0.35 * still


@pytest.mark.parametrize("degradation", ["bi", "bd"])
def test_the_host_degrades_as_the_device_does(degradation, random):
    target = random.randint(0, 256, (2, 32, 44, 3)).astype(np.uint8)
    expected = np.asarray(sequences.degrade(target, degradation)).astype(int)
    found = sequences.degrade_on_host(target, degradation)
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 1
    assert np.mean(found != expected) < 0.01


class Clips:
    """A data set of sequences of a sliding texture, whose sides are no multiples of 4."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict:
        return {"frames": scene(index, 5, 98, 131)}


def test_sequences_of_a_data_set_are_drawn_from_its_entries():
    source = sequences.Drawn(Clips(), "bi", (1, 2), True, 3, 16)
    batch = batch_of(source, 6)
    jax.tree.map(np.testing.assert_array_equal, batch, batch_of(source, 6))
    assert batch["clip"].shape == (6, 3, 16, 16, 3)
    assert batch["target"].shape == (6, 3, 64, 64, 3)
    assert batch["to_next"].shape == batch["to_previous"].shape == (6, 2, 16, 16, 2)
    assert batch["to_next"].dtype == np.float16
    again = np.asarray(sequences.degrade(batch["target"]))
    inside = np.s_[:, :, 2:-2, 2:-2]
    assert np.abs(again[inside].astype(int) - batch["clip"][inside]).max() <= 1
    moved = warp.backward_warp(
        batch["clip"][:, 1].astype(np.float32), batch["to_next"][:, 0].astype(np.float32), "border"
    )
    before = batch["clip"][:, 0].astype(np.float32)
    inside = np.s_[:, 5:-5, 5:-5]
    error, still = (np.abs(np.asarray(x) - before)[inside].mean() for x in (moved, batch["clip"][:, 1]))
    assert error < 0.5 * still
    steps = np.abs(batch["to_next"][:, 0].astype(float)).max(axis=(1, 2, 3))
    assert steps.min() < 6 < steps.max()  # both gaps
    with pytest.raises(ValueError, match="has 5 frames, expected at least 7"):
        sequences.Drawn(Clips(), "bi", (1,), True, 7, 16).sample(np.random.default_rng(0))
    with pytest.raises(ValueError, match="expected 128 px a side"):
        sequences.Drawn(Clips(), "bi", (1,), True, 3, 32).sample(np.random.default_rng(0))


class Partly(Clips):
    """Likewise, but entries are never read as a whole."""

    def __getitem__(self, index: int) -> dict:
        raise AssertionError(index)

    def num_frames(self, index: int) -> int:
        return 5

    def frames(self, index: int, first: int, number: int, gap: int) -> np.ndarray:
        return super().__getitem__(index)["frames"][first::gap][:number]


def test_no_more_frames_are_read_than_are_drawn():
    whole, partly = (sequences.Drawn(data, "bi", (1, 2), False, 3, 16) for data in (Clips(), Partly()))
    jax.tree.map(np.testing.assert_array_equal, batch_of(whole, 4), batch_of(partly, 4))


def test_places_with_detail_are_drawn_more_often():
    frame = np.full((40, 80, 3), 200, np.uint8)
    frame[:, 50:] = np.random.RandomState(0).randint(0, 255, (40, 30, 3))
    places = np.array([sequences.draw_place(frame, 24, np.random.default_rng(i)) for i in range(300)])
    assert places.min() >= 0
    assert (places.max(axis=0) <= (16, 56)).all()
    share = np.mean(places[:, 1] < 26)  # the crops of the flat half, nearly half of all places
    assert 0.001 < share < 0.1
    flat = [sequences.draw_place(frame[:, :40], 24, np.random.default_rng(i)) for i in range(100)]
    assert len(set(flat)) > 50


def test_sizes_of_targets():
    recipe = sequences.Recipe()
    assert recipe.factor(480, 854) == 2
    assert recipe.factor(2160, 3840) == 4
    assert recipe.factor(1080, 1920) == 2
    assert recipe.factor(270, 480) == 1  # at 2, small frames would have 33 px
    assert recipe.factor(180, 320) is None


def test_what_cannot_be_made_or_drawn(made, tmp_path):
    with pytest.raises(ValueError, match="degradation"):
        sequences.Recipe(degradation="blur")
    with pytest.raises(ValueError, match="gaps"):
        sequences.Recipe(gaps=(0,))
    with pytest.raises(ValueError, match="no clip has 30 frames"):
        made[0].windows(30, 16)
    write(tmp_path / "clips" / "one", np.zeros((2, 24, 24, 3), np.uint8))
    with pytest.raises(ValueError, match="all are too small"):
        sequences.build(tmp_path / "clips", tmp_path / "cache", RECIPE, lambda line: None)
