"""Widening: narrow types become float32, others are left alone."""

from __future__ import annotations

import torch

from kd_lightning.losses.functional.precision import at_least_float32


def test_narrow_types_are_widened_without_loss() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        narrow = torch.tensor([1.0, -0.1, 3e-5], dtype=dtype)
        assert at_least_float32(narrow).dtype == torch.float32
        assert torch.equal(at_least_float32(narrow).to(dtype), narrow)


def test_wide_types_are_the_same_object() -> None:
    for dtype in (torch.float32, torch.float64):
        wide = torch.zeros(2, dtype=dtype)
        assert at_least_float32(wide) is wide


def test_gradient_passes() -> None:
    narrow = torch.zeros(2, dtype=torch.bfloat16, requires_grad=True)
    at_least_float32(narrow).sum().backward()
    assert narrow.grad is not None
    assert narrow.grad.tolist() == [1.0, 1.0]
