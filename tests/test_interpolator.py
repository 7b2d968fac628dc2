"""The interpolator: every execution, its cost, its shapes, for aligned and plain networks."""

import jax
import numpy as np
import pytest

from jaxdyn import flops, interpolator, models, pretrained
from jaxdyn.errors import UserError
from jaxdyn.types import Route

HEIGHT, WIDTH = 40, 52
ONE_BY_ONE = (1, 1, 1)  # fewer sizes compile faster; tests/models/test_cain_sd.py has wider chunks


def drawn(model):
    """Variables like an initialisation's, with nothing zero."""
    random = np.random.RandomState(0)
    draw = lambda leaf: (random.randn(*leaf.shape) / np.sqrt(np.prod(leaf.shape[-4:-1]) + 9)).astype(np.float32)  # noqa: E731
    return {"params": jax.tree.map(draw, pretrained.parameter_shapes(model))}


@pytest.fixture(scope="module")
def shipped_kind():
    """A small network of the shipped configuration."""
    model = models.build(
        "cain_sd",
        num_feat=8,
        num_group=2,
        num_block=1,
        reduction=4,
        patch=32,
        stride=28,
        motion="dis",
        is_aligned=True,
        has_exit0=True,
        chunks=ONE_BY_ONE,
    )
    return model, drawn(model)


