"""Every test runs on one thread: tiny networks gain nothing from more, and sums are the same on every machine."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
