"""What people look at while a stage trains: a progress bar, lines of JSON, TensorBoard, and a summary at the end."""

import contextlib
import dataclasses
import datetime
import json
import logging
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
import rich
from rich import progress, table

from train import board, checkpoints, guard, stages

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Summary:
    """How a stage went.

    Attributes:
      stage: its name.
      steps: done in all, and how many of them were skipped.
      skipped: because something was not finite.
      seconds: of training, over all runs.
      last, best: loss, mean over the steps of one line of the log; None: no line was written.
      best_step: when.
      checkpoint: folder of the last checkpoint.
    """

    stage: str
    steps: int
    skipped: int
    seconds: float
    last: float | None
    best: float | None
    best_step: int
    checkpoint: Path


class Saturation:
    """Tells once of a gate that decides the same for everything: it has stopped to learn.

    Looks at the shares among the metrics: `executed`, of blocks that run, all or none; `share/...`, of patches at one
    choice, all.

    Args:
      stage: whose metrics they are; gates that are trained at threshold 0 alone run every block on purpose.
      patience: how many lines of the log in a row it takes.
    """

    def __init__(self, stage: stages.Stage, patience: int):
        self._stage, self._patience, self._counts = stage, patience, {}

    def look(self, done: int, means: Mapping[str, float]) -> None:
        """Count the next line of the log, of `done` steps."""
        for name, value in means.items():
            if (name != "executed" or self._stage.dense >= 1) and not name.startswith("share/"):
                continue
            is_saturated = value > 1 - 1e-6 or (name == "executed" and value < 1e-6)
            self._counts[name] = self._counts.get(name, 0) + 1 if is_saturated else 0
            if self._counts[name] == self._patience:
                self._counts[name] = -(2**62)  # once is enough
                LOG.warning(
                    "%s: %s is %g in each of the last %d lines of the log, up to step %d: the gate decides the same "
                    "for everything; look at the weight of its cost, or at its learning rate",
                    *(self._stage.name, name, round(value), self._patience, done),
                )


