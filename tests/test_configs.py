"""Configurations: names of variants, values on the command line, curricula as tables; what Eq. 11 to 14 add up to."""

import copy
import dataclasses
import functools
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
from absl import flags
from ml_collections import config_flags

from configs import cain_sd, skipvsr, variants
from jaxdyn import flops, models, pretrained
from jaxdyn.types import SCALES, Route
from train import feeds, reconstruction, stages, step

ROOT = Path(__file__).resolve().parents[1]
FILES = {"cain_sd": cain_sd, "skipvsr": skipvsr}


def names(module) -> list[str]:
    """Every base, and `published` with every suffix."""
    return [*module.BASES, *(f"published-{suffix}" for table in module.SUFFIXES for suffix in table)]


@functools.cache
def shapes_of(model):
    """Shapes of the parameters; many variants have the same network."""
    return pretrained.parameter_shapes(model)


# Names


@pytest.mark.parametrize(("file", "variant"), [(f, v) for f, module in FILES.items() for v in names(module)])
def test_every_variant_covers_its_network(file, variant):
    config = FILES[file].get_config(variant)
    shapes = shapes_of(models.build(config.name, **config.model))
    for stage in stages.of_config(config):
        assert sum(jax.tree.leaves(stages.factors(shapes, stage.trains))) > 0
        assert stage.kind in feeds.FEEDS
    docs = FILES[file].__doc__
    assert all(part in docs for part in (variant.removeprefix("published-"), "not run"))


def test_suffixes_change_what_their_table_says():
    assert {s.lambda_d for s in stages.of_config(cain_sd.get_config("published-lambda-5e9-5e12"))[3:]} == {5e-12}
    assert [s.lambda_s for s in stages.of_config(cain_sd.get_config("cain-s-lambda-5e10-5e11"))] == [0, 0, 0, 5e-10]
    both = cain_sd.get_config("published-patch-128-inputs-both")
    assert (both.model.patch, both.model.stride, both.model.sees[0]) == (128, 120, "motion+difference")
    assert models.build("cain_sd", **cain_sd.get_config("cain").model).grid(1080, 2048).shape == (1, 1)
    assert "flow" not in cain_sd.get_config("published-difference").stages
    assert skipvsr.get_config("small-confidence-psnr-interval-bd").stages.student.confidence == "psnr interval"
    student = skipvsr.get_config("small-bd-confidence-psnr").stages.student
    assert (student.confidence, student.num_kept) == ("psnr", 2)
    assert skipvsr.get_config("published-align-10").model.interval == 10
    assert skipvsr.get_config("published-skip-deep").stages.gates.policy == "deep"
    assert skipvsr.get_config("published-align-none-skip-none").stages.gates.lambda_2 == 0


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("publishd", "did you mean published?"),
        ("cain-x", "did you mean cain"),
        ("small-", "is none of those"),
        ("published-lambda-5e9-5e13", "did you mean published-lambda-5e9-5e1"),
        ("published-patch-128-patch-256", "takes two of patch-full, patch-512"),
        ("cain-lambda-5e9-5e11", "changes nothing in a curriculum of interpolation"),
        ("small-difference", "changes nothing"),
    ],
)
def test_other_names_are_refused_with_the_nearest(variant, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        cain_sd.get_config(variant)


def test_the_longest_name_counts():
    seen = []
    note = lambda name: lambda config: seen.append(name)  # noqa: E731
    bases = {name: note(name) for name in ("a", "a-b")}
    for change in variants.parse("a-b-c-d", bases, ({"c": note("c"), "c-d": note("c-d")}, {"d": note("d")}), ""):
        change({})
    assert seen == ["a-b", "c-d"]


# Values


def parsed(*arguments: str) -> ml_collections.ConfigDict:
    """A configuration as the command line gives it."""
    values, line = flags.FlagValues(), ["main", *arguments]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=line)
    values(line)
    return values.config


@pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")
def test_values_of_stages_can_be_given_on_the_command_line():
    config = parsed(
        f"--config={ROOT}/configs/cain_sd.py:published",
        "--config.stages.depth.lambda_d=5e-12",
        '--config.stages.depth.trains=(("depth_net", 1), ("cain/body", 0.5), ("", 0.0))',
        "--config.stages.upscale.scales=(2, 4)",
        "--config.stages.interpolation.scales=2",
        "--config.stages.flow.final=1",
        "--config.model.fixed_scale=1",
        "--config.model.num_feat=64",
        "--config.crops.gaps=(1, 2)",
        "--config.seed=3",
    )
    by_name = {stage.name: stage for stage in stages.of_config(config)}
    assert list(by_name) == ["flow", "upscale", "interpolation", "depth", "scale"]
    assert by_name["depth"].lambda_d == 5e-12
    assert by_name["depth"].trains == (("depth_net", 1), ("cain/body", 0.5), ("", 0.0))
    assert by_name["upscale"].scales == (2, 4)
    assert by_name["interpolation"].scales == (2,)
    assert by_name["flow"].final == 1.0
    model = models.build(config.name, **config.model)
    assert (model.num_feat, model.fixed_scale, model.fixed_depth) == (64, 1, None)
    assert config.seed == 3


@pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")
@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("stages.depth.lamda_d=1", "lamda_d"),
        ("stages.depths.lambda_d=1", "depths"),
        ("stages.depth.lambda_d=high", "could not convert"),
        ("stages.depth.batch=1.5", "invalid literal"),
        ('stages.depth.trains=("cain", 1.0)', r"stage depth: trains .* must hold pairs \(regex, factor"),
        ("stages.upscale.scales=(1, 2)", r"stage upscale: scales \(=\(1, 2\)\) must hold some of \(2, 3, 4\)"),
        ("stages.scale.error=l3", r"stage scale: error \(='l3'\) must be one of log, l1"),
    ],
)
def test_wrong_values_on_the_command_line_are_refused(argument, message):
    with pytest.raises((ValueError, AttributeError, KeyError, flags.Error), match=message):
        stages.of_config(parsed(f"--config={ROOT}/configs/cain_sd.py:published", f"--config.{argument}"))


@pytest.mark.parametrize(
    ("where", "key", "message"),
    [
        ("", "sed", "unknown key sed in the configuration; did you mean seed?"),
        ("stages.depth", "lamda_d", "unknown key lamda_d in stage depth; did you mean lambda_d?"),
        ("model", "num_feats", "unknown key num_feats in model; did you mean num_feat?"),
        ("crops", "gap", "unknown key gap in crops; did you mean gaps?"),
        ("table", "num_triplets", "unknown key num_triplets in table; did you mean num_triplet?"),
    ],
)
def test_unknown_keys_are_refused_with_the_nearest(where, key, message):
    config = cain_sd.get_config("published")
    place = config
    for part in filter(None, where.split(".")):
        place = place[part]
    place[key] = 1
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        stages.of_config(config)


def test_sequences_know_no_motion_of_their_own():
    config = skipvsr.get_config("tiny")
    config.sequences.has_motion = True  # follows from the network
    with pytest.raises(ValueError, match="unknown key has_motion in sequences"):
        stages.of_config(config)


def test_a_curriculum_keeps_its_order():
    config = cain_sd.get_config("published")
    wanted = ["flow", "upscale", "interpolation", "depth", "scale"]
    copies = (config, copy.deepcopy(config), config.copy_and_resolve_references())
    assert all([stage.name for stage in stages.of_config(made)] == wanted for made in copies)
    assert list(config.stages) == wanted
    config.order = ("flow", "depth")
    with pytest.raises(ValueError, match=r"order \(=\('flow', 'depth'\)\) must name every stage of flow, upscale"):
        stages.of_config(config)


def test_a_stage_needs_its_values():
    with pytest.raises(ValueError, match="stage a lacks trains, num_step, learning_rate"):
        stages.filled({"name": "cain_sd", "stages": {"a": {"kind": "exits", "batch": 2}}})
    with pytest.raises(ValueError, match=r"unknown key cain_ds in name; did you mean cain_sd\?"):
        stages.filled({"name": "cain_ds", "stages": {}})


def test_exits_without_weight_do_not_train():
    (stage,) = stages.of_config(cain_sd.get_config("cain"))
    assert {stage.exits_at(number, 5) for number in range(9)} == {(5,)}


# Eq. 11 to 14

SIZES = {"published": [(720, 1280), (1080, 2048)], "tiny": [(96, 128), (40, 120)]}


@pytest.mark.parametrize(("variant", "size"), [(v, size) for v, sizes in SIZES.items() for size in sizes])
def test_the_regularizer_is_the_cost_of_the_route(variant, size, random):
    """Eq. 11 and 12 against the nominal count of the same Route, without motion, finders, merging: no network runs."""
    config = cain_sd.get_config(variant)
    model = models.build(config.name, **config.model)
    model = model.clone(motion="dis")  # motion is left out of both: PWC-Net need not be counted
    grid, first = model.grid(*size), 0 if model.has_exit0 else 1
    stage = dataclasses.replace(stages.of_config(config)[-1], lambda_s=5e-9, lambda_d=5e-11)
    run = jax.jit(lambda s, d: step.resource(model, stage, s, d, grid))
    for _ in range(3):
        scale = random.randint(0, 3, (2, *grid.shape)).astype(np.int32)
        depth = random.randint(first, model.num_group + 1, (2, *grid.shape)).astype(np.int32)
        cost, per_pixel = run(jax.nn.one_hot(scale, 3), jax.nn.one_hot(depth - first, model.num_exit))
        counted = flops.route_cost(model, Route(scale, depth), *size).stages
        parts = ("ends", "residual group", "CARN-M")
        nominal = sum(s.flops * s.times for s in counted if s.name.startswith(parts))
        assert {s.name.split(" ")[0] for s in counted} >= ({"CARN-M"} if variant == "published" else {"ends"})
        np.testing.assert_allclose(per_pixel, nominal / (2 * size[0] * size[1]), rtol=1e-6)
        np.testing.assert_allclose(cost, (5e-9 + 5e-11) * per_pixel, rtol=1e-6)  # Eq. 14 of one-hot masks


