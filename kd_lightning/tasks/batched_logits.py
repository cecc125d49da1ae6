"""A network's logits for evaluation, a part of the batch's rows at a time where whole ones would be wide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor, nn

from kd_lightning.losses.functional.chunked.loss import chunk_rows
from kd_lightning.tasks.base import Task
from kd_lightning.types import Batch


def logits_by_parts(task: Task, network: nn.Module, batch: Batch, chunked: bool) -> Iterator[tuple[Batch, Tensor]]:
    """Rows of the batch and their logits [b, ..., C].

    Args:
        task: Knows how to get logits from a network and a batch.
        network: With ``body`` and a linear ``head`` where ``chunked`` is true.
        batch: Every tensor has the rows first, and so have the network's hidden states.
        chunked: As many rows at a time as keep their logits to the budget of ``chunk_rows``, one at least; False = all.
    """
    if not chunked:
        yield batch, task.logits(network, batch)
        return
    source = task.linear_logits(network, batch)
    hidden = source.hidden
    rows = max(1, chunk_rows(len(source.weight), hidden.device.type) // hidden.shape[1:-1].numel())
    for start in range(0, len(hidden), rows):
        some = slice(start, start + rows)
        yield {name: tensor[some] for name, tensor in batch.items()}, replace(source, hidden=hidden[some]).dense()
