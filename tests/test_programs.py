"""Kept programs: the same results, no second trace, and a new trace whenever anything differs that it depends on."""

import os
from unittest import mock

import jax
import numpy as np
import pytest
from jax import export

from eval.benches.rows import drawn_variables
from jaxdyn import interpolator, models, programs, upscaler
from jaxdyn.models.cain import CAIN
from jaxdyn.types import Route


def toy(power, x, tree):
    """A function as a module of this package would hold it."""
    TRACES.append(x.shape)
    return x**power + tree["shift"], tree["route"]


TRACES = []
toy.__module__ = "jaxdyn.toy"
jitted = jax.jit(toy, static_argnums=0)

TREE = {"shift": np.float32(0.5), "route": Route(np.zeros((1, 2, 3), np.int32), np.ones((1, 2, 3), np.int32))}
X = np.arange(6, dtype=np.float32)
NO_EXPORT = mock.patch.object(export, "export", side_effect=AssertionError("traced again"))


@pytest.fixture(autouse=True)
def no_traces():
    TRACES.clear()
    jax.clear_caches()


def kept_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_call_is_the_function(tmp_path):
    call = programs.Programs(tmp_path / "traced")
    for x in (X, 2 * X, X[:3]):
        found, route = call(jitted, (2,), x, TREE)
        np.testing.assert_array_equal(found, x**2 + 0.5)
        assert isinstance(route, Route)
        np.testing.assert_array_equal(route.depth, TREE["route"].depth)
    assert TRACES == [(6,), (3,)]
    assert len(kept_in(tmp_path / "traced")) == 2


def test_a_later_run_does_not_trace(tmp_path):
    programs.Programs(tmp_path)(jitted, (3,), X, TREE)
    with NO_EXPORT:
        found, _ = programs.Programs(tmp_path)(jitted, (3,), X + 1, TREE)
    np.testing.assert_array_equal(found, (X + 1) ** 3 + 0.5)
    assert len(TRACES) == 1


def test_without_a_folder_functions_are_called():
    with NO_EXPORT:
        programs.Programs()(jitted, (2,), X, TREE)
    assert TRACES == [(6,)]


def test_source_that_is_not_the_packages_is_not_kept(tmp_path):
    other = jax.jit(lambda power, x: x**power, static_argnums=0)
    np.testing.assert_array_equal(programs.Programs(tmp_path)(other, (2,), X), X**2)

    class Mine(CAIN):
        """Somebody's network."""

    count = jax.jit(named(lambda network, x: x + network.num_group), static_argnums=0)
    np.testing.assert_array_equal(programs.Programs(tmp_path)(count, (Mine(),), X), X + 5)
    assert kept_in(tmp_path) == []


def named(function):
    function.__module__, function.__qualname__ = "jaxdyn.toy", "named"
    return function


def test_what_a_key_depends_on(monkeypatch):
    def key(power=2, shapes=((6,), "float32"), platform="cpu"):
        return programs.key_of(jitted, (power,), shapes, platform)

    keys = [key(), key(power=3), key(shapes=((7,), "float32")), key(platform="cuda")]
    small, wide = (programs.key_of(jitted, (models.build("cain", num_feat=n),), (), "cpu") for n in (8, 16))
    keys += [small, wide]
    with jax.default_matmul_precision("highest"):
        keys.append(key())
    monkeypatch.setattr(programs, "source_digest", lambda: "edited")
    keys.append(key())
    assert len(set(keys)) == len(keys)
    monkeypatch.undo()
    assert key() == keys[0]


def test_a_damaged_file_is_traced_anew(tmp_path):
    programs.Programs(tmp_path)(jitted, (2,), X, TREE)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:40] + b"?" + whole[41:]):
        path.write_bytes(damaged)
        found, _ = programs.Programs(tmp_path)(jitted, (2,), X, TREE)
        np.testing.assert_array_equal(found, X**2 + 0.5)
        assert path.read_bytes() == whole


