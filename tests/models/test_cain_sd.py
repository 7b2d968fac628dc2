"""CAIN-SD: masked = packed = a loop over patches, for any Route; one trace for all of them."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn import models
from jaxdyn.models import cain_sd, fusion
from jaxdyn.models.sdfinder import Finder, magnitude
from jaxdyn.ops import patches, resample, warp
from jaxdyn.types import SCALES, Route

SIZE = (53, 90)  # odd, and no multiple of anything
OPTIONS = {
    "published": {},
    "shipped": {"is_aligned": True, "has_exit0": True},
}


@functools.cache
def network(kind):
    """A small network of a configuration, with weights that make every part matter; its variables; its two
    executions."""
    sizes = {"num_feat": 8, "num_group": 2, "num_block": 1, "reduction": 4, "patch": 32, "stride": 28}
    chunks = (2, 3, 2)  # fewer than there are patches, and few to compile
    model = models.build("cain_sd", **sizes, chunks=chunks, motion="dis", **OPTIONS[kind])
    frames, motion = inputs()
    shapes = jax.eval_shape(model.init, jax.random.key(0), *frames, motion)
    random = np.random.RandomState(0)
    draw = lambda leaf: random.randn(*leaf.shape).astype(np.float32) / np.sqrt(np.prod(leaf.shape[-4:-1]) + 9)  # noqa: E731
    variables = jax.tree.map(draw, shapes)  # like an initialisation, but nothing is zero

    @chex.assert_max_traces(1)
    def masked(route):
        return model.apply(variables, *frames, motion, route, "masked")[0]

    @chex.assert_max_traces(1)
    def packed(route):
        return model.apply(variables, *frames, motion, route, "packed")[0]

    chex.clear_trace_counter()  # the functions above count afresh for each configuration
    return model, variables, {"masked": jax.jit(masked), "packed": jax.jit(packed)}


@functools.cache
def inputs():
    """A frame pair and its motion at another size."""
    random = np.random.RandomState(3)
    frames = random.rand(2, 1, *SIZE, 3).astype(np.float32)
    motion = tuple(random.randn(2, 1, 27, 45, 2).astype(np.float32))
    return tuple(frames), motion


def some_route(model, seed):
    """A random Route; the first two are all-skip (or least) and all-full."""
    shape, low = (1, *model.grid(*SIZE).shape), 0 if model.has_exit0 else 1
    random = np.random.RandomState(seed)
    scale = random.randint(0, 3, shape) if seed > 1 else np.full(shape, 0)
    depth = (
        random.randint(low, model.num_group + 1, shape) if seed > 1 else np.full(shape, [low, model.num_group][seed])
    )
    return Route(scale.astype(np.int32), depth.astype(np.int32))


def naive(model, variables, route):
    """One patch after the other, as the paper's Fig. 2 reads."""
    (frame0, frame1), motion = inputs()
    bound = model.bind(variables)
    grid = model.grid(*SIZE)

    @jax.jit
    def around():
        moved = bound.displace(motion, SIZE)
        return bound.sources(frame0, frame1, moved), bound.exit0(frame0, frame1, moved)

    @functools.partial(jax.jit, static_argnums=(1, 2))
    def one_patch(source, scale, depth):
        def groups(features):
            for g in range(depth):
                features = cain_sd.cain.residual_group(bound.cain.body, g, features)
            return features

        return cain_sd.compute_patches(bound.cain.parameters(), bound._upscale(), source, scale, groups)

    everything, exit0 = around()
    out = np.zeros((1, *grid.shape, *grid.patch, 3), np.float32)
    for i, y in enumerate(grid.rows):
        for j, x in enumerate(grid.columns):
            here = (slice(None), slice(y, y + grid.patch[0]), slice(x, x + grid.patch[1]))
            depth, scale = int(route.depth[0, i, j]), SCALES[int(route.scale[0, i, j])]
            out[0, i, j] = exit0[here][0] if depth == 0 else one_patch(everything[here], scale, depth)[0]
    return patches.merge(jnp.asarray(out), grid)


@pytest.mark.parametrize("kind", OPTIONS)
def test_masked_packed_and_naive_agree(kind):
    model, variables, run = network(kind)
    for seed in range(20):  # `run` allows one trace
        route = some_route(model, seed)
        packed = run["packed"](route)
        np.testing.assert_allclose(packed, run["masked"](route), atol=1e-4)
        if seed == 2:
            np.testing.assert_allclose(packed, naive(model, variables, route), atol=1e-4)
    assert packed.shape == (1, *SIZE, 3)


