"""The host's loop: feeds steps, keeps checkpoints, tells how it goes. Everything impure about training is here.

From a notebook, with material that the project draws, or with networks and data of one's own:

    loop.train(config, "W")
    loop.train(config, "W", model=network, params=params, feeds={"interpolation": lambda step: {...}})
"""

import collections
import contextlib
import dataclasses
import functools
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
from flax import linen as nn

from jaxdyn import models
from train import checkpoints, drawn, guard, loading, parallel, pictures, signals, stages, step, watch
from train import feeds as feeds_of_kinds
from train.settings import Settings

LAG = 2
"""Steps that the device is ahead when the host looks at a step's metrics, so that neither waits for the other."""

Hook = Callable[[Any, chex.ArrayTree, dict], Mapping[str, np.ndarray]]
"""(model, running mean of the parameters, batch) -> what to show in TensorBoard by name, see `board.Board.add`."""


def train(
    config: Any,
    workdir: str | Path,
    data: feeds_of_kinds.Data | None = None,
    names: Sequence[str] | None = None,
    is_shown: bool = True,
    *,
    model: nn.Module | None = None,
    params: chex.ArrayTree | None = None,
    feeds: Mapping[str, loading.Feed] | Callable[[stages.Stage, chex.ArrayTree], loading.Feed] | None = None,
    hooks: Sequence[Hook] | None = None,
    plan: parallel.Plan = parallel.Plan(),  # noqa: B008
) -> tuple[nn.Module, chex.ArrayTree]:
    """Run a configuration's stages in order, each from the result of the one before, going on where a run stopped.

    Args:
      config: as in `configs/`.
      workdir: for checkpoints, logs and caches.
      data: folder of clips, or a data set that is read at random, such as `jaxdyn.data.datasets.open_dataset` gives.
        None, and no feeds: clips that are drawn into workdir/drawn.
      names: of the stages to run; the others must have been run before, unless `params` are given: then one that
        has not been is left out. None: all.
      is_shown: whether progress bars and the summary are drawn.
      model: the network, instead of the configuration's.
      params: where the first stage starts; None: fresh ones.
      feeds: by stage name, or a function (stage, parameters as it starts) -> feed; a stage that a mapping does not name
        takes `data`.
      hooks: called every `picture_every` steps; None: those of `pictures` for the configuration's network.
      plan: where steps run.

    Returns:
      The network, and the running mean of its parameters after the last stage.

    Raises:
      UserError: a name that no stage has.
      checkpoints.MissingError: a stage that was to be run before and was not.
      ValueError: a stage whose batch the plan cannot spread, before anything is trained; and what `run` raises.
    """
    workdir = Path(workdir).absolute()
    settings = Settings.of_config(config, is_shown=is_shown)
    is_own, is_given = model is None, params is not None
    model = models.build(config.name, **config.model) if model is None else model
    params = feeds_of_kinds.initial(model, settings.seed) if params is None else params
    summaries: list[watch.Summary] = []
    table = stages.of_config(config)
    stages.check_names(names or (), table)
    for stage in table:
        if names is None or stage.name in names:
            plan.check(stage.name, stage.batch, settings.accumulate)
    for stage in table:
        if names is not None and stage.name not in names:
            if (workdir / stage.name).exists() or not is_given:
                params, _ = finished(stage, params, workdir)
            continue
        with parallel.chief_first(f"{workdir}, {stage.name}"):
            if callable(feeds):
                feed = feeds(stage, params)
            elif feeds is not None and stage.name in feeds:
                feed = feeds[stage.name]
            else:
                data = drawn.clips(workdir / "drawn") if data is None else data
                feed = feeds_of_kinds.feed_of(model, stage, params, config, workdir, data)
        shown = hooks if hooks is not None else pictures.HOOKS[stage.kind] if is_own else ()
        state = run(
            *(model, stage, params, feed, workdir),
            plan=plan,
            hooks=shown,
            tell=summaries.append,
            **dataclasses.asdict(settings),
        )
        params = state.mean
    if is_shown and jax.process_index() == 0:
        watch.show(summaries)
    return model, params


