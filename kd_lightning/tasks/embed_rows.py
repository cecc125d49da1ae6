"""The outputs of a network for rows of a table, all at once and in float32: vectors to measure others by."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kd_lightning.data.table import Table, sort_by_length
from kd_lightning.tasks.base import Task

EMBEDDED_AT_ONCE = 64
"""Fixed: how rows are put together changes their vectors' last digits, and no setting may."""


@torch.no_grad()
def embed_rows(network: nn.Module, task: Task, table: Table, rows: Tensor) -> Tensor:
    """Vectors [n, D] float32 on the CPU of some rows [n] int64, in their order.

    Args:
        network: In evaluation mode.
        task: As the network reads it.
        table: With the ids of its tokenizer.
        rows: Which.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    order = sort_by_length(table.select(rows))
    found: list[Tensor] = []
    for some in order.split(EMBEDDED_AT_ONCE):
        batch = {name: tensor.to(device) for name, tensor in task.collate(table, rows[some]).items()}
        found.append(task.logits(network, batch).float().cpu())
    vectors = torch.cat(found)
    return vectors[order.argsort()]
