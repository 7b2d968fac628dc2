"""BasicVSR against reference outputs, its published size, and what shots, kept frames and motion mean."""

import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn import convert, models, motion, pretrained
from jaxdyn.models import basicvsr


def draw(model, seed=0):
    """Drawn parameters: drawing them here spares the compilation of `init`."""
    numbers = np.random.RandomState(seed)

    def one(leaf):
        fan_in = np.prod(leaf.shape[-4:-1]) if len(leaf.shape) > 3 else 25
        return jnp.asarray(numbers.standard_normal(leaf.shape) / np.sqrt(fan_in), jnp.float32)

    return {"params": jax.tree.map(one, pretrained.parameter_shapes(model))}


@pytest.fixture(scope="module")
def with_flow():
    """A small network with its SpyNet, which is always the published one."""
    model = models.build("basicvsr", num_feat=5, num_block=2, num_hr=4)
    return model, draw(model)


@pytest.fixture(scope="module")
def small():
    """A small network without SpyNet: its motion is given to it, or DIS'."""
    model = models.build("basicvsr", num_feat=5, num_block=2, num_hr=4, motion="dis")
    return model, draw(model)


@pytest.fixture(scope="module")
def apply(small, as_users_run):
    """The small network, compiled."""
    return jax.jit(small[0].apply, static_argnames="keep", compiler_options=as_users_run)


def clip_of(random, time, batch=1, height=6, width=7):
    """Frames and motion of a clip: [B, T, H, W, 3], 2 x [B, T - 1, H, W, 2] px."""
    frames = random.rand(batch, time, height, width, 3).astype(np.float32)
    flows = random.uniform(-2, 2, (2, batch, time - 1, height, width, 2)).astype(np.float32)
    return frames, tuple(flows)


@pytest.mark.parametrize("name", ["basicvsr_small", "basicvsr"])
def test_parity(shared, monkeypatch, name):
    monkeypatch.syspath_prepend(shared / "parity")
    state_dict = __import__("reference_weights").state_dict(name)
    sys.modules.pop("reference_weights")
    reference = np.load(shared / "parity" / f"{name}.npz")
    variables = convert.from_torch("basicvsr", state_dict)
    model = convert.model_for("basicvsr", variables)
    large, _ = jax.jit(model.apply)(variables, reference["frames"][None] / np.float32(255))
    expected = reference["output_strided"]
    np.testing.assert_allclose(large[0, :, 1::2, ::2], expected, atol=1e-4 * np.ptp(expected))


def test_has_the_published_size():
    shapes = dict(pretrained.parameter_shapes(models.build("basicvsr")))
    flow = shapes.pop("flow")
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 4_851_011
    assert sum(leaf.size for leaf in jax.tree.leaves(flow)) == 1_440_300
    assert "flow" not in pretrained.parameter_shapes(models.build("basicvsr", motion="dis"))


def test_it_is_a_plain_loop(small, apply, random):
    """Frame after frame in Python, in both directions, then the upsampling."""
    params = small[1]["params"]
    frames, (to_next, to_previous) = clip_of(random, 3)

    def one_frame(params, image, features, flow):
        x = basicvsr.head(params["head"], image, basicvsr.backward_warp(features, flow))
        for index in range(2):
            x = basicvsr.residual_block(params["body"], index, x)
        return x

    one_frame = jax.jit(one_frame)
    none = np.zeros((1, 6, 7, 5), np.float32), np.zeros((1, 6, 7, 2), np.float32)
    backward, forward = {3: none[0]}, {-1: none[0]}
    for t in (2, 1, 0):
        flow = to_next[:, t] if t < 2 else none[1]
        backward[t] = one_frame(params["backward"], frames[:, t], backward[t + 1], flow)
    for t in (0, 1, 2):
        flow = to_previous[:, t - 1] if t > 0 else none[1]
        forward[t] = one_frame(params["forward"], frames[:, t], forward[t - 1], flow)
    large, aux = apply(small[1], frames, motion=(to_next, to_previous))
    for t in range(3):
        np.testing.assert_allclose(aux["backward"][:, t], backward[t], atol=1e-4)
        np.testing.assert_allclose(aux["forward"][:, t], forward[t], atol=1e-4)
        expected = basicvsr.upsample(params, frames[:, t], backward[t], forward[t])
        np.testing.assert_allclose(large[:, t], expected, atol=1e-4)


