"""The upscaler: windows against the network itself, padding that computes nothing, costs, thresholds for budgets."""

import jax
import numpy as np
import pytest

from jaxdyn import flops, models, pretrained, upscaler
from jaxdyn.errors import UserError
from jaxdyn.types import BlockRoute

HEIGHT, WIDTH = 12, 17
LARGE = (4 * HEIGHT, 4 * WIDTH, 3)


@pytest.fixture(scope="module")
def network():
    """A small SkipVSR with undecided gates and nothing zero but them; its frames stay within [-1, 2]."""
    return drawn(0.13)


@pytest.fixture(scope="module")
def loud():
    """The same with decided gates; its numbers grow to hundreds, beyond what float32 compares to 1e-4."""
    return drawn(0.2)


def drawn(deviation):
    model = models.build("skipvsr", num_feat=8, num_block=3, num_hr=8, motion="dis", tile=8, interval=3, parallel=2)
    random = np.random.RandomState(0)
    draw = lambda leaf: np.float32(deviation * random.randn(*leaf.shape))  # noqa: E731
    return model, {"params": jax.tree.map(draw, pretrained.parameter_shapes(model))}


def frames(number):
    """Noise that changes a little from frame to frame, float32 [n, H, W, 3]."""
    random = np.random.RandomState(1)
    change = 0.03 * random.randn(number, HEIGHT, WIDTH, 3).cumsum(axis=0)
    return np.clip(random.rand(HEIGHT, WIDTH, 3) + change, 0, 1).astype(np.float32)


def starts_of(number, *places):
    return np.isin(np.arange(number), [0, *places])


@pytest.mark.parametrize(("keep", "cut"), [((0, 5), ()), ((2, 4), (3,))])
def test_a_window_is_the_network_on_its_frames(network, keep, cut):
    model, variables = network
    clip, starts = frames(6), starts_of(6, *cut)
    made = upscaler.Upscaler(*network, threshold=0.5).window(clip, starts, keep)
    expected, aux = jax.jit(lambda v, x, s: model.apply(v, x, 0.5, starts=s, keep=keep))(
        variables, clip[None], starts[None]
    )
    for index, large in enumerate(made):
        np.testing.assert_allclose(large.frame, np.clip(expected[0, index], 0, 1), atol=1e-4)
        assert large.frame.shape == LARGE
        np.testing.assert_array_equal(large.blocks, aux["route"].blocks[0, :, keep[0] + index])
    assert len(made) == keep[1] - keep[0]


def test_motion_is_searched_between_real_frames_only(network):
    clip = np.pad(frames(4), ((2, 3), (0, 0), (0, 0), (0, 0)))
    is_padding = ~np.isin(np.arange(9), [2, 3, 4, 5])
    made = upscaler.Upscaler(*network)
    for flow, whole in zip(made.host_motion(clip, is_padding), made.host_motion(clip), strict=True):
        np.testing.assert_array_equal(flow[:, 2:5], whole[:, 2:5])
        assert np.abs(whole[:, 2:5]).max() > 0
        assert flow.shape == whole.shape
        assert not flow[:, [0, 1, 5, 6, 7]].any()
    assert not np.concatenate(made.host_motion(clip, np.ones(9, bool))).any()


def test_executions_agree_and_cost_what_they_run(network):
    clip, starts = frames(3), starts_of(3)
    made = {
        kind: upscaler.Upscaler(*network, threshold=0.0, execution=kind).window(clip, starts, (0, 3))
        for kind in ("packed", "masked", "dense")
    }
    for kind in ("masked", "dense"):
        for one, other in zip(made["packed"], made[kind], strict=True):
            np.testing.assert_allclose(one.frame, other.frame, atol=1e-4)
    assert made["dense"][0].blocks is None
    assert made["dense"][0].cost == upscaler.Upscaler(*network).dense_cost(HEIGHT, WIDTH)
    none = upscaler.Upscaler(*network, threshold=1.0).window(clip, starts, (0, 3))
    assert none[0].cost.flops < made["packed"][0].cost.flops
    assert not none[1].blocks.any()  # the first and the last frame have nothing to be compared with


def test_each_frame_costs_its_own_tiles(network):
    clip, starts, keep = frames(6), starts_of(6), (0, 6)
    made = upscaler.Upscaler(*network, threshold=0.99)
    larges, model = made.window(clip, starts, keep), made.model
    blocks = np.stack([large.blocks for large in larges], axis=1)[None]
    whole = flops.block_route_cost(model, BlockRoute(blocks), HEIGHT, WIDTH, keep)
    costs = np.array([large.cost.flops for large in larges])
    assert costs.sum() == pytest.approx(whole.flops)
    own = flops.block_flops(model, blocks, HEIGHT, WIDTH).sum(axis=(0, 1, 3))
    assert len(set(own)) > 1
    np.testing.assert_allclose(costs - costs[0], own - own[0], atol=1)
    part = made.window(clip, starts, (1, 4))  # what is outside of it is borne by these three, evenly
    spent = np.array([large.cost.flops for large in part])
    np.testing.assert_allclose(spent - spent[0], costs[1:4] - costs[1], atol=1)
    assert spent.sum() > costs[1:4].sum()


