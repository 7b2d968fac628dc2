"""Which machine this is: what compiled programs and measured times belong to."""

import functools
import hashlib
import os
import platform
import re
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


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