def run(
    model: Any,
    stage: stages.Stage,
    params: chex.ArrayTree,
    feed: loading.Feed,
    workdir: str | Path,
    *,
    plan: parallel.Plan = parallel.Plan(),  # noqa: B008
    hooks: Sequence[Hook] = (),
    tell: Callable[[watch.Summary], None] = lambda summary: None,
    **settings,
) -> step.State:
    """Train one stage to its end, going on from its last whole checkpoint if there is one.

    Args:
      model: the network.
      stage: a row of the curriculum.
      params: where to start, unless there is a checkpoint.
      feed: makes batches; called from a thread, some steps ahead.
      workdir: checkpoints go to workdir/stage.name, a line of JSON for each logged step to workdir/stage.name.jsonl,
        TensorBoard's log to workdir/tensorboard/stage.name.
      plan: where steps run.
      hooks: called every `picture_every` steps.
      tell: is given the summary at the end.
      **settings: fields of `Settings`.

    Returns:
      The last state, on the host.

    Raises:
      FloatingPointError: a number that is not finite, with step, stage and its name.
      signals.StoppedError: SIGTERM or SIGINT came; the step was finished and a checkpoint saved.
      checkpoints.DiskFullError: no space is left; the checkpoint before is whole.
    """
    settings = Settings(**settings)
    workdir = Path(workdir).absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    state, note = guard.start(step.start(stage, params)), checkpoints.Note.of(stage.name, settings.seed)
    with contextlib.ExitStack() as stack:
        keep = checkpoints.Keep(settings.keep_last, settings.keep_best)
        store = stack.enter_context(checkpoints.Store(workdir / stage.name, keep))
        stack.enter_context(store.full_disk_told())
        state, note = store.restore(state, note) or (state, note)
        wish = stack.enter_context(signals.caught())
        watcher = watch.Watch(stage, workdir, note, settings.is_shown, settings.patience)
        stack.enter_context(watcher)
        made = loading.batches(
            *(feed, note.position, stage.num_step), num_worker=settings.num_worker, process=plan.process
        )
        fed = stack.enter_context(contextlib.closing(watcher.waiting(made)))
        turn = _Turn(plan.put_state(state), model, stage, plan, settings, tuple(hooks), store, watcher, wish)
        stopped_by = 0
        try:
            for number, batch in fed:
                stopped_by = turn(number, batch)
                if stopped_by:
                    break
        except guard.NotFiniteError as bad:
            raise FloatingPointError(f"{bad}; {turn.blame(bad, feed)}; {guard.REMEDY}") from None
        store.wait()
        tell(watcher.summary(store, int(turn.state.skipped)))
        stopped_by = stopped_by or wish.at(0)
        if stopped_by:
            name, where = signal.Signals(stopped_by).name, workdir / stage.name / str(store.steps()[-1])
            raise signals.StoppedError(
                f"{stage.name}: {name} came, the last checkpoint is {where}; start again to go on", stopped_by
            )
    return jax.device_get(turn.state.state)


@dataclasses.dataclass
class _Turn:
    """One turn of the loop: a step, and what is due after it. It holds the state, and what stays as it is.

    The device works some steps ahead: metrics are looked at when `LAG` later steps were begun, or something is due.
    """

    state: guard.Guarded
    model: Any
    stage: stages.Stage
    plan: parallel.Plan
    settings: Settings
    hooks: tuple[Hook, ...]
    store: checkpoints.Store
    watcher: watch.Watch
    wish: signals.Wish

    def __post_init__(self):
        make_step = functools.partial(
            step.make_step,
            *(self.model, self.stage),
            accumulate=self.settings.accumulate,
            precision=self.settings.precision,
        )
        self._max_skipped = self.settings.max_skipped if self.settings.on_nonfinite == "skip" else 0
        self._step = self.plan.compile(
            lambda axis_name: guard.guarded(make_step(axis_name=axis_name), self._max_skipped)
        )
        self._key = jax.random.key(self.settings.seed)
        self._ahead = collections.deque()  # steps that the host has not looked at

    def __call__(self, number: int, batch: dict) -> int:
        """Step `number`, from 0; returns the signal after which it is the last, 0 for none."""
        self.state, metrics = self._step(self.state, self.plan.put_batch(batch), *self._drawn(number))
        done, stopped_by = number + 1, self.wish.at(number + 1)
        is_last = done == self.stage.num_step or stopped_by > 0
        is_logged = is_last or done % self.settings.log_every == 0
        is_saved = is_last or done % self.settings.save_every == 0
        self._ahead.append((done, metrics))
        while len(self._ahead) > (0 if is_logged or is_saved else LAG):
            self.watcher.look(*self._ahead.popleft(), self._max_skipped)
        self.watcher.step(done)
        if is_logged:
            self.watcher.line(done)
        if done % self.settings.picture_every == 0 and parallel.is_chief():
            mean = jax.device_get(self.state.state.mean) if self.hooks else None
            for hook in self.hooks:
                self.watcher.pictures(done, hook(self.model, mean, batch))
        if is_saved:
            self.store.save(self.state, self.watcher.note(done), self.watcher.loss())
        return stopped_by

    def blame(self, bad: guard.NotFiniteError, feed: loading.Feed | loading.Step) -> str:
        """Which quantities were not finite first in a step; it is run again, from the state that it left as it was."""
        params = jax.device_get(self.state.state.params)
        names = guard.blame(self.model, self.stage, params, feed(bad.number), *self._drawn(bad.number))
        return f"first of each kind: {names}"

    def _drawn(self, number: int) -> tuple[chex.PRNGKey, step.Variant]:
        """A step's key and variant; they depend on its number alone."""
        variant = step.variant_at(self.stage, number, getattr(self.model, "num_group", 1))
        return jax.random.fold_in(self._key, number), variant


def finished(stage: stages.Stage, params: chex.ArrayTree, workdir: Path) -> tuple[chex.ArrayTree, int]:
    """The running mean of the parameters in a stage's last whole checkpoint, and its step.

    Raises:
      checkpoints.MissingError: there is no checkpoint.
    """
    with checkpoints.Store(Path(workdir).absolute() / stage.name, is_read_only=True) as store:
        restored = store.restore(guard.start(step.start(stage, params)))
    if restored is None:
        raise checkpoints.MissingError(f"workdir (={workdir}) has no checkpoint of stage {stage.name}; train it first")
    state, _ = restored
    return state.state.mean, int(state.state.step)
