"""The teacher's vectors depend on the rows and on its own tokens alone, and are numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.data.columns import InMemory, Ragged
from kd_lightning.data.table import Table
from kd_lightning.errors import KDError
from kd_lightning.tasks.embed_rows import EMBEDDED_AT_ONCE, embed_table
from kd_lightning.tasks.embedding import EmbeddingTask
from kd_lightning.tasks.embedding_metrics import MeanCosine

ROWS, IDS, WIDTH = 3 * EMBEDDED_AT_ONCE, 50, 16


class Mean(nn.Module):
    """Mean of the ids' vectors; keeps the ids of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(IDS, WIDTH)
        self.seen: list[Tensor] = []

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.seen.append(ids)
        weights = attention_mask[..., None].float()
        return (self.embedding(ids) * weights).sum(dim=1) / weights.sum(dim=1)


def ragged(seed: int) -> Ragged:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (ROWS,), generator=generator)
    values = torch.randint(IDS, (int(lengths.sum()),), generator=generator)
    return Ragged(InMemory(values), InMemory(torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])))


def embed(network: Mean, student: int) -> Tensor:
    task = EmbeddingTask(WIDTH, {"cosine": MeanCosine()}, "cosine").for_role("teacher")
    table = Table({"teacher_ids": ragged(0), "student_ids": ragged(student), "targets": torch.zeros(ROWS)})
    with torch.no_grad():
        return torch.cat(list(embed_table(network.eval(), task, table)))


def test_vectors_do_not_depend_on_the_students_tokens() -> None:
    networks = [Mean(), Mean()]
    networks[1].load_state_dict(networks[0].state_dict())
    found = [embed(network, student) for network, student in zip(networks, (1, 2), strict=True)]
    assert torch.equal(*found)
    assert all(torch.equal(one, other) for one, other in zip(networks[0].seen, networks[1].seen, strict=True))
    first = ragged(0).take(torch.arange(1)).values
    assert torch.allclose(found[0][0], networks[0].embedding(first).mean(dim=0), atol=1e-6)


def test_vectors_that_are_not_finite_are_refused() -> None:
    network = Mean()
    with torch.no_grad():
        network.embedding.weight[:] = torch.nan
    with pytest.raises(KDError, match=rf"the teacher's vectors of {ROWS} of {ROWS} rows are not finite"):
        embed(network, 1)