def test_each_finder_pays_for_its_own_choice():
    """Eq. 14: dR / dm_i = |p| / (H W) lambda_s C(i, d) and dR / dm_j = |p| / (H W) lambda_d C(s, j), by loops."""
    config = cain_sd.get_config("tiny")
    model = models.build(config.name, **config.model)
    grid = model.grid(96, 128)
    stage = dataclasses.replace(stages.of_config(config)[-1], lambda_s=3e-8, lambda_d=2e-9)
    table = flops.patch_costs(model, 96, 128)
    assert table.shape == (3, 2)
    assert not table[:, 0].any()  # exit 0 runs no network
    generator = np.random.default_rng(0)
    scale, depth = generator.integers(0, 3, (1, *grid.shape)), generator.integers(0, 2, (1, *grid.shape))
    masks = jax.nn.one_hot(scale, 3), jax.nn.one_hot(depth, 2)
    by_scale, by_depth = jax.jit(jax.grad(lambda s, d: step.resource(model, stage, s, d, grid)[0], (0, 1)))(*masks)
    for y, x in itertools.product(*map(range, grid.shape)):
        for i in range(len(SCALES)):
            expected = 3e-8 * table[i, depth[0, y, x]] / (96 * 128)
            np.testing.assert_allclose(by_scale[0, y, x, i], expected, rtol=1e-6)
        for j in range(2):
            expected = 2e-9 * table[scale[0, y, x], j] / (96 * 128)
            np.testing.assert_allclose(by_depth[0, y, x, j], expected, rtol=1e-6)


def test_the_error_of_a_stage_is_the_papers_or_logarithmic(random):
    output, target = random.rand(2, 2, 4, 4, 3).astype(np.float32)
    np.testing.assert_allclose(reconstruction.ERRORS["l1"](output, target), np.abs(output - target).mean(), rtol=1e-5)
    images = [np.square(one - true).mean() for one, true in zip(output, target, strict=True)]
    np.testing.assert_allclose(reconstruction.ERRORS["log"](output, target), 0.05 * np.log(images).mean(), rtol=1e-4)
    assert {s.error for s in stages.of_config(cain_sd.get_config("published"))} == {"l1"}
    assert {s.error for s in stages.of_config(cain_sd.get_config("small"))} == {"log"}
    for variant in ("published", "small"):
        assert {s.error for s in stages.of_config(skipvsr.get_config(variant)) if s.kind != "spynet"} == {"charbonnier"}


@pytest.mark.parametrize("name", ["upscale", "interpolation", "depth", "scale"])
def test_the_published_stages_can_be_traced(name):
    """Of the network with PWC-Net and CARN-M, whose compilation takes minutes."""
    config = cain_sd.get_config("tiny-sd")
    model = models.build(config.name, **config.model)
    (stage,) = (stage for stage in stages.of_config(config) if stage.name == name)
    params, side = pretrained.parameter_shapes(model), stage.size
    array = jax.ShapeDtypeStruct
    batch = {frame: array((1, 72, 96, 3), np.uint8) for frame in ("frame0", "frame1", "target")}
    if name == "upscale":
        batch = {"target": array((2, side, side, 3), np.float32)}
    if name == "interpolation":
        batch = {"pictures": array((2, side, side, 6), np.uint8), "target": array((2, side, side, 3), np.uint8)}
        batch |= {"flows": array((2, side, side, 0), np.float16)}
        batch |= {part: array((2, 1, 1, 3), np.float32) for part in ("gain", "shift")}
    variant = step.variant_at(stage, 1, model.num_group)
    state = jax.eval_shape(lambda p: step.start(stage, p), params)
    one_step = step.make_step(model, stage)
    after, metrics = jax.eval_shape(lambda *given: one_step(*given, variant), state, batch, jax.random.key(0))
    assert jax.tree.map(lambda leaf: leaf.shape, after) == jax.tree.map(lambda leaf: leaf.shape, state)
    assert metrics["loss"].shape == ()


