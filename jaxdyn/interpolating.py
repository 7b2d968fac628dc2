"""Frames between frames, interval by interval.

    interval -> moments -> middle frames, made by recursion -> what is shown from a picture on, up to the next one

Neighbours that show the same picture, or two scenes, have nothing between them: a source frame is copied or held.
"""

import contextlib
import dataclasses
import time as clock
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxdyn import maps, metrics, sampling
from jaxdyn.accounting import Progress, Report, plural
from jaxdyn.errors import UserError
from jaxdyn.jobs import Interval, Part, Run, check_finite
from jaxdyn.output import Output
from jaxdyn.parts import Parts
from jaxdyn.report.job import Frame, InterpolationPage, Pictures
from jaxdyn.scenes import Pair, judge
from jaxdyn.schedule import GRID, Moment, Multiply, Resample, between
from jaxdyn.video import Picture, Source


class Middle(Protocol):
    """What an interpolator makes: frame float32 [H, W, 3]; route `types.Route` or None; cost `types.Cost` or None."""

    frame: np.ndarray
    route: Any
    cost: Any


class Interpolator(Protocol):
    """A model that makes middle frames, such as `jaxdyn.interpolator.Interpolator`."""

    def middle(self, frame0: np.ndarray, frame1: np.ndarray) -> Middle:
        """The frame between two, all float32 [H, W, 3] RGB in [0, 1]."""

    def dense_cost(self, height: int, width: int) -> Any:
        """`types.Cost` of the dense network for one frame."""

    def meet(self, budget: float, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float | tuple[float, float]:
        """Sets, and gives, what brings the executed share of the dense FLOPs on these pairs nearest to a budget."""

    def densely(self) -> "Interpolator | None":
        """The same network on whole frames, nothing routed away; None where this is it already."""


@dataclasses.dataclass(frozen=True)
class Made:
    """A frame at a point of the grid: rgb [H, W, 3]; alpha [H, W] or None; the Route that made it and what it cost, or
    None."""

    rgb: np.ndarray
    alpha: np.ndarray | None
    route: Any = None
    cost: Any = None


class Interpolation(Run):
    """Judges neighbours, makes what lies between; the other arguments are those of `Run`."""

    def __init__(
        self,
        clip: Source,
        output: Output,
        parts: Parts,
        interpolator: Interpolator,
        plan: Multiply | Resample,
        map_folder: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
        part: Part = (None, None),
        page: InterpolationPage | None = None,
    ):
        super().__init__(clip, output, parts, map_folder, progress, part, page=page)
        self.interpolator, self.plan = interpolator, plan
        self.dense_flops, self.dense = interpolator.dense_cost(*self.size).flops, None
        model = getattr(interpolator, "model", None)
        self.grid = {name: getattr(model, name) for name in ("patch", "stride") if hasattr(model, name)}
        self.num_exit = getattr(model, "num_group", 5)
        if page is not None:
            page.dense_flops, page.num_exit = self.dense_flops, self.num_exit
            self.dense = interpolator.densely()

    def meet(self, budget: float, keep_partial: bool) -> None:
        """Has the model meet a budget, a share of the dense FLOPs, on pairs sampled from the clip."""
        began = clock.perf_counter()
        pairs = sampling.sample_pairs(self.clip, self.part, keep_partial)
        if pairs:
            bias = self.interpolator.meet(budget, pairs)
            numbers = " and ".join(f"{part:.3g}" for part in (bias if isinstance(bias, tuple) else (bias,)))
            self.found = f"a bias of {numbers} on the finders' logits comes nearest to the budget of {100 * budget:g}%"
            self.found += f" on {plural(len(pairs), 'sampled pair')}"
        else:
            self.output.notes.append("the budget changed nothing: no two neighbouring frames show motion")
        if self.page is not None:
            self.page.seconds_before = clock.perf_counter() - began

    def write(self, step: Interval, writer: Any, submit: Callable[..., None]) -> None:
        """Writes what is shown from a picture on, up to the next one."""
        picture, following = step.picture, step.following
        self.counts.frames_in += 1
        self.counts.damaged += picture.is_damaged
        moments = self.plan.moments(picture.time, step.end, is_last=following is None)  # (time, point 0 to 8), in order
        pair = Pair.REPEAT if following is None else judge(picture.rgb, following.rgb)
        self.counts.cuts += pair is Pair.CUT
        self.counts.repeats += pair is Pair.REPEAT and following is not None
        points = sorted({moment.point for moment in moments} - {0, GRID}) if pair is Pair.MOTION else []
        frames = self.between(picture, following, points) if points else iter(())  # (point, Made [H, W, 3])
        point, frame = 0, None
        for moment in moments:
            if moment.point in (0, GRID):
                self.counts.shown += 1
                submit(writer.write_source, following if moment.point else picture, moment.time)
            elif pair is Pair.MOTION:
                while point < moment.point:
                    point, frame = next(frames)
                self.draw(frame)
                self.note(moment, frame, picture, following)
                self.counts.made += 1
                submit(writer.write_made, frame.rgb, frame.alpha, moment.time, picture)
            else:
                self.counts.held += pair is Pair.CUT
                self.counts.copied += pair is Pair.REPEAT
                is_nearer_next = pair is Pair.CUT and moment.point > GRID // 2
                submit(writer.write_source, following if is_nearer_next else picture, moment.time)
        self.tell()

    def between(self, picture: Picture, following: Picture, points: list[int]) -> Iterator[tuple[int, Made]]:
        """Frames at points of the grid, in order, by recursion."""
        return between(Made(picture.rgb, picture.alpha), Made(following.rgb, following.alpha), points, self.middle)

    def middle(self, first: Made, last: Made) -> Made:
        """One evaluation of the model. Opacity, where it changes, is a picture of its own and takes another."""
        result = self.evaluate(first.rgb, last.rgb)
        if first.alpha is None and last.alpha is None:
            return Made(result.frame, None, result.route, result.cost)
        opaque = np.ones(first.rgb.shape[:2], np.float32)
        alpha0, alpha1 = (opaque if alpha is None else alpha for alpha in (first.alpha, last.alpha))
        if np.array_equal(alpha0, alpha1):
            return Made(result.frame, alpha0, result.route, result.cost)
        grey = self.evaluate(*(np.repeat(alpha[..., None], 3, axis=-1) for alpha in (alpha0, alpha1)))
        return Made(result.frame, grey.frame.mean(-1), result.route, result.cost)

    def evaluate(self, frame0: np.ndarray, frame1: np.ndarray) -> Middle:
        """Asks the model, and counts what it cost."""
        began = clock.perf_counter()
        result = self.interpolator.middle(frame0, frame1)
        check_finite(result.frame)
        if self.page is not None:
            self.page.evaluated([result.cost], clock.perf_counter() - began)
            self.page.routed(result.route)
        self.counts.evaluations += 1
        if result.cost is not None:
            self.counts.flops += result.cost.flops
            self.counts.dense_flops += self.dense_flops
        return result

    def draw(self, frame: Made) -> None:
        """A picture of the Route if asked for and if the model has one."""
        if self.map_folder is None:
            return
        if frame.route is None:
            self.say_no_map()
            return
        self.save_map(maps.draw(frame.rgb, frame.route, self.num_exit, **self.grid))

    @property
    def kind(self) -> str:
        """What made frames are called on the page."""
        return "dense" if self.dense is None else "dynamic"

    def note(self, moment: Moment, frame: Made, picture: Picture, following: Picture) -> None:
        """Tells the page of a made frame, if there is to be one."""
        if self.page is None:
            return

        def show() -> Pictures:
            layers = {"frame before": picture.rgb, self.kind: frame.rgb, "frame after": following.rgb}
            route, size = frame.route, self.size
            cells = () if route is None else maps.route_cells(*size, route, self.num_exit, **self.grid)
            return Pictures(layers, cells)

        time = moment.time - self.clip.properties.origin
        self.page.made(Frame(self.number, time, frame.cost, key=(picture.time, moment.point)), show)

    def write_page(self, done: Report) -> None:
        """Writes the page, with dense pictures of its frames where the network routes."""
        self.page.write(done, None if self.dense is None else self.make_densely)

    def make_densely(self, frame: Frame) -> tuple[np.ndarray, float]:
        """A made frame once more by the dense network, and the PSNR of the routed one against it, dB."""
        time, point = frame.key
        with contextlib.closing(self.clip.pictures(time)) as pictures:
            ends = [next(pictures).rgb for _ in range(2)]
        routed, whole = (
            next(made for _, made in between(*ends, [point], lambda *pair, by=by: by.middle(*pair).frame))
            for by in (self.interpolator, self.dense)
        )
        return whole, float(metrics.psnr(routed, whole))


def make_plan(clip: Source, factor: int, fps: Fraction | int | None, since: Fraction | None) -> Multiply | Resample:
    """What is shown when."""
    if fps is None:
        if factor not in (2, 4, 8):
            raise UserError(f"--factor {factor}: must be 2, 4 or 8, powers of two; for any other rate use --fps.")
        return Multiply(factor)
    rate, most = clip.properties.rate, GRID * clip.properties.rate
    if not 0 < fps <= most:
        raise UserError(f"--fps {fps}: must be over 0 and at most {GRID} times the source's {float(rate):.6g}.")
    if since is None:
        return Resample(Fraction(fps), clip.properties.first_time)
    first = next(clip.pictures(since), None)
    if first is None:
        raise UserError(f"{clip.properties.path}: holds no frame after --start; choose an earlier one.")
    return Resample(Fraction(fps), first.time)
