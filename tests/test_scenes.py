"""Tests of `jaxdyn.scenes`."""

import itertools

import cv2
import numpy as np
import pytest

from jaxdyn import scenes
from jaxdyn.scenes import Pair


def scene(seed, height=180, width=320):
    """A textured picture with a palette of its own."""
    random = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(random.random((height, width, 3)).astype(np.float32), (0, 0), 9)
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    return np.clip(noise * random.uniform(0.3, 1, 3) + random.uniform(0, 0.4, 3), 0, 1).astype(np.float32)


def moved(frame, dx, dy=0):
    return cv2.warpAffine(
        frame, np.float32([[1, 0, dx], [0, 1, dy]]), frame.shape[1::-1], borderMode=cv2.BORDER_REFLECT
    )


def test_two_scenes_are_a_cut():
    for seed in range(8):
        assert scenes.judge(scene(seed), scene(seed + 1)) is Pair.CUT


@pytest.mark.parametrize("shift", [1, 10, 40])
def test_motion_is_no_cut(shift):
    assert scenes.judge(scene(1), moved(scene(1), shift, shift // 3)) is Pair.MOTION


def test_a_flash_and_a_fade_are_no_cut():
    frame = scene(3)
    assert scenes.judge(frame, np.clip(frame * 0.4 + 0.6, 0, 1)) is Pair.MOTION
    assert scenes.judge(frame, frame * 0.7) is Pair.MOTION


def test_black_to_a_scene_is_a_cut_and_black_to_nearly_black_is_not():
    black = np.zeros((180, 320, 3), np.float32)
    assert scenes.judge(black, scene(2)) is Pair.CUT
    assert scenes.judge(scene(2), black) is Pair.CUT
    assert scenes.judge(black, black + 0.02) is Pair.MOTION


def test_repeats():
    frame = scene(4)
    noise = np.random.default_rng(0).normal(0, 0.5 / 255, frame.shape).astype(np.float32)
    assert scenes.judge(frame, frame) is Pair.REPEAT
    assert scenes.judge(frame, frame + noise) is Pair.REPEAT
    assert scenes.judge(frame, moved(frame, 1)) is Pair.MOTION


def test_a_small_thing_that_moves_is_no_repeat():
    frame = scene(5, 720, 1280)
    other = frame.copy()
    other[300:308, 500:508] = 1 - other[300:308, 500:508]
    assert scenes.judge(frame, other) is Pair.MOTION


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 50), (17, 16)])
def test_tiny_frames(size):
    zeros, ones = np.zeros((*size, 3), np.float32), np.ones((*size, 3), np.float32)
    assert scenes.judge(zeros, zeros) is Pair.REPEAT
    assert scenes.judge(zeros, ones) in (Pair.MOTION, Pair.CUT)


def test_real_clips(shared):
    """Neighbours of real clips with fast motion are one scene; first frames of different clips are not."""
    folders = sorted((shared / "video" / "train" / "davis480p").iterdir())[:8]
    first = []
    for folder in folders:
        files = sorted(folder.glob("*.jpg"))[:3]
        frames = [cv2.imread(str(file))[..., ::-1].astype(np.float32) / 255 for file in files]
        assert all(scenes.judge(a, b) is Pair.MOTION for a, b in itertools.pairwise(frames))
        first.append(frames[0])
    assert all(scenes.judge(a, b) is Pair.CUT for a, b in itertools.pairwise(first))