def test_gradients_are_finite_and_reach_everything(with_flow, random):
    """Of SpyNet only the last level is differentiated, to compile fast; the others have a test of their own."""
    model, variables = with_flow
    frames, _ = clip_of(random, 2)
    learnt = dict(variables["params"])
    fixed = dict(learnt.pop("flow"))
    learnt["level5"] = fixed.pop("level5")

    def loss(learnt):
        rest = {name: leaf for name, leaf in learnt.items() if name != "level5"}
        params = {**rest, "flow": {**fixed, "level5": learnt["level5"]}}
        return jnp.square(model.apply({"params": params}, frames)[0]).mean()

    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(learnt)):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf), path


def test_recomputing_changes_no_gradient(small, random):
    model, variables = small
    frames, moved = clip_of(random, 2)

    def gradients(model):
        loss = lambda v: jnp.square(model.apply(v, frames, motion=moved)[0]).mean()  # noqa: E731
        return jax.jit(jax.grad(loss))(variables)

    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, gradients(model.clone(is_remat=True)), gradients(model))


@pytest.mark.parametrize("time", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (11, 6)])
def test_small_frames_and_short_clips(small, apply, random, size, time):
    frames, moved = clip_of(random, time, 1, *size)
    for given in (None, moved):
        large, aux = apply(small[1], frames, motion=given)
        assert large.shape == (1, time, 4 * size[0], 4 * size[1], 3)
        assert np.isfinite(large).all()
        assert aux["motion"][0].shape == (1, time - 1, *size, 2)


@pytest.mark.parametrize("time", [1, 2])
def test_small_frames_and_short_clips_with_spynet(with_flow, random, time):
    model, variables = with_flow
    large, _ = jax.jit(model.apply)(variables, clip_of(random, time, 1, 2, 3)[0])
    assert large.shape == (1, time, 8, 12, 3)
    assert np.isfinite(large).all()


@pytest.mark.parametrize("height", [11, 30, 31])
def test_strips_are_the_whole(small, random, monkeypatch, height):
    params = small[1]["params"]
    image, *features = (np.float32(random.randn(1, height, 7, channels)) for channels in (3, 5, 5))
    whole = jax.jit(basicvsr.upsample)(params, image, *features)
    monkeypatch.setattr(basicvsr, "STRIP_BYTES", 4 * 16 * 7 * params["conv_hr"]["kernel"].shape[-1] * 8)  # 8 rows
    run = lambda *given: basicvsr.upsample_by_strips(params, *given)  # noqa: E731
    assert ("scan" in str(jax.make_jaxpr(run)(image, *features))) == (height > 14)
    np.testing.assert_allclose(jax.jit(run)(image, *features), whole, atol=1e-5)


def test_nothing_travels_across_the_start_of_a_shot(small, apply, random):
    frames, moved = clip_of(random, 5, batch=2)
    starts = np.array([[False, False, True, False, False], [True, False, False, False, True]])  # per clip
    large, _ = apply(small[1], frames, motion=moved, starts=starts)
    for b, cuts in enumerate(((0, 2, 5), (0, 4, 5))):
        for first, last in itertools.pairwise(cuts):
            part = tuple(flow[b : b + 1, first : last - 1] for flow in moved)
            apart, _ = apply(small[1], frames[b : b + 1, first:last], motion=part)
            np.testing.assert_allclose(large[b : b + 1, first:last], apart, atol=1e-5)
    whole, _ = apply(small[1], frames, motion=moved)
    assert np.abs(whole - large).max() > 1e-3  # otherwise it does


