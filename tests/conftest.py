"""Every test runs on one thread, unless ``OMP_NUM_THREADS`` says another number: tiny networks gain nothing from more."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest
import torch

import tests.support.disk  # noqa: F401 - nobody waits for it
from tests.support.commands import share_one_server

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
share_one_server()


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """SIGINT interrupts, also where pytest was started with it ignored, as every job in a script's background is."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What ``few`` leaves out is ``full``, before pytest selects by marks; then the order of the files."""
    cells: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("few"):
            cells.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for each in cells.values():
        wanted: int = each[0].get_closest_marker("few").args[0]  # type: ignore[union-attr]
        kept = {place * len(each) // wanted for place in range(wanted)}
        for place, item in enumerate(each):
            if place not in kept:
                item.add_marker("full")
    order_files(items)


def order_files(items: list[pytest.Item]) -> None:
    """Files with slow tests first in both halves of the list: two workers begin with a half each, and take from ends."""
    slow = list(dict.fromkeys(item.path for item in items if item.get_closest_marker("slow")))
    first, second = ([item for item in items if item.path in slow[at::2]] for at in (0, 1))
    quick = [item for item in items if item.path not in slow]
    half = max(0, len(items) // 2 - len(first))
    items[:] = [*first, *quick[:half], *second, *quick[half:]]


def pytest_collection_finish() -> None:
    if "pytorch_lightning" in sys.modules:  # some test will train
        import tests.support.trainers  # noqa: F401
