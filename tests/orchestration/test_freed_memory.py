"""Memory that a stage frees stays with its process while it works, and goes back to the system at the end."""

import ctypes
import subprocess
import sys

import pytest

BLOCKS = """
import resource, sys
import numpy as np
from interp_assets.orchestration.freed_memory import freed_memory_kept

def pages_and_megabytes():
    arrays = [np.ones(1 << 18) for _ in range(30)]
    del arrays
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        arrays = [np.ones(1 << 18) for _ in range(30)]
        del arrays
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return pages, int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

outside = pages_and_megabytes()
with freed_memory_kept():
    inside = pages_and_megabytes()
left = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
print(*outside, *inside, left)
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc gives its heap back")
def test_freed_memory_comes_again_without_the_system_and_goes_back_at_the_end() -> None:
    """30 arrays of 2 MB, made and freed 20 times: 300,000 pages of 4 kB."""
    run = subprocess.run([sys.executable, "-c", BLOCKS], capture_output=True, text=True, check=True)
    pages_outside, _, pages_inside, held, left = map(int, run.stdout.split())
    assert pages_inside < 0.01 * pages_outside
    assert held - left > 50
