"""Tests of `jaxdyn.threads`."""

import threading

import pytest

from jaxdyn.threads import Worker, prefetch


def num_threads():
    return sum(thread.name.startswith("jaxdyn") for thread in threading.enumerate())


def test_prefetch_keeps_order_and_runs_only_a_little_ahead():
    made = []

    def items():
        for index in range(20):
            made.append(index)
            yield index

    seen = []
    for item in prefetch(items(), 2):
        seen.append(item)
        assert len(made) <= item + 5  # two in the queue, one in each hand
    assert seen == list(range(20))
    assert num_threads() == 0


def test_prefetch_passes_errors_on_after_what_came_before():
    def items():
        yield 1
        raise ValueError("broken")

    stream = prefetch(items(), 2)
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)
    assert num_threads() == 0


def test_closing_prefetch_closes_what_it_reads():
    closed = []

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    stream = prefetch(items(), 2)
    next(stream)
    stream.close()
    assert closed == [True]
    assert num_threads() == 0


def test_worker_runs_in_order_and_finishes():
    done = []
    with Worker(2) as worker:
        for index in range(10):
            worker.submit(done.append, index)
    assert done == list(range(10))
    assert num_threads() == 0


def test_worker_raises_the_first_error():
    def fail():
        raise ValueError("first")

    done = []

    def work():
        with Worker(2) as worker:
            worker.submit(fail)
            for _ in range(10):
                worker.submit(done.append, 1)

    with pytest.raises(ValueError, match="first"):
        work()
    assert done == []
    assert num_threads() == 0


def test_worker_drops_what_waits_when_left_by_an_error():
    gate, done = threading.Event(), []

    def hold(worker):
        gate.wait()
        while not worker._is_dropping:  # until the context is left
            pass

    def work():
        with Worker(5) as worker:
            worker.submit(hold, worker)
            worker.submit(done.append, 1)
            gate.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == []
    assert num_threads() == 0
