"""Large frames, window by window.

window -> large frames -> each written at its time, and again at the time of each repeat
"""

import time as clock
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from jaxdyn import maps, sampling
from jaxdyn.accounting import Progress, Report, UpscaleReport, plural
from jaxdyn.jobs import Part, Run, check_finite
from jaxdyn.output import Output
from jaxdyn.parts import Parts
from jaxdyn.report.job import Frame, Pictures, UpscalingPage
from jaxdyn.report.pictures import enlarged
from jaxdyn.video import Source
from jaxdyn.windows import Distinct, Window, arrays, cut_windows


class Large(Protocol):
    """What an upscaler makes of a frame.

    Attributes:
      frame: float32 [scale H, scale W, 3] RGB in [0, 1].
      blocks: which blocks ran, bool [2, num_block, n_h, n_w]; None = all of them, as in a static network.
      cost: `types.Cost` of it.
    """

    frame: np.ndarray
    blocks: np.ndarray | None
    cost: Any


class Upscaler(Protocol):
    """A model that enlarges frames, such as `jaxdyn.upscaler.Upscaler`.

    Attributes:
      scale: how much longer the sides of a frame become.
      overlap: frames that a window sees before and after those that it gives.
    """

    scale: int
    overlap: int

    def window_length(self, height: int, width: int) -> int:
        """How many frames of this size a window gives."""

    def window(self, frames: np.ndarray, starts: np.ndarray, keep: tuple[int, int]) -> list[Large]:
        """Enlarges the frames keep[0] <= t < keep[1] of a window.

        Args:
          frames: float32 [n, H, W, 3] in [0, 1], n <= window_length(H, W) + 2 * overlap.
          starts: bool [n], whether a frame begins a new shot.
          keep: (first, last) within the window.
        """

    def dense_cost(self, height: int, width: int) -> Any:
        """`types.Cost` of the dense network for one frame of this size."""

    def meet(self, budget: float, windows: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
        """Sets, and gives, the threshold that brings the executed share of the dense FLOPs nearest to a budget.

        Args:
          budget: a share, over 0 and at most 1.
          windows: (frames, starts) on which shares are measured.
        """


class Upscaling(Run):
    """Enlarges windows; the other arguments are those of `Run`."""

    report = UpscaleReport

    def __init__(
        self,
        clip: Source,
        output: Output,
        parts: Parts,
        upscaler: Upscaler,
        map_folder: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
        part: Part = (None, None),
        page: UpscalingPage | None = None,
    ):
        super().__init__(clip, output, parts, map_folder, progress, part, upscaler.scale, page)
        self.upscaler = upscaler
        self.dense_flops = upscaler.dense_cost(*self.size).flops
        if page is not None:
            page.dense_flops = self.dense_flops

    def meet(self, budget: float, keep_partial: bool) -> None:
        """Has the model meet a budget, a share of the dense FLOPs, on windows sampled from the clip."""
        began = clock.perf_counter()
        length = self.upscaler.window_length(*self.size) + 2 * self.upscaler.overlap
        samples = sampling.sample_frames(self.clip, self.part, length, keep_partial)
        if samples:
            windows = [arrays(frames) for frames in samples]
            threshold = self.upscaler.meet(budget, windows)
            self.found = f"threshold {threshold:.4g} comes nearest to the budget of {100 * budget:g}%"
            self.found += f" on {plural(len(windows), 'sampled window')}"
        if self.page is not None:
            self.page.seconds_before = clock.perf_counter() - began

    def windows(self, frames: Iterator[Distinct]) -> Iterator[Window]:
        """What is still to be enlarged, from what is still to be read."""
        before = self.parts.records[-1].data["before"] if self.parts.records else 0
        return cut_windows(frames, self.upscaler.window_length(*self.size), self.upscaler.overlap, before)

    def write(self, step: Window, writer: Any, submit: Callable[..., None]) -> None:
        """Writes the large frames of a window, each as often as it is shown."""
        began = clock.perf_counter()
        larges = self.upscaler.window(*arrays(step.frames), step.keep)  # Large [scale H, scale W, 3]
        if self.page is not None:
            self.page.evaluated([large.cost for large in larges], clock.perf_counter() - began)
        larges.reverse()
        for frame in step.kept:
            large = larges.pop()  # and let go when it is written: large frames weigh most
            self.count(frame, large)
            self.draw(large)
            self.note(frame, large)
            alpha = enlarge_alpha(frame.picture.alpha, self.size_out)
            for index, time in enumerate(frame.times):
                self.counts.frames_in += 1
                self.counts.repeats += index > 0
                self.counts.made += index == 0
                self.counts.copied += index > 0
                submit(writer.write_made, large.frame, alpha, time, frame.picture)
                self.tell()

    def count(self, frame: Distinct, large: Large) -> None:
        """Counts an evaluation and what it cost."""
        check_finite(large.frame)
        self.counts.cuts += frame.is_cut
        self.counts.damaged += frame.num_damaged
        self.counts.evaluations += 1
        self.counts.flops += large.cost.flops
        self.counts.dense_flops += self.dense_flops

    def draw(self, large: Large) -> None:
        """A picture of the blocks that ran if asked for and if the model chooses."""
        if self.map_folder is None:
            return
        if large.blocks is None:
            self.say_no_map()
            return
        self.save_map(maps.draw_blocks(large.frame, large.blocks, self.upscaler.model.grid(*self.size)))

    def note(self, frame: Distinct, large: Large) -> None:
        """Tells the page of a large frame, if there is to be one."""
        if self.page is None:
            return

        def show() -> Pictures:
            made = "dense" if large.blocks is None else "dynamic"
            layers = {"input, bicubic": enlarged(frame.picture.rgb, *self.size_out), made: large.frame}
            if large.blocks is None:
                return Pictures(layers)
            grid = self.upscaler.model.grid(*self.size)
            return Pictures(layers, maps.block_cells(large.blocks, grid, self.upscaler.scale))

        facts = () if large.blocks is None else (("blocks that ran", f"{large.blocks.mean():.1%}"),)
        time = frame.times[0] - self.clip.properties.origin
        self.page.routed(large.blocks)
        self.page.made(Frame(self.number, time, large.cost, facts), show)

    def write_page(self, done: Report) -> None:
        """Writes the page, without dense pictures."""
        self.page.write(done)


def enlarge_alpha(alpha: np.ndarray | None, size: tuple[int, int]) -> np.ndarray | None:
    """Opacity [h, w] in [0, 1] -> [H, W], by bicubic interpolation."""
    if alpha is None:
        return None
    return np.clip(cv2.resize(alpha, size[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)
