"""Signals that end a run in good order: the step is finished, a checkpoint saved, then the process exits."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import jax
import numpy as np

AGREE_EVERY = 10
"""Steps after which processes ask each other whether one of them was told to stop."""


class StoppedError(Exception):
    """A run that ended early because a signal asked for it; the message says where its checkpoint is.

    Attributes:
      code: the exit code of a process that ends so, 128 + the signal's number: 143 for SIGTERM, 130 for SIGINT.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.code = 128 + number


class Wish:
    """Which signal came, if one did."""

    def __init__(self):
        self.number = 0

    def at(self, step: int) -> int:
        """The number of the signal after which this step is the last, 0 for none; the same in all processes.

        A signal may reach processes at different steps; so they ask each other, every `AGREE_EVERY` steps.
        """
        if jax.process_count() == 1:
            return self.number
        if step % AGREE_EVERY:
            return 0
        from jax.experimental import multihost_utils

        return int(multihost_utils.process_allgather(np.int32(self.number)).max())


@contextlib.contextmanager
def caught() -> Iterator[Wish]:
    """Within, the first SIGTERM or SIGINT becomes a wish, and a second one acts as it does elsewhere.

    Only the main thread can catch signals; in another one no wish ever comes.
    """
    wish, before = Wish(), {}

    def catch(number, frame):
        del frame
        wish.number = number
        restore()

    def restore():
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    is_main = threading.current_thread() is threading.main_thread()
    for number in (signal.SIGTERM, signal.SIGINT) if is_main else ():
        before[number] = signal.signal(number, catch)
    try:
        yield wish
    finally:
        restore()