# What trains


def stage_of(**values) -> stages.Stage:
    trains = (("a", 1.0), ("b", 0.25), ("", 0.0))
    row = {"trains": trains, "num_step": 8, "learning_rate": 0.1, "batch": 1, "warm_up": 2, "clip": 0.5, "beta2": 0.9}
    return stages.Stage("toy", "exits", **{**row, **values})


def test_what_is_frozen_has_no_moments():
    params = {"a": jnp.ones((3, 4)), "b": jnp.ones(5), "c": {"large": jnp.ones(1000)}}
    moments = step.start(stage_of(), params).moments
    sizes = sorted(leaf.size for leaf in jax.tree.leaves(moments) if leaf.size > 1)
    assert sizes == [5, 5, 12, 12]


def test_the_optimizer_clips_by_what_trains_and_gives_each_parameter_its_rate():
    """Against optax on what trains alone: Adam, a clip of its norm, the schedule; then factors."""
    stage = stage_of()
    params = {"a": jnp.ones((3, 4)), "b": jnp.ones(5), "c": jnp.ones(7)}
    partly = {name: params[name] for name in ("a", "b")}
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.1, 2, 8, 0.1 * stage.final)
    plain = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(schedule, b2=0.9))
    optimizer, generator = step.optimizer_of(stage, params), np.random.default_rng(0)
    state, plain_state = optimizer.init(params), plain.init(partly)
    for _ in range(6):
        gradient = {name: generator.normal(size=leaf.shape).astype(np.float32) for name, leaf in params.items()}
        gradient["c"] *= 1e6  # must not count
        update, state = optimizer.update(gradient, state, params)
        expected, plain_state = plain.update({name: gradient[name] for name in partly}, plain_state, partly)
        np.testing.assert_allclose(update["a"], expected["a"], rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(update["b"], 0.25 * expected["b"], rtol=1e-5, atol=1e-9)
        assert not np.any(update["c"])


def test_what_is_frozen_gets_no_gradient(monkeypatch):
    def loss(model, stage, params, batch, key, variant):
        del model, stage, batch, key, variant
        return sum(jnp.square(leaf).sum() for leaf in params.values()), {}

    monkeypatch.setitem(step.LOSSES, "exits", loss)
    params = {"a": jnp.ones(2), "b": jnp.ones(2), "c": jnp.full(3, 7.0)}
    state, metrics = step.make_step(None, stage_of())(step.start(stage_of(), params), {}, jax.random.key(0))
    np.testing.assert_allclose(metrics["gradient"], 4, rtol=1e-6)  # 2 |(1, 1, 1, 1)|
    np.testing.assert_array_equal(state.params["c"], params["c"])
    np.testing.assert_array_equal(state.mean["c"], params["c"])


# What the finders see


def test_finders_see_what_they_are_told_to(random):
    """The gradient of a finder's scores reaches motion and difference as far as it sees them."""
    fields = {**cain_sd.TINY, "is_aligned": False, "motion": "dis"}
    small0, small1 = random.rand(2, 1, 24, 32, 3).astype(np.float32)
    flow = random.rand(1, 24, 32, 2).astype(np.float32)

    def reach(sees, channels):
        model = models.build("cain_sd", **fields, sees=sees)
        shapes = pretrained.parameter_shapes(model)
        assert [shapes[net]["conv1"]["kernel"].shape[2] for net in ("scale_net", "depth_net")] == channels
        params = jax.tree.map(lambda leaf: random.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)
        grid = model.grid(96, 128)

        def scores(name):
            of = lambda a, b, f: model.apply({"params": params}, a, b, (f, f), grid, method="find")[name].sum()  # noqa: E731
            slope = jax.jit(jax.grad(of, (0, 1, 2)))(small0, small1, flow)
            is_antisymmetric = np.allclose(slope[0], -slope[1], atol=1e-6)
            return bool(np.any(slope[2])), bool(np.any(slope[0])), not is_antisymmetric

        return scores("scale_logits"), scores("depth_logits")  # each: motion, pictures, not only their difference

    moves, differs = (True, False, False), (False, True, False)
    assert reach(("motion", "difference"), [1, 3]) == (moves, differs)
    assert reach(("difference", "motion"), [3, 1]) == (differs, moves)
    assert reach(("motion+difference", "difference+frames"), [4, 9]) == ((True, True, False), (False, True, True))
    with pytest.raises(ValueError, match=r"sees \(=\('motion', 'depth'\)\) must say what"):
        pretrained.parameter_shapes(models.build("cain_sd", sees=("motion", "depth")))