def test_windows_of_large_frames_are_shorter(network, monkeypatch):
    made = upscaler.Upscaler(*network)
    assert made.window_length(180, 320) == upscaler.LENGTH
    assert made.window_length(20000, 20000) == 1
    lengths = [made.window_length(side, side) for side in range(500, 5000, 100)]
    assert lengths == sorted(lengths, reverse=True)
    assert set(lengths) >= {1, 2, 4, 8, 16}
    clip, starts = frames(6), starts_of(6)
    whole = made.window(clip, starts, (1, 5))
    monkeypatch.setattr(upscaler, "WINDOW_BYTES", 140000)
    assert made.window_length(HEIGHT, WIDTH) == 2
    short = [made.window(clip, starts, (first, first + 2)) for first in (1, 3)]
    for one, other in zip(whole, (*short[0], *short[1]), strict=True):
        np.testing.assert_allclose(one.frame, other.frame, atol=1e-5)
    with pytest.raises(ValueError, match="at most 2 frames with 4 at each side"):
        made.window(clip, starts, (1, 5))


def test_given_blocks_run_everywhere(network):
    model, variables = network
    clip, starts = frames(3), starts_of(3)
    runs = np.array([True, False, True])
    made = upscaler.Upscaler(*network, blocks=runs).window(clip, starts, (0, 3))
    shape = (1, 2, 3, 3, *model.grid(HEIGHT, WIDTH).shape)
    route = BlockRoute(np.broadcast_to(runs[:, None, None], shape))
    expected = jax.jit(lambda v, x: model.apply(v, x, route=route)[0][0])(variables, clip[None])
    for one, other in zip(made, expected, strict=True):
        np.testing.assert_allclose(one.frame, np.clip(other, 0, 1), atol=1e-4)
        np.testing.assert_array_equal(one.blocks, np.broadcast_to(runs[:, None, None], one.blocks.shape))
    with pytest.raises(UserError, match="fixed blocks of every frame"):
        upscaler.Upscaler(*network, blocks=runs).meet(0.5, [(clip, starts)])
    for wrong in ({"blocks": runs[:2]}, {"blocks": runs, "execution": "dense"}):
        with pytest.raises(ValueError, match="must be 3 booleans"):
            upscaler.Upscaler(*network, **wrong)


def test_a_window_may_be_as_long_as_one_says(network):
    clip, starts = frames(6), starts_of(6)
    made = upscaler.Upscaler(*network, length=6)
    assert made.window_length(9000, 9000) == 6
    for one, other in zip(made.window(clip, starts, (0, 6)), windows_of(network, clip), strict=True):
        np.testing.assert_allclose(one.frame, other.frame, atol=1e-5)
    with pytest.raises(ValueError, match="at most 5 frames"):
        upscaler.Upscaler(*network, length=5).window(clip, starts, (0, 6))


def windows_of(network, clip):
    return upscaler.Upscaler(*network).window(clip, starts_of(len(clip)), (0, len(clip)))


def test_a_budget_sets_the_threshold(loud):
    windows = [(frames(8), starts_of(8))]
    made = upscaler.Upscaler(*loud)
    assert made.meet(100.0, windows) == made.threshold == 0.0
    cheap = made.meet(0.01, windows)
    assert cheap > 0
    assert made.threshold == cheap
    again = upscaler.Upscaler(*loud)
    assert again.meet(0.01, windows) == cheap
    sizes, share_of = set(), again._share_of
    again._share_of = lambda runs, *size: sizes.add(size) or share_of(runs, *size)
    assert again.meet(0.01, [*windows, (windows[0][0][:, :9, :10], windows[0][1])]) == cheap
    assert sizes == {(HEIGHT, WIDTH), (9, 10)}  # each window counts at its own size


def test_wrong_use_is_told(network):
    with pytest.raises(UserError, match=r"threshold 1\.5"):
        upscaler.Upscaler(*network, threshold=1.5)
    with pytest.raises(UserError, match="parallel 0"):
        upscaler.Upscaler(*network, parallel=0)
    with pytest.raises(UserError, match="does not enlarge"):
        upscaler.Upscaler(models.build("cain"), {"params": {}})
    with pytest.raises(ValueError, match="fast"):
        upscaler.Upscaler(*network, execution="fast")
    with pytest.raises(UserError, match="runs fixed blocks"):
        upscaler.Upscaler(*network, execution="dense").meet(0.5, [(frames(2), starts_of(2))])
    with pytest.raises(UserError, match="no frames"):
        upscaler.Upscaler(*network).meet(0.5, [])
    with pytest.raises(ValueError, match="with keep"):
        upscaler.Upscaler(*network).window(frames(3), starts_of(3), (2, 9))
