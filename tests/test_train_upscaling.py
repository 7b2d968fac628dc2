"""Stages of the upscaling networks, with the tiny configuration."""

import dataclasses
import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import skipvsr as configuration
from jaxdyn import errors, losses, models, pretrained
from jaxdyn.data import sequences
from jaxdyn.models import basicvsr
from jaxdyn.models.basicvsr import BasicVSR
from jaxdyn.models.spynet import SpyNet
from train import curriculum, feeds, stages, step, upscaling

VARIANTS = ["published", "small", "small-further", "small-sparse", "tiny", "small-bd"]


@pytest.fixture(scope="module")
def config():
    return configuration.get_config("tiny")


@pytest.fixture(scope="module")
def model(config):
    return models.build(config.name, **config.model)


@pytest.fixture(scope="module")
def params(model):
    """Fresh parameters, but for gates that are not indifferent."""
    made = feeds.initial(model, 0)
    generator = np.random.default_rng(0)
    for name in ("gate_backward", "gate_forward"):
        made[name] = {"kernel": generator.normal(0, 3, model.num_feat).astype(np.float32), "bias": jnp.zeros(())}
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One clip of a sliding texture, 144 x 160: small frames of 18 x 20."""
    folder = tmp_path_factory.mktemp("data") / "clip"
    folder.mkdir()
    large = cv2.resize(np.random.RandomState(0).rand(10, 12, 3).astype(np.float32), (256, 200), None, 0, 0, 2)
    for t in range(5):
        frame = large[8 * t : 8 * t + 144, 16 * t : 16 * t + 160]
        cv2.imwrite(str(folder / f"{t}.png"), np.rint(np.clip(frame, 0, 1) * 255).astype(np.uint8))
    return folder.parent


@pytest.fixture(scope="module")
def batch(model, params, config, data, tmp_path_factory):
    stage = stages.of_config(config)[1]
    feed = feeds.feed_of(model, stage, params, config, tmp_path_factory.mktemp("work"), data)
    return feed(0)


def student_of(params):
    """Parameters that differ from the teacher's a little."""
    generator = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: leaf + 0.02 * generator.normal(size=np.shape(leaf)).astype(np.float32), params)


@pytest.mark.parametrize("variant", VARIANTS)
def test_stages_of_the_configurations_cover_their_networks(variant):
    config = configuration.get_config(variant)
    shapes = pretrained.parameter_shapes(models.build(config.name, **config.model))
    for stage in stages.of_config(config):
        factors = jax.tree.leaves(stages.factors(shapes, stage.trains))
        assert 0 < sum(factors) <= len(factors)
        assert stage.kind in step.LOSSES
        assert stage.kind in feeds.FEEDS
    recipe = sequences.Recipe(**config.sequences)
    assert recipe.degradation == ("bd" if variant.endswith("bd") else "bi")


def test_unknown_variants_and_kinds_are_refused(config):
    with pytest.raises(ValueError, match="small-bd"):
        configuration.get_config("small-jpeg")
    with pytest.raises(ValueError, match=r"confidence \(='guess'\) must be one of feature interval"):
        stages.Stage("gates", **{**config.stages.gates, "confidence": "guess"})


def test_the_tables_name_every_confidence_and_kind():
    assert set(upscaling.CONFIDENCES) == set(stages.get_args(stages.Confidence))
    assert set(step.LOSSES) == set(feeds.FEEDS) == set(stages.get_args(stages.Kind))


