"""Beside other programs OpenMP's threads sleep at once: more of them than cores, as long as the machine is busy."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from kd_lightning.process import openmp
from kd_lightning.process.cpu_threads import adapt_threads
from kd_lightning.process.machine_load import usable_cores
from kd_lightning.process.openmp import WAIT_POLICY_VARIABLES, shorten_waits_beside_others

LIBGOMP = Path(str(find_spec("torch").origin)).parent / "lib" / "libgomp.so.1"  # type: ignore[union-attr]
SWITCHES = """
import resource
import time
import torch
from kd_lightning.process.openmp import Crowd

data = torch.zeros(1 << 17)

def sleeps():
    "How often a thread of this process went to sleep during 300 parallel regions, with a short pause after each."
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    for _ in range(300):
        data.add_(1)
        end = time.perf_counter() + 1e-4
        while time.perf_counter() < end:
            pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before

torch.set_num_threads(2)
found = [min(sleeps() for _ in range(5))]
crowd = Crowd()
found.append(min(sleeps() for _ in range(5)))
crowd.leave()
found.append(min(sleeps() for _ in range(5)))
print(*found)
"""


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A machine that is looked at all the time; the test says how many cores others use."""
    found = [0.0]
    for name in WAIT_POLICY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("FIRST_LOOK", "LOOK_EVERY"):
        monkeypatch.setattr(openmp, name, 0.001)
    monkeypatch.setattr(openmp, "busy_with_others", lambda before, after: found[0])
    torch.set_num_threads(2)
    yield found
    torch.set_num_threads(1)


def crowded() -> bool:
    return any(thread.name == "kd-openmp-crowd" for thread in threading.enumerate())


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_as_long_as_the_machine_is_busy(others: list[float]) -> None:
    with adapt_threads(2, print):
        assert not crowded()
        others[0] = 1.0
        eventually(crowded)
        others[0] = 0.2
        eventually(lambda: not crowded())
        others[0] = 1.0
        eventually(crowded)
    assert not crowded(), "the training is over"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("kd-openmp")]


@pytest.mark.parametrize("decided", [*WAIT_POLICY_VARIABLES, "one thread"])
def test_where_the_user_has_decided_or_nobody_waits_nothing_is_watched(
    decided: str, others: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    if decided == "one thread":
        torch.set_num_threads(1)
    else:
        monkeypatch.setenv(decided, "1")
    before = threading.active_count()
    with shorten_waits_beside_others():
        assert threading.active_count() == before
    monkeypatch.delenv(decided, raising=False)
    torch.set_num_threads(2)
    with shorten_waits_beside_others():
        assert threading.active_count() == before + 1, "control"


@pytest.mark.skipif(not LIBGOMP.is_file() or usable_cores() != 2, reason="two cores and torch's own libgomp")
def test_contract_libgomp_hardly_looks_while_there_are_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*WAIT_POLICY_VARIABLES, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run([sys.executable, "-c", SWITCHES], capture_output=True, text=True, check=True)
    alone, in_a_crowd, afterwards = map(int, done.stdout.split())
    assert in_a_crowd > 2 * max(alone, afterwards)
