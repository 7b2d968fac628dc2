"""Costs: the published figures, linearity, and a Route's cost against counting by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn import flops, models
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.models.skipvsr import SkipVSR
from jaxdyn.types import BlockRoute, Cost, Route, Stage


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
    total = sum(stages[name].flops for name in ("finders", "alignment", "exit 0", "merge"))
    for scale, depth in zip(route.scale.ravel(), route.depth.ravel(), strict=True):
        if depth:
            total += stages[f"ends {2**scale}"].flops + depth * stages[f"group {2**scale}"].flops
    nominal = flops.route_cost(model, route, 50, 70)
    assert nominal.flops == pytest.approx(total)


def test_nothing_selected_costs_the_router_only(model):
    shape = (1, *model.grid(50, 70).shape)
    nothing = Route(np.zeros(shape, np.int32), np.zeros(shape, np.int32))
    cost = flops.route_cost(model, nothing, 50, 70)
    assert {stage.name for stage in cost.stages} == {"finders", "alignment", "exit 0", "merge"}


def test_exit_0_costs_where_a_patch_takes_it(model):
    shape = (1, *model.grid(50, 70).shape)
    depth = np.ones(shape, np.int32)
    names = lambda: {stage.name for stage in flops.route_cost(model, Route(0 * depth, depth), 50, 70).stages}  # noqa: E731
    assert "exit 0" not in names()
    depth[0, 0, 0] = 0
    assert "exit 0" in names()


def test_a_cost_adds_up_and_leaves_out_what_is_excluded():
    cost = Cost((Stage("a", 10, 4, 2), Stage("b", 5, 2), Stage("c", 100, 50, 1, is_excluded=True)))
    assert (cost.flops, cost.multiply_adds) == (25, 10)
    assert cost.share(Cost((Stage("dense", 100, 50),))) == 0.25


@pytest.mark.parametrize(("name", "parameters"), [("pwcnet", 9_374_274), ("carn_m", 414_811)])
def test_other_networks_are_described(name, parameters):
    told = flops.describe(name, 64, 64)
    assert told["parameters"] == parameters
    assert told["flops"] > told["multiply_adds"] > 0


# Super-resolution

GIGA = 1e9


@pytest.fixture(scope="module")
def published() -> Cost:
    """BasicVSR on a frame of 320 x 180."""
    return flops.dense_basicvsr(models.build("basicvsr"), 180, 320)


def test_basicvsr_costs_what_the_paper_says(published):
    told = flops.describe("basicvsr", 320, 180)
    assert told["parameters"] == 4_851_011
    assert 337.8 <= round(told["multiply_adds"] / GIGA, 1) <= 338.9
    assert told["multiply_adds"] / GIGA == pytest.approx(338.5, rel=0.005)
    assert told["flops"] == pytest.approx(2 * 338.5 * GIGA, rel=0.01)
    excluded = [stage for stage in told["stages"] if stage.get("excluded")]
    assert [stage["name"] for stage in excluded] == ["SpyNet"]
    assert excluded[0]["times"] * excluded[0]["multiply_adds"] / GIGA == pytest.approx(39.3, abs=0.05)
    block = next(stage for stage in told["stages"] if stage["name"] == "residual block")
    assert block["multiply_adds"] / GIGA == pytest.approx(4.2467, abs=1e-4)
    assert block["times"] == 60
    # A share of the dense cost counts both flows.
    assert published.multiply_adds / GIGA == pytest.approx(377.05, abs=0.05)


@pytest.mark.parametrize(
    ("share", "giga"), [(0.95, 324.9), (0.843, 297.8), (0.71, 264.0), (0.525, 216.6), (0.245, 145.5)]
)
def test_shares_of_blocks_give_the_papers_table_2(published, share, giga):
    parts = {stage.name: stage.multiply_adds * stage.times / GIGA for stage in published.stages}
    blocks = parts["residual block"]
    rest = sum(parts.values()) - blocks - parts["SpyNet"]
    assert rest == pytest.approx(82.95, abs=0.05)
    assert rest + share * blocks == pytest.approx(giga, rel=0.01)
    assert (giga - rest) / blocks == pytest.approx(share, rel=0.01)


def test_spynet_and_skipvsr_are_described():
    flow, static, dynamic = (flops.describe(name, 320, 180) for name in ("spynet", "basicvsr", "skipvsr"))
    assert flow["parameters"] == 1_440_300
    assert dynamic["parameters"] == static["parameters"] + 2 * 65  # a weight for each feature and a bias, twice
    assert (dynamic["flops"], dynamic["stages"]) == (static["flops"], static["stages"])
    excluded = next(stage for stage in static["stages"] if stage.get("excluded"))
    assert excluded["multiply_adds"] == flow["multiply_adds"]
    counted = [stage for stage in static["stages"] if not stage.get("excluded")]
    assert sum(stage["flops"] * stage["times"] for stage in counted) == pytest.approx(static["flops"])


@pytest.fixture(scope="module", params=["frame", "patches"])
def upscaler(request) -> SkipVSR:
    """A small network, 2 x 3 tiles."""
    return models.build(
        "skipvsr", num_feat=4, num_block=3, num_hr=4, motion="dis", tiling=request.param, tile=6, stride=5, whole=0.8
    )


def block_route(share, seed=0):
    return BlockRoute(np.random.RandomState(seed).rand(2, 2, 4, 3, 2, 3) < share)


def test_a_block_routes_cost_is_that_of_its_tiles_and_of_whole_frames(upscaler):
    """A block on five or six of six tiles, 0.8 of them and over, runs on the frame as a whole."""
    stages = flops.skipvsr_stages(upscaler, 11, 13)
    fixed = flops.block_route_cost(upscaler, block_route(0), 11, 13).flops
    assert fixed > 0
    for share in (0.3, 0.7, 1.0):
        route = block_route(share)
        cost = flops.block_route_cost(upscaler, route, 11, 13)
        wanted = np.zeros(route.blocks.shape[:4])
        for place in np.ndindex(wanted.shape):
            number = route.blocks[place].sum()
            wanted[place] = stages["block"].flops if number >= 5 else number * stages["tile"].flops
        assert cost.flops == pytest.approx(fixed + wanted.sum())
        np.testing.assert_allclose(flops.block_flops(upscaler, route.blocks, 11, 13), wanted)
        times = {stage.name: stage.times for stage in cost.stages}
        assert times[stages["tile"].name] * stages["tile"].flops == pytest.approx(
            wanted[wanted != stages["block"].flops].sum()
        )


def test_what_is_always_computed_is_counted_once_for_each_picture(upscaler):
    """2 clips of 4 frames: 4 frames each way, 6 tiles compared before each block and after the last."""
    times = {
        name: next(s.times for s in flops.block_route_cost(upscaler, block_route(0), 11, 13).stages if s.name == named)
        for name, named in ((k, v.name) for k, v in flops.skipvsr_stages(upscaler, 11, 13).items())
    }
    wanted = {"warp": 16, "head": 16, "tile": 0, "block": 0, "gate": 16 * 6 * 4, "tail": 8}
    assert times == wanted | ({"merge": 8} if upscaler.tiling == "patches" else {})


def test_motion_is_paid_for_every_pair_in_both_directions():
    model = models.build("skipvsr", num_feat=4, num_block=3, num_hr=4, tile=6)  # 2 clips of 4 frames
    cost = flops.block_route_cost(model, block_route(0), 11, 13)
    assert [stage.times for stage in cost.stages if stage.name == "SpyNet"] == [2 * 2 * 3]


def test_frames_that_are_not_visited_cost_nothing(upscaler):
    """With keep = (1, 3) of 4 frames, backward visits frames 3 to 1, forward 0 to 2; what a Route says of the others is
    never run."""
    route, keep = block_route(1.0), (1, 3)
    visited = np.ones((2, 2, 4, 3, 2, 3), bool)
    visited[:, 0, 0] = visited[:, 1, 3] = False
    stages = flops.skipvsr_stages(upscaler, 11, 13)
    cost = flops.block_route_cost(upscaler, route, 11, 13, keep)
    assert cost == flops.block_route_cost(upscaler, BlockRoute(visited), 11, 13, keep)
    times = {stage.name: stage.times for stage in cost.stages}
    assert times[stages["tile"].name] == 0
    assert times[stages["block"].name] == 2 * (3 + 3) * 3
    assert times[stages["head"].name] == 2 * (3 + 3)
    assert times[stages["tail"].name] == 2 * 2


def test_errors():
    with pytest.raises(ValueError, match=r"size \(=0x4\)"):
        flops.describe("cain", 0, 4)
    with pytest.raises(ValueError, match="must be one of"):
        flops.describe("rife", 4, 4)
