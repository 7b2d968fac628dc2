"""Samples become batches ahead of the steps that take them, by Grain: in threads, or in processes of their own.

A sample depends on its number alone, so a run sees the same samples whatever the number of threads, processes or hosts,
and goes on anywhere: step k of a stage takes the samples k B ... (k + 1) B - 1, B its batch over all hosts. Host p of P
takes the p-th of P equal parts of them, so that the hosts' parts put together are the batch of one host.
"""

import dataclasses
import functools
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import grain
import jax
import numpy as np
from absl import flags

Step = Callable[[int], dict]
"""Step number -> batch, the same for the same number."""


def _nothing(number: int) -> dict:
    del number
    return {}


@dataclasses.dataclass(frozen=True)
class Feed:
    """What a stage is fed; called with a step's number, it gives the whole batch.

    Attributes:
      sample: number of a sample, over all steps -> arrays. It can be pickled and computes on the host alone. What all
        samples of a step have in common, such as their clip, it draws by the step's number, which is `number // batch`.
      batch: samples of a step, over all hosts.
      common: number of a step -> entries of the batch that have no axis of samples; they are made in this process.
    """

    sample: Callable[[int], dict[str, np.ndarray]]
    batch: int
    common: Callable[[int], dict] = _nothing

    def __call__(self, number: int) -> dict:
        rows = [self.sample(index) for index in range(number * self.batch, (number + 1) * self.batch)]
        return {**stack(rows), **self.common(number)}


class Batches(Iterator[tuple[int, dict]]):
    """Steps' numbers and batches, in order; see `batches`.

    Attributes:
      waited: seconds that the caller has spent waiting for batches so far.
    """

    def __init__(self, loader: Iterator[dict], numbers: range, common: Callable[[int], dict]):
        self.waited = 0.0
        self._loader: Iterator[dict] | None = loader
        self._numbers, self._common = iter(numbers), common

    def __next__(self) -> tuple[int, dict]:
        number = next(self._numbers, None)
        if number is None:
            self.close()
            raise StopIteration
        began = time.perf_counter()
        batch = next(self._loader)
        self.waited += time.perf_counter() - began
        return number, {**batch, **self._common(number)}

    def close(self) -> None:
        """Ends threads and processes; what they have made is dropped."""
        self._numbers = iter(())
        if self._loader is not None:
            self._loader.close()
            self._loader = None
            gc.collect()  # Grain's iterators are parts of cycles that hold the last memory shared with processes


def batches(
    feed: Feed | Step,
    first: int,
    last: int,
    *,
    num_worker: int = 0,
    process: tuple[int, int] = (0, 1),
    num_thread: int = 2,
    num_ahead: int = 4,
) -> Batches:
    """This host's part of the batches of steps first to last - 1, made ahead.

    Args:
      feed: makes samples; or a function that makes whole batches.
      first: step to begin with, such as the first that a checkpoint has not seen.
      last: one more than the last step.
      num_worker: processes that make batches, each every `num_worker`-th; 0: threads of this process do.
      process: (p, P), which host this is and of how many.
      num_thread: threads, without processes.
      num_ahead: batches that are ready or being made, without processes; each of those keeps two.

    Raises:
      ValueError: a batch that cannot be divided among the hosts, or a host that does not exist.
    """
    host, num_host = process
    if not 0 <= host < num_host:
        raise ValueError(f"process (={process}) must be (p, P) with 0 <= p < P")
    last = max(first, last)
    if isinstance(feed, Feed):
        if feed.batch % num_host:
            raise ValueError(
                f"batch (={feed.batch}) must be a multiple of the number of hosts (={num_host}); change the stage's"
            )
        part = feed.batch // num_host
        own = functools.partial(_own, feed.sample, feed.batch, part, host)
        made = grain.MapDataset.range(first * part, last * part).map(own).batch(part, batch_fn=stack)
        common = feed.common
    else:
        if num_host > 1:
            raise ValueError(f"a feed of whole batches cannot be divided among hosts (={num_host}); give a Feed")
        made, common = grain.MapDataset.range(first, last).map(feed), _nothing
    if num_worker:
        if not flags.FLAGS.is_parsed():  # Grain reads flags of its own, also where no command line was parsed
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=num_worker, per_worker_buffer_size=2)
        one_by_one = made.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
        loader = one_by_one.mp_prefetch(options, _start_worker).map(_copied)
    else:
        loader = made.to_iter_dataset(grain.ReadOptions(num_threads=num_thread, prefetch_buffer_size=num_ahead))
    return Batches(iter(loader), range(first, last), common)


def stack(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Samples as a batch, which shares no memory with them.

    Raises:
      ValueError: samples of different shapes, named.
    """
    for name in rows[0]:
        shapes = sorted({np.shape(row[name]) for row in rows})
        if len(shapes) > 1:
            raise ValueError(
                f"samples of one step have {name} of shapes {shapes}, expected one; make the frames alike, or the "
                "stage's batch 1"
            )
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _own(sample: Callable[[int], dict], batch: int, part: int, host: int, place: int) -> dict:
    """A host's sample, by its place among the host's own: those of step k are k part ... (k + 1) part - 1."""
    step, offset = divmod(int(place), part)
    return sample(step * batch + host * part + offset)


def _copied(batch: dict[str, Any]) -> dict[str, np.ndarray]:
    """A batch in memory of its own: what comes from a process is shared with it and goes when the array does."""
    return {name: np.array(value) for name, value in batch.items()}


def _start_worker(index: int, count: int) -> None:
    """A process that makes samples keeps to one core, and never takes an accelerator, were a sample to use JAX."""
    del index, count
    cv2.setNumThreads(1)
    jax.config.update("jax_platforms", "cpu")
