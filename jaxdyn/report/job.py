"""The page of a job on a video, gathered while its frames stream through.

    made frames -> a curve of bounded length, a few frames as JPEG; evaluations -> sums -> page

What is held does not grow with the clip: see `keeping`. A page has at most `NUM_SHOT` frames and the dearest one, each
in up to four pictures of at most `pictures.BYTES`: they take 9 MB at most.

Dense pictures. Of an interpolated clip the chosen frames are made once more at the end, by the static network on whole
frames: at most nine frames, however long the clip, and the loss by routing is then a figure (PSNR of one against the
other). Of an upscaled clip they are left out: a frame of the recurrent network depends on its neighbours in both
directions, so that each would take a window of its own, more in all than the whole of a short clip; the page says so.
"""

import abc
import dataclasses
import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np

from jaxdyn import maps
from jaxdyn.accounting import Report, plural
from jaxdyn.errors import UserError, one_line
from jaxdyn.report import keeping, page, pictures
from jaxdyn.report.charts import Bars, Plot, Series
from jaxdyn.report.sections import Facts, Notes, Row, Section, Table, Tiles
from jaxdyn.report.viewer import Legend, Shot, Viewer, block_legends, css, scale_legends
from jaxdyn.types import SCALES, Cost, Route
from jaxdyn.version import __version__

NUM_SHOT = 8
GREY = "rgb(139 144 150)"  # patches that no network computed


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame that the network made.

    Attributes:
      number: of the output frame, from 0.
      time: when it is shown, s from the beginning of the source.
      cost: of it; None if the model does not say.
      facts: what else is known of it: names and values.
      key: what the job needs to make it once more.
    """

    number: int
    time: Fraction
    cost: Cost | None
    facts: tuple[tuple[str, str], ...] = ()
    key: Any = None


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What a frame shows: pictures [H, W, 3] in [0, 1] by name, and what each patch got, in pixels of the largest."""

    layers: Mapping[str, np.ndarray]
    cells: Sequence[maps.Cell] = ()