@pytest.mark.parametrize("keep", [(0, 2), (1, 3), (3, 4), (0, 4)])
def test_kept_frames_are_those_of_the_whole(small, apply, random, keep):
    frames, moved = clip_of(random, 4)
    starts = np.array([[True, False, True, False]])
    for shots in (None, starts):
        whole, aux = apply(small[1], frames, motion=moved, starts=shots)
        some, kept = apply(small[1], frames, motion=moved, starts=shots, keep=keep)
        np.testing.assert_array_equal(some, whole[:, keep[0] : keep[1]])
        for name in ("backward", "forward"):
            np.testing.assert_array_equal(kept[name], aux[name][:, keep[0] : keep[1]])


def test_frames_of_padding_are_not_seen_and_not_made(small, apply, random):
    frames, moved = clip_of(random, 5)
    is_padding = np.array([True, False, False, True, True])
    starts = np.array([[True, True, False, True, True]])  # nothing arrives from padding
    large, _ = apply(small[1], frames, motion=moved, starts=starts, is_padding=is_padding)
    apart, _ = apply(small[1], frames[:, 1:3], motion=tuple(flow[:, 1:2] for flow in moved))
    np.testing.assert_allclose(large[:, 1:3], apart, atol=1e-5)
    assert not np.asarray(large[:, is_padding]).any()


def test_motion_is_not_searched_from_or_to_padding(with_flow, random):
    model, variables = with_flow
    frames, _ = clip_of(random, 4)
    find = jax.jit(lambda v, *given: model.apply(v, *given, method="find_motion"))
    for flow, whole in zip(
        find(variables, frames, None, np.array([True, False, False, True])), find(variables, frames, None), strict=True
    ):
        np.testing.assert_array_equal(flow[:, 1], whole[:, 1])
        assert np.abs(whole).max(axis=(0, 2, 3, 4)).min() > 0
        assert not np.asarray(flow[:, [0, 2]]).any()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("left_out", ["00000", "10011", "01010", "11111"])
def test_turns_left_out_take_no_part(left_out, reverse):
    """Against a loop in Python; what a turn that is left out would do, NaN, is seen nowhere."""
    is_left_out = np.array([mark == "1" for mark in left_out])
    numbers = np.where(is_left_out, np.nan, np.arange(1.0, 6.0))

    def turn(state, given):
        return 2 * state + given["number"], {"before": state, "square": given["number"] ** 2}

    scan = jax.jit(lambda left_out, given: basicvsr.scan_some(left_out, turn, jnp.float32(1), given, reverse))
    state, outputs = scan(is_left_out, {"number": jnp.asarray(numbers, jnp.float32)})
    expected, before, square = 1.0, np.zeros(5), np.zeros(5)
    for index in range(5)[:: -1 if reverse else 1]:
        if not is_left_out[index]:
            before[index], square[index] = expected, numbers[index] ** 2
            expected = 2 * expected + numbers[index]
    assert state == expected
    np.testing.assert_array_equal(outputs["before"], before)
    np.testing.assert_array_equal(outputs["square"], square)


def test_its_own_motion_given_is_no_difference(with_flow, random):
    model, variables = with_flow
    frames, moved = clip_of(random, 3)
    run = jax.jit(model.apply)
    large, aux = run(variables, frames)
    assert max(np.abs(flow).max() for flow in aux["motion"]) > 0.1
    np.testing.assert_allclose(run(variables, frames, motion=aux["motion"])[0], large, atol=1e-5)
    assert np.abs(run(variables, frames, motion=moved)[0] - large).max() > 1e-3


def test_its_own_motion_is_spynets(with_flow, random):
    model, variables = with_flow
    frames, _ = clip_of(random, 3, batch=2)
    find = jax.jit(lambda v, clip: model.apply(v, clip, None, method="find_motion"))
    flow = jax.jit(lambda v, *pair: models.build("spynet").apply({"params": v["params"]["flow"]}, *pair)[0])
    to_next, to_previous = find(variables, frames)
    for t in range(2):
        pair = frames[:, t], frames[:, t + 1]
        np.testing.assert_allclose(to_next[:, t], flow(variables, *pair), atol=1e-3)
        np.testing.assert_allclose(to_previous[:, t], flow(variables, *pair[::-1]), atol=1e-3)


