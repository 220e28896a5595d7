"""Memory that is freed and soon taken again stays with the process.

By default glibc gives the upper end of its heap back to the system whenever a few megabytes there are free. A stage that makes and frees
arrays of megabytes thousands of times a second then gets each page anew, zeroed, and all cores are told of each page that goes.
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt in malloc.h
LARGEST_KEPT = 32 << 20
"""Blocks up to this size come from the heap, the largest that glibc allows; larger blocks go back to the system when they are freed. Unit:
bytes."""

KEPT = 512 << 20
"""Most free memory at the upper end of the heap that stays with the process within `freed_memory_kept`. Unit: bytes."""

LEFT = 8 << 20
"""The same afterwards, for the rest of the process. Unit: bytes."""


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within the block, memory that is freed stays with the process; at its end what is free goes back to the system.

    The process holds no more than it held at its peak. Where the C library is not glibc nothing changes.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, LARGEST_KEPT)
    libc.mallopt(_TRIM_THRESHOLD, KEPT)
    try:
        yield
    finally:
        libc.mallopt(_TRIM_THRESHOLD, LEFT)
        libc.malloc_trim(0)
