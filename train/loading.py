"""Batches ahead of the steps that take them."""

import concurrent.futures
from collections.abc import Callable, Iterator

Feed = Callable[[int], dict]
"""Step number -> batch, the same for the same number: a run that is resumed goes on as if it had not stopped."""


def batches(feed: Feed, first: int, last: int, depth: int = 4) -> Iterator[tuple[int, dict]]:
    """Batches of steps first to last - 1 with their numbers, made `depth` steps ahead in a thread."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(feed, number) for number in range(first, min(first + depth, last))]
        for number in range(first, last):
            batch = waiting.pop(0).result()
            if number + depth < last:
                waiting.append(pool.submit(feed, number + depth))
            yield number, batch