def test_what_was_not_used_for_longest_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "MAX_NUM", 2)
    for age, name in ((3, "aa"), (2, "bb")):
        programs.write(tmp_path / name, b"program")
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    assert programs.read(tmp_path / "aa") == b"program"  # used: now the last one
    programs.write(tmp_path / "cc", b"program")
    assert kept_in(tmp_path) == ["aa", "cc"]


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    found, _ = programs.Programs(tmp_path / "file" / "traced")(jitted, (2,), X, TREE)
    np.testing.assert_array_equal(found, X**2 + 0.5)


def test_what_cannot_be_exported_is_called(tmp_path):
    with mock.patch.object(export, "export", side_effect=ValueError("no compatibility guarantee")):
        found, _ = programs.Programs(tmp_path)(jitted, (2,), X, TREE)
    np.testing.assert_array_equal(found, X**2 + 0.5)
    assert kept_in(tmp_path) == []


def test_a_program_is_prepared_only_if_it_is_kept(tmp_path, monkeypatch):
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (X, TREE))
    first = programs.Programs(tmp_path)
    first.prepare(jitted, (2,), *shapes)
    assert TRACES == []
    first(jitted, (2,), X, TREE)
    second, read = programs.Programs(tmp_path), []
    monkeypatch.setattr(programs, "read", lambda path, real=programs.read: read.append(path) or real(path))
    second.prepare(jitted, (2,), *shapes)
    found, _ = second(jitted, (2,), X, TREE)
    np.testing.assert_array_equal(found, X**2 + 0.5)
    assert (len(read), len(TRACES)) == (1, 1)


def drawn(name, **fields):
    model = models.build(name, **fields)
    return model, drawn_variables(model)


SMALL = {"num_feat": 8, "num_group": 1, "num_block": 1, "reduction": 4}
ROUTED = SMALL | {"patch": 64, "stride": 56, "router_edge": 48, "chunks": (1, 1, 1), "motion": "dis"}


@pytest.mark.parametrize(("name", "fields"), [("cain", SMALL), ("cain_sd", ROUTED)])
@pytest.mark.parametrize("execution", ["packed", "dense"])
def test_an_interpolator_takes_its_prepared_program(tmp_path, name, fields, execution):
    network, frames = drawn(name, **fields), np.random.default_rng(0).random((2, 70, 90, 3), np.float32)
    expected = interpolator.Interpolator(*network, execution).middle(*frames)
    made = interpolator.Interpolator(*network, execution, programs=tmp_path).middle(*frames)
    again = interpolator.Interpolator(*network, execution, programs=tmp_path)
    with NO_EXPORT:
        again.prepare(70, 90)
        last = again.middle(*frames)
    for one in (made, last):
        np.testing.assert_allclose(one.frame, expected.frame, atol=1e-6)
        assert one.cost == expected.cost
    assert len(again._programs._loaded) == 1  # what was prepared is what was called


@pytest.mark.parametrize("execution", ["packed", "dense"])
def test_an_upscaler_takes_its_prepared_program(tmp_path, execution):
    network = drawn("skipvsr", num_feat=8, num_block=2, num_hr=8, motion="dis", tile=8, interval=2, parallel=2)
    frames, starts = np.random.default_rng(0).random((3, 12, 16, 3), np.float32), np.array([True, False, False])
    expected = upscaler.Upscaler(*network, execution=execution, length=4).window(frames, starts, (0, 3))
    upscaler.Upscaler(*network, execution=execution, length=4, programs=tmp_path).window(frames, starts, (0, 3))
    again = upscaler.Upscaler(*network, execution=execution, length=4, programs=tmp_path)
    with NO_EXPORT:
        again.prepare(12, 16)
        made = again.window(frames, starts, (0, 3))
    for one, other in zip(made, expected, strict=True):
        np.testing.assert_allclose(one.frame, other.frame, atol=1e-6)
        assert one.cost == other.cost
    assert len(again._programs._loaded) == 1