def test_a_batch_is_its_clips_one_by_one(small, apply, random):
    frames, moved = clip_of(random, 3, batch=2)
    for given in (None, moved):
        large, _ = apply(small[1], frames, motion=given)
        for b in range(2):
            one = None if given is None else tuple(flow[b : b + 1] for flow in given)
            alone, _ = apply(small[1], frames[b : b + 1], motion=one)
            np.testing.assert_allclose(large[b : b + 1], alone, atol=1e-5)


def test_motion_from_the_host(small, apply, random):
    """DIS by the callback is `dis_of_clips`, compiled or not, also where parameters are differentiated."""
    model, variables = small
    frames, _ = clip_of(random, 3, 2, 20, 24)
    expected = motion.dis_of_clips(frames)
    large, aux = apply(variables, frames)
    np.testing.assert_array_equal(large, apply(variables, frames, motion=expected)[0])
    for found in (aux["motion"], model.apply(variables, frames, None, method="find_motion")):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    loss = lambda v, moved: jnp.square(model.apply(v, frames, motion=moved)[0]).mean()  # noqa: E731
    gradient = jax.jit(jax.grad(loss))
    same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # noqa: E731
    jax.tree.map(same, gradient(variables, None), gradient(variables, expected))


def test_motion_from_the_host_of_many_large_clips(random):
    """The host reads what the device wrote, again and again, and neither waits for the other for ever."""
    model = models.build("basicvsr", num_feat=2, num_block=1, num_hr=2, motion="dis")
    variables, run = draw(model), jax.jit(lambda v, clip: model.apply(v, 2 * clip, keep=(1, 2)))
    clips = [jnp.asarray(random.rand(2, 3, 180, 240, 3) / 2, jnp.float32) for _ in range(4)]
    results = [run(variables, clip) for clip in clips]  # all are under way before the first is read
    for clip, (large, aux) in zip(clips, results, strict=True):
        expected = motion.dis_of_clips(2 * np.asarray(clip))
        assert np.isfinite(large).all()
        for a, b in zip(aux["motion"], expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clip": np.zeros((1, 8, 8, 3), np.float32)}, r"clip has shape \(1, 8, 8, 3\), expected \[B, T, H, W, 3\]"),
        ({"clip": np.zeros((1, 2, 8, 8, 4), np.float32)}, r"\(1, 2, 8, 8, 4\)"),
        ({"clip": np.zeros((1, 0, 8, 8, 3), np.float32)}, "at least one frame and one pixel"),
        ({"clip": np.zeros((1, 2, 8, 8, 3), np.uint8)}, "clip has dtype uint8.*divide 8-bit images by 255"),
        ({"starts": np.zeros((2, 1), bool)}, r"starts has shape \(2, 1\), expected \(1, 2\)"),
        ({"motion": (np.zeros((1, 1, 8, 8, 2)), np.zeros((1, 2, 8, 8, 2)))}, r"motion's to_previous has shape"),
        ({"keep": (1, 1)}, r"keep \(=\(1, 1\)\).*0 <= first < last <= 2"),
        ({"keep": (0, 3)}, r"keep \(=\(0, 3\)\)"),
        ({"keep": (-1, 2)}, r"keep \(=\(-1, 2\)\)"),
    ],
)
def test_errors_name_what_came(small, arguments, message):
    model, variables = small
    arguments = {"clip": np.zeros((1, 2, 8, 8, 3), np.float32)} | arguments
    with pytest.raises(ValueError, match=message):
        model.apply(variables, arguments.pop("clip"), **arguments)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"motion": "pwcnet"}, "motion .='pwcnet'. must be 'spynet' or 'dis'"), ({"num_block": 0}, "num_block .=0.")],
)
def test_errors_name_the_field(small, fields, message):
    with pytest.raises(ValueError, match=message):
        small[0].clone(**fields).apply(small[1], np.zeros((1, 2, 8, 8, 3), np.float32))
