"""The outputs of a network for rows of a table, all at once and in float32: vectors to measure others by."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from kd_lightning.data.table import Table, sort_by_length
from kd_lightning.errors import KDError
from kd_lightning.tasks.base import Task
from kd_lightning.tasks.role_inputs import choose_role
from kd_lightning.tasks.text_classification import TextClassificationTask

EMBEDDED_AT_ONCE, VECTORS_OF_A_PIECE = 64, 2**14
"""Fixed: how rows are put together changes their vectors' last digits, and no setting may."""


def embed_table(network: nn.Module, task: Task, table: Table) -> Iterator[Tensor]:
    """Vectors [n, D] float32 on the CPU of all rows, in their order, some thousand at a time.

    Args:
        network: In evaluation mode.
        task: As the network reads it.
        table: With the ids of its tokenizer; the ids of another change no vector.

    Raises:
        KDError: As ``embed_rows``.
    """
    own = choose_role(table, task.role) if isinstance(task, TextClassificationTask) else table
    for rows in torch.arange(len(table)).split(VECTORS_OF_A_PIECE):
        yield embed_rows(network, task, own.select(rows))


@torch.no_grad()
def embed_rows(network: nn.Module, task: Task, table: Table) -> Tensor:
    """Vectors [N, D] float32 on the CPU of the rows, in their order.

    Args:
        network: In evaluation mode.
        task: As the network reads it.
        table: With no ids but those of its tokenizer.

    Raises:
        KDError: A vector is not finite.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    order = sort_by_length(table)
    found: list[Tensor] = []
    for some in order.split(EMBEDDED_AT_ONCE):
        batch = {name: tensor.to(device) for name, tensor in task.collate(table, some).items()}
        found.append(task.logits(network, batch).float().cpu())
    vectors = torch.cat(found)[order.argsort()]
    bad = (~vectors.isfinite()).any(dim=-1)
    if bad.any():
        raise KDError(
            f"the teacher's vectors of {int(bad.sum())} of {len(bad)} rows are not finite (NaN or infinity), so nothing can be "
            "measured by them: choose another teacher.model"
        )
    return vectors