class JobPage(abc.ABC):
    """What a page shows of a job; subclasses say what is special to the kind of job.

    Args:
      path: of the page.
      settings: what was asked for, by name; None = nothing.
    """

    kind: str  # what was done, a few words
    evaluation: str  # what one call of the model makes
    no_dense = ""  # why this kind of job has no dense pictures, if it has none
    legend_note = ""

    def __init__(self, path: str | Path, settings: Mapping[str, Any]):
        self.path, self.settings = Path(path), settings
        self.dense_flops = 0.0  # of one frame; the job says
        self.choice = keeping.Choice[tuple[Frame, Shot]](NUM_SHOT)
        self.trace = keeping.Trace()
        self.stages: dict[str, list[float]] = {}  # FLOPs and executions by name
        self.seconds: tuple[float, float] = (0.0, 0.0)  # in the first call of the model, in all others
        self.num_call = 0
        self.seconds_before = 0.0  # spent on meeting a budget

    @classmethod
    def at(cls, path: str | Path | None, settings: Mapping[str, Any]) -> Self | None:
        """A page; None where there is to be none."""
        return None if path is None else cls(path, settings)

    # While the job runs

    def evaluated(self, costs: Iterable[Cost | None], seconds: float) -> None:
        """Notes a call of the model: what it cost, by frame, and how long it took."""
        first, rest = self.seconds
        self.seconds = (first, rest + seconds) if self.num_call else (seconds, rest)
        self.num_call += 1
        for cost in costs:
            for stage in () if cost is None else cost.stages:
                total = self.stages.setdefault(stage.name, [0.0, 0.0])
                total[0] += stage.flops * stage.times
                total[1] += stage.times

    def made(self, frame: Frame, show: Callable[[], Pictures]) -> None:
        """Notes a frame of the output; `show` is called if its pictures are kept."""
        share = self.share(frame.cost)
        if share is not None:
            self.trace.add(float(frame.time), 100 * share)
        self.choice.add(share or 0.0, lambda: (frame, self._shot(frame, show())))

    def share(self, cost: Cost | None) -> float | None:
        """Of the dense network's FLOPs."""
        return cost.flops / self.dense_flops if cost is not None and self.dense_flops else None

    def _shot(self, frame: Frame, shown: Pictures) -> Shot:
        height, width = max((image.shape[:2] for image in shown.layers.values()), key=lambda size: size[0] * size[1])
        layers = {name: pictures.data_uri(image) for name, image in shown.layers.items()}
        items, place, share = [("shown at", f"{float(frame.time):.3f} s")], None, self.share(frame.cost)
        if share is not None:
            place = (float(frame.time), 100 * share)
            items.append(("cost", f"{frame.cost.flops / 1e9:,.2f} GFLOPs, {share:.1%} of dense"))
        return Shot(f"frame {frame.number}", (width, height), layers, shown.cells, (*items, *frame.facts), place)

    # At the end

    def write(self, done: Report, densely: Callable[[Frame], tuple[np.ndarray, float]] | None = None) -> None:
        """Writes the page.

        Args:
          done: what the job did.
          densely: makes a chosen frame by the static network, [H, W, 3], and gives the PSNR of the routed frame
            against it, dB.

        Raises:
          UserError: the file cannot be written.
        """
        shots = []
        for frame, shot in self.choice.chosen():
            if densely is not None:
                image, psnr = densely(frame)
                layers = {**shot.layers, "dense": pictures.data_uri(image)}
                items = (*shot.facts, ("dynamic against dense", f"{psnr:.2f} dB"))
                shot = dataclasses.replace(shot, layers=layers, facts=items)
            shots.append(shot)
        title = f"{done.source.name} \N{RIGHTWARDS ARROW} {done.target.name}"
        sections = self.sections(done, shots)
        try:
            page.write(self.path, title, sections, self.kind)
        except OSError as error:
            reason = error.strerror or one_line(error)
            raise UserError(
                f"--report {self.path}: could not be written ({reason}); {done.target} is whole."
            ) from error

    def sections(self, done: Report, shots: Sequence[Shot]) -> list[Section]:
        """The page from top to bottom."""
        notes = list(done.notes)
        if done.frames_resumed:
            notes.append(
                f"{plural(done.frames_resumed, 'output frame')} came from an earlier run: the counts include them, "
                "pictures, costs by frame, work by stage and times are of this run alone"
            )
        if not shots:
            notes.append("this run made no frame by the network, so that there is none to look at")
        found = [self._viewer(shots)] if shots else []
        shown = [section for section in (self.routing(), self._work()) if section is not None]
        found += [Row(shown)] if shown else []
        found.append(Facts("Every frame accounted for", self._account(done)))
        found.append(Row([Facts("Time", self._time(done)), Facts("Settings", self._asked())]))
        return [self._tiles(done), *found, Notes("Notes", notes)]

    @abc.abstractmethod
    def routing(self) -> Section | None:
        """How the model decided, over all frames."""

    @abc.abstractmethod
    def legends(self) -> list[Legend]:
        """What the colours of the map mean."""

    def _viewer(self, shots: Sequence[Shot]) -> Viewer:
        plot, bins = None, self.trace.bins
        if bins:
            has_band = self.trace.width > 1
            plot = Plot(
                "What each made frame cost, along the clip",
                [
                    Series(
                        "cost of a frame" if not has_band else f"mean of {self.trace.width} frames",
                        [one.x for one in bins],
                        [one.mean for one in bins],
                        [one.low for one in bins] if has_band else (),
                        [one.high for one in bins] if has_band else (),
                    )
                ],
                "time in the source, s",
                "share of the dense network's FLOPs, %",
                has_zero=True,
            )
        number = plural(self.choice.count, "made frame")
        note = f"{len(shots)} of {number}, evenly chosen, and the dearest among them. {self.no_dense}".rstrip()
        return Viewer(
            "Frames",
            shots,
            plot,
            legends=self.legends(),
            legend_note=self.legend_note,
            note=note,
        )

    def _tiles(self, done: Report) -> Tiles:
        counts, items = done.counts, []
        if done.share is not None:
            items.append((f"{done.share:.1%}", "of the dense network's FLOPs"))
        items.append((f"{counts.frames_out:,}", f"frames out, of {counts.frames_in:,} in"))
        items.append((f"{counts.made:,}", "made by the network"))
        items.append((f"{done.seconds:,.1f} s", f"for {done.duration_in:.2f} s of video"))
        return Tiles(items)

    def _work(self) -> Section | None:
        total = sum(spent for spent, _ in self.stages.values())
        if not total:
            return None
        dearest = sorted(self.stages.items(), key=lambda item: -item[1][0])
        rows = [[n, f"{t:,.6g}", f"{f / 1e9:,.2f}", f"{f / total:.1%}"] for n, (f, t) in dearest]
        rows.append(["in all", "", f"{total / 1e9:,.2f}", "100%"])
        columns = ["stage", "times", "GFLOPs", "share"]
        return Table("Work by stage", columns, rows, "Executed, 2 FLOPs for each multiply-add; all calls of this run.")

    def _time(self, done: Report) -> list[tuple[str, str]]:
        first, rest = self.seconds
        items = [("meeting the budget", f"{self.seconds_before:,.2f} s")] if self.seconds_before else []
        if self.num_call:
            items.append(("first call of the network, compiling", f"{first:,.2f} s"))
        if self.num_call > 1:
            each = f"{1e3 * rest / (self.num_call - 1):,.0f} ms each"
            items.append((f"{self.num_call - 1:,} more calls, {self.evaluation} each", f"{rest:,.2f} s, {each}"))
        remaining = max(0.0, done.seconds - self.seconds_before - first - rest)
        items.append(("all else: reading, writing, waiting", f"{remaining:,.2f} s"))
        return [*items, ("in all", f"{done.seconds:,.2f} s")]

    def _account(self, done: Report) -> list[tuple[str, str]]:
        c = done.counts
        items = [
            ("frames in", c.frames_in),
            ("frames out", c.frames_out),
            ("made", c.made),
            ("shown as they are", c.shown),
        ]
        items += [("held at cuts", c.held), ("copied", c.copied), ("cuts", c.cuts), ("repeated frames", c.repeats)]
        items += [("damaged frames", c.damaged), ("evaluations of the network", c.evaluations)]
        extent = [(name, f"{count:,}") for name, count in items]
        if done.size_in and done.size_out:
            sizes = ("x".join(map(str, size)) for size in (done.size_in, done.size_out))
            extent.append(("size, in and out", " \N{RIGHTWARDS ARROW} ".join(sizes)))
        extent.append(("duration, in and out", f"{done.duration_in:.3f} s, {done.duration_out:.3f} s"))
        if c.dense_flops:
            extent.append(("executed, of the dense FLOPs", f"{c.flops / 1e12:,.4g} of {c.dense_flops / 1e12:,.4g} T"))
        return extent

    def _asked(self) -> list[tuple[str, str]]:
        asked = [
            (name, f"{float(value):.6g}" if isinstance(value, Fraction) else str(value))
            for name, value in self.settings.items()
            if value not in (None, "")
        ]
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        device = f"{jax.devices()[0].device_kind}, JAX {jax.__version__}"
        return [*asked, ("jaxdyn", __version__), ("computed on", device), ("written", now)]


