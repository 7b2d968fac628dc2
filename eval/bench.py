"""Times dense, masked and packed execution against each other, and against PyTorch.

python -m eval.bench interpolate | upscale     dense, masked and packed, at given shares of the dense FLOPs
python -m eval.bench train                     a training step, whose layers are loops, against the same written out
python -m eval.bench torch                     ours against PyTorch twins of the same weights, in a pair of processes
python -m eval.bench startup                   how long `jaxdyn` takes until it answers, and until it computes
python -m eval.bench whole                     a job from file to file against its compute alone
python -m eval.bench stages                    where the time of a job goes, from file to file
python -m eval.bench all --json out.json       all of it, and every ratio with its goal

Everything is timed in one run, interleaved, and medians are compared, because machines are noisy. The dense network is
the static one of the same widths on the whole frame, jitted by itself. A Route at a share of its FLOPs is made by hand.
"""

import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence

from absl import app, flags

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a GPU is shared with PyTorch, and with children

import jax

from eval.benches import against_torch, device, everything, interpolate, rows, stages, startup, upscale, whole
from eval.benches.rows import PRECISIONS
from eval.benches.torch_child import MODES
from jaxdyn.accounting import plural
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.models.skipvsr import SkipVSR

JOBS = ("interpolate", "upscale")
SIZES = {"interpolate": interpolate.SIZE, "upscale": upscale.SIZE, "train": (64, 64)}
SHARES = {"interpolate": interpolate.SHARES, "upscale": upscale.SHARES}
"""What the papers measure at: sizes of the input, shares of the dense FLOPs."""

_SIZE = flags.DEFINE_string("size", None, f"WIDTHxHEIGHT of the input frames, in pixels; default {SIZES}.")
_SHARES = flags.DEFINE_list("shares", None, f"Shares of the dense FLOPs for packed execution; default {SHARES}.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Interleaved rounds; medians are printed.")
_FEATURES = flags.DEFINE_integer("num_feat", None, "Features of the network; default as published.")
_BLOCKS = flags.DEFINE_integer(
    "num_block", None, "Blocks of a residual group, or of a direction; default as published."
)
_MASKED = flags.DEFINE_bool("masked", False, "Time masked execution too (slow: it computes everything).")
_JSON = flags.DEFINE_string("json", None, "Write the rows to this file as well.")
_ROUTES = flags.DEFINE_list(
    "routes", list(interpolate.KINDS), "interpolate: how Routes reach a share, 'mixed' scales and depths, or 'depth'."
)
_CHUNKS = flags.DEFINE_list("chunks", None, "interpolate: patches side by side at scale 1, 1/2, 1/4.")
_FRAMES = flags.DEFINE_integer("frames", None, "upscale, train, torch: frames of the clip; default 10, or 5.")
_BATCH = flags.DEFINE_integer("batch", 1, "train: clips of a step.")
_TILINGS = flags.DEFINE_list("tilings", list(upscale.TILINGS), "upscale: tiles of the whole frame, or patches.")
_PARALLEL = flags.DEFINE_integer("parallel", None, "upscale: tiles side by side.")
_TILE = flags.DEFINE_integer("tile", None, "upscale: side of a tile, in pixels.")
_PRECISION = flags.DEFINE_enum("precision", "float32", list(PRECISIONS), "What convolutions multiply in.")
_MEMORY = flags.DEFINE_bool("memory", True, "interpolate, upscale: peak memory too, each row in a process of its own.")
_PEAK = flags.DEFINE_bool("peak", True, "Measure the device's matrix product, for the share of it that is reached.")
_JOB = flags.DEFINE_enum(
    "job", None, list(JOBS), "torch, startup, whole, stages: of which; default the first, or both."
)
_MODES = flags.DEFINE_list("modes", list(MODES), "torch: PyTorch as it comes, or by torch.compile.")
_CLIP = flags.DEFINE_string("clip", None, "startup, whole, stages: a video; default a drawn one.")
_PARTS = flags.DEFINE_list("parts", list(everything.PARTS), "all: which parts.")
_ONLY = flags.DEFINE_integer("only", None, "Run the plan of this number alone and print its peak memory as JSON.")


def overrides(*names: str) -> dict:
    """Fields of a network that flags set."""
    known = {
        "num_feat": _FEATURES.value,
        "num_block": _BLOCKS.value,
        "chunks": _CHUNKS.value and tuple(map(int, _CHUNKS.value)),
        "parallel": _PARALLEL.value,
        "tile": _TILE.value,
    }
    return {name: known[name] for name in names if known[name] is not None}


def size_of(job: str) -> tuple[int, int]:
    """(W, H) of --size, or the job's own."""
    if _SIZE.value is None:
        return SIZES[job]
    width, _, height = _SIZE.value.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise app.UsageError(f"--size={_SIZE.value}: write WIDTHxHEIGHT, for example 1280x720")
    return int(width), int(height)


def plans_of(job: str) -> tuple[rows.Plans, str]:
    """What "interpolate" and "upscale" time, and a line that says so."""
    width, height = size_of(job)
    shares = [float(share) for share in _SHARES.value or SHARES[job]]
    given = (_MASKED.value, _PRECISION.value)
    if job == "interpolate":
        fields = overrides("num_feat", "num_block", "chunks")
        what = f"{width}x{height}, chunks {fields.get('chunks', CainSD.chunks)}"
        return interpolate.plans(width, height, shares, _ROUTES.value, *given, **fields), what
    time, fields = _FRAMES.value or upscale.FRAMES, overrides("num_feat", "num_block", "parallel", "tile")
    what = f"{plural(time, 'frame')} of {width}x{height}, {fields.get('parallel', SkipVSR.parallel)} tiles together"
    return upscale.plans(width, height, time, shares, _TILINGS.value, *given, **fields), what