@pytest.mark.parametrize("chunks", [(1, 2, 5)])
def test_chunks_do_not_change_the_picture(chunks):
    model, variables, run = network("shipped")
    frames, motion = inputs()
    route = some_route(model, 5)
    other = jax.jit(lambda r: model.clone(chunks=chunks).apply(variables, *frames, motion, r, "packed")[0])(route)
    np.testing.assert_allclose(other, run["packed"](route), atol=1e-5)


def test_batch_of_two_is_two_batches_of_one():
    model, variables, run = network("shipped")
    frames, motion = inputs()
    routes = [some_route(model, seed) for seed in (3, 4)]
    both = jax.tree.map(lambda *leaves: np.concatenate(leaves), *routes)
    twice = lambda tree: jax.tree.map(lambda leaf: np.concatenate([leaf, leaf]), tree)  # noqa: E731
    out = jax.jit(lambda r: model.apply(variables, *twice(frames), twice(motion), r, "packed")[0])(both)
    for index, route in enumerate(routes):
        np.testing.assert_allclose(out[index], run["packed"](route)[0], atol=1e-5)


def test_all_skip_is_the_aligned_mean_and_costs_no_network():
    model, _, run = network("shipped")
    (frame0, frame1), (flow01, flow10) = inputs()
    nothing = some_route(model, 0)
    assert not nothing.depth.any()
    flows = [cain_sd.resize_flow(flow, SIZE) / 2 for flow in (flow10, flow01)]
    aligned = [np.array(warp.backward_warp(*pair, "border"))[0] for pair in zip((frame0, frame1), flows, strict=True)]
    places = [np.asarray(warp.pixel_grid(*SIZE) + flow[0]) for flow in flows]
    num_alone = 0
    for y, x in np.ndindex(*SIZE):  # what one frame alone shows is that frame's
        sees = [
            bool((place[y, x] >= -0.5).all() and (place[y, x] <= np.array(SIZE[::-1]) - 0.5).all()) for place in places
        ]
        if sees[0] != sees[1]:
            aligned[sees.index(False)][y, x] = aligned[sees.index(True)][y, x]
            num_alone += 1
    assert 0 < num_alone < 500
    np.testing.assert_allclose(run["packed"](nothing)[0], (aligned[0] + aligned[1]) / 2, atol=1e-5)


def test_the_finders_decide_and_learn_by_straight_through():
    model, variables, _ = network("shipped")
    frames, motion = inputs()

    @jax.jit
    def run(finders, key):
        merged = {"params": {**variables["params"], **finders}}
        frame, aux = model.apply(merged, *frames, motion, rngs=None if key is None else {"route": key})
        return frame.mean(), aux

    finders = {name: variables["params"][name] for name in ("scale_net", "depth_net")}
    value, aux = run(finders, None)
    np.testing.assert_array_equal(aux["route"].scale, aux["scale_logits"].argmax(-1))
    np.testing.assert_array_equal(aux["route"].depth, aux["depth_logits"].argmax(-1))  # exit 0 counts
    assert run(finders, None)[0] == value  # no noise at test time
    gradient = jax.grad(lambda f: run(f, jax.random.key(0))[0])(finders)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
    assert all(np.abs(leaf).max() > 0 for leaf in (g["conv3"]["kernel"] for g in gradient.values()))


def test_fixed_scale_and_depth_need_no_finder():
    model = network("shipped")[0].clone(fixed_scale=0, fixed_depth=2)
    frames, motion = inputs()
    shapes = jax.eval_shape(model.init, jax.random.key(0), *frames, motion)
    assert set(shapes["params"]) == {"cain"}
    nothing = {"scale_logits": None, "depth_logits": None}
    decision = model.apply({"params": {}}, nothing, None, (1, 2, 3), method="decide")
    assert (decision["route"].depth == 2).all()
    assert (decision["route"].scale == 0).all()
    np.testing.assert_array_equal(decision["depth_mask"].argmax(-1), np.full((1, 2, 3), 2))


def test_finder_pools_each_patchs_area(random):
    grid = patches.grid(64, 96, 32, 32)
    finder = Finder(3)
    maps = jnp.asarray(random.rand(1, 64, 96, 1), jnp.float32)
    logits, aux = finder.init_with_output(jax.random.key(0), maps, grid)[0]
    cells = np.asarray(aux["cells"])  # [1, 16, 24, 3]: 8 x 8 cells for each patch
    for i in range(2):
        for j in range(3):
            own = cells[0, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8].mean(axis=(0, 1))
            np.testing.assert_allclose(logits[0, i, j], own, atol=1e-5)


def test_magnitude_is_the_larger_motion():
    flow01, flow10 = jnp.asarray([[[[3.0, 4.0], [0.0, 1.0]]]]), jnp.asarray([[[[0.0, 1.0], [6.0, 8.0]]]])
    np.testing.assert_allclose(magnitude(flow01, flow10)[0, 0, :, 0], [5.0, 10.0], rtol=1e-6)


