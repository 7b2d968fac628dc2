"""Times of calls in turn, and what memory they peak at.

Machines are noisy, so calls that are compared take turns, and medians count. Each has to be compiled already.
"""

import contextlib
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

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
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for spent, call in zip(seconds, calls, strict=True):
            begun = time.perf_counter()
            jax.block_until_ready(call())
            spent.append(time.perf_counter() - begun)
    return [Measured(statistics.median(spent), peak) for spent, peak in zip(seconds, peaks, strict=True)]


def peak_of(call: Callable[[], object]) -> int | None:
    """The peak of memory during a call, see `Measured`; only Linux, and of a process, can begin anew."""
    is_new = False
    if not _device_peak():
        with contextlib.suppress(OSError):
            CLEAR.write_text("5")
            is_new = True
    before = _peak()
    jax.block_until_ready(call())
    after = _peak()
    return after if is_new or after > before else None


def _peak() -> int:
    """Bytes, at most, up to now."""
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