def run_executions(job: str) -> tuple[list, str, str]:
    """Rows, their table, and a line of what they are of."""
    plans, what = plans_of(job)
    found = rows.measure(plans, _ROUNDS.value)
    found = with_peak(found)
    if _MEMORY.value:
        peaks = device.peaks_in_children(sys.argv[1:], len(found))
        found = [dataclasses.replace(row, peak_bytes=peak) for row, peak in zip(found, peaks, strict=True)]
    return found, rows.table(found), what


def run_train() -> tuple[list, str, str]:
    """Likewise, of a training step."""
    from eval.benches import train  # loads what training needs

    (width, height), time = size_of("train"), _FRAMES.value or train.FRAMES
    fields = overrides("num_feat", "num_block")
    found = train.measure(width, height, time, _BATCH.value, _ROUNDS.value, **fields)
    return found, train.table(found), f"a step on {_BATCH.value} x {time} frames of {width}x{height}"


def run_torch() -> tuple[list, str, str]:
    """Likewise, against PyTorch."""
    job = _JOB.value or JOBS[0]
    (width, height), time = size_of(job), _FRAMES.value or against_torch.FRAMES
    fields = overrides("num_feat", "num_block", *(("chunks",) if job == "interpolate" else ("parallel", "tile")))
    share = float(_SHARES.value[0]) if _SHARES.value else against_torch.SHARE
    kind = _ROUTES.value[0] if len(_ROUTES.value) == 1 else "depth"
    try:
        found = against_torch.measure(
            job, width, height, time, share, kind, _ROUNDS.value, _PRECISION.value, _MODES.value, **fields
        )
    except against_torch.UnavailableError as error:
        sys.exit(f"no comparison: {error}")
    found = with_peak(found)
    clip = "" if job == "interpolate" else f"{plural(time, 'frame')} of "
    return found, against_torch.table(found), f"{job} against PyTorch, {clip}{width}x{height}"


def run_startup() -> tuple[list, str, str]:
    """Likewise, of starts."""
    found = startup.measure([_JOB.value] if _JOB.value else JOBS, _ROUNDS.value, _CLIP.value)
    return found, startup.table(found), f"starts, {_CLIP.value or 'a drawn clip'}"


def run_whole() -> tuple[list, str, str]:
    """Likewise, of a whole job."""
    found = [whole.measure(_JOB.value or JOBS[0], _ROUNDS.value, _CLIP.value)]
    return found, whole.table(found), f"a whole job, {_CLIP.value or 'a drawn clip'}"


def run_stages() -> tuple[list, str, str]:
    """Likewise, of the stages of a job."""
    found = stages.measure(_JOB.value or JOBS[0], _ROUNDS.value, _CLIP.value)
    return found, stages.table(found), f"stages of a job, {_CLIP.value or 'a drawn clip'}"


def with_peak(found: list) -> list:
    """Rows with their share of the device's matrix product."""
    if not _PEAK.value:
        return found
    peak = device.matmul_rate(_PRECISION.value)
    print(f"matrix product in {_PRECISION.value}: {peak / 1e9:.0f} GFLOP/s")
    rates = [row.gflops_per_second for row in found]
    shares = [None if rate is None else rate * 1e9 / peak for rate in rates]
    return [dataclasses.replace(row, of_peak=share) for row, share in zip(found, shares, strict=True)]


def run_all() -> None:
    """Every part, then every ratio."""
    extra = [f"--rounds={_ROUNDS.value}", *([] if _MEMORY.value else ["--nomemory"])]
    unknown = [name for name in _PARTS.value if name not in everything.PARTS]
    if unknown:
        raise app.UsageError(f"--parts={','.join(unknown)}: known are {', '.join(everything.PARTS)}")

    def keep(found: dict) -> None:
        if _JSON.value:
            rows.write_json(_JSON.value, {"about": device.describe(), "command": " ".join(sys.argv[1:]), **found})

    print(f"\n{everything.table(everything.measure(_PARTS.value, extra, keep=keep)['ratios'])}")


RUNS: dict[str, Callable] = {
    "train": run_train,
    "torch": run_torch,
    "startup": run_startup,
    "whole": run_whole,
    "stages": run_stages,
}


def main(argv: Sequence[str]) -> None:
    """Print the table of what is named on the command line."""
    names = (*JOBS, *RUNS, "all")
    if len(argv) != 2 or argv[1] not in names:
        raise app.UsageError(f"name what to time: `python -m eval.bench` {' | '.join(names)}, got {argv[1:]}")
    job = argv[1]
    if job == "all":
        run_all()
        return
    if _ONLY.value is not None:
        print(json.dumps({"peak_bytes": device.peak_of(plans_of(job)[0].plans[_ONLY.value].call)}))
        return
    with tempfile.TemporaryDirectory(prefix="jaxdyn-bench-") as folder:  # what this run compiles, its children load
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        jax.config.update("jax_compilation_cache_dir", folder)
        found, printed, what = run_executions(job) if job in JOBS else RUNS[job]()
    about = device.describe()
    print(
        f"{what}, {about['device']}: {about['machine']}, JAX {about['jax']}, {_PRECISION.value}, "
        f"medians of {_ROUNDS.value} interleaved rounds"
    )
    print(printed)
    if _JSON.value:
        rows.write_json(_JSON.value, [rows.record(row) for row in found])


if __name__ == "__main__":
    app.run(main)
