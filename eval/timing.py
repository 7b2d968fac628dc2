"""Times of calls in turn, and what memory they peak at.

Machines are noisy, so calls that are compared take turns, and medians count. Each has to be compiled already.
"""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from jaxdyn.bench import medians_in_turn

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
"""Where Linux forgets the peak of a process, and where it tells it."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """One call.

    Attributes:
      seconds: the median.
      peak_memory: bytes, of the process, or of the device where that counts; None where something before it took as
        much, so that nobody can tell.
    """

    seconds: float
    peak_memory: int | None


def interleaved(calls: Sequence[Callable[[], object]], rounds: int) -> list[Measured]:
    """Each call once for its memory, and `rounds` times in turn for its time.

    Raises:
      ValueError: no round.
    """
    if rounds < 1:
        raise ValueError(f"rounds (={rounds}) must be at least 1")
    peaks = [peak_of(call) for call in calls]
    seconds = medians_in_turn(calls, rounds, time.perf_counter)
    return [Measured(median, peak) for median, peak in zip(seconds, peaks, strict=True)]


def peak_of(call: Callable[[], object]) -> int | None:
    """The peak of memory during a call, see `Measured`; only Linux, and of a process, can begin anew."""
    is_new = not _device_peak() and forget_peak()
    before = peak()
    jax.block_until_ready(call())
    after = peak()
    return after if is_new or after > before else None


def forget_peak() -> bool:
    """Lets the peak of this process's memory begin anew; whether that is possible here."""
    with contextlib.suppress(OSError):
        CLEAR.write_text("5")
        return True
    return False


def peak() -> int:
    """Bytes, at most, up to now: the device's own count, or the process's resident memory."""
    return _device_peak() or _process_peak()


def _device_peak() -> int:
    """0 where the device does not count."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)


def _process_peak() -> int:
    with contextlib.suppress(OSError, StopIteration):
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
