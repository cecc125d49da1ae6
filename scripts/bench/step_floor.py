"""What W1's step of ``step.py`` cannot do without."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scripts.bench.interleaved import head, row
from scripts.bench.step_job import CONTEXT, STUDENT, TEACHER, VOCABULARY
from scripts.bench.step_peers import PEERS


def floor() -> dict[str, float]:
    """What W1's step cannot do without, at the rates of this machine; seconds."""
    n, student, teacher = 20 * CONTEXT, STUDENT, TEACHER
    # A multiplication and an addition for each weight and token; backward is twice the forward pass.
    forward = {
        role: 2 * n * (lstm_weights(sizes) + sizes["hidden"] * VOCABULARY)
        for role, sizes in (("student", student), ("teacher", teacher))
    }
    operations = 3 * forward["student"] + forward["teacher"]
    exponentials = 2 * n * VOCABULARY  # one softmax each: the student's second one is the first one squared
    head_weights, embedding = student["hidden"] * VOCABULARY + VOCABULARY, student["embedding"] * VOCABULARY
    trained = lstm_weights(student) + head_weights + embedding
    # AdamW reads weights, gradients and two moments and writes three; the gradients are written once; the teacher is read.
    moved = 4 * (8 * trained + lstm_weights(teacher) + teacher["hidden"] * VOCABULARY)
    found = {"operations": float(operations), "exponentials": float(exponentials), "bytes": float(moved)}
    for precision in ("highest", "medium"):
        torch.set_float32_matmul_precision(precision)
        found[f"rate {precision}"] = products_per_second()
    torch.set_float32_matmul_precision("highest")
    found["exponentials per second"] = exponentials_per_second()
    found["bandwidth"] = bytes_per_second()
    return found


def lstm_weights(sizes: dict[str, int]) -> int:
    """Of all layers: four gates each, from the input and from the last state."""
    hidden = sizes["hidden"]
    inputs = [sizes["embedding"]] + [hidden] * (sizes["layers"] - 1)
    return sum(4 * hidden * (width + hidden) for width in inputs)


def best_of(function: Callable[[], Any], times: int = 7) -> float:
    """The least seconds of a few calls: a floor is what the machine can do undisturbed."""
    function()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return min(found)


def products_per_second() -> float:
    """Floating-point operations in a large product of two matrices."""
    size = 2048
    one, other = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / best_of(lambda: one @ other)


def exponentials_per_second() -> float:
    """In place, on a buffer that stays in the cache; of e or of 2, whichever is faster."""
    buffer = torch.full((64, 2048), -0.5)

    def seconds(power: Callable[..., Tensor]) -> float:
        return best_of(lambda: [power(buffer, out=buffer) for _ in range(50)])

    return 50 * buffer.numel() / min(seconds(torch.exp), seconds(torch.exp2))


def bytes_per_second() -> float:
    """Read and written by a copy that no cache holds."""
    one = torch.ones(64 * 2**20)
    other = torch.empty_like(one)
    return 2 * one.nbytes / best_of(lambda: other.copy_(one))


def print_floor(times: dict[str, float]) -> None:
    """The floor of W1 and each side's distance to it; ``times``: side -> seconds of a step."""
    found = floor()
    exponentials = found["exponentials"] / found["exponentials per second"]
    moved = found["bytes"] / found["bandwidth"]
    print(
        f"\nFloor of W1: {found['operations'] / 1e9:.1f} GFLOP in products, {found['exponentials'] / 1e6:.0f} M exponentials, "
        f"{found['bytes'] / 1e6:.0f} MB of weights, gradients and moments moved; activations are taken to stay in the cache"
    )
    print(
        head(
            "products", "GFLOP/s", "products ms", "exponentials ms", "moving ms", "floor ms", "side", "times its floor"
        )
    )
    for precision in ("highest", "medium"):
        products = found["operations"] / found[f"rate {precision}"]
        # Both are done by the same units, one after the other; moving can go on at the same time.
        least = max(products + exponentials, moved)
        for side, seconds in times.items():
            if side in PEERS or ("medium" in side) != (precision == "medium"):
                continue
            cells = (f"{1e3 * value:.0f}" for value in (products, exponentials, moved, least))
            print(row(precision, f"{found[f'rate {precision}'] / 1e9:.0f}", *cells, side, f"{seconds / least:.2f}"))