class Watch:
    """A stage's progress, told; a context.

    Args:
      stage: which.
      workdir: lines go to workdir/stage.name.jsonl, TensorBoard's log to workdir/tensorboard/stage.name; one process of
        many writes them.
      note: of the checkpoint that the run goes on from; lines of later steps, which a killed run left, are taken out.
      is_shown: whether a progress bar is drawn.
      patience: see `Saturation`.
    """

    def __init__(self, stage: stages.Stage, workdir: Path, note: checkpoints.Note, is_shown: bool, patience: int):
        self._stage, self._note, self._workdir = stage, note, workdir
        self._is_writer = jax.process_index() == 0
        self._is_shown = is_shown and self._is_writer
        self._saturation = Saturation(stage, patience)
        self._window, self._losses = [], []
        self._waited, self._logged = 0.0, note.position

    def __enter__(self) -> "Watch":
        name, first = self._stage.name, self._note.position
        self._stack = contextlib.ExitStack()
        self._bar = self._stack.enter_context(_bar(self._is_shown))
        self._task = self._bar.add_task(name, total=self._stage.num_step, completed=first, told="")
        if self._is_writer:
            path = self._workdir / f"{name}.jsonl"
            cut(path, first)
            self._log = self._stack.enter_context(open(path, "a", encoding="utf-8"))
            made = board.Board(self._workdir / "tensorboard" / name, first + 1)
            self._board = self._stack.enter_context(contextlib.closing(made))
        self._began = self._window_began = time.monotonic()
        return self

    def __exit__(self, *error) -> None:
        self._stack.__exit__(*error)

    def waiting(self, batches: Iterator) -> Iterator:
        """The same batches; how long each is waited for is measured."""
        try:
            while True:
                began = time.monotonic()
                item = next(batches, None)
                self._waited += time.monotonic() - began
                if item is None:
                    return
                yield item
        finally:
            getattr(batches, "close", lambda: None)()

    def look(self, done: int, metrics: Mapping[str, chex.Array], max_skipped: int) -> None:
        """Take in a step's metrics, the last of `done`; waits until the device has made it.

        Raises:
          guard.NotFiniteError: the step was skipped, after `max_skipped` others.
        """
        values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        is_finite, skipped = values.pop("finite") > 0, int(values.pop("skipped"))
        if is_finite:
            self._window.append(values)
            self._losses.append(values["loss"])
            return
        bad = ", ".join(sorted((name for name in values if not math.isfinite(values[name])), key="loss".__ne__))
        text = f"{self._stage.name}: not finite in step {done}: {bad}"
        if skipped > max_skipped:
            before = f" ({max_skipped} steps were skipped before)" if max_skipped else ""
            raise guard.NotFiniteError(text + before, done - 1)
        LOG.warning("%s; the step is skipped, %d of at most %d", text, skipped, max_skipped)

    def step(self, done: int) -> None:
        """So many steps were begun."""
        self._bar.update(self._task, completed=done)

    def line(self, done: int) -> None:
        """A line of the log: means over the steps since the last one, with `rate` and `data_wait`.

        The rate is in examples a second; `data_wait` is the share of the time that was spent waiting for data.
        """
        now = time.monotonic()
        passed = max(now - self._window_began, 1e-9)
        rate = (done - self._logged) * self._stage.batch / passed
        waited, window = min(1.0, self._waited / passed), self._window
        self._window_began, self._waited, self._logged, self._window = now, 0.0, done, []
        if not window:  # all were skipped
            return
        means = {name: float(np.mean([values[name] for values in window])) for name in window[0]}
        loss = means["loss"]
        best, at = (
            (loss, done) if self._note.best is None else min((self._note.best, self._note.best_step), (loss, done))
        )
        self._note = dataclasses.replace(self._note, last=loss, best=best, best_step=at)
        self._saturation.look(done, means)
        self._bar.update(self._task, told=f"loss {loss:.4f}, {rate:.3g}/s")
        if self._is_writer:
            values = {**means, "rate": rate, "data_wait": waited}
            print(json.dumps({"stage": self._stage.name, "step": done, **values}), file=self._log, flush=True)
            self._board.add(done, values)

    def note(self, done: int) -> checkpoints.Note:
        """What a checkpoint of so many steps says."""
        seconds = self._note.seconds + time.monotonic() - self._began
        return dataclasses.replace(self._note, position=done, seconds=seconds)

    def loss(self) -> float:
        """Mean over the steps since this was asked last."""
        losses, self._losses = self._losses, []
        return float(np.mean(losses)) if losses else math.inf

    def summary(self, store: checkpoints.Store, skipped: int) -> Summary:
        """How the stage went until its last checkpoint, with so many steps skipped."""
        number = store.steps()[-1]
        note = self.note(number)
        losses = (note.last, note.best, note.best_step)
        return Summary(note.stage, number, skipped, note.seconds, *losses, store.folder / str(number))

    def pictures(self, done: int, shown: Mapping[str, np.ndarray]) -> None:
        """What a hook returned, see `board.Board.add`."""
        if self._is_writer:
            self._board.add(done, dict(shown))


def cut(path: Path, last: int) -> None:
    """Take out of a log of JSON lines what comes after step `last`, and half a line at its end."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            if json.loads(line)["step"] <= last:
                kept.append(line + "\n")
    partial = path.with_suffix(".partial")
    partial.write_text("".join(kept), encoding="utf-8")
    os.replace(partial, path)


def show(summaries: Iterable[Summary]) -> None:
    """Print summaries as a table."""
    columns = ("stage", "steps", "skipped", "time", "last loss", "best loss", "checkpoint")
    drawn = table.Table(*columns)
    number = lambda value: "-" if value is None else f"{value:.5g}"  # noqa: E731
    for row in summaries:
        best = number(row.best) + (f" at {row.best_step}" if row.best is not None else "")
        spent = str(datetime.timedelta(seconds=round(row.seconds)))
        values: tuple[Any, ...] = (row.stage, row.steps, row.skipped, spent, number(row.last), best, row.checkpoint)
        drawn.add_row(*map(str, values))
    rich.print(drawn)


def _bar(is_shown: bool) -> progress.Progress:
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[told]}"),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    return progress.Progress(*columns, disable=not is_shown)
