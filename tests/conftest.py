"""Fixtures shared by all tests. Everything runs on the CPU, and every warning is an error."""

import atexit
import gc
import importlib.metadata
import os
import pathlib
import shutil
import tempfile

import numpy as np
import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
# Test processes share what they compile, until the run ends: the first process sets this, the others inherit it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxdyn-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
# Nothing goes to the cache of whoever runs the tests.
if "JAXDYN_CACHE_DIR" not in os.environ:
    os.environ["JAXDYN_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxdyn-cache-")
    atexit.register(shutil.rmtree, os.environ["JAXDYN_CACHE_DIR"], ignore_errors=True)
# Tests compile much and compute little: without LLVM's optimisations they take about a quarter less time. With XLA's
# older way to write loops, which only JAX 0.10 can be told to take, compiling takes half of what is left.
HAS_OLDER_LOOPS = importlib.metadata.version("jax").startswith("0.10.")
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0" + " --xla_cpu_use_fusion_emitters=false" * HAS_OLDER_LOOPS,
)

# Tracing makes many small objects that live on. To look for cycles after every 700 of them takes a fifth of its time.
gc.set_threshold(200_000, 20, 100)

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="module", autouse=True)
def only_new_objects_are_searched() -> None:
    """What the files before left is no longer searched for cycles: `train.loading` asks for a search at each end of a
    feed, which among their traces takes a second and more."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def shared() -> pathlib.Path:
    """The folder of reference outputs and clips beside the checkout; a test that asks for it is skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared, which is not here")
    return SHARED


@pytest.fixture(scope="session")
def as_users_run() -> dict[str, bool]:
    """Options of `jax.jit` for tests to the bit: loops are written, and so rounded, as outside of the tests."""
    return {"xla_cpu_use_fusion_emitters": True} if HAS_OLDER_LOOPS else {}


@pytest.fixture
def random() -> np.random.RandomState:
    """Random numbers that are the same in every run."""
    return np.random.RandomState(0)
