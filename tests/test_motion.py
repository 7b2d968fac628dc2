"""Tests of `jaxdyn.motion`."""

import cv2
import numpy as np
import pytest

from jaxdyn import motion


def texture(height, width, seed=0):
    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return (noise - noise.min()) / (noise.max() - noise.min())


def test_known_shift_and_direction():
    # The picture moves 5 px to the right and 3 px down: what is at x in frame 0 is at x + 5 in frame 1.
    large = texture(160, 220)
    frame0, frame1 = large[20:140, 20:200], large[17:137, 15:195]
    flow01, flow10 = motion.dis(frame0, frame1)
    assert flow01.dtype == np.float32
    assert flow01.shape == flow10.shape == (120, 180, 2)
    inner = np.s_[20:-20, 20:-20]
    np.testing.assert_allclose(np.median(flow01[inner], axis=(0, 1)), [5, 3], atol=0.1)
    np.testing.assert_allclose(np.median(flow10[inner], axis=(0, 1)), [-5, -3], atol=0.1)
    # warp(frame1, flow01) looks like frame0
    y, x = np.mgrid[:120, :180].astype(np.float32)
    warped = cv2.remap(frame1, x + flow01[..., 0], y + flow01[..., 1], cv2.INTER_LINEAR)
    assert np.abs(warped - frame0)[inner].mean() < 0.2 * np.abs(frame1 - frame0)[inner].mean()


@pytest.mark.parametrize(
    ("size", "edge", "expected"),
    [((120, 180), 60, (60, 90)), ((180, 120), 60, (90, 60)), ((50, 70), 384, (50, 70)), ((101, 333), 50, (50, 165))],
)
def test_grid_size_is_px_of_the_short_side_and_never_larger(size, edge, expected):
    frame = texture(*size)
    flow01, flow10 = motion.dis(frame, frame, edge=edge)
    assert flow01.shape == flow10.shape == (*expected, 2)


def test_flow_is_in_pixels_of_its_own_grid():
    large = texture(200, 280)
    flow01, _ = motion.dis(large[10:170, 20:260], large[10:170, 12:252], edge=80)  # 8 px at 160, 4 px at 80
    np.testing.assert_allclose(np.median(flow01[10:-10, 20:-20], axis=(0, 1)), [4, 0], atol=0.1)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 7), (2, 100), (11, 11), (12, 12), (1, 17)])
def test_tiny_frames(size):
    frame0, frame1 = (
        texture(*size) if min(size) > 2 else np.zeros((*size, 3), np.float32),
        np.ones((*size, 3), np.float32),
    )
    for flow in motion.dis(frame0, frame1):
        assert flow.shape == (*size, 2)
        assert np.isfinite(flow).all()


def test_equal_frames_do_not_move():
    frame = (texture(64, 64) * 255).astype(np.uint8)
    assert all(np.abs(flow).max() < 1e-3 for flow in motion.dis(frame, frame))


def test_a_refined_flow_is_nearer_to_the_true_one():
    """A small square moves over what moves otherwise: less is smoothed away at its borders."""
    back, front = (texture(120, 180, seed) for seed in (3, 4))
    frame0, frame1 = back[:100, 6:156].copy(), back[:100, :150].copy()  # 6 px to the right
    frame0[40:60, 60:80], frame1[40:60, 57:77] = front[:20, :20], front[:20, :20]  # 3 px to the left
    true = np.full((100, 150, 2), [6, 0], np.float32)
    true[40:60, 60:80] = [-3, 0]
    flows = [motion.dis(frame0, frame1, is_refined=is_refined)[0] for is_refined in (True, False)]
    refined, plain = (np.linalg.norm(flow - true, axis=-1)[10:-10, 20:-20].mean() for flow in flows)
    assert refined < 0.9 * plain


def test_uint8_and_float_agree():
    frame0, frame1 = ((texture(64, 96, seed) * 255).astype(np.uint8) for seed in (1, 2))
    for a, b in zip(
        motion.dis(frame0, frame1), motion.dis(frame0 / np.float32(255), frame1 / np.float32(255)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("shapes", "edge", "message"),
    [
        (((8, 8), (8, 8)), 8, r"\[H, W, 3\]"),
        (((8, 8, 3), (8, 9, 3)), 8, "one shape"),
        (((0, 8, 3), (0, 8, 3)), 8, "at least one pixel"),
        (((8, 8, 3), (8, 8, 3)), 0, r"`edge` \(=0\)"),
    ],
)
def test_errors_name_the_value(shapes, edge, message):
    with pytest.raises(ValueError, match=message):
        motion.dis(np.zeros(shapes[0], np.float32), np.zeros(shapes[1], np.float32), edge=edge)


def test_clips_are_searched_pair_by_pair():
    clips = np.stack([[texture(24, 40, seed) for seed in seeds] for seeds in ((0, 1, 2), (3, 3, 4))])  # [2, 3, ...]
    to_next, to_previous = motion.dis_of_clips(clips)
    assert to_next.dtype == to_previous.dtype == np.float32
    assert to_next.shape == to_previous.shape == (2, 2, 24, 40, 2)
    for b, t in np.ndindex(2, 2):
        forth, back = motion.dis(clips[b, t], clips[b, t + 1], is_refined=False)  # at their own size, under 384 px
        np.testing.assert_array_equal(to_next[b, t], forth)
        np.testing.assert_array_equal(to_previous[b, t], back)
    assert np.abs(to_next[1, 0]).max() < 1e-3  # equal frames


def test_clips_have_the_direction_of_frames():
    large = texture(60, 160)
    clip = np.stack([large[:, 20 - 3 * t : 120 - 3 * t] for t in range(3)])  # 3 px to the right each time
    to_next, to_previous = motion.dis_of_clips(clip[None])
    inner = np.s_[0, :, 10:-10, 20:-20]
    np.testing.assert_allclose(np.median(to_next[inner], axis=(1, 2)), [[3, 0]] * 2, atol=0.1)
    np.testing.assert_allclose(np.median(to_previous[inner], axis=(1, 2)), [[-3, 0]] * 2, atol=0.1)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (12, 30)])
@pytest.mark.parametrize("time", [1, 2])
def test_clips_of_any_size(size, time):
    flows = motion.dis_of_clips(np.zeros((2, time, *size, 3), np.float32))
    assert all(flow.shape == (2, time - 1, *size, 2) for flow in flows)
    assert all(np.isfinite(flow).all() for flow in flows)


def test_clips_of_bytes_and_of_numbers_agree():
    clips = np.rint(np.stack([[texture(30, 40, seed) for seed in (1, 2)]]) * 255).astype(np.uint8)
    as_numbers = motion.dis_of_clips(clips / np.float32(255))
    for a, b in zip(motion.dis_of_clips(clips), as_numbers, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (1, 2, 8, 8, 4), (1, 0, 8, 8, 3), (1, 2, 8, 0, 3)])
def test_clips_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"`clips` must be \[B, T, H, W, 3\] with at least one pixel; got shape"):
        motion.dis_of_clips(np.zeros(shape, np.float32))
