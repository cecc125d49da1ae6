"""Every test runs on one thread: tiny networks gain nothing from more, and sums stay the same from machine to machine."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
