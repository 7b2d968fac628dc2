"""Decode, compute and encode at the same time, with few frames in flight."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()


def prefetch(items: Iterable[T], size: int) -> Iterator[T]:
    """Yields from `items`, which a thread runs up to `size` items ahead. Closing the generator ends the thread."""
    buffer: queue.Queue = queue.Queue(size)
    stopped = threading.Event()

    def offer(value: Any) -> bool:
        while not stopped.is_set():
            try:
                buffer.put(value, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        error = None
        try:
            for item in items:
                if not offer((item, None)):
                    break
        except BaseException as raised:
            error = raised
        finally:
            if hasattr(items, "close"):
                items.close()
        offer((_END, error))

    thread = threading.Thread(target=run, name="jaxdyn-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = buffer.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        thread.join()


class Worker:
    """Runs calls one after the other in a thread, at most `size` waiting. The first error is raised at the next call.

    As a context: leaving it waits for what was submitted; leaving it by an exception drops what waits.
    """

    def __init__(self, size: int):
        self._calls: queue.Queue = queue.Queue(size)
        self._error: BaseException | None = None
        self._is_dropping = False
        self._thread = threading.Thread(target=self._run, name="jaxdyn-encode", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Queues a call; waits while the queue is full."""
        self._check()
        self._calls.put((call, arguments))

    def drain(self) -> None:
        """Waits until all calls are done; raises what one of them raised."""
        self._calls.join()
        self._check()

    def _run(self) -> None:
        while True:
            call, arguments = self._calls.get()
            try:
                if call is None:
                    return
                if self._error is None and not self._is_dropping:
                    call(*arguments)
            except BaseException as error:
                self._error = error
            finally:
                del arguments
                self._calls.task_done()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: Any) -> None:
        self._is_dropping = kind is not None
        self._calls.put((None, ()))
        self._thread.join()
        if kind is None:
            self._check()
