"""A whole job that is ready to be timed: a clip, a network of its weights, and what takes the one through the other."""

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from eval.benches.drawn import write_clip
from jaxdyn import interpolator, pipeline, pretrained, upscaler

SIZES = {"interpolate": (1280, 720), "upscale": (320, 180)}
FRAMES = {"interpolate": 9, "upscale": 96}
"""Of drawn clips; three windows of an upscaler, so that there is something to overlap with."""


@dataclasses.dataclass(frozen=True)
class Job:
    """See above.

    Attributes:
      source, target: files; the target is not there yet.
      make: (execution=...) -> the network in an `Interpolator` or an `Upscaler`.
      method: of these, which makes frames.
      run: (source, target, model, overwrite=...) -> report.
    """

    source: Path
    target: Path
    make: Callable[..., Any]
    method: str
    run: Callable[..., Any]


@contextlib.contextmanager
def opened(job: str, clip: str | None = None, weights: str | None = None) -> Iterator[Job]:
    """A job; its folder goes when the block ends.

    Args:
      job: "interpolate" or "upscale".
      clip: a video; None: a drawn one at `SIZES`.
      weights: a name or a file; None: the default ones.
    """
    is_middle = job == "interpolate"
    network, variables = pretrained.load(weights or ("cain_sd" if is_middle else "skipvsr"))
    kind = interpolator.Interpolator if is_middle else upscaler.Upscaler
    method, run = ("middle", pipeline.interpolate_video) if is_middle else ("window", pipeline.upscale_video)
    with tempfile.TemporaryDirectory(prefix="jaxdyn-bench-") as folder:
        source = Path(clip) if clip else write_clip(Path(folder) / "in.mp4", *SIZES[job], FRAMES[job])
        yield Job(source, Path(folder) / "out.mp4", functools.partial(kind, network, variables), method, run)
