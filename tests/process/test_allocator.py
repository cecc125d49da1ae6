"""What tensors free stays with the process. In processes of their own: the setting cannot be taken back."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

BLOCKS = """
import resource, sys
from kd_lightning.process.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        del [bytearray(4 * 2**20) for _ in range(8)][:]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(sys.argv[1] == "keep" and keep_freed_memory(), faults() and faults())
"""
GLIBC = platform.libc_ver()[0] == "glibc"


def told(word: str, **environ: str) -> tuple[str, int]:
    done = subprocess.run([sys.executable, "-c", BLOCKS, word], capture_output=True, text=True, check=True, env=environ)
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(not GLIBC, reason="glibc alone is told anything")
def test_blocks_are_asked_for_once() -> None:
    (kept, few), (_, many) = told("keep"), told("leave")
    assert kept == "True"
    assert many > 10_000 > few


def test_what_the_user_has_set_stays() -> None:
    assert told("keep", MALLOC_TRIM_THRESHOLD_="1000000")[0] == "False"
