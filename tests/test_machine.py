"""What this machine does with memory."""

import os
import platform
import subprocess
import sys

import pytest

HOLES = """
import resource
import sys
import numpy as np
from jaxdyn import machine

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

print(machine.return_large_arrays() if sys.argv[1] == "asked" else None)
np.ones(8 * 2**20, np.uint8)  # freed at once: from here on, glibc would keep what is smaller
before = resident()
arrays = [np.ones(4 * 2**20, np.uint8) for _ in range(20)]
del arrays[:-1]  # the last one lies above all the others
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_freed_arrays_go_back_to_the_system():
    def left(*arguments, **variables):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")} | variables
        command = [sys.executable, "-c", HOLES, *arguments]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        effect, size = done.stdout.split()
        return effect, int(size) / 2**20

    effect, size = left("asked")
    assert effect == "True"
    assert size < 12  # MB: one array
    assert left("not")[1] > 60  # all twenty
    assert left("asked", MALLOC_MMAP_THRESHOLD_=str(2**25))[0] == "False"  # the user's own