def test_whole_curriculum(config, model, data, tmp_path, monkeypatch):
    teachers, make = [], feeds.FEEDS["gates"]

    def recording(*arguments):
        feed = make(*arguments)
        teachers.append(feed(0)["teacher"])
        return feed

    monkeypatch.setitem(feeds.FEEDS, "gates", recording)
    _, params = curriculum.train(config, tmp_path, str(data), is_shown=False)
    for name in config.stages:
        lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3]
        assert {"loss", "psnr", "gain"} <= lines[0].keys()
    assert {"rec", "mask", "error", "executed", "score", "confidence"} <= lines[0].keys()
    start = feeds.initial(model, config.seed)
    _, teacher, steps = curriculum.trained(config, tmp_path, "teacher")
    assert steps == {"teacher": 3}
    for name in ("gate_backward", "gate_forward"):  # the teacher has none, the student trains them
        jax.tree.map(np.testing.assert_array_equal, teacher[name], start[name])
        assert not np.array_equal(params[name]["bias"], start[name]["bias"])
    assert not np.array_equal(teacher["fusion"]["kernel"], start["fusion"]["kernel"])
    # A second run finds everything done; had it been interrupted, it would have gone on with the same teacher.
    _, again = curriculum.train(config, tmp_path, str(data), is_shown=False)
    jax.tree.map(np.testing.assert_array_equal, params, again)
    assert len(teachers) == 2
    for found in teachers:
        jax.tree.map(np.testing.assert_array_equal, found, teacher)
    # With parameters of one's own, stages that are not named are left out; without, they are missed.
    fine = tmp_path / "fine"
    with pytest.raises(ValueError, match="has no checkpoint of stage teacher"):
        curriculum.train(config, fine, str(data), ["gates"], is_shown=False)
    _, tuned = curriculum.train(config, fine, str(data), ["gates"], is_shown=False, params=params)
    jax.tree.map(np.testing.assert_array_equal, teachers[-1], params)
    _, found, steps = curriculum.trained(config, fine)
    assert steps == {"gates": 3}
    jax.tree.map(np.testing.assert_array_equal, tuned, found)
    with pytest.raises(errors.UserError, match=r"stage \(='gate'\) is none of the configuration's; did you mean gates"):
        curriculum.train(config, fine, str(data), ["gate"], is_shown=False, params=params)
    with pytest.raises(errors.UserError, match="did you mean gates"):
        curriculum.trained(config, fine, "gate")


def test_the_teacher_is_basicvsr_with_charbonnier(model, params, config, batch):
    stage = stages.of_config(config)[0]
    loss, metrics = jax.jit(lambda p: upscaling.teacher_loss(model, stage, p, batch, None, step.Variant()))(params)
    network, own = upscaling.dense(model, params)
    assert type(network) is BasicVSR
    assert set(own) == {name for name in params if not name.startswith("gate")}
    assert upscaling.dense(network, own) == (network, own)
    clip, target = sequences.clip_of(batch), sequences.target_of(batch)
    large, _ = network.apply({"params": own}, clip, motion=sequences.motion_of(batch))
    np.testing.assert_allclose(loss, losses.charbonnier(large, target), rtol=1e-5)
    assert metrics["psnr"] > 15
    with pytest.raises(ValueError, match="SpyNet, expected a SkipVSR or a BasicVSR"):
        upscaling.dense(SpyNet(), {})


def test_a_student_that_equals_its_teacher_and_skips_nothing_has_nothing_to_correct(model, params, config, batch):
    stage = stages.Stage("gates", **{**config.stages.gates, "dense": 1.0})
    run = jax.jit(
        lambda p: upscaling.gates_loss(model, stage, p, {**batch, "teacher": params}, jax.random.key(0), step.Variant())
    )
    _, metrics = run(params)
    assert metrics["executed"] == 1
    assert metrics["error"] == 0
    _, metrics = run(student_of(params))
    assert metrics["executed"] == 1
    assert metrics["error"] > 1e-6


def both_runs(model, params, batch):
    """Student and teacher, masked, at a threshold that skips some blocks."""
    clip, motion = sequences.clip_of(batch), sequences.motion_of(batch)

    @jax.jit
    def run(student):
        teacher = model.apply({"params": params}, clip, 0.0, execution="masked", motion=motion)
        student = model.apply(
            {"params": student}, clip, 0.5, execution="masked", motion=motion, teacher=teacher[1]["features"]
        )
        return student, teacher

    return run(student_of(params))


@pytest.fixture(scope="module")
def results(model, params, batch):
    return both_runs(model, params, batch)


@pytest.fixture(scope="module")
def results_of_patches(model, params, batch):
    return both_runs(model.clone(tiling="patches", stride=6), params, batch)


