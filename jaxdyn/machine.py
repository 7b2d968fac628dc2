"""Which machine this is: what compiled programs and measured times belong to."""

import ctypes
import functools
import hashlib
import os
import platform
import re
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
MMAP_THRESHOLD = 2**20
"""Bytes from which an array gets pages of its own; frames and features are larger, what else there is is smaller."""


def num_core() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name as the system says it, such as "AMD EPYC 9R14"."""
    return _field("model name") or platform.processor() or platform.machine() or "unknown"


def describe() -> str:
    """For people: "AMD EPYC 9R14 (x86_64), 8 cores"."""
    cores = num_core()
    return f"{processor()} ({platform.machine()}), {cores} core{'' if cores == 1 else 's'}"


def return_large_arrays() -> bool:
    """Has this process give the memory of large arrays back to the system as soon as they are freed.

    glibc does so only for arrays over a threshold that it raises, to 32 MB, with every such array that is freed. Frames
    of a video lie below it; freed in another order than they came, they leave holes, and a long job grows by a sixth.

    Returns:
      Whether it took effect: False without glibc, and where the user has set the threshold.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ or platform.libc_ver()[0] != "glibc":
        return False
    m_mmap_threshold = -3  # as in glibc's malloc.h
    return ctypes.CDLL(None).mallopt(m_mmap_threshold, MMAP_THRESHOLD) == 1


@functools.cache
def name() -> str:
    """For folders: short, the same for machines that run the same programs as fast, another for others.

    It covers the processor's instructions: a program compiled for more of them than there are would end in a signal.
    """
    features = " ".join(sorted((_field("flags") or _field("Features") or "").split()))
    whole = "\n".join([platform.system(), platform.machine(), processor(), str(num_core()), features])
    return hashlib.sha256(whole.encode()).hexdigest()[:12]


@functools.cache
def _field(key: str) -> str | None:
    """The first value of a key of Linux's list of processors; None where there is no such list or key."""
    try:
        text = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{re.escape(key)}\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else None
