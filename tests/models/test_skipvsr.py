"""SkipVSR: masked = packed = a loop over frames, blocks and tiles, for both tilings; one trace for all decisions.

The loop is NumPy and shares no line with the network but the grid of tiles and the merging of patches.
"""

import functools
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxdyn import models
from jaxdyn.models import basicvsr, skipvsr
from jaxdyn.ops import patches
from jaxdyn.ops.resample import resize_bilinear
from jaxdyn.types import BlockRoute

SIZE = (11, 13)  # odd; 2 x 3 tiles of 6 x 5 that reach beyond the frame, 2 x 3 patches of 6 x 6 that overlap
TIME, BLOCKS, TARGETS = 4, 5, (2, 4, 5)
FIELDS = {"num_feat": 4, "num_block": BLOCKS, "num_hr": 3, "motion": "dis", "tile": 6, "stride": 5, "interval": 2}
TILINGS = ("frame", "patches")
THRESHOLDS = (0.0, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 1.0)


@functools.cache
def inputs():
    """Two clips, their motion, which at places leads out of the frame, and shots that begin at different frames."""
    random = np.random.RandomState(1)
    clip = random.rand(2, TIME, *SIZE, 3).astype(np.float32)
    motion = tuple(1.5 * random.randn(2, 2, TIME - 1, *SIZE, 2).astype(np.float32))
    starts = np.zeros((2, TIME), bool)
    starts[1, 1] = True
    return clip, motion, starts


@functools.cache
def parameters():
    """Weights that make every part matter, and gates that are of two minds."""
    random, shapes = np.random.RandomState(2), jax.eval_shape(build("frame").init, jax.random.key(0), inputs()[0])
    draw = lambda leaf: random.randn(*leaf.shape) / np.sqrt(np.prod(leaf.shape[-4:-1]) + 9)  # noqa: E731
    params = jax.tree.map(lambda leaf: np.asarray(draw(leaf), np.float32), shapes["params"])
    for name, bias in (("gate_backward", 0.2), ("gate_forward", -0.3)):
        params[name] = {"kernel": random.randn(4).astype(np.float32), "bias": np.float32(bias)}
    return params


def build(tiling, **fields):
    return models.build("skipvsr", **{**FIELDS, **fields}, tiling=tiling)


def some_route(model, seed, batch=2):
    """A random Route; the first two are all-skip and all-full."""
    shape = (batch, 2, TIME, BLOCKS, *model.grid(*SIZE).shape)
    share = seed if seed < 2 else 0.5
    return BlockRoute(np.random.RandomState(seed).rand(*shape) < share)


def runner(tiling, execution, is_routed=False, rule="above", batch=2, parallel=3, keep=None, whole=1.0):
    """One network, compiled once: (threshold or Route, params, starts) -> (large, aux), for the first `batch` clips."""
    return compiled(tiling, execution, is_routed, rule, batch, parallel, keep, whole)


@functools.cache
def compiled(tiling, execution, is_routed, rule, batch, parallel, keep, whole):
    model, traces = build(tiling, rule=rule, parallel=parallel, whole=whole), []
    clip, motion, _ = jax.tree.map(lambda leaf: leaf[:batch], inputs())

    @jax.jit
    def run(decision, params, starts, teacher):
        traces.append(None)
        chosen = {"route" if is_routed else "threshold": decision}
        given = {"starts": starts, "motion": motion, "keep": keep, "teacher": teacher}
        return model.apply({"params": params}, clip, execution=execution, **chosen, **given)

    def call(decision, params=None, starts=None, teacher=None):
        if execution == "masked" and not is_routed and teacher is None:
            teacher = np.zeros(features_shape(model, batch), np.float32)  # of gates, always: one trace for all tests
        starts = inputs()[2][:batch] if starts is None else starts
        result = run(decision, parameters() if params is None else params, starts, teacher)
        assert len(traces) == 1
        return jax.tree.map(np.asarray, result)

    return model, call


def features_shape(model, batch):
    grid = model.grid(*SIZE)
    num = 1 if model.tiling == "frame" else math.prod(grid.shape)
    return (batch * num, 2, TIME, len(TARGETS), *(SIZE if model.tiling == "frame" else grid.patch), 4)


# The loop


