"""Which jobs may be one of a cohort, and how many of them may train at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

SHARED_PRECISIONS = ("32-true", 32, "32", "bf16-mixed")
"""Those that leave weights in float32 and have no state of their own, as the loss scale of ``16-mixed`` is."""


def unfit(settings: dict[str, Any]) -> str | None:
    """Why a job cannot be one of a cohort; None = it can."""
    trainer = settings["trainer"]
    if trainer.get("strategy", "auto") != "auto" or trainer.get("devices", 1) != 1:
        return "it trains on several devices"
    if settings["compile"]:
        return "compile=true"
    if trainer.get("precision", 32) not in SHARED_PRECISIONS:
        return f"trainer.precision={trainer['precision']}"
    return None


COPIES = 5
"""Of a student's weights: themselves, their gradients, two moments of Adam's, and one for what else there is."""


def students_that_fit(settings: Sequence[dict[str, Any]], build: Callable[[Any], Any]) -> int:
    """How many students may train side by side: their weights, gradients and optimizers in half of the free memory.

    Activations do not count: students are stepped one by one, and only one has any; those that are stacked are small.

    Args:
        settings: Of the jobs.
        build: Turns a settings node with a ``_target_`` into the object it describes.
    """
    biggest = 1
    for node in {repr(node): node for node in (each["student"]["model"] for each in settings)}.values():
        with suppress(Exception), torch.device("meta"):  # one that cannot be built is its own job's concern
            network = build(node)
            biggest = max(biggest, sum(p.numel() * p.element_size() for p in network.parameters()))
    return max(1, free_memory(settings[0]["trainer"].get("accelerator")) // 2 // (COPIES * biggest))


def free_memory(accelerator: Any) -> int:
    """Bytes that are free on the device that trains."""
    if accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        free = 2**33
    with suppress(OSError, ValueError):  # what a container may use
        limit, used = (int((CGROUP / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        free = min(free, limit - used)
    return free


CGROUP = Path("/sys/fs/cgroup")