def moving_pair():
    """A texture, and the same three pixels on."""
    picture = np.random.RandomState(0).rand(HEIGHT // 4, WIDTH // 4 + 2, 3).repeat(4, 0).repeat(4, 1).astype(np.float32)
    return picture[:, :WIDTH], picture[:, 3 : WIDTH + 3]


def test_packed_equals_masked_and_costs_less(shipped_kind):
    frames = moving_pair()
    made = {
        kind: interpolator.Interpolator(*shipped_kind, execution=kind).middle(*frames) for kind in ("packed", "masked")
    }
    np.testing.assert_allclose(made["packed"].frame, made["masked"].frame, atol=1e-4)
    np.testing.assert_array_equal(made["packed"].route.depth, made["masked"].route.depth)
    assert made["packed"].cost.flops < made["masked"].cost.flops
    assert made["packed"].frame.shape == (HEIGHT, WIDTH, 3)
    assert made["packed"].frame.dtype == np.float32
    assert made["packed"].frame.min() >= 0
    assert made["packed"].frame.max() <= 1


def test_dense_takes_the_whole_frame_to_the_deepest_exit(shipped_kind):
    frames = moving_pair()
    middle = interpolator.Interpolator(*shipped_kind, execution="dense").middle(*frames)
    assert middle.route.depth.tolist() == [[[2]]]
    assert middle.route.scale.tolist() == [[[0]]]


def test_a_given_route_is_executed_without_finders(shipped_kind):
    model, variables = shipped_kind
    frames = moving_pair()
    made = interpolator.Interpolator(model, variables)
    shape = (1, *model.grid(HEIGHT, WIDTH).shape)
    fixed = made.middle(*frames, Route(np.full(shape, 1, np.int32), np.full(shape, 1, np.int32)))
    alone = interpolator.Interpolator(model.clone(fixed_scale=1, fixed_depth=1), variables).middle(*frames)
    np.testing.assert_allclose(fixed.frame, alone.frame, atol=1e-5)
    assert (fixed.route.scale == 1).all()
    assert (fixed.route.depth == 1).all()
    names = [stage.name for stage in fixed.cost.stages]
    assert "finders" not in names
    assert "alignment" in names
    again = interpolator.Interpolator(model, variables)
    for depth in (0, 2):  # another Route: the same compilation
        route = Route(np.zeros(shape, np.int32), np.full(shape, depth, np.int32))
        np.testing.assert_array_equal(again.middle(*frames, route).route.depth, depth)
    with pytest.raises(ValueError, match="a Route was given"):
        interpolator.Interpolator(model, variables, execution="dense").middle(*frames, fixed.route)


def test_motion_that_only_finders_see_is_not_counted_with_a_given_route():
    model = models.build("cain_sd", num_feat=8, num_group=1, num_block=1, reduction=4, patch=64, stride=60)
    model = model.clone(chunks=ONE_BY_ONE)
    route = Route(np.zeros((1, 1, 1), np.int32), np.ones((1, 1, 1), np.int32))
    found, given = (
        {stage.name for stage in flops.route_cost(model, route, 64, 64, is_given=flag).stages} for flag in (False, True)
    )
    assert found - given == {"flow", "finders"}


def test_a_plain_cain_runs_densely():
    model = models.build("cain", num_feat=8, num_group=2, num_block=1, reduction=4)
    variables = drawn(model)
    frames = moving_pair()
    middle = interpolator.Interpolator(model, variables, execution="packed").middle(*frames)
    expected = jax.jit(model.apply)(variables, *(frame[None] for frame in frames))[0][0]
    np.testing.assert_allclose(middle.frame, np.clip(expected, 0, 1), atol=1e-5)
    assert middle.route is None
    assert middle.cost == flops.dense_cain(model, HEIGHT, WIDTH)


def test_what_makes_no_frames_is_refused():
    model = models.build("carn_m")
    with pytest.raises(UserError, match="makes no middle frames"):
        interpolator.Interpolator(model, {"params": {}})
    plain = models.build("cain", num_feat=8, num_group=1, num_block=1, reduction=4)
    with pytest.raises(ValueError, match="'packed', 'masked' or 'dense'"):
        interpolator.Interpolator(plain, {"params": {}}, execution="fast")


def test_a_budget_is_met_as_nearly_as_whole_patches_allow(shipped_kind):
    frames, shares, biases = moving_pair(), [], []
    ends = {"cheap": 0.0, "dear": 100.0}
    for budget in (*ends.values(), 0.6):
        made = interpolator.Interpolator(*shipped_kind)
        biases.append(made.meet(budget, [frames]))
        middle = made.middle(*frames)
        shares.append(middle.cost.share(made.dense_cost(HEIGHT, WIDTH)))
        if budget == ends["cheap"]:
            assert not middle.route.depth.any()  # exit 0 everywhere
        if budget == ends["dear"]:
            assert (middle.route.depth == 2).all()
            assert (middle.route.scale == 0).all()
    assert shares[0] <= shares[2] <= shares[1]
    assert biases[0] > biases[2] > biases[1]
    unbiased = interpolator.Interpolator(*shipped_kind).middle(*frames).cost.share(made.dense_cost(HEIGHT, WIDTH))
    assert abs(shares[2] - 0.6) <= abs(unbiased - 0.6) + 1e-9


def test_a_budget_is_met_on_pairs_of_any_sizes(shipped_kind):
    large = moving_pair()
    pairs = [large, tuple(frame[:30, :33] for frame in large)]
    made = interpolator.Interpolator(*shipped_kind)

    def share(bias):  # the mean over the pairs, each against the dense network at its size
        found = []
        for pair in pairs:
            route = interpolator.route_of(made.model, *made._logits(*pair), bias)
            size = pair[0].shape[:2]
            found.append(flops.route_cost(made.model, route, *size).share(made.dense_cost(*size)))
        return np.mean(found)

    best = made.meet(0.6, iter(pairs))
    others = [bias for bias in np.linspace(-3, 3, 25)]
    assert abs(share(best) - 0.6) <= min(abs(share(bias) - 0.6) for bias in others) + 1e-9


def test_a_budget_is_met_by_depth_alone_where_super_resolution_is_dearer_than_the_trunk(shipped_kind):
    model = shipped_kind[0].clone(is_aligned=False, has_exit0=False, num_group=4, num_feat=32)
    variables, frames = jax.tree.map(np.array, drawn(model)), moving_pair()
    variables["params"]["scale_net"]["conv3"]["bias"][0] += 10.0  # full scale everywhere
    variables["params"]["depth_net"]["conv3"]["bias"][-1] += 10.0  # and the last exit
    made = interpolator.Interpolator(model, variables)
    whole = made.middle(*frames)
    shallow = Route(whole.route.scale, np.minimum(whole.route.depth, 1))  # the least that depth alone can do
    cost = flops.route_cost(model, shallow, HEIGHT, WIDTH)
    budget = cost.share(made.dense_cost(HEIGHT, WIDTH))
    table = flops.patch_costs(model, HEIGHT, WIDTH)
    assert (table[1:, 1] > table[0, -1]).all()  # reduced scales to the first exit, full scale to the last
    assert budget < whole.cost.share(made.dense_cost(HEIGHT, WIDTH)) - interpolator.MISSED
    scale_bias, depth_bias = made.meet(budget, [frames])
    assert (scale_bias, depth_bias > 0) == (0.0, True)
    assert made.middle(*frames).cost.share(made.dense_cost(HEIGHT, WIDTH)) == pytest.approx(budget, abs=1e-6)


def test_a_budget_needs_a_choice_and_frames(shipped_kind):
    with pytest.raises(UserError, match="same path everywhere"):
        interpolator.Interpolator(*shipped_kind, execution="dense").meet(0.5, [moving_pair()])
    model, variables = shipped_kind
    with pytest.raises(UserError, match="same path everywhere"):
        interpolator.Interpolator(model.clone(fixed_scale=0, fixed_depth=1), variables).meet(0.5, [moving_pair()])
    with pytest.raises(UserError, match="no pairs"):
        interpolator.Interpolator(*shipped_kind).meet(0.5, [])