def test_project_solves_its_equation(random):
    y, x = np.mgrid[:40, :50].astype(np.float32)
    flow = np.stack([3 + 0.05 * x, -2 + 0.03 * y], -1)[None]
    u = fusion.project(jnp.asarray(flow))
    here = np.stack([x, y], -1)[None] - np.asarray(u) / 2
    wanted = np.stack([3 + 0.05 * here[..., 0], -2 + 0.03 * here[..., 1]], -1)
    np.testing.assert_allclose(u[:, 8:-8, 8:-8], wanted[:, 8:-8, 8:-8], atol=1e-3)


def test_a_moving_camera_shows_the_middle_up_to_its_borders(random):
    """A view that slides by 6 px: what only one frame shows is taken from it, by every candidate."""
    scene = random.rand(40, 60, 3).astype(np.float32)
    frame0, middle, frame1 = (scene[None, :, x : x + 54] for x in (0, 3, 6))
    flow = np.broadcast_to(np.float32([6, 0]), (1, 40, 54, 2))
    moved = fusion.displacements((-flow, flow), (40, 54))
    stack = np.asarray(fusion.sources(frame0, frame1, moved))
    for number, name in enumerate(fusion.NAMES[:6]):
        np.testing.assert_allclose(stack[..., 3 * number : 3 * number + 3], middle, atol=1e-6, err_msg=name)
    for picture in fusion.aligned_pair(frame0, frame1, moved):
        np.testing.assert_allclose(picture, middle, atol=1e-6)


def test_sources_of_a_patch_are_a_crop_of_the_frames(random):
    (frame0, frame1), motion = inputs()
    moved = fusion.displacements(motion, SIZE)
    whole = fusion.sources(frame0, frame1, moved)
    part = fusion.sources_at(frame0, frame1, moved, jnp.asarray([[5, 9], [20, 50]]), (24, 32))
    np.testing.assert_allclose(part[0], whole[0, 5:29, 9:41], atol=1e-4)
    np.testing.assert_allclose(part[1], whole[0, 20:44, 50:82], atol=1e-4)
    full = resample.resize_bilinear(moved, SIZE)
    np.testing.assert_allclose(whole[..., -4:], 2 * full[..., 4:], atol=1e-4)


def test_router_images_are_never_enlarged():
    assert cain_sd.router_size(1080, 2048, 192) == (192, 364)
    assert cain_sd.router_size(720, 1280, 192) == (192, 341)
    assert cain_sd.router_size(2, 2, 192) == (2, 2)


def test_tiny_frames_work():
    model, variables, _ = network("shipped")
    frame = jnp.ones((1, 2, 2, 3)) * 0.25
    flow = jnp.zeros((1, 2, 2, 2))
    route = Route(jnp.full((1, 1, 1), 2, jnp.int32), jnp.full((1, 1, 1), 2, jnp.int32))
    out, _ = jax.jit(lambda r: model.apply(variables, frame, frame, (flow, flow), r, "packed"))(route)
    assert out.shape == (1, 2, 2, 3)
    assert np.isfinite(out).all()


def test_errors_name_value_and_remedy():
    model, variables, _ = network("shipped")
    frames, motion = inputs()
    shape = (1, *model.grid(*SIZE).shape)
    zeros = np.zeros(shape, np.int32)
    with pytest.raises(ValueError, match=r"route.depth holds 9 to 9, expected 0 to 2"):
        model.apply(variables, *frames, motion, {"scale": zeros, "depth": zeros + 9})
    with pytest.raises(ValueError, match="one value for each patch"):
        model.apply(variables, *frames, motion, Route(zeros[:, :1], zeros))
    with pytest.raises(ValueError, match="expected an integer type"):
        model.apply(variables, *frames, motion, Route(zeros / 2, zeros))
    with pytest.raises(ValueError, match="keys 'scale' and 'depth'"):
        model.apply(variables, *frames, motion, {"scale": zeros})
    with pytest.raises(ValueError, match=r"jaxdyn\.motion\.dis"):
        model.apply(variables, *frames)
    with pytest.raises(ValueError, match="'masked' or 'packed'"):
        model.apply(variables, *frames, motion, None, "dense")
    with pytest.raises(ValueError, match=r"expected \[1, h, w, 2\]"):
        model.apply(variables, *frames, (motion[0][0], motion[1]))
    with pytest.raises(ValueError, match="needs motion to align by"):
        jax.eval_shape(models.build("cain_sd", is_aligned=True, motion="difference").init, jax.random.key(0), *frames)
