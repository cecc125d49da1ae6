"""Sums over a row of products, without an array of all products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kd_lightning.losses.functional.chunked import tempered_rows


@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_dots_of_rows_are_the_same_a_few_rows_at_a_time(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (torch.randn(7, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    products: list[int] = []
    vecdot = torch.linalg.vecdot

    def counted(left: Tensor, right: Tensor) -> Tensor:
        products.append(len(left))
        return vecdot(left, right)

    monkeypatch.setattr(tempered_rows, "DOT_BYTES", rows * 5 * 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(torch.linalg, "vecdot", counted)
    torch.testing.assert_close(tempered_rows.row_dots(one, other), (one * other).sum(-1))
    assert max(products) == min(rows, 7)
    assert sum(products) == 7
