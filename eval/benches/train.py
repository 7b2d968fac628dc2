"""A training step, whose layers and frames are loops, against the same written out."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eval.benches.rows import markdown
from jaxdyn import models
from jaxdyn.bench import time_interleaved
from jaxdyn.ops import conv
from train import feeds, stages, step

FRAMES = 5


@dataclasses.dataclass(frozen=True)
class StepRow:
    """One form of a training step. Times in seconds, medians; `ratio` to the fastest form that is written out."""

    name: str
    seconds: float
    ratio: float
    compile_seconds: float


def measure(width: int, height: int, time: int, batch: int, rounds: int, **overrides) -> list[StepRow]:
    """A step of BasicVSR's training, SpyNet included, as it is against the same without loops; random data.

    Without loops every block of every frame has its own code. It is timed with the gradient of `ops.conv`, and with
    XLA's own, which is slow in loops alone.

    Args:
      width, height: of the small frames, in pixels.
      time: frames of a clip.
      batch: clips of a step.
      rounds: interleaved repetitions.
      **overrides: fields of `BasicVSR`; 10 blocks unless given.
    """
    model = models.build("basicvsr", **{"num_block": 10, **overrides})
    stage = stages.Stage("teacher", "teacher", (("", 1.0),), num_step=100, learning_rate=1e-4, batch=batch)
    random = np.random.RandomState(0)
    codes = lambda scale: random.randint(0, 256, (batch, time, scale * height, scale * width, 3), np.uint8)  # noqa: E731
    colours = {"gain": np.ones((batch, 1, 1, 1, 3), np.float32), "shift": np.zeros((batch, 1, 1, 1, 3), np.float32)}
    given = {"clip": codes(1), "target": codes(4), **colours}
    start, key = step.start(stage, feeds.initial(model, 0)), jax.random.key(0)

    def form(*contexts: Callable) -> Callable:
        with contextlib.ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context())
            compiled = jax.jit(step.make_step(model, stage)).lower(start, given, key).compile()
        return lambda: compiled(start, given, key)

    own_gradient = lambda: mock.patch.object(conv, "_convolve", conv._plain)  # noqa: E731
    forms = {
        "loops": (),
        "written out": (written_out,),
        "written out, XLA's gradient": (written_out, own_gradient),
    }
    seconds, first = time_interleaved(
        [_when_called(functools.partial(form, *parts)) for parts in forms.values()], rounds
    )
    best = min(seconds[1:])
    return [
        StepRow(name, spent, spent / best, begun - spent)
        for name, spent, begun in zip(forms, seconds, first, strict=True)
    ]


@contextlib.contextmanager
def written_out() -> Iterator[None]:
    """Within it, `lax.scan` and `lax.map` are traced turn by turn, so that no loop is left."""

    def scan(turn, state, given, length=None, reverse=False):
        number = jax.tree.leaves(given)[0].shape[0] if length is None else length
        order, outputs = range(number), [None] * number
        for index in reversed(order) if reverse else order:
            state, outputs[index] = turn(state, jax.tree.map(lambda leaf, index=index: leaf[index], given))
        return state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)

    def each(function, given):
        return scan(lambda state, one: (state, function(one)), None, given)[1]

    with mock.patch.multiple(lax, scan=scan, map=each):
        yield


def _when_called(make: Callable[[], Callable]) -> Callable:
    """A function that is made when it is first called, so that making it is timed as compilation."""
    made = functools.cache(make)
    return lambda: made()()


def table(rows: Sequence[StepRow]) -> str:
    """The rows as Markdown."""
    cells = [[row.name, f"{row.seconds:.3f}", f"{row.ratio:.2f}", f"{row.compile_seconds:.1f}"] for row in rows]
    return markdown(["form", "s a step", "of the faster without loops", "compile s"], cells)
