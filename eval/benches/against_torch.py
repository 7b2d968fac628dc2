"""Our dense and our packed network against a PyTorch twin with the same weights, in one pair of processes.

JAX runs here, PyTorch in a child, in turn: each sleeps while the other runs, and between them is a pause in which idle
threads that still spin fall asleep. Both may use the same cores. What both dense networks give is compared as well.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eval.benches import rows
from eval.benches.interpolate import SIZE as FRAME_SIZE
from eval.benches.routes import blocks_at_share, route_at_share
from eval.benches.torch_child import MODES
from eval.benches.upscale import SIZE as SMALL_SIZE
from eval.benches.upscale import dense_cost as clip_cost
from jaxdyn import convert, flops, machine, models
from jaxdyn.types import Cost

SIZES = {"interpolate": FRAME_SIZE, "upscale": SMALL_SIZE}
FRAMES = 5
SHARE = 0.5
PAUSE = 0.2
"""Seconds between turns: OpenMP's and Eigen's threads spin for some milliseconds after their work."""

FIELDS = {"interpolate": ("num_feat", "num_group", "num_block", "reduction"), "upscale": ("num_feat", "num_block")}
NETWORKS = {"interpolate": "cain", "upscale": "basicvsr"}


class UnavailableError(Exception):
    """Why PyTorch cannot be timed here, in one line."""


@dataclasses.dataclass(frozen=True)
class TorchRow:
    """One side of the comparison. Times in seconds, medians, of a frame.

    Attributes:
      name: of the network and its library.
      seconds: None where it did not run.
      share: executed FLOPs of the dense network's.
      gflops_per_second: of executed FLOPs.
      ratio: how many times as fast as the faster of PyTorch's ways.
      compile_seconds: of the first call, beyond a later one.
      difference: of the output from PyTorch's, the largest, as a share of its range; None: not comparable.
      reason: why it did not run.
      of_peak: `gflops_per_second` as a share of the device's measured matrix product; None: not measured.
    """

    name: str
    seconds: float | None
    share: float = 1.0
    gflops_per_second: float | None = None
    ratio: float | None = None
    compile_seconds: float | None = None
    difference: float | None = None
    reason: str | None = None
    of_peak: float | None = None


@dataclasses.dataclass(frozen=True)
class Ours:
    """Our two networks on one input: calls that give the output first, what they cost, frames that a call makes."""

    dense: Callable[[], Any]
    packed: Callable[[], Any]
    dense_cost: Cost
    packed_cost: Cost
    per: int = 1


def measure(
    job: str,
    width: int,
    height: int,
    time_: int = FRAMES,
    share: float = SHARE,
    kind: str = "depth",
    rounds: int = 5,
    precision: str = "float32",
    modes: Sequence[str] = MODES,
    pause: float = PAUSE,
    **overrides,
) -> list[TorchRow]:
    """Times the four in turn; random weights and frames.

    Args:
      job: "interpolate" (CAIN) or "upscale" (BasicVSR).
      width, height: of the input frames, in pixels.
      time_: frames of the clip, "upscale".
      share: of the dense FLOPs, for our packed network.
      kind: of its Route, "interpolate", see `route_at_share`.
      rounds: interleaved repetitions.
      precision: of the parameters; of PyTorch's, also of what passes between layers.
      modes: of PyTorch, "eager" and "compiled".
      pause: between turns, s.
      **overrides: fields of both networks.

    Raises:
      UnavailableError: no PyTorch, or none that works here.
    """
    shape = (1, height, width, 3) if job == "interpolate" else (1, time_, height, width, 3)
    random = np.random.RandomState(0)
    inputs = [random.rand(*shape).astype(np.float32) for _ in range(2 if job == "interpolate" else 1)]
    fields = {name: overrides[name] for name in FIELDS[job] if name in overrides}
    is_cpu = jax.devices()[0].platform == "cpu"
    with tempfile.TemporaryDirectory(prefix="jaxdyn-bench-") as folder, child() as ask:
        asked = {"network": NETWORKS[job], "fields": fields, "precision": precision, "modes": list(modes)}
        asked |= {"inputs": f"{folder}/inputs.npz", "weights": f"{folder}/weights.npz"}
        np.savez(asked["inputs"], *inputs)
        told = ask({**asked, "device": "cpu" if is_cpu else "cuda", "threads": machine.num_core()})
        if "error" in told:
            raise UnavailableError(told["error"])
        with np.load(asked["weights"]) as arrays:
            tensors = dict(arrays)
        make = _interpolation if job == "interpolate" else _upscaling
        ours = make(tensors, inputs, share, kind, precision, overrides)

        failed, saved = {}, Path(folder) / "output.npy"
        first = {}
        for mode in modes:
            answer = ask({"run": mode, "save": str(saved)})
            if "error" in answer:
                failed[mode] = answer["error"]
            else:
                first[f"PyTorch, {mode}"] = answer["seconds"]
        if not first:
            raise UnavailableError("; ".join(failed.values()))
        expected = np.load(saved)

        calls = {
            f"PyTorch, {mode}": functools.partial(_asked_seconds, ask, mode) for mode in modes if mode not in failed
        }
        for name, call in (("jaxdyn, dense", ours.dense), (f"jaxdyn, packed at {share:.0%}", ours.packed)):
            calls[name] = functools.partial(rows.seconds_of, call)
            first[name] = calls[name]()
        found = np.asarray(ours.dense()).astype(np.float32).reshape(expected.shape)
        difference = float(np.abs(found - expected).max() / np.ptp(expected))
        seconds = rows.in_turn(calls, rounds, pause)

    best = min(spent for name, spent in seconds.items() if name.startswith("PyTorch"))
    results = []
    for name, spent in seconds.items():
        cost = ours.packed_cost if "packed" in name else ours.dense_cost
        results.append(
            TorchRow(
                name=f"{name} {told['torch']}" if name.startswith("PyTorch") else name,
                seconds=spent / ours.per,
                share=cost.share(ours.dense_cost),
                gflops_per_second=cost.flops / spent / 1e9,
                ratio=best / spent,
                compile_seconds=max(first[name] - spent, 0.0),
                difference=difference if name == "jaxdyn, dense" else None,
            )
        )
    return results + [TorchRow(f"PyTorch, {mode}", None, reason=reason) for mode, reason in failed.items()]


def table(found: Sequence[TorchRow]) -> str:
    """The rows as Markdown, and below it what did not run."""
    has_peak = any(row.of_peak is not None for row in found)
    titles = ["network", "s a frame", "share of dense", "GFLOP/s", "times as fast as PyTorch"]
    titles += ["compile s", "difference"]
    cells, notes = [], []
    for row in found:
        if row.seconds is None:
            notes.append(f"{row.name} did not run: {row.reason}")
            continue
        difference = "" if row.difference is None else f"{row.difference:.1e}"
        cells.append([row.name, rows.seconds_text(row.seconds), f"{row.share:.1%}", f"{row.gflops_per_second:.0f}"])
        cells[-1] += [f"{row.ratio:.2f}", f"{row.compile_seconds:.1f}", difference]
        cells[-1] += ["" if row.of_peak is None else f"{row.of_peak:.0%}"] * has_peak
    return "\n".join([rows.markdown(titles + ["of peak"] * has_peak, cells), *notes])


@contextlib.contextmanager
def child() -> Iterator[Callable[[dict], dict]]:
    """A process with PyTorch, as a function from a question to its answer.

    Raises:
      UnavailableError: PyTorch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise UnavailableError('PyTorch is not installed; `pip install "jaxdyn[convert]"` brings it')
    command = [sys.executable, "-m", "eval.benches.torch_child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:

        def ask(question: dict) -> dict:
            process.stdin.write(json.dumps(question) + "\n")
            answer = process.stdout.readline()
            return json.loads(answer) if answer else {"error": "the process with PyTorch ended"}

        try:
            yield ask
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def _interpolation(tensors, inputs, share, kind, precision, overrides) -> Ours:
    model, static = models.build("cain_sd", **overrides), convert.from_torch("cain", tensors)
    height, width = inputs[0].shape[1:3]
    variables = {"params": {**rows.drawn_variables(model)["params"], "cain": static["params"]}}
    variables = rows.cast(variables, precision)
    static_variables = {"params": variables["params"]["cain"]}
    network = convert.model_for("cain", static)
    frames = [jnp.asarray(frame) for frame in inputs]
    route = route_at_share(model, height, width, share, kind == "mixed")

    @jax.jit
    def dense(v, a, b):
        return network.apply(v, a, b)[0]

    @jax.jit
    def packed(v, a, b, route):
        frame, aux = model.apply(v, a, b, None, route, "packed")
        return frame, aux["scale_logits"], aux["depth_logits"]

    put = jax.device_put(route)
    return Ours(
        dense=lambda: dense(static_variables, *frames),
        packed=lambda: packed(variables, *frames, put),
        dense_cost=flops.dense_cain(model, height, width),
        packed_cost=flops.route_cost(model, route, height, width),
    )


def _upscaling(tensors, inputs, share, kind, precision, overrides) -> Ours:
    del kind
    dynamic = convert.from_torch("skipvsr", tensors)
    model = convert.model_for("skipvsr", dynamic).clone(**overrides)
    static = convert.model_for("basicvsr", convert.from_torch("basicvsr", tensors))
    variables = rows.cast(dynamic, precision)
    static_variables = {"params": {k: v for k, v in variables["params"].items() if not k.startswith("gate_")}}
    clip = jnp.asarray(inputs[0])
    _, time_, height, width, _ = clip.shape
    route = blocks_at_share(model, time_, height, width, share)

    @jax.jit
    def dense(v, x):
        return static.apply(v, x)[0]

    @jax.jit
    def packed(v, x, route):
        large, aux = model.apply(v, x, 0.0, route, "packed")
        return large, aux["scores"]

    put = jax.device_put(route)
    return Ours(
        dense=lambda: dense(static_variables, clip),
        packed=lambda: packed(variables, clip, put),
        dense_cost=clip_cost(static, time_, height, width),
        packed_cost=flops.block_route_cost(model, route, height, width),
        per=time_,
    )


def _asked_seconds(ask: Callable[[dict], dict], mode: str) -> float:
    answer = ask({"run": mode})
    if "error" in answer:
        raise UnavailableError(answer["error"])
    return answer["seconds"]
