"""How OpenMP's threads wait for each other: they look for a moment, then sleep.

A step has thousands of short parallel regions, and at the end of each the threads wait for the last one. GNU's libgomp, which
torch's wheels for Linux bring along, looks 300,000 times (some 10 ms) before a thread sleeps. On a quiet machine nobody has to
wait so long. Beside another busy process, the thread that waits keeps a core from the one it waits for.
"""

from __future__ import annotations

import os

SPINS = 1_000
"""Looks before a thread sleeps: measured, see "Beside other programs" in docs/performance.md."""
BLOCK_MILLISECONDS = 1
"""The same for the OpenMP of Clang and Intel, which counts time; chosen without a measurement, its own number is 200."""
OWN_CHOICE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Environment variables by which a user decides."""


def limit_spinning() -> None:
    """Tell OpenMP so, here and in processes started from here, unless the user has decided; before torch is imported.

    No result depends on it.
    """
    if any(name in os.environ for name in OWN_CHOICE):
        return
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    os.environ["KMP_BLOCKTIME"] = str(BLOCK_MILLISECONDS)
