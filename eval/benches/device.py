"""The device: how fast its matrix product is, how much memory a run takes, what it is called."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata

import jax

from eval import timing
from jaxdyn import machine

SIDES = (1024, 2048, 4096, 8192, 16384)
LONG_ENOUGH = 0.25
"""Seconds of one matrix product beyond which larger ones are not tried."""

REPEATS = 5


def describe() -> dict[str, str]:
    """What stands beside every figure: device, machine, versions."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "machine": machine.describe(),
        "jax": metadata.version("jax"),
        "jaxdyn": metadata.version("jaxdyn"),
        "python": sys.version.split()[0],
    }


def matmul_rate(precision: str = "float32", clock: Callable[[], float] = time.perf_counter) -> float:
    """FLOP/s of the fastest square matrix product: the best of several, of sides that double until one is long enough.

    Args:
      precision: "float32" or "bfloat16". Float32 multiplies as JAX does by default, on some devices in less.
      clock: seconds.
    """
    best = 0.0
    for side in SIDES:
        matrix = jax.random.normal(jax.random.key(0), (side, side)).astype(precision)
        product = jax.jit(lambda a: a @ a).lower(matrix).compile()
        jax.block_until_ready(product(matrix))
        spent = []
        for _ in range(REPEATS):
            start = clock()
            jax.block_until_ready(product(matrix))
            spent.append(clock() - start)
        best = max(best, 2 * side**3 / min(spent))
        if min(spent) > LONG_ENOUGH:
            break
    return best


def peak_of(call: Callable[[], object]) -> int:
    """Bytes at the peak of a call that has compiled already: the device's own count, or the process's resident memory.

    The device counts from the start of the process; where Linux allows it, resident memory counts from now on. It holds
    Python, JAX and the parameters too.
    """
    jax.block_until_ready(call())
    timing.forget_peak()
    jax.block_until_ready(call())
    return timing.peak()


def peaks_in_children(arguments: Sequence[str], number: int) -> list[int | None]:
    """The peak of each of some plans, each in a process of its own; None where one failed.

    Args:
      arguments: of `python -m eval.bench` that make the plans.
      number: of plans; `--only=INDEX` is added for each.
    """
    found = []
    for index in range(number):
        command = [sys.executable, "-m", "eval.bench", *arguments, f"--only={index}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        last = done.stdout.strip().rpartition("\n")[2]
        found.append(json.loads(last)["peak_bytes"] if done.returncode == 0 else None)
    return found