class InterpolationPage(JobPage):
    """The page of an interpolated clip."""

    kind = "Frames between frames"
    evaluation = "a frame"
    legend_note = (
        "Stronger is deeper, to the last exit. A grey patch took no residual group: there the aligned mean stands. "
        "Labels say scale:exit."
    )

    def __init__(self, path: str | Path, settings: Mapping[str, Any]):
        super().__init__(path, settings)
        self.num_exit = 5
        self.patches: np.ndarray | None = None  # [len(SCALES), num_exit + 1], how many took what

    def routed(self, route: Route | None) -> None:
        """Notes what the finders chose for a frame."""
        if route is None:
            return
        if self.patches is None:
            self.patches = np.zeros((len(SCALES), self.num_exit + 1), np.int64)
        np.add.at(self.patches, (np.ravel(route.scale), np.ravel(route.depth)), 1)

    def routing(self) -> Section | None:
        """Patches by exit and scale."""
        if self.patches is None:
            return None
        parts = 100 * self.patches / self.patches.sum()
        skipped = np.zeros(self.num_exit + 1)
        skipped[0], parts[:, 0] = parts[:, 0].sum(), 0
        kinds = [(maps.scale_name(index), parts[index].tolist()) for index in range(len(SCALES))]
        return Bars(
            "Where the patches went",
            [str(level) for level in range(self.num_exit + 1)],
            [*kinds, ("no residual group", skipped.tolist())],
            "exit",
            "patches of all made frames, %",
            is_stacked=True,
            colours=[*map(css, maps.COLOURS), GREY],
        )

    def legends(self) -> list[Legend]:
        """A colour for each scale, stronger as depth grows."""
        return scale_legends(self.num_exit)


class UpscalingPage(JobPage):
    """The page of an upscaled clip."""

    kind = "Frames four times as wide and as high"
    evaluation = "a window of frames"
    legend_note = "Labels say which share of the residual blocks ran on a patch, both directions together."
    no_dense = (
        "Dense pictures are left out: the static network would need a window of neighbouring frames for each of these."
    )

    def __init__(self, path: str | Path, settings: Mapping[str, Any]):
        super().__init__(path, settings)
        self.runs: np.ndarray | None = None  # [2, M], on how many patches each block ran
        self.num_patch = 0

    def routed(self, blocks: np.ndarray | None) -> None:
        """Notes which blocks ran on a frame, bool [2, M, n_h, n_w]."""
        if blocks is not None:
            runs = blocks.sum(axis=(2, 3), dtype=np.int64)
            self.runs = runs if self.runs is None else self.runs + runs
            self.num_patch += blocks[0, 0].size

    def routing(self) -> Section | None:
        """On how many patches each block ran."""
        if self.runs is None:
            return None
        backward, forward = (100 * self.runs / self.num_patch).tolist()
        return Bars(
            "Which blocks ran",
            [str(number) for number in range(1, len(forward) + 1)],
            [("backward", backward), ("forward", forward)],
            "residual block",
            "patches on which it ran, %",
        )

    def legends(self) -> list[Legend]:
        """One colour, stronger as more blocks run."""
        return block_legends()