def convolve(x, layer, index=None):
    """3 x 3 (or 1 x 1), zeros outside: [H, W, C] -> [H, W, O]."""
    kernel, bias = (layer[name] if index is None else layer[name][index] for name in ("kernel", "bias"))
    side, (height, width, _) = kernel.shape[0], x.shape
    x = np.pad(x, ((side // 2, side // 2), (side // 2, side // 2), (0, 0)))
    taps = [(i, j) for i in range(side) for j in range(side)]
    return sum(x[i : i + height, j : j + width] @ kernel[i, j] for i, j in taps) + bias


def leaky(x):
    return np.where(x > 0, x, 0.1 * x)


def warp(image, flow):
    """out[p] = image[p + flow[p]], bilinear, zeros outside."""
    out = np.zeros_like(image)
    height, width, _ = image.shape
    for y in range(height):
        for x in range(width):
            at_x, at_y = x + flow[y, x, 0], y + flow[y, x, 1]
            for v in (math.floor(at_y), math.floor(at_y) + 1):
                for u in (math.floor(at_x), math.floor(at_x) + 1):
                    if 0 <= v < height and 0 <= u < width:
                        out[y, x] += (1 - abs(at_x - u)) * (1 - abs(at_y - v)) * image[v, u]
    return out


def shuffle(x):
    """[H, W, 4 C] -> [2 H, 2 W, C]."""
    height, width, channels = x.shape
    out = np.zeros((2 * height, 2 * width, channels // 4))
    for y in (0, 1):
        for x_ in (0, 1):
            out[y::2, x_::2] = x[..., 2 * y + x_ :: 4]
    return out


def enlarge(params, image, backward, forward):
    x = leaky(convolve(np.concatenate([backward, forward], -1), params["fusion"]))
    x = leaky(shuffle(convolve(x, params["upconv1"])))
    x = leaky(shuffle(convolve(x, params["upconv2"])))
    x = convolve(leaky(convolve(x, params["conv_hr"])), params["conv_last"])
    return x + np.asarray(resize_bilinear(image[None], x.shape[:2])[0])


def one_picture(params, clip, motion, starts, keep, tiles, decide):
    """A picture that travels by itself, [T, p, q, ...]: large frames {t}, scores and decisions {side, t, m, tile}, what
    each block gave {side, t, m}."""
    features, scores, runs, gave = {}, {}, {}, {}
    for side, name in enumerate(("backward", "forward")):
        body, gate = params[name]["body"], params[f"gate_{name}"]
        state = reference = None
        for t in range(len(clip) - 1, keep[0] - 1, -1) if side == 0 else range(keep[1]):
            begins = t + 1 if side == 0 else t  # the frame whose shot has no frame on the side that we come from
            is_new = begins in (0, len(clip)) or bool(starts[begins])
            x = np.zeros((*clip.shape[1:3], 4))
            if not is_new:
                x = warp(state, motion[0][t] if side == 0 else motion[1][t - 1])
            x = leaky(convolve(np.concatenate([clip[t], x], -1), params[name]["head"]))
            before, reference = reference, []
            for m in range(BLOCKS):
                reference.append(x)
                after = x.copy()
                whole = x + convolve(np.maximum(convolve(x, body["conv1"], m), 0), body["conv2"], m)
                for tile, place in tiles.items():
                    score = 0.0
                    if not is_new:
                        change = np.abs(x - before[m])[place].mean(axis=(0, 1))
                        score = 1 / (1 + np.exp(-(change @ gate["kernel"] + gate["bias"])))
                    key = (side, t, m, *tile)
                    scores[key], runs[key] = score, decide(score, is_new, key)
                    if runs[key]:
                        after[place] = whole[place]
                x = gave[side, t, m] = after
            features[side, t] = state = x
    large = {t: enlarge(params, clip[t], features[0, t], features[1, t]) for t in range(*keep)}
    return large, scores, runs, gave


def naive(model, clip, motion, starts, decide, keep=None):
    """One clip as the paper reads: (large [K, 4 H, 4 W, 3], scores, runs [2, T, M, n_h, n_w], features as the network
    gives them)."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), parameters())
    keep, grid = keep or (0, TIME), model.grid(*SIZE)
    places = {
        (i, j): np.s_[y : y + grid.patch[0], x : x + grid.patch[1]]
        for i, y in enumerate(grid.rows)
        for j, x in enumerate(grid.columns)
    }
    shape = (2, TIME, BLOCKS, *grid.shape)
    scores, runs, features = np.zeros(shape), np.zeros(shape, bool), np.zeros(features_shape(model, 1))
    pictures = [((), places)] if model.tiling == "frame" else [(place, {tile: ()}) for tile, place in places.items()]
    found = []
    for number, (place, tiles) in enumerate(pictures):
        crop = (slice(None), *place)
        moved = [flow[crop] for flow in motion]
        large, scored, ran, gave = one_picture(params, clip[crop], moved, starts, keep, tiles, decide)
        found.append(np.stack([large[t] for t in range(*keep)]))
        for key in scored:
            scores[key], runs[key] = scored[key], ran[key]
        for (side, t, m), after in gave.items():
            if m + 1 in TARGETS:
                features[number, side, t, TARGETS.index(m + 1)] = after
    if model.tiling == "frame":
        return found[0], scores, runs, features
    pieces = np.stack(found, axis=1)  # [K, N, 4 p, 4 q, 3]
    pieces = pieces.reshape(len(pieces), *grid.shape, *pieces.shape[2:])
    return np.asarray(patches.merge(jnp.asarray(pieces), skipvsr.enlarged(grid))), scores, runs, features


def by_threshold(threshold, rule):
    """Eq. 9; a first frame runs all its blocks."""

    def decide(score, is_new, key):
        bound = threshold if rule == "above" else 1 - threshold
        assert threshold in (0, 1) or is_new or abs(score - bound) > 1e-6, "too near to call"
        return is_new or threshold == 0 or (score > bound if rule == "above" else score < bound)

    return decide


def check_against_the_loop(result, model, rows, make_decide, keep=None):
    """Every clip of a result against the loop."""
    large, aux = result
    clip, motion, starts = inputs()
    for b in range(rows):
        flows = [flow[b] for flow in motion]
        wanted = naive(model, clip[b], flows, starts[b], make_decide(b), keep)
        np.testing.assert_array_equal(aux["route"].blocks[b], wanted[2])
        np.testing.assert_allclose(aux["scores"][b], wanted[1], atol=1e-5)
        np.testing.assert_allclose(large[b], wanted[0], atol=1e-4)
        if "features" in aux:
            num = len(wanted[3])
            np.testing.assert_allclose(aux["features"][b * num : (b + 1) * num], wanted[3], atol=1e-4)


def check_equal(packed, masked, batch):
    """The same picture, decisions and scores."""
    np.testing.assert_allclose(packed[0], masked[0][:batch], atol=1e-4)
    np.testing.assert_array_equal(packed[1]["route"].blocks, masked[1]["route"].blocks[:batch])
    np.testing.assert_allclose(packed[1]["scores"], masked[1]["scores"][:batch], atol=1e-5)


# Agreement


@pytest.mark.parametrize(("tiling", "rule"), [("frame", "above"), ("patches", "below")])
def test_masked_equals_the_loop_where_the_gates_decide(tiling, rule):
    model, run = runner(tiling, "masked", rule=rule)
    shares = []
    for threshold in THRESHOLDS:
        result = run(threshold)
        shares.append(result[1]["route"].blocks.mean())
        if threshold in (0.45, 0.55):
            check_against_the_loop(result, model, 2, lambda b, threshold=threshold: by_threshold(threshold, rule))
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)
    assert 0.1 < shares[4] < 0.9


@pytest.mark.parametrize(
    ("tiling", "rule", "batch", "parallel", "whole"), [("frame", "above", 2, 3, 2.0), ("patches", "below", 1, 9, 0.5)]
)
def test_packed_equals_masked_where_the_gates_decide(tiling, rule, batch, parallel, whole):
    _, masked = runner(tiling, "masked", rule=rule)
    _, packed = runner(tiling, "packed", rule=rule, batch=batch, parallel=parallel, whole=whole)
    for threshold in THRESHOLDS:
        check_equal(packed(threshold), masked(threshold), batch)


@pytest.mark.parametrize(("tiling", "keep"), [("frame", (1, 3)), ("patches", None)])
def test_masked_equals_the_loop_for_any_route(tiling, keep):
    model, run = runner(tiling, "masked", is_routed=True, keep=keep)
    for seed in range(3):
        route = some_route(model, seed)
        result = run(route)
        check_against_the_loop(result, model, 2, lambda b, r=route: lambda _, __, key: r.blocks[(b, *key)], keep)
    assert result[0].shape == (2, TIME if keep is None else 2, 4 * SIZE[0], 4 * SIZE[1], 3)


@pytest.mark.parametrize(
    ("tiling", "batch", "parallel", "keep", "whole"),
    [("frame", 1, 1, (1, 3), 0.5), ("patches", 2, 2, None, 1.0)],
)
def test_packed_equals_masked_for_any_route(tiling, batch, parallel, keep, whole):
    model, masked = runner(tiling, "masked", is_routed=True, keep=keep)
    _, packed = runner(tiling, "packed", is_routed=True, batch=batch, parallel=parallel, keep=keep, whole=whole)
    for seed in range(10):
        route = some_route(model, seed)
        first = BlockRoute(route.blocks[:batch])
        check_equal(packed(first), masked(route), batch)
        if seed == 2:
            check_against_the_loop(
                packed(first), model, 1, lambda b, r=route: lambda _, __, key: r.blocks[(b, *key)], keep
            )


def test_both_rules_are_one_with_the_gates_turned_round():
    """S < 1 - alpha is 1 - S > alpha, and a gate of the opposite sign says 1 - S."""
    _, below = runner("patches", "masked", rule="below")
    _, above = runner("patches", "masked", rule="above")
    turned = {k: jax.tree.map(np.negative, v) if k.startswith("gate") else v for k, v in parameters().items()}
    for threshold in (0.3, 0.45, 0.55):
        here, there = below(threshold), above(threshold, turned)
        np.testing.assert_array_equal(here[1]["route"].blocks, there[1]["route"].blocks)
        np.testing.assert_allclose(here[0], there[0], atol=1e-5)


def test_threshold_0_is_basicvsr():
    clip, motion, starts = inputs()
    static = models.build("basicvsr", **{name: FIELDS[name] for name in ("num_feat", "num_block", "num_hr", "motion")})
    own = {name: leaf for name, leaf in parameters().items() if not name.startswith("gate")}
    large = jax.jit(lambda starts: static.apply({"params": own}, clip, starts=starts, motion=motion)[0])(starts)
    for execution in ("masked", "packed"):
        np.testing.assert_allclose(runner("frame", execution)[1](0.0)[0], large, atol=1e-4)


def test_threshold_1_runs_first_frames_only():
    for execution in ("masked", "packed"):
        blocks = runner("frame", execution)[1](1.0)[1]["route"].blocks
        expected = np.zeros((2, 2, TIME), bool)
        expected[:, 0, -1] = expected[:, 1, 0] = True
        expected[1, 0, 0] = expected[1, 1, 1] = True  # the second clip's cut
        np.testing.assert_array_equal(blocks, np.broadcast_to(expected[..., None, None, None], blocks.shape))


def test_two_shots_are_two_clips():
    """What lies on one side of a cut does not depend on the other; a cut at frame 0 changes nothing."""
    _, run = runner("frame", "packed")
    starts = np.array([[False, True, False, False], [True, False, False, False]])
    large, aux = run(0.5, starts=starts)
    clip, motion, _ = inputs()
    model = build("frame")
    second = slice(1, None)
    moved = [flow[0, second] for flow in motion]
    wanted = naive(model, clip[0, second], moved, np.zeros(3, bool), by_threshold(0.5, "above"), (0, 3))
    np.testing.assert_allclose(large[0, second], wanted[0], atol=1e-4)
    np.testing.assert_array_equal(aux["route"].blocks[0, :, second], wanted[2][:, :3])
    np.testing.assert_array_equal(large[1], run(0.5, starts=np.zeros((2, TIME), bool))[0][1])


# What else comes back


@pytest.mark.parametrize(("tiling", "rule"), [("frame", "above"), ("patches", "below")])
def test_confidence_is_eq_7_by_a_slow_loop(tiling, rule, random):
    model, run = runner(tiling, "masked", rule=rule)
    _, aux = run(0.5)
    shape, grid = features_shape(model, 2), model.grid(*SIZE)
    assert aux["features"].shape == shape
    assert aux["scores"].shape == aux["confidence"].shape == (2, 2, TIME, BLOCKS, *grid.shape)
    assert ((aux["scores"] >= 0) & (aux["scores"] <= 1)).all()
    # A block that is a target and equals the teacher's is trusted in full.
    same = run(0.5, teacher=aux["features"])[1]["confidence"]
    np.testing.assert_array_equal(same[:, :, :, np.array(TARGETS) - 1], 1)
    assert same.min() < 1
    teacher = (aux["features"] + 0.3 * random.randn(*shape)).astype(np.float32)
    found = run(0.5, teacher=teacher)[1]["confidence"]
    num = len(teacher) // 2
    for b in (0, 1):
        for i, y in enumerate(grid.rows):
            for j, x in enumerate(grid.columns):
                place = np.s_[y : y + grid.patch[0], x : x + grid.patch[1]] if tiling == "frame" else ()
                picture = b if tiling == "frame" else b * num + i * grid.shape[1] + j
                for number, target in enumerate(TARGETS):
                    for side, t in np.ndindex(2, TIME):
                        ours, theirs = (f[picture, side, t, number][place] for f in (aux["features"], teacher))
                        wanted = 1 - np.tanh(np.sqrt(np.square(ours - theirs).mean()))
                        np.testing.assert_allclose(found[b, side, t, target - 1, i, j], wanted, atol=1e-5)


@functools.cache
def gradients(is_remat):
    """(cotangents of the picture, the scores, the features and the confidence) -> gradients of all parameters."""
    clip, motion, starts = inputs()
    model = build("frame", is_remat=is_remat)

    @jax.jit
    def pull(params, cotangents):
        def run(params):
            teacher = np.zeros(features_shape(model, 2), np.float32)
            large, aux = model.apply({"params": params}, clip, 0.5, starts=starts, motion=motion, teacher=teacher)
            return {"large": large, **{name: aux[name] for name in ("scores", "features", "confidence")}}

        values, pull_back = jax.vjp(run, params)
        weights = {name: jnp.full(leaf.shape, cotangents[name]) for name, leaf in values.items()}
        return pull_back(weights)[0], values

    def of(*names):
        return pull(parameters(), {n: float(n in names) for n in ("large", "scores", "features", "confidence")})

    return of


GATES = ("gate_backward", "gate_forward")


def test_the_mask_is_a_constant_to_the_gradient():
    of = gradients(False)
    for source, unreached in (("large", GATES), ("features", {*parameters()} - {"backward", "forward"})):
        found, _ = of(source)
        for path, leaf in jax.tree_util.tree_leaves_with_path(found):
            assert np.isfinite(leaf).all(), path
            assert np.any(leaf) == (path[0].key not in unreached), (source, path)


def test_only_the_gates_learn_from_the_scores_and_nothing_from_the_confidence():
    of = gradients(False)
    found, values = of("scores")
    for side, gate in enumerate(GATES):
        slope = values["scores"][:, side] * (1 - values["scores"][:, side])  # of a sigmoid; 0 where nothing is compared
        np.testing.assert_allclose(found[gate]["bias"], slope.sum(), rtol=1e-5)
        assert np.isfinite(found[gate]["kernel"]).all()
        assert np.all(found[gate]["kernel"] != 0)
    others = [leaf for name, part in found.items() if name not in GATES for leaf in jax.tree.leaves(part)]
    assert not any(map(np.any, others + jax.tree.leaves(of("confidence")[0])))


def test_recomputing_blocks_changes_no_gradient():
    names = ("large", "scores", "features")
    kept, recomputed = (gradients(is_remat)(*names)[0] for is_remat in (False, True))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(a).max()), kept, recomputed
    )


# Patches and sizes


def test_patches_cover_the_frame():
    """With all parameters zero the picture is the bilinearly enlarged frame; it may differ within two large pixels of
    a patch's border, beyond which the enlargement of a patch does not see."""
    model, run = runner("patches", "masked", rule="below")
    clip, grid = inputs()[0], model.grid(*SIZE)
    large, _ = run(0.0, jax.tree.map(np.zeros_like, parameters()))
    wanted = np.asarray(resize_bilinear(clip.reshape(-1, *SIZE, 3), (4 * SIZE[0], 4 * SIZE[1]))).reshape(large.shape)
    is_near = []
    for starts, patch, side in zip((grid.rows, grid.columns), grid.patch, SIZE, strict=True):
        borders = np.array([4 * b for s in starts for b in (s, s + patch) if 0 < b < side])
        is_near.append((np.abs(np.arange(4 * side)[:, None] + 0.5 - borders) < 2).any(1))
    is_far = ~is_near[0][:, None] & ~is_near[1]
    assert is_far.mean() > 0.25
    np.testing.assert_allclose(large[:, :, is_far], wanted[:, :, is_far], atol=1e-5)
    assert np.abs(large - wanted).max() < np.abs(np.diff(clip, axis=2)).max()  # nowhere a hole
    bright = {**jax.tree.map(np.zeros_like, parameters())}
    bright["conv_last"] = {**bright["conv_last"], "bias": np.full(3, 100, np.float32)}
    np.testing.assert_allclose(run(0.0, bright)[0] - large, 100, rtol=1e-5)  # weights sum to 1 at every pixel


class Toy(nn.Module):
    """A flow that sees the whole picture: the difference of means."""

    def __call__(self, ref, supp):
        mean = (ref - supp).mean(axis=(1, 2), keepdims=True)[..., :2]
        return jnp.broadcast_to(mean, (*ref.shape[:3], 2)), {}


@pytest.mark.parametrize("tiling", TILINGS)
def test_a_patch_has_its_own_motion(tiling, monkeypatch):
    monkeypatch.setattr(basicvsr, "SpyNet", Toy)
    model, clip = build(tiling, motion="spynet"), inputs()[0]
    motion = jax.jit(lambda: model.apply({"params": parameters()}, clip)[1]["motion"])()
    pieces = [clip[:, :, y : y + 6, x : x + 6] for y in (0, 5) for x in (0, 5, 7)]
    pieces = clip if tiling == "frame" else np.stack(pieces, 1).reshape(-1, TIME, 6, 6, 3)
    to_next = (pieces[:, :-1] - pieces[:, 1:]).mean(axis=(2, 3), keepdims=True)[..., :2]
    for flow, wanted in zip(motion, (to_next, -to_next), strict=True):
        np.testing.assert_allclose(flow, np.broadcast_to(wanted, (*pieces[:, 1:].shape[:-1], 2)), atol=1e-6)


@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("execution", ["masked", "packed"])
@pytest.mark.parametrize(("time", "height", "width"), [(1, 1, 1), (1, 7, 13), (2, 3, 1)])
def test_any_size_down_to_one_pixel_and_one_frame(tiling, execution, time, height, width):
    model = build(tiling)
    flow = np.zeros((1, time - 1, height, width, 2), np.float32)
    large, aux = jax.eval_shape(
        lambda clip: model.apply({"params": parameters()}, clip, 0.5, execution=execution, motion=(flow, flow)),
        np.zeros((1, time, height, width, 3), np.float32),
    )
    assert large.shape == (1, time, 4 * height, 4 * width, 3)
    assert aux["route"].blocks.shape == (1, 2, time, BLOCKS, *model.grid(height, width).shape)


def test_tiles_of_the_frame_are_even_and_cover_it():
    for height in range(1, 40):
        grid = build("frame", tile=7).grid(height, 2 * height + 1)
        for starts, side, length in zip((grid.rows, grid.columns), grid.patch, (height, 2 * height + 1), strict=True):
            assert side <= 7
            assert starts == tuple(range(0, length, side))  # in a row, the last one begins within
            assert len(starts) == math.ceil(length / 7)


def test_targets_are_every_interval_th_block_and_the_last():
    assert models.build("skipvsr").targets == (6, 12, 18, 24, 30)
    assert build("frame").targets == TARGETS
    assert build("frame", interval=9).targets == (5,)


# The published size


def test_published_weights_in_tiles(shared, monkeypatch):
    """The static network's reference output, from packed execution of 2 x 3 tiles at threshold 0, SpyNet included."""
    monkeypatch.syspath_prepend(shared / "parity")
    state = __import__("reference_weights").state_dict("basicvsr")
    sys.modules.pop("reference_weights")

    def layer(name):
        return {"kernel": state[f"{name}.weight"].transpose(2, 3, 1, 0), "bias": state[f"{name}.bias"]}

    def stack(direction, conv):
        blocks = [layer(f"{direction}_trunk.main.2.{m}.{conv}") for m in range(30)]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *blocks)

    params = {name: layer(name) for name in ("fusion", "upconv1", "upconv2", "conv_hr", "conv_last")}
    for name in basicvsr.DIRECTIONS:
        body = {conv: stack(name, conv) for conv in ("conv1", "conv2")}
        params[name] = {"head": layer(f"{name}_trunk.main.0"), "body": body}
        params[f"gate_{name}"] = {"kernel": np.zeros(64, np.float32), "bias": np.float32(0)}
    params["flow"] = {
        f"level{level}": {f"conv{i}": layer(f"spynet.basic_module.{level}.basic_module.{2 * i}") for i in range(5)}
        for level in range(6)
    }
    reference = np.load(shared / "parity" / "basicvsr.npz")
    clip, model = reference["frames"][None] / np.float32(255), models.build("skipvsr", tile=18, parallel=2)
    assert model.grid(*clip.shape[2:4]).shape == (2, 3)
    large = jax.jit(lambda v, clip: model.apply(v, clip, 0.0, execution="packed")[0])({"params": params}, clip)
    wanted = reference["output_strided"]
    np.testing.assert_allclose(large[0, :, 1::2, ::2], wanted, atol=1e-4 * np.ptp(wanted))


# Errors


def apply(tiling="frame", clip=None, **given):
    fields = {
        name: given.pop(name) for name in ("rule", "interval", "parallel", "stride", "tile", "whole") if name in given
    }
    model, (own, motion, _) = build(tiling, **fields), inputs()
    clip = own if clip is None else clip
    call = lambda clip: model.apply({"params": parameters()}, clip, **{"motion": motion, **given})  # noqa: E731
    return jax.eval_shape(call, clip)


BLOCK_SHAPE = (2, 2, TIME, BLOCKS, 2, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"route": BlockRoute(np.ones((*BLOCK_SHAPE[:-1], 2), bool))},
            r"shape \(2, 2, 4, 5, 2, 2\), expected .*2, 3\)",
        ),
        ({"route": {"blocks": np.ones(BLOCK_SHAPE, np.float32)}}, r"route.blocks has dtype float32, expected bool"),
        ({"route": {"block": np.ones(BLOCK_SHAPE, bool)}}, r"route \(=dict\) must be a BlockRoute or a mapping"),
        ({"execution": "dense"}, r"execution \(='dense'\) must be 'masked' or 'packed'"),
        ({"execution": "packed", "teacher": np.zeros(1)}, r"teacher.*use execution='masked'"),
        ({"teacher": np.zeros((2, 2, TIME, 2, *SIZE, 4))}, r"teacher has shape .*, expected \(2, 2, 4, 3, 11, 13, 4\)"),
        ({"tiling": "stripes"}, r"tiling \(='stripes'\) must be 'frame' or 'patches'"),
        ({"rule": "near"}, r"rule \(='near'\) must be 'above' or 'below'"),
        ({"rule": "near", "route": BlockRoute(np.ones(BLOCK_SHAPE, bool))}, r"rule \(='near'\)"),
        ({"interval": 0}, r"interval \(=0\) must be at least 1"),
        ({"tile": 0}, r"tile \(=0\) must be at least 2"),
        ({"tiling": "patches", "stride": 7}, r"stride \(=7\) must be between 1 and patch \(=6\)"),
        ({"execution": "packed", "parallel": 0}, r"parallel \(=0\) must be at least 1"),
        ({"whole": 0.0}, r"whole \(=0\.0\) must be over 0"),
        ({"keep": (2, 5)}, r"keep \(=\(2, 5\)\) must be \(first, last\) with 0 <= first < last <= 4"),
        ({"keep": (2, 2)}, r"keep \(=\(2, 2\)\)"),
        ({"starts": np.zeros((2, 3), bool)}, r"starts has shape \(2, 3\), expected \(2, 4\)"),
        ({"motion": (np.zeros((2, 3, 4, 4, 2)),) * 2}, r"motion's to_next has shape \(2, 3, 4, 4, 2\), expected"),
        ({"clip": np.zeros((2, *SIZE, 3), np.float32)}, r"clip has shape \(2, 11, 13, 3\), expected \[B, T, H, W, 3\]"),
        ({"clip": np.zeros((2, TIME, *SIZE, 3), np.uint8)}, r"clip has dtype uint8.*divide 8-bit images by 255"),
    ],
)
def test_errors_name_value_and_remedy(given, message):
    with pytest.raises(ValueError, match=message):
        apply(**given)
