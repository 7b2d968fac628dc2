"""How long the command takes until it does something: until it answers, until it computes, until there is a frame.

Each run is a process of its own, timed from before it is made. The first run of a job compiles, into a cache folder
that is new; the next ones load what it kept.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from eval.benches.drawn import write_clip
from eval.benches.rows import markdown
from jaxdyn import cache

SIZES = {"interpolate": (1280, 720), "upscale": (320, 180)}
FRAMES = {"interpolate": 3, "upscale": 8}
ANSWERS = ("--version", "--help")


@dataclasses.dataclass(frozen=True)
class StartRow:
    """Seconds from before the process was made; medians. None: it does not compute.

    Attributes:
      name: "interpolate, first run".
      answered: until it ended.
      computing: until the network was handed to the device for the first time.
      frame: until the first frame, or window of frames, was made.
    """

    name: str
    answered: float
    computing: float | None = None
    frame: float | None = None


def measure(
    jobs: Sequence[str] = ("interpolate", "upscale"), rounds: int = 3, clip: str | None = None
) -> list[StartRow]:
    """Times `--version`, `--help`, and the first and the later runs of jobs.

    Args:
      jobs: "interpolate", "upscale".
      rounds: later runs, and answers, of which medians are taken.
      clip: a video; None: drawn ones at `SIZES`.

    Raises:
      RuntimeError: a run that failed, with its last line.
    """
    found = []
    for option in ANSWERS:
        times = []
        for _ in range(rounds):
            began = time.time()
            subprocess.run([sys.executable, "-m", "jaxdyn.cli", option], check=True, stdout=subprocess.DEVNULL)
            times.append(time.time() - began)
        found.append(StartRow(f"jaxdyn {option}", statistics.median(times)))
    for job in jobs:
        with tempfile.TemporaryDirectory(prefix="jaxdyn-bench-") as folder:
            source = Path(clip) if clip else write_clip(Path(folder) / "in.mp4", *SIZES[job], FRAMES[job])
            runs = [_run(job, source, Path(folder)) for _ in range(1 + rounds)]
        found.append(dataclasses.replace(runs[0], name=f"{job}, first run"))
        medians = {
            field: statistics.median(getattr(run, field) for run in runs[1:])
            for field in ("answered", "computing", "frame")
        }
        found.append(StartRow(f"{job}, later runs", **medians))
    return found


def table(found: Sequence[StartRow]) -> str:
    """The rows as Markdown."""
    cells = [
        [row.name, *("" if value is None else f"{value:.2f}" for value in (row.computing, row.frame, row.answered))]
        for row in found
    ]
    return markdown(["command", "computes after s", "first frame after s", "ended after s"], cells)


def _run(job: str, source: Path, folder: Path) -> StartRow:
    """One run of a job with a cache in `folder`."""
    marks = folder / "marks.json"
    environment = {name: value for name, value in os.environ.items() if name != cache.JAX_VARIABLE}
    environment[cache.VARIABLE] = str(folder / "cache")
    began = time.time()
    command = [sys.executable, "-m", "eval.benches.startup", job, str(source), str(folder / "out.mp4"), str(marks)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    ended = time.time()
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}")
    noted = json.loads(marks.read_text())
    return StartRow(job, ended - began, noted["computing"] - began, noted["frame"] - began)


def main(job: str, source: str, target: str, marks: str) -> int:
    """A job by the command line, in this process, that notes when it first did what."""
    from jaxdyn import cli

    loader, method = {
        "interpolate": ("load_interpolator", "middle"),
        "upscale": ("load_upscaler", "window"),
    }[job]
    noted, load = {}, getattr(cli, loader)

    def watched(function, name):
        def call(*arguments):
            result = function(*arguments)
            noted.setdefault(name, time.time())
            return result

        return call

    def loaded(arguments):
        model = load(arguments)
        model._run = watched(model._run, "computing")  # it returns when the device has begun
        setattr(model, method, watched(getattr(model, method), "frame"))
        return model

    with mock.patch.object(cli, loader, loaded):
        code = cli.main([job, source, target, "--overwrite"])
    Path(marks).write_text(json.dumps(noted))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
