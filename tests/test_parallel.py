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

from jaxdyn import models
from jaxdyn.ops import conv
from train import feeds, parallel, stages, step

SCRIPT = Path(__file__).with_name("many_devices.py")
MANY = ("pmap", "sharding")

spec = importlib.util.spec_from_file_location("many_devices", SCRIPT)
many_devices = importlib.util.module_from_spec(spec)
spec.loader.exec_module(many_devices)


def begin(folder: Path, kinds, num_device: int, **variables: str) -> subprocess.Popen:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={num_device}"
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(SCRIPT), str(folder), *kinds],
        env={**os.environ, **variables, "XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each plan found, by name: one process with four devices, and two with two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    running = [begin(one, ("single", *MANY), 4)]
    for process in range(2):
        names = parallel.ENVIRONMENT
        known = {names["coordinator"]: address, names["num_process"]: "2", names["process"]: str(process)}
        running.append(begin(two, MANY, 2, **known))
    try:
        for process in running:
            output, _ = process.communicate(timeout=120)
            assert process.returncode == 0, output
    finally:
        for process in running:
            process.kill()
    found = {kind: dict(np.load(one / f"{kind}-0.npz")) for kind in ("single", *MANY)}
    return found | {
        f"{kind}, process {process}": dict(np.load(two / f"{kind}-{process}.npz"))
        for kind in MANY
        for process in range(2)
    }


PLANS = [*MANY, *(f"{kind}, process {process}" for kind in MANY for process in range(2))]


def assert_near(found, expected, prefix, tolerance):
    """Each gradient within a share of its norm."""
    names = [name for name in expected if name.startswith(f"{prefix} ") and name.split()[1] not in ("loss", "drawn")]
    assert names
    for name in names:
        assert np.linalg.norm(found[name] - expected[name]) <= tolerance * np.linalg.norm(expected[name]), name


@pytest.mark.parametrize("plan", PLANS)
def test_plans_give_the_gradients_and_losses_of_one_device(results, plan):
    found, expected = results[plan], results["single"]
    assert_near(found, expected, "teacher", 1e-5)
    np.testing.assert_allclose(found["teacher loss"], expected["teacher loss"], rtol=1e-5)
    assert np.ptp(expected["teacher loss"]) > 1e-3


@pytest.mark.parametrize("plan", PLANS)
def test_plans_agree_in_float64_to_ten_digits(results, plan):
    found, expected = results[plan], results["single"]
    assert expected["toy w"].dtype == np.float64
    assert_near(found, expected, "toy", 1e-10)
    np.testing.assert_allclose(found["toy loss"], expected["toy loss"], rtol=1e-10)
    assert expected["toy loss"][-1] < expected["toy loss"][0]


@pytest.mark.parametrize("plan", PLANS)
def test_random_numbers_of_a_step_are_those_of_one_device(results, plan):
    found, expected = results[plan], results["single"]
    np.testing.assert_allclose(found["toy drawn"], expected["toy drawn"], rtol=1e-6)
    is_same = np.isclose(found["drawn drawn"], expected["drawn drawn"])
    assert is_same.all() if plan.startswith("sharding") else not is_same.any()


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


@pytest.fixture(scope="module")
def model():
    return models.build("skipvsr", **many_devices.FIELDS)


@pytest.fixture(scope="module")
def params(model):
    return feeds.initial(model, 0)


@pytest.fixture(scope="module")
def one_step(model, params):
    """One step of the teacher, whole and in float32."""
    return after(model, params, many_devices.TEACHER)


def after(model, params, stage, **options):
    one = jax.jit(step.make_step(model, stage, **options))
    return one(step.start(stage, params), many_devices.sequences(0), jax.random.key(0))


def test_accumulated_gradients_are_those_of_the_whole_batch(model, params, one_step):
    found, expected = after(model, params, many_devices.TEACHER, accumulate=2), one_step
    gradients, wanted = (many_devices.first_gradient(state) for state, _ in (found, expected))
    for name in wanted:
        difference = np.linalg.norm(gradients[name] - wanted[name])
        assert difference <= 1e-5 * np.linalg.norm(wanted[name]), name
    assert found[1].keys() == expected[1].keys()
    for name in expected[1]:
        np.testing.assert_allclose(found[1][name], expected[1][name], rtol=1e-5)


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


def test_bfloat16_stays_near_and_keeps_float32(model, params, one_step):
    (state, metrics), (expected, wanted) = after(model, params, many_devices.TEACHER, precision="bfloat16"), one_step
    assert {leaf.dtype for leaf in jax.tree.leaves((state.params, state.mean, metrics))} == {np.dtype(np.float32)}
    assert metrics["loss"] != wanted["loss"]
    np.testing.assert_allclose(metrics["loss"], wanted["loss"], rtol=1e-2)
    found, near = (np.concatenate([*map(np.ravel, many_devices.first_gradient(s).values())]) for s in (state, expected))
    assert np.linalg.norm(found - near) < 0.03 * np.linalg.norm(near)


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


def test_gates_compare_teacher_and_student_of_one_precision(model, params):
    """With equal parameters and threshold 0 they are the same network, so nothing is lost to Eq. 11."""
    stage = stages.Stage(
        **{**vars(many_devices.TEACHER), "kind": "gates", "trains": (("", 1.0),), "alphas": (0.0, 0.0), "batch": 2}
    )
    batch = {**many_devices.sequences(0, 2), "teacher": params}
    one = jax.jit(step.make_step(model, stage, precision="bfloat16"))
    _, metrics = one(step.start(stage, params), batch, jax.random.key(0))
    assert metrics["error"] < 1e-9
    assert metrics["executed"] == 1
