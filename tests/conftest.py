"""Every test runs on one thread: tiny networks gain nothing from more, and sums are the same on every machine."""

from __future__ import annotations

import torch

import tests.support.disk  # noqa: F401 - nobody waits for it
from tests.support.commands import share_one_server

torch.set_num_threads(1)
share_one_server()
