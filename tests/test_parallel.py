"""Plans agree: one device, `pmap` on four, the same with sharding, two processes of two. Accumulation, bfloat16."""

import functools
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import skipvsr as configuration
from jaxdyn import models, pretrained
from jaxdyn.ops import conv
from tests import toy_run
from train import checkpoints, loop, parallel, signals, stages, step

SCRIPT = Path(__file__).with_name("many_devices.py")
MANY = ("pmap", "sharding")

spec = importlib.util.spec_from_file_location("many_devices", SCRIPT)
many_devices = importlib.util.module_from_spec(spec)
spec.loader.exec_module(many_devices)


def begin(arguments, num_device: int, **variables: str) -> subprocess.Popen:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={num_device}"
    return subprocess.Popen(
        [sys.executable, "-W", "error", *map(str, arguments)],
        cwd=SCRIPT.parents[1],
        env={**os.environ, **variables, "XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def begin_two(arguments) -> list[subprocess.Popen]:
    """Two processes of two devices each that know of each other; arguments of each one."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    names = parallel.ENVIRONMENT
    known = {names["coordinator"]: address, names["num_process"]: "2"}
    return [begin(given, 2, **known, **{names["process"]: str(n)}) for n, given in enumerate(arguments)]


def end(running, code: int = 0) -> None:
    """Wait for all; each must end with this exit code."""
    try:
        for process in running:
            output, _ = process.communicate(timeout=120)
            assert process.returncode == code, output
    finally:
        for process in running:
            process.kill()
            process.stdout.close()
            process.wait()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each plan found, by name: one process with four devices, and two with two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    end([begin((SCRIPT, one, "single", *MANY), 4), *begin_two([(SCRIPT, two, *MANY)] * 2)])
    found = {kind: dict(np.load(one / f"{kind}-0.npz")) for kind in ("single", *MANY)}
    return found | {
        f"{kind}, process {process}": dict(np.load(two / f"{kind}-{process}.npz"))
        for kind in MANY
        for process in range(2)
    }


@pytest.fixture(scope="module")
def flow():
    """SpyNet on one device."""
    return flow_steps()


def flow_steps(**options):
    model = many_devices.SPYNET
    return many_devices.run(
        parallel.Plan(), model, many_devices.FLOW, many_devices.some_params(model), many_devices.pairs, **options
    )


PAIR = [f"{kind}, process {process}" for kind in MANY for process in range(2)]


def assert_near(found, expected, tolerance, prefix=""):
    """Each gradient within a share of its norm, and all losses."""
    names = [name for name in expected if name.startswith(prefix)]
    assert f"{prefix}loss" in names
    for name in names:
        if not name.endswith("drawn"):
            difference = np.linalg.norm(found[name] - expected[name])
            assert difference <= tolerance * np.linalg.norm(expected[name]), name
    losses = expected[f"{prefix}loss"]
    np.testing.assert_allclose(found[f"{prefix}loss"], losses, rtol=tolerance)
    assert np.ptp(losses) > 1e-3


@pytest.mark.parametrize("plan", MANY)
def test_four_devices_give_the_gradients_and_losses_of_one(results, plan):
    assert_near(results[plan], results["single"], 1e-5, "teacher ")


@pytest.mark.parametrize("process", [0, 1])
def test_two_processes_give_the_gradients_and_losses_of_one(results, flow, process):
    found = {name.removeprefix("flow "): value for name, value in results[f"pmap, process {process}"].items()}
    assert_near(found, flow, 1e-5)


@pytest.mark.parametrize("plan", [*MANY, *PAIR])
def test_plans_agree_in_float64_to_ten_digits(results, plan):
    expected = results["single"]
    assert expected["toy w"].dtype == np.float64
    assert_near(results[plan], expected, 1e-10, "toy ")
    np.testing.assert_allclose(results[plan]["toy drawn"], expected["toy drawn"], rtol=1e-6)


@pytest.mark.parametrize("plan", MANY)
def test_what_elements_draw_is_that_of_one_device_with_sharding_alone(results, plan):
    is_same = np.isclose(results[plan]["drawn drawn"], results["single"]["drawn drawn"])
    assert is_same.all() if plan == "sharding" else not is_same.any()


def test_two_processes_are_stopped_together_and_go_on(tmp_path):
    """The second is told to stop; both save one checkpoint, go on from it, and end as one process alone does."""
    workdir = tmp_path / "two"
    told, run = ("-m", "tests.toy_run", workdir, 15, 3), ("-m", "tests.toy_run", workdir, 0, 0)
    end(begin_two([run, told]), code=143)
    with checkpoints.Store(workdir / "toy", is_read_only=True) as store:
        assert store.steps()[-1] == signals.AGREE_EVERY
    end(begin_two([run, run]))

    end([begin(("-m", "tests.toy_run", tmp_path / "one", 0, 0), 1)])
    means = [loop.finished(toy_run.STAGE, toy_run.START, tmp_path / name) for name in ("one", "two")]
    assert [number for _, number in means] == [toy_run.STAGE.num_step] * 2
    np.testing.assert_allclose(means[1][0]["w"], means[0][0]["w"], rtol=1e-5)
    assert len((workdir / "toy.jsonl").read_text().splitlines()) == toy_run.STAGE.num_step


@pytest.mark.parametrize(
    ("kind", "number", "batch", "accumulate", "parts"),
    [("single", 0, 6, 4, 4), ("pmap", 2, 6, 2, 4), ("sharding", 4, 6, 1, 4), ("sharding", 4, 10, 6, 12)],
)
def test_a_stage_whose_batch_cannot_be_spread_is_refused_first(kind, number, batch, accumulate, parts):
    plan = parallel.Plan(kind, tuple(range(number)))
    plan.check("flow", parts, accumulate)
    with pytest.raises(ValueError, match=rf"stage flow: batch \(={batch}\) must be a multiple of {parts}, .*"):
        plan.check("flow", batch, accumulate)


def test_training_checks_all_stages_before_the_first(tmp_path):
    config = configuration.get_config("tiny")
    config.accumulate, config.stages.gates.batch = 2, 3
    with pytest.raises(ValueError, match=r"stage gates: batch \(=3\) must be a multiple of 2"):
        loop.train(config, tmp_path / "W")
    assert not (tmp_path / "W").exists()


def test_a_plan_on_fewer_devices_than_there_are():
    plan = parallel.plan_of("pmap", 1)
    assert plan == parallel.Plan("pmap", (jax.devices()[0],))
    assert parallel.plan_of("single") == parallel.Plan()
    assert parallel.is_chief()


def test_what_stays_the_same_is_moved_once():
    plan, teacher = parallel.plan_of("sharding"), {"w": np.ones(3)}
    batches = [plan.put_batch({"x": np.zeros((2, 1)), "teacher": teacher}) for _ in range(2)]
    assert batches[0]["teacher"] is batches[1]["teacher"]
    other = plan.put_batch({"x": np.zeros((2, 1)), "teacher": {"w": np.zeros(3)}})
    np.testing.assert_array_equal(other["teacher"]["w"], np.zeros(3))


def test_a_state_that_was_put_does_not_share_memory():
    plan, state = parallel.plan_of("pmap"), {"w": jnp.ones(3)}
    plan.put_state(state)["w"].delete()
    np.testing.assert_array_equal(state["w"], np.ones(3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tpu",), r"kind \(='tpu'\) must be one of single, pmap, sharding"),
        (("single", 2), r"num_device \(=2\) must be 1"),
        (("pmap", 3), r"num_device \(=3\) must be from 1 to 1, .* use fewer"),
        (("sharding", 0), r"num_device \(=0\) must be from 1 to 1"),
    ],
)
def test_plans_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        parallel.plan_of(*arguments)


@pytest.mark.parametrize("kind", MANY)
def test_a_batch_that_cannot_be_spread(kind, monkeypatch):
    monkeypatch.setattr(parallel.Plan, "num_local", 4)
    with pytest.raises(ValueError, match=r"batch\['x'\] has shape \(6, 2\), expected .* a multiple of 4, .* use fewer"):
        parallel.plan_of(kind).put_batch({"x": np.zeros((6, 2)), "frame_size": np.zeros((0, 3, 3))})


def test_part_of_a_batch_for_each_process(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    plan = parallel.Plan("pmap")
    batch = {"x": np.arange(6), "teacher": np.arange(3)}
    found = plan.part_of(batch)
    np.testing.assert_array_equal(found["x"], [3, 4, 5])
    assert found["teacher"] is batch["teacher"]
    with pytest.raises(ValueError, match=r"batch \(=5\) must be divisible by the 2 processes"):
        plan.part_of({"x": np.arange(5)})
    with pytest.raises(ValueError, match="there are 2; use 'pmap' or 'sharding'"):
        parallel.plan_of("single")


def test_processes_that_know_only_part(monkeypatch):
    for name in parallel.ENVIRONMENT.values():
        monkeypatch.delenv(name, raising=False)
    parallel.initialize()  # alone
    with pytest.raises(ValueError, match=r"num_process, process not known, .* set JAX_NUM_PROCESSES, JAX_PROCESS_ID"):
        parallel.initialize("localhost:1")
    with pytest.raises(ValueError, match=r"process \(=2\) must be from 0 to num_process - 1 \(=1\)"):
        parallel.initialize("localhost:1", 2, 2)


# Accumulation and precision


def test_accumulated_gradients_are_those_of_the_whole_batch(flow):
    assert_near(flow_steps(accumulate=2), flow, 1e-5)


@pytest.mark.parametrize("kind", ["exits", "finders"])
def test_accumulation_with_whole_entries_and_random_numbers(kind, monkeypatch):
    monkeypatch.setitem(step.LOSSES, kind, many_devices.toy_loss)
    stage = stages.Stage(**{**vars(many_devices.TOY), "kind": kind})
    state, batch, key = step.start(stage, many_devices.toy_params()), many_devices.points(0), jax.random.key(3)
    (whole, metrics), (parts, found) = (
        jax.jit(step.make_step(None, stage, accumulate=number))(state, batch, key) for number in (1, 4)
    )
    np.testing.assert_allclose(found["loss"], metrics["loss"], rtol=1e-6)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), parts.params, whole.params)
    assert np.isclose(found["drawn"], metrics["drawn"]) == (kind == "exits")


def test_what_cannot_be_accumulated(monkeypatch):
    monkeypatch.setitem(step.LOSSES, "exits", many_devices.toy_loss)
    with pytest.raises(ValueError, match=r"toy: batch \(=8\) must be divisible by accumulate \(=3"):
        step.make_step(None, many_devices.TOY, accumulate=3)
    one = step.make_step(None, many_devices.TOY, accumulate=4)
    with pytest.raises(ValueError, match="a batch of 2 on a device cannot be accumulated in 4 equal parts"):
        one(step.start(many_devices.TOY, many_devices.toy_params()), many_devices.points(0, 2), jax.random.key(0))
    with pytest.raises(ValueError, match=r"precision \(='half'\) must be one of float32, bfloat16"):
        step.make_step(None, many_devices.TOY, precision="half")


def test_bfloat16_stays_near_float32(flow):
    found = flow_steps(precision="bfloat16")
    assert {value.dtype for name, value in found.items() if "/" in name} == {np.dtype(np.float32)}
    gradient, expected = (np.concatenate([x.ravel() for n, x in f.items() if "/" in n]) for f in (found, flow))
    assert 0 < np.linalg.norm(gradient - expected) < 0.03 * np.linalg.norm(expected)
    np.testing.assert_allclose(found["loss"], flow["loss"], rtol=1e-2)


def test_convolutions_multiply_in_what_their_kernel_is(random):
    x, kernel, bias = random.rand(1, 5, 6, 4), random.rand(3, 3, 4, 2), random.rand(2)
    x, kernel, bias = (jnp.asarray(part, jnp.float32) for part in (x, kernel, bias))
    low = conv.conv2d(x, *step.rounded((kernel, bias)))
    assert low.dtype == np.float32
    expected = conv.conv2d(x, kernel, bias)
    np.testing.assert_allclose(low, expected, rtol=2e-2)
    assert np.abs(low - expected).max() > 0
    text = str(jax.make_jaxpr(lambda x, k: conv.conv2d(x, k))(x, kernel.astype(jnp.bfloat16)))
    assert "bf16" in text
    assert step.rounded({"n": jnp.arange(3)})["n"].dtype == np.int32


@pytest.mark.parametrize("kind", ["teacher", "gates"])
def test_recurrent_networks_take_bfloat16(kind):
    """What travels from frame to frame keeps its type, as a loop must; losses come out in float32."""
    model = models.build("skipvsr", **many_devices.FIELDS)
    params = pretrained.parameter_shapes(model)
    stage = stages.Stage(**{**vars(many_devices.TEACHER), "kind": kind, "trains": (("", 1.0),)})
    batch = many_devices.sequences(0) | ({"teacher": params} if kind == "gates" else {})
    state = jax.eval_shape(lambda p: step.start(stage, p), params)
    one = step.make_step(model, stage, accumulate=2, precision="bfloat16")
    after, metrics = jax.eval_shape(one, state, batch, jax.random.key(0))
    like = lambda leaf: (leaf.shape, leaf.dtype)  # noqa: E731
    assert jax.tree.map(like, after) == jax.tree.map(like, state)
    assert {leaf.dtype for leaf in metrics.values()} == {np.dtype(np.float32)}


def test_the_teacher_is_rounded_as_its_student(monkeypatch):
    """With equal parameters both are the same network, so that rounding is not taken for an error of skipping."""

    def loss(model, stage, params, batch, key, variant):
        assert params["w"].dtype == batch["teacher"]["w"].dtype == jnp.bfloat16
        assert batch["x"].dtype == np.float32
        return toy(model, stage, params, batch, key, variant)

    toy = many_devices.toy_loss
    monkeypatch.setitem(step.LOSSES, "exits", loss)
    state = step.start(many_devices.TOY, many_devices.toy_params())
    batch = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), many_devices.points(0))
    after, metrics = jax.jit(step.make_step(None, many_devices.TOY, precision="bfloat16"))(
        state, jax.tree.map(jnp.asarray, batch), jax.random.key(0)
    )
    assert after.params["w"].dtype == metrics["loss"].dtype == np.float32
