"""Stages, steps and the loop, with the tiny configuration."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cain_sd as configuration
from jaxdyn import errors, models, pretrained
from jaxdyn.models.carn import CARNM
from jaxdyn.models.pwcnet import PWCNet
from train import curriculum, feeds, pictures, stages, step


@pytest.fixture(scope="module")
def config():
    return configuration.get_config("tiny")


@pytest.fixture(scope="module")
def model(config):
    return models.build(config.name, **config.model)


@pytest.fixture(scope="module")
def params(model):
    return feeds.initial(model, 0)


@pytest.fixture(scope="module")
def clips_folder(tmp_path_factory):
    """One clip of a sliding texture, 96 x 128."""
    folder = tmp_path_factory.mktemp("data") / "clip"
    folder.mkdir()
    large = cv2.resize(
        np.random.RandomState(0).rand(20, 26, 3).astype(np.float32), (200, 160), interpolation=cv2.INTER_CUBIC
    )
    for t in range(6):
        frame = large[t : t + 96, 2 * t : 2 * t + 128]
        cv2.imwrite(str(folder / f"{t}.png"), np.rint(np.clip(frame, 0, 1) * 255).astype(np.uint8))
    return folder.parent


def test_every_parameter_needs_a_line(params):
    with pytest.raises(ValueError, match=r"depth_net/conv1/bias is covered by no line"):
        stages.factors(params, (("cain", 1.0), ("scale_net", 0.0)))
    with pytest.raises(ValueError, match="fit no parameter"):
        stages.factors(params, (("", 1.0), ("carn", 0.0)))
    factors = stages.factors(params, (("cain/body", 0.1), ("cain", 1.0), ("", 0.0)))
    assert factors["cain"]["body"]["conv"]["kernel"] == 0.1
    assert factors["cain"]["head"]["bias"] == 1.0
    assert factors["scale_net"]["conv1"]["kernel"] == 0.0


@pytest.mark.parametrize("variant", ["published", "small", "tiny"])
def test_stages_of_the_configurations_cover_their_networks(variant):
    config = configuration.get_config(variant)
    shapes = pretrained.parameter_shapes(models.build(config.name, **config.model))
    for stage in stages.of_config(config):
        factors = jax.tree.leaves(stages.factors(shapes, stage.trains))
        assert 0 < sum(factors) <= len(factors)
        assert stage.kind in step.LOSSES
        assert stage.kind in feeds.FEEDS


def test_every_exit_and_scale_has_its_turn():
    stage = stages.of_config(configuration.get_config("small"))[0]
    turns = [step.variant_at(stage, number, 5) for number in range(36)]
    assert {turn.exits for turn in turns} == {(1, 5), (2, 5), (3, 5), (4, 5)}
    assert {turn.exits[0] for turn in turns if turn.scale == 4} == {1, 2, 3, 4}
    assert [turn.scale for turn in turns].count(1) == 28


def test_whole_curriculum_and_export(config, model, clips_folder, tmp_path):
    _, params = curriculum.train(config, tmp_path, str(clips_folder), is_shown=False)
    for name in config.stages:
        lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3]
    # The finders' stage changes nothing else.
    _, before, steps = curriculum.trained(config, tmp_path, "scale")
    _, after, _ = curriculum.trained(config, tmp_path)
    assert steps == {"interpolation": 3, "depth": 3, "scale": 3}
    jax.tree.map(np.testing.assert_array_equal, before["cain"], after["cain"])
    assert not np.array_equal(before["scale_net"]["conv1"]["kernel"], after["scale_net"]["conv1"]["kernel"])
    jax.tree.map(np.testing.assert_array_equal, params, after)
    # A second run finds everything done.
    _, again = curriculum.train(config, tmp_path, str(clips_folder), is_shown=False)
    jax.tree.map(np.testing.assert_array_equal, params, again)
    (tmp_path / "card.json").write_text('{"data": "one clip"}')
    curriculum.export(config, tmp_path, tmp_path / "weights.safetensors", tmp_path / "card.json")
    (tmp_path / "torn.json").write_text("{")
    for card in ("torn.json", "none.json"):
        with pytest.raises(errors.UserError, match=card):
            curriculum.export(config, tmp_path, tmp_path / "other.safetensors", tmp_path / card)
    assert not (tmp_path / "other.safetensors").exists()
    card = pretrained.read_metadata(tmp_path / "weights.safetensors")["card"]
    assert card == {"data": "one clip", "steps": {"interpolation": 3, "depth": 3, "scale": 3, "finders": 3}}
    loaded, variables = pretrained.load(tmp_path / "weights.safetensors")
    assert loaded == model
    np.testing.assert_allclose(variables["params"]["cain"]["head"]["bias"], after["cain"]["head"]["bias"], atol=1e-3)
    # The mean with other weights of the network.
    other = {"params": jax.tree.map(lambda value: value - 0.5, after)}
    pretrained.save(tmp_path / "half.safetensors", model, other, {})
    curriculum.export(config, tmp_path, tmp_path / "mean.safetensors", mean=tmp_path / "half.safetensors")
    _, mean = pretrained.load(tmp_path / "mean.safetensors")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b - 0.25, atol=2e-3), mean["params"], after)
    with pytest.raises(errors.UserError, match="none"):
        curriculum.export(config, tmp_path, tmp_path / "other.safetensors", mean=tmp_path / "none.safetensors")


def test_what_only_an_export_reads_is_refused_without_one(tmp_path):
    command = [sys.executable, "-m", "train.main", "--config", "configs/cain_sd.py:tiny", "--workdir", str(tmp_path)]
    for option in ("--mean=cain_sd", "--card=card.json"):
        done = subprocess.run(
            [*command, option], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "with --export" in done.stderr + done.stdout
    assert not list(tmp_path.iterdir())


def test_training_goes_on_from_a_weights_file():
    params = curriculum.params_of(configuration.get_config("small"), "cain_sd")
    _, variables = pretrained.load("cain_sd")
    jax.tree.map(np.testing.assert_array_equal, params, variables["params"])


@pytest.mark.parametrize(
    ("variant", "weights", "words"),
    [("tiny", "cain_sd", "another network|convert it again"), ("small", "none.safetensors", "no such weights")],
)
def test_weights_of_another_network_are_refused(variant, weights, words):
    with pytest.raises(errors.UserError, match=f"{weights}: .*({words})"):
        curriculum.params_of(configuration.get_config(variant), weights)


@pytest.fixture
def toy_stage(monkeypatch):
    """A loss without a network: mean((x w - 1)^2)."""

    def loss(model, stage, params, batch, key, variant):
        del model, stage, key, variant
        return jnp.square(batch["x"] @ params["w"] - 1).mean(), {}

    monkeypatch.setitem(step.LOSSES, "exits", loss)
    return stages.Stage("toy", "exits", (("w", 1.0),), num_step=6, learning_rate=0.1, batch=4)


def test_pmap_averages_gradients(toy_stage):
    one = step.make_step(None, toy_stage)
    many = jax.pmap(step.make_step(None, toy_stage, "d"), "d", in_axes=(None, 0, None), out_axes=None)
    state = step.start(toy_stage, {"w": jnp.ones(3)})
    batch = {"x": np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)}
    key = jax.random.key(0)
    expected, _ = one(state, batch, key)
    found, metrics = many(state, jax.tree.map(lambda x: x[None], batch), key)
    np.testing.assert_allclose(found.params["w"], expected.params["w"], rtol=1e-6)
    assert np.isfinite(metrics["loss"])


def test_finders_learn_a_table(model, params, config):
    """At rest nothing is gained by computing, where it moves exit 1 pays: the finders find out."""
    generator = np.random.default_rng(0)
    errors = np.full((8, 2, 2, 3, 2), 1e-2, np.float32)
    errors[4:, ..., 0, 1] = 1e-4  # scale 1, exit 1
    small = generator.random((8, 48, 64, 3), np.float32)
    is_moving = (np.arange(8) >= 4)[:, None, None, None]
    batch = {
        "small0": small,
        "small1": np.where(is_moving, generator.random((8, 48, 64, 3), np.float32), small),
        "flow01": np.broadcast_to(np.where(is_moving, 8.0, 0.0), (8, 48, 64, 2)).astype(np.float32),
        "flow10": np.zeros((8, 48, 64, 2), np.float32),
        "errors": errors,
        "frame_size": np.zeros((0, 96, 120)),
    }
    row = {**config.stages.finders, "num_step": 120, "learning_rate": 3e-3, "lambda_s": 4e-6, "lambda_d": 4e-6}
    stage = stages.Stage("finders", **row)
    assert model.grid(96, 120).shape == (2, 2)
    state, one = step.start(stage, params), jax.jit(step.make_step(model, stage))
    for number in range(stage.num_step):
        state, _ = one(state, batch, jax.random.key(number))
    found = model.apply(
        {"params": state.params},
        small,
        batch["small1"],
        (batch["flow01"], batch["flow10"]),
        model.grid(96, 120),
        method="find",
    )
    depth, scale = (np.asarray(found[name]).argmax(-1) for name in ("depth_logits", "scale_logits"))
    assert ((depth[:4] == 0) | (scale[:4] == 2)).all()  # little work where nothing is gained
    assert (depth[4:] == 1).all()
    assert (scale[4:] == 0).all()


@pytest.mark.parametrize("fixed", [{}, {"fixed_scale": 1}, {"fixed_depth": 1}])
def test_finders_are_shown_also_where_one_choice_is_fixed(config, fixed):
    """CAIN-S has no DepthNet and CAIN-D no ScaleNet: every patch of the map gets what is fixed."""
    model = models.build(config.name, **{**config.model, **fixed})
    frames, flow = np.random.default_rng(0).random((2, 1, 48, 64, 3), np.float32), np.zeros((1, 48, 64, 2), np.float32)
    batch = {
        "small0": frames[0],
        "small1": frames[1],
        "flow01": flow,
        "flow10": flow,
        "frame_size": np.zeros((0, 96, 120)),
    }
    shown = pictures.found(model, feeds.initial(model, 0), batch)
    assert shown["map"].shape == (96, 120, 3)
    assert shown["scale"].shape == shown["depth"].shape == (4,)
    for name, value in fixed.items():
        np.testing.assert_array_equal(shown[name.removeprefix("fixed_")], value)


def test_pwcnet_learns_synthetic_motion():
    network = PWCNet(widths=(4,) * 6, decoder=(4,) * 5, context=(4,) * 6, radius=1)
    stage = stages.Stage(
        "flow", "flow", (("", 1.0),), num_step=12, learning_rate=2e-3, batch=1, size=64, warm_up=2, clip=10.0
    )
    params = feeds.initial(network, 0)
    feed = feeds.flow_feed(network, stage, params, configuration.get_config("tiny"), None, None)
    batch = feed(0)
    state, one = step.start(stage, params), jax.jit(step.make_step(network, stage))
    losses = []
    for number in range(stage.num_step):
        state, metrics = one(state, batch, jax.random.key(number))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("scale", [3, 4])
def test_pictures_are_cut_to_what_a_scale_divides(scale, random):
    """16 px are 5 x 3 and one that does not count: whatever stands there, the loss is the same."""
    network = CARNM(num_feat=8, groups=2)
    stage = stages.Stage("u", "upscale", (("", 1.0),), num_step=1, learning_rate=1.0, batch=1, size=16, scales=(scale,))
    params = pretrained.parameter_shapes(network)
    params = jax.tree.map(lambda leaf: random.normal(0, 0.1, leaf.shape).astype(np.float32), params)
    compute = jax.jit(lambda target: step.upscale_loss(network, stage, params, {"target": target}, None, variant)[0])
    variant = step.variant_at(stage, 0, 1)
    picture = random.rand(1, 16, 16, 3).astype(np.float32)
    loss = float(compute(picture))
    changed = picture.copy()  # a CPU may still read the memory that it was given
    changed[:, -1] = 0
    assert (float(compute(changed)) == loss) == (scale == 3)


def test_carn_learns_to_enlarge(random):
    network = CARNM(num_feat=8, groups=2)
    stage = stages.Stage(
        "upscale", "upscale", (("", 1.0),), num_step=5, learning_rate=1e-3, batch=2, size=32, scales=(2,), warm_up=1
    )
    batch = {"target": random.rand(2, 32, 32, 3).astype(np.float32)}
    state, one = step.start(stage, feeds.initial(network, 0)), jax.jit(step.make_step(network, stage), static_argnums=3)
    losses = []
    for number in range(stage.num_step):
        variant = step.variant_at(stage, number, 1)
        assert variant.scale == 2
        state, metrics = one(state, batch, jax.random.key(0), variant)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]
