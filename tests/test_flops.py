"""Costs: the published figures, linearity, and a Route's cost against counting by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn import flops, models
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.types import Cost, Route, Stage


@pytest.mark.parametrize(("size", "tera"), [((2048, 1080), 3.133), ((1280, 720), 1.305)])
def test_cain_costs_what_the_paper_says(size, tera):
    told = flops.describe("cain", *size)
    assert told["size"] == list(size)
    assert told["parameters"] == 42_780_432
    assert told["flops"] == pytest.approx(tera * 1e12, rel=0.01)
    assert 2 * told["multiply_adds"] == pytest.approx(tera * 1e12, rel=0.01)
    assert sum(stage["flops"] * stage["times"] for stage in told["stages"]) == pytest.approx(told["flops"])


def test_exits_by_scale_cost_what_the_reference_says():
    """MFLOPs for a pixel of the frame, CARN-M included, from the published architectures."""
    expected = np.array(
        [
            [0.2903, 0.5495, 0.8087, 1.0679, 1.3271],
            [0.2704, 0.3352, 0.4000, 0.4648, 0.5296],
            [0.0886, 0.1048, 0.1210, 0.1372, 0.1534],
        ]
    )
    np.testing.assert_allclose(flops.exit_costs(models.build("cain_sd", motion="dis")) / 1e6, expected, rtol=0.02)


def test_multiply_adds_equal_a_count_by_hand():
    x, kernel = jnp.zeros((2, 10, 12, 3)), jnp.zeros((3, 3, 3, 8))

    def function(x, kernel):
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return y.reshape(-1, 8) @ jnp.zeros((8, 5))

    by_hand = 2 * 8 * 10 * 8 * 27 + 2 * 8 * 10 * 8 * 5
    stage = flops.measure("both", function, x, kernel)
    assert stage.multiply_adds == by_hand
    assert stage.flops == pytest.approx(2 * by_hand, rel=0.01)
    twice = flops.measure("twice the batch", function, jnp.zeros((4, 10, 12, 3)), kernel)
    assert twice.multiply_adds == 2 * by_hand
    assert twice.flops == pytest.approx(2 * stage.flops, rel=1e-6)


def test_a_scan_counts_every_turn_and_a_while_loop_is_refused():
    matrix = jnp.zeros((4, 4))
    scan = flops.measure("scan", lambda m: jax.lax.scan(lambda c, _: (c @ m, None), m, None, length=7)[0], matrix)
    assert scan.multiply_adds == 7 * 64
    with pytest.raises(ValueError, match="no static cost"):
        flops.measure("while", lambda m: jax.lax.while_loop(lambda c: c.sum() < 1, lambda c: c @ m, m), matrix)


@pytest.fixture(scope="module")
def model() -> CainSD:
    """A small network with exit 0."""
    return models.build(
        "cain_sd",
        num_feat=8,
        num_group=3,
        num_block=1,
        reduction=4,
        patch=32,
        stride=24,
        motion="dis",
        is_aligned=True,
        has_exit0=True,
    )


def test_a_routes_cost_is_the_sum_of_what_it_selects(model):
    stages = flops.cain_sd_stages(model, 50, 70)
    shape = (1, *model.grid(50, 70).shape)
    random = np.random.RandomState(0)
    route = Route(random.randint(0, 3, shape).astype(np.int32), random.randint(0, 4, shape).astype(np.int32))
    total = sum(stages[name].flops for name in ("finders", "alignment", "merge"))
    for scale, depth in zip(route.scale.ravel(), route.depth.ravel(), strict=True):
        if depth:
            total += stages[f"ends {2**scale}"].flops + depth * stages[f"group {2**scale}"].flops
    nominal = flops.route_cost(model, route, 50, 70)
    assert nominal.flops == pytest.approx(total)
    assert flops.route_cost(model, route, 50, 70, chunks=(1, 1, 1)).flops == pytest.approx(total)
    assert flops.route_cost(model, route, 50, 70, chunks=(3, 3, 3)).flops >= total


def test_nothing_selected_costs_the_router_only(model):
    shape = (1, *model.grid(50, 70).shape)
    nothing = Route(np.zeros(shape, np.int32), np.zeros(shape, np.int32))
    cost = flops.route_cost(model, nothing, 50, 70)
    assert {stage.name for stage in cost.stages} == {"finders", "alignment", "merge"}


def test_a_cost_adds_up_and_leaves_out_what_is_excluded():
    cost = Cost((Stage("a", 10, 4, 2), Stage("b", 5, 2), Stage("c", 100, 50, 1, is_excluded=True)))
    assert (cost.flops, cost.multiply_adds) == (25, 10)
    assert cost.share(Cost((Stage("dense", 100, 50),))) == 0.25


@pytest.mark.parametrize(("name", "parameters"), [("pwcnet", 9_374_274), ("carn_m", 414_811)])
def test_other_networks_are_described(name, parameters):
    told = flops.describe(name, 64, 64)
    assert told["parameters"] == parameters
    assert told["flops"] > told["multiply_adds"] > 0


def test_errors():
    with pytest.raises(ValueError, match=r"size \(=0x4\)"):
        flops.describe("cain", 0, 4)
    with pytest.raises(ValueError, match="must be one of"):
        flops.describe("rife", 4, 4)
