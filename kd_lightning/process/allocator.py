"""Memory that tensors of one step give back is kept for those of the next.

glibc hands large blocks back to the system as soon as they are free, and asks for them again, page by page, at the next step:
in a cohort of language models (V = 10,000) that was 8% of a step.
"""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of glibc's parameters, from its ``malloc.h``."""
LARGEST_KEPT = 32 * 2**20
"""Bytes of a block; glibc takes no higher limit."""
TRIM_BYTES = 2**30
"""Bytes that stay with the process, at most."""
ALLOCATOR_VARIABLES = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Tell the C library so, for the rest of the process, unless the user has told it something; False = left as it is."""
    if platform.libc_ver()[0] != "glibc" or any(os.environ.get(name) for name in ALLOCATOR_VARIABLES):
        return False
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(MMAP_THRESHOLD, LARGEST_KEPT)) and bool(mallopt(TRIM_THRESHOLD, TRIM_BYTES))
    return False
