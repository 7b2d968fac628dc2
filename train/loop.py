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
      names: of the stages to run; the others must have been run before. None: all.
      is_shown: whether progress bars and the summary are drawn.
      model: the network, instead of the configuration's.
      params: where the first stage starts; None: fresh ones.
      feeds: by stage name, or a function (stage, parameters as it starts) -> feed; a stage that a mapping does not name
        takes `data`.
      hooks: called every `picture_every` steps; None: those of `pictures` for the configuration's network.
      plan: where steps run.

    Returns:
      The network, and the running mean of its parameters after the last stage.
    """
    workdir = Path(workdir).absolute()
    settings = Settings.of_config(config, is_shown=is_shown)
    is_own = model is None
    model = models.build(config.name, **config.model) if model is None else model
    params = feeds_of_kinds.initial(model, settings.seed) if params is None else params
    summaries: list[watch.Summary] = []
    for stage in stages.of_config(config):
        if names is not None and stage.name not in names:
            params, _ = finished(stage, params, workdir)
            continue
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
      The last state.

    Raises:
      FloatingPointError: a number that is not finite, with step, stage and its name.
      signals.StoppedError: SIGTERM or SIGINT came; the step was finished and a checkpoint saved.
      checkpoints.DiskFullError: no space is left; the checkpoint before is whole.
    """
    settings = Settings(**settings)
    workdir = Path(workdir).absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    state, note = guard.start(step.start(stage, params)), checkpoints.Note.of(stage.name, settings.seed)
    max_skipped = settings.max_skipped if settings.on_nonfinite == "skip" else 0
    make_step = functools.partial(
        step.make_step, model, stage, accumulate=settings.accumulate, precision=settings.precision
    )
    one_step = plan.compile(lambda axis_name: guard.guarded(make_step(axis_name=axis_name), max_skipped))
    key, num_group = jax.random.key(settings.seed), getattr(model, "num_group", 1)
    with contextlib.ExitStack() as stack:
        keep = checkpoints.Keep(settings.keep_last, settings.keep_best)
        store = stack.enter_context(checkpoints.Store(workdir / stage.name, keep))
        stack.enter_context(store.full_disk_told())
        state, note = store.restore(state, note) or (state, note)
        state = plan.put_state(state)
        wish = stack.enter_context(signals.caught())
        watcher = watch.Watch(stage, workdir, note, settings.is_shown, settings.patience)
        stack.enter_context(watcher)
        ahead = collections.deque()  # steps that the host has not looked at
        fed = watcher.waiting(
            loading.batches(
                *(feed, note.position, stage.num_step), num_worker=settings.num_worker, process=plan.process
            )
        )
        stack.enter_context(contextlib.closing(fed))
        number_of_signal = 0
        try:
            for number, batch in fed:
                variant = step.variant_at(stage, number, num_group)
                state, metrics = one_step(state, plan.put_batch(batch), jax.random.fold_in(key, number), variant)
                done, number_of_signal = number + 1, wish.at(number + 1)
                is_last = done == stage.num_step or number_of_signal > 0
                is_logged, is_saved = done % settings.log_every == 0, done % settings.save_every == 0
                ahead.append((done, metrics))
                while len(ahead) > (0 if is_logged or is_saved or is_last else LAG):
                    watcher.look(*ahead.popleft(), max_skipped)
                watcher.step(done)
                if is_logged or is_last:
                    watcher.line(done)
                if done % settings.picture_every == 0:
                    for hook in hooks:
                        watcher.pictures(done, hook(model, state.state.mean, batch))
                if is_saved or is_last:
                    store.save(state, watcher.note(done), watcher.loss())
                if number_of_signal:
                    break
        except guard.NotFiniteError as bad:
            variant, bad_key = step.variant_at(stage, bad.number, num_group), jax.random.fold_in(key, bad.number)
            before = jax.device_get(state.state.params)
            names = guard.blame(model, stage, before, feed(bad.number), bad_key, variant)
            raise FloatingPointError(f"{bad}; first of each kind: {names}; {guard.REMEDY}") from None
        store.wait()
        tell(watcher.summary(store, int(state.skipped)))
        number_of_signal = number_of_signal or wish.at(0)
        if number_of_signal:
            name, where = signal.Signals(number_of_signal).name, workdir / stage.name / str(store.steps()[-1])
            raise signals.StoppedError(
                f"{stage.name}: {name} came, the last checkpoint is {where}; start again to go on", number_of_signal
            )
    return state.state


def finished(stage: stages.Stage, params: chex.ArrayTree, workdir: Path) -> tuple[chex.ArrayTree, int]:
    """The running mean of the parameters in a stage's last whole checkpoint, and its step.

    Raises:
      ValueError: there is no checkpoint.
    """
    with checkpoints.Store(Path(workdir).absolute() / stage.name, is_read_only=True) as store:
        restored = store.restore(guard.start(step.start(stage, params)))
    if restored is None:
        raise ValueError(f"workdir (={workdir}) has no checkpoint of stage {stage.name}; train it first")
    state, _ = restored
    return state.state.mean, int(state.state.step)
