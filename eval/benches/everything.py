"""Every part of the benchmark, one process after the other, and the ratios that the project holds itself to.

    part -> its rows, or the reason why there are none -> ratios with their goals

A part that needs what is not here (PyTorch, a GPU) is named with the reason; it is not left out.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.benches.rows import markdown

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A figure and its goal.

    Attributes:
      part: which measured it.
      name: what it is.
      value: None where it was not measured.
      goal: to be reached, or not exceeded.
      is_most: whether the goal is the most that is allowed.
      reason: why there is no value.
    """

    part: str
    name: str
    value: float | None
    goal: float
    is_most: bool = False
    reason: str | None = None

    @property
    def is_reached(self) -> bool | None:
        """None where it was not measured."""
        if self.value is None:
            return None
        return self.value <= self.goal if self.is_most else self.value >= self.goal


@dataclasses.dataclass(frozen=True)
class Goal:
    """How a part's rows become ratios: the rows whose name fits, one value of each."""

    pattern: str
    field: str
    words: str
    goal: float
    is_most: bool = False

    def ratios(self, part: str, rows: Rows | None, reason: str | None) -> list[Ratio]:
        """One for each row that fits; one without a value if there is none."""
        fitting = [row for row in rows or [] if re.search(self.pattern, row["name"])]
        missing = reason or "no such row"
        found = [
            Ratio(part, f"{row['name']}: {self.words}", row[self.field], self.goal, self.is_most)
            for row in fitting
            if row.get(self.field) is not None
        ]
        return found or [Ratio(part, f"{self.pattern}: {self.words}", None, self.goal, self.is_most, missing)]


@dataclasses.dataclass(frozen=True)
class Part:
    """One call of `python -m eval.bench`, on which platform it has to run, and its goals."""

    arguments: tuple[str, ...]
    platform: str
    goals: tuple[Goal, ...]


SAVED = (Goal("packed", "efficiency", "e", 0.95),)
SHARES = "--shares=0.75,0.5,0.3"
DENSE = Goal("jaxdyn, dense", "ratio", "times as fast as PyTorch", 1.0)
PACKED = Goal("jaxdyn, packed", "ratio", "times as fast as dense PyTorch", 1.8)
STARTS = (
    Goal("--version|--help", "answered", "s until it answers", 0.3, is_most=True),
    Goal("later runs", "computing", "s until it computes", 3.0, is_most=True),
)
WHOLE = (Goal("", "ratio", "whole job against its compute", 1.1, is_most=True),)
PRECISIONS = ("float32", "bfloat16")


def _gpu_parts() -> dict[str, Part]:
    parts = {}
    for precision in PRECISIONS:
        given = f"--precision={precision}"
        interpolate = ("interpolate", "--size=2048x1080", "--shares=0.51", given)
        upscale = ("upscale", "--size=1280x720", "--shares=0.43", "--tilings=frame", "--parallel=32", given)
        goals = Goal("packed", "speedup", "times as fast as dense", 1.6), Goal("packed", "speedup", "likewise", 1.9)
        parts[f"gpu-interpolate-{precision}"] = Part(interpolate, "gpu", goals[:1])
        parts[f"gpu-upscale-{precision}"] = Part(upscale, "gpu", goals[1:])
        for job, size in (("interpolate", "2048x1080"), ("upscale", "1280x720")):
            arguments = ("torch", f"--job={job}", f"--size={size}", given)
            parts[f"gpu-torch-{job}-{precision}"] = Part(arguments, "gpu", (DENSE,))
    return parts


PARTS = {
    "interpolate-720p": Part(("interpolate", "--size=1280x720", SHARES), "cpu", SAVED),
    "interpolate-1080p": Part(("interpolate", "--size=1920x1080", SHARES), "cpu", SAVED),
    "upscale-180p": Part(("upscale", "--size=320x180", SHARES, "--tilings=frame"), "cpu", SAVED),
    "torch-interpolate": Part(("torch", "--job=interpolate", "--size=1280x720"), "cpu", (DENSE, PACKED)),
    "torch-upscale": Part(("torch", "--job=upscale", "--size=320x180"), "cpu", (DENSE, PACKED)),
    "startup": Part(("startup",), "cpu", STARTS),
    "whole-interpolate": Part(("whole", "--job=interpolate"), "cpu", WHOLE),
    "whole-upscale": Part(("whole", "--job=upscale"), "cpu", WHOLE),
    **_gpu_parts(),
}
"""In the order in which they run."""

Run = Callable[[Sequence[str], str], tuple[Rows | None, str | None]]


def measure(
    names: Sequence[str],
    extra: Sequence[str] = (),
    run: Run | None = None,
    keep: Callable[[dict[str, Any]], None] = lambda found: None,
) -> dict[str, Any]:
    """Runs parts; gives {"parts": name -> {arguments, rows or None, reason}, "ratios": [...]}, plain values.

    Args:
      names: of `PARTS`.
      extra: arguments for every part, such as "--rounds=3".
      run: (arguments, platform) -> (rows, reason); a process for each part by default.
      keep: is given all that was found so far, after every part: a run that is stopped has not run for nothing.

    Raises:
      ValueError: an unknown part.
    """
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise ValueError(f"parts (={', '.join(unknown)}) must be of {', '.join(PARTS)}")
    run, found = run or run_part, {"parts": {}, "ratios": []}
    for name in names:
        part = PARTS[name]
        arguments = [*part.arguments, *extra]
        rows, reason = run(arguments, part.platform)
        about = {"arguments": arguments, "platform": part.platform, "rows": rows, "reason": reason}
        ratios = [ratio for goal in part.goals for ratio in goal.ratios(name, rows, reason)]
        found["parts"][name] = about
        found["ratios"] += [{**dataclasses.asdict(ratio), "is_reached": ratio.is_reached} for ratio in ratios]
        keep(found)
    return found


def run_part(arguments: Sequence[str], platform: str) -> tuple[Rows | None, str | None]:
    """A part in a process of its own, its output on the screen as it comes."""
    if platform == "gpu" and not has_gpu():
        return None, "JAX sees no GPU here"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"} if platform == "cpu" else dict(os.environ)
    print(f"\n{' '.join(arguments)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="jaxdyn-bench-") as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "eval.bench", *arguments, f"--json={path}"]
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode or not path.exists():
            last = done.stderr.strip().rpartition("\n")[2]
            return None, last or f"it ended with exit code {done.returncode}"
        return json.loads(path.read_text()), None


def has_gpu() -> bool:
    """Whether JAX would compute on a GPU; asked in another process, which leaves the device free."""
    question = "import jax; print(jax.devices()[0].platform)"
    done = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=False)
    return done.stdout.strip() == "gpu"


def table(ratios: Sequence[Mapping[str, Any]]) -> str:
    """The ratios as Markdown."""
    cells = []
    for ratio in ratios:
        value = f"not measured: {ratio['reason']}" if ratio["value"] is None else f"{ratio['value']:.2f}"
        reached = {None: "", True: "yes", False: "no"}[ratio["is_reached"]]
        goal = f"at {'most' if ratio['is_most'] else 'least'} {ratio['goal']:g}"
        cells.append([ratio["part"], ratio["name"], value, goal, reached])
    return markdown(["part", "ratio", "measured", "goal", "reached"], cells)