@pytest.mark.parametrize("kind", list(upscaling.CONFIDENCES))
@pytest.mark.parametrize("tiling", ["frame", "patches"])
def test_confidences_by_slow_loops(kind, tiling, model, params, batch, request):
    results = request.getfixturevalue("results" if tiling == "frame" else "results_of_patches")
    model = model if tiling == "frame" else model.clone(tiling="patches", stride=6)
    clip, target = sequences.clip_of(batch), np.asarray(sequences.target_of(batch))
    own = (student_of(params), params)
    found = jax.jit(lambda: upscaling.CONFIDENCES[kind](model, own, results, clip, target))()
    found = np.broadcast_to(found, results[0][1]["scores"].shape)
    grid = model.grid(*clip.shape[2:4])
    clip = np.asarray(clip)

    def tile(image, row, column, factor=1):
        y, x = factor * grid.rows[row], factor * grid.columns[column]
        return image[y : y + factor * grid.patch[0], x : x + factor * grid.patch[1]]

    def expected(b, d, t, m, row, column):
        pair = []
        for p, (large, aux) in zip(own, results, strict=True):
            target_number = 0 if m < 2 else 1  # the targets are blocks 2 and 4
            features, large = np.asarray(aux["features"]), np.asarray(large[b, t])
            if tiling == "frame":
                features, picture = features[b], clip[b, t]
            else:
                features = features[(b * grid.shape[0] + row) * grid.shape[1] + column]
                picture = tile(clip[b, t], row, column)
            if kind == "feature":
                pair.append(tile(features[d, t, -1], row, column) if tiling == "frame" else features[d, t, -1])
                continue
            if kind == "psnr interval":
                large = np.asarray(basicvsr.upsample(p, picture[None], *features[:, t, target_number][:, None])[0])
            is_whole = tiling == "frame" or kind == "psnr"
            error = (tile(large, row, column, 4) if is_whole else large) - tile(target[b, t], row, column, 4)
            pair.append(10 * np.log10((error**2).mean() + upscaling.FLOOR))
        return 1 - np.tanh(((pair[0] - pair[1]) ** 2).mean())

    generator = np.random.default_rng(0)
    for _ in range(12):
        place = tuple(int(generator.integers(n)) for n in found.shape)
        wanted = results[0][1]["confidence"][place] if kind == "feature interval" else expected(*place)
        np.testing.assert_allclose(found[place], wanted, atol=2e-4)
    assert np.ptp(found) > 1e-6


def test_the_gates_loss_is_the_sum_of_its_parts(model, params, config, batch, results):
    stage = stages.Stage(
        "gates", **{**config.stages.gates, "dense": 0.0, "alphas": (0.5, 0.5), "lambda_1": 0.7, "lambda_2": 0.3}
    )
    compute = lambda p: upscaling.gates_loss(model, stage, p, batch, jax.random.key(2), step.Variant())  # noqa: E731
    (loss, found), gradient = jax.jit(jax.value_and_grad(compute, has_aux=True))(student_of(params))
    np.testing.assert_allclose(loss, found["rec"] + 0.7 * found["mask"] + 0.3 * found["error"], rtol=1e-6)
    (large, aux), (_, aux_of_teacher) = results
    np.testing.assert_allclose(found["rec"], losses.charbonnier(large, sequences.target_of(batch)), rtol=1e-5)
    maps = [np.square(part["features"]).sum(-1) for part in (aux, aux_of_teacher)]
    np.testing.assert_allclose(found["error"], np.square(maps[0] - maps[1]).mean(), rtol=1e-4)
    np.testing.assert_allclose(found["executed"], np.asarray(aux["route"].blocks).mean(), rtol=1e-6)
    assert 1 / 3 < found["executed"] < 0.95
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    # A mask is a constant to the gradient: the gates learn from Eq. 8 alone, whose gradient is known.
    score, error = aux["scores"], aux["scores"] - aux["confidence"]
    compared = lambda v: np.stack([v[:, 0, :-1], v[:, 1, 1:]], axis=1)  # noqa: E731 [B, 2, T - 1, M, n_h, n_w]
    slope = compared(np.asarray(2 * error * score * (1 - score)))
    np.testing.assert_allclose(found["mask"], np.square(compared(np.asarray(error))).mean(), rtol=1e-5)
    for side, name in enumerate(basicvsr.DIRECTIONS):
        expected = 0.7 * slope[:, side].sum() / slope.size
        np.testing.assert_allclose(gradient[f"gate_{name}"]["bias"], expected, rtol=1e-4)


def test_a_policy_runs_its_half_of_the_blocks(model, params, config, batch):
    stage = stages.Stage("gates", **{**config.stages.gates, "policy": "deep"})
    given = {**batch, "teacher": params}
    run = jax.jit(lambda p: upscaling.gates_loss(model, stage, p, given, jax.random.key(0), step.Variant()))
    _, metrics = run(params)
    assert metrics["executed"] == 0.5
    assert metrics["error"] > 1e-6  # the teacher runs all of them
    route = upscaling.policy_route(model, "deep", sequences.clip_of(batch))
    assert np.asarray(route.blocks).all(axis=(0, 1, 2, 4, 5)).tolist() == [True, True, False, False]


def test_the_first_frame_of_each_direction_is_not_compared():
    values = jnp.arange(2 * 2 * 3).reshape(2, 2, 3)
    np.testing.assert_array_equal(upscaling.compared(values, 0, 3), [[0, 1, 4, 5], [6, 7, 10, 11]])
    for known, left in ((0, 2), [0, 1, 4]), ((1, 2), [1, 4]), ((1, 3), [1, 4, 5]):
        found = upscaling.compared(values[:, :, slice(*known)], known[0], 3)
        np.testing.assert_array_equal(found[0], left)


@pytest.mark.parametrize("kind", ["psnr", "psnr interval"])
@pytest.mark.parametrize("keep", [(0, 2), (1, 2), (2, 3)])
def test_confidences_of_pictures_are_those_of_the_kept_frames(kind, keep, model, params, config, batch, results):
    stage = stages.Stage("gates", **{**config.stages.gates, "confidence": kind, "dense": 0.0, "alphas": (0.5, 0.5)})
    run = lambda p: upscaling.gates_loss(model, stage, p, batch, jax.random.key(2), step.Variant(keep=keep))  # noqa: E731
    _, found = jax.jit(run)(student_of(params))
    clip, target = sequences.clip_of(batch), sequences.target_of(batch)
    make = jax.jit(lambda: upscaling.CONFIDENCES[kind](model, (student_of(params), params), results, clip, target))
    scores = np.asarray(results[0][1]["scores"])
    error, last = scores - np.asarray(make()), scores.shape[2] - 1  # of all frames
    pairs = [(side, t) for side in (0, 1) for t in range(*keep) if t != (last, 0)[side]]
    np.testing.assert_allclose(found["mask"], np.mean([error[:, side, t] ** 2 for side, t in pairs]), rtol=1e-4)
    np.testing.assert_allclose(found["score"], np.mean([scores[:, side, t] for side, t in pairs]), rtol=1e-4)


def test_thresholds_are_drawn_from_their_range(config):
    stage = stages.Stage("gates", **{**config.stages.gates, "alphas": (0.4, 0.6), "dense": 0.25})
    drawn = np.array(
        jax.vmap(lambda key: upscaling.draw_threshold(stage, key))(jax.random.split(jax.random.key(0), 400))
    )
    assert 0.18 < np.mean(drawn == 0) < 0.32
    others = drawn[drawn > 0]
    assert others.min() >= 0.4
    assert others.max() <= 0.6
    assert np.ptp(others) > 0.15


@pytest.mark.parametrize("number", [0, 2, 3])
def test_the_published_stages_can_be_traced(number):
    """Their networks bring SpyNet along, and sequences come without motion."""
    config = configuration.get_config("published")
    model = models.build(config.name, **config.model)
    stage = dataclasses.replace(stages.of_config(config)[number], batch=1, num_frame=2, size=48)
    params = pretrained.parameter_shapes(model)
    array = jax.ShapeDtypeStruct
    side = stage.size
    batch = {name: array((1, side, side, 3), np.float32) for name in ("frame0", "frame1")}
    batch["flow01"] = array((1, side, side, 2), np.float32)
    if stage.kind != "spynet":
        batch = {name: array((1, 1, 1, 1, 3), np.float32) for name in ("gain", "shift")}
        batch |= {name: array((1, 2, s, s, 3), np.uint8) for name, s in (("clip", side), ("target", 4 * side))}
    if stage.kind == "gates":
        batch["teacher"] = params
    state = jax.eval_shape(lambda p: step.start(stage, p), params)
    after, metrics = jax.eval_shape(step.make_step(model, stage), state, batch, jax.random.key(0))
    assert jax.tree.map(lambda leaf: leaf.shape, after) == jax.tree.map(lambda leaf: leaf.shape, state)
    assert metrics["loss"].shape == ()


def test_spynet_learns_synthetic_motion():
    network = SpyNet(num_level=2, widths=(4, 4, 4, 4))
    stage = stages.Stage(
        "flow", "spynet", (("", 1.0),), num_step=12, learning_rate=2e-3, batch=2, size=24, reach=4.0, warm_up=2
    )
    feed = feeds.feed_of(network, stage, {}, configuration.get_config("tiny"), "", "")
    batch = feed(0)
    assert np.abs(batch["flow01"]).max() < 12
    state, one = step.start(stage, feeds.initial(network, 0)), jax.jit(step.make_step(network, stage))
    found = []
    for number in range(stage.num_step):
        state, metrics = one(state, batch, jax.random.key(number))
        found.append(float(metrics["loss"]))
    assert found[-1] < 0.9 * found[0]
