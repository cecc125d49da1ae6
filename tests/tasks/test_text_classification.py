"""Batches of texts: each network gets the ids of its own tokenizer, padded and masked."""

from __future__ import annotations

import torch
from torch import nn

from kd_lightning.data.columns import ragged_column
from kd_lightning.data.table import Table
from kd_lightning.data.texts import TYPE_IDS, role_column
from kd_lightning.data.words import IDS
from kd_lightning.tasks.base import ReadsTexts
from kd_lightning.tasks.metrics import Accuracy
from kd_lightning.tasks.text_classification import TextClassificationTask

TASK = TextClassificationTask(3, {"accuracy": Accuracy()}, "accuracy")
TEACHER, STUDENT = [[5, 6, 7], [8]], [[1], [2, 3]]


class Said(nn.Module):
    """Keeps what it is called with."""

    def forward(self, ids: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
        self.ids, self.more = ids, more
        return torch.zeros(len(ids), 3)


def table(**more: list[list[int]]) -> Table:
    columns = {role_column("teacher", IDS): TEACHER, role_column("student", IDS): STUDENT} | more
    ragged = {name: ragged_column(rows, torch.int32) for name, rows in columns.items()}
    return Table({**ragged, "targets": torch.tensor([2, 0])})


def test_each_role_reads_its_own_ids_padded_and_masked() -> None:
    batch, network = TASK.collate(table(), torch.tensor([1, 0])), Said()
    assert isinstance(TASK, ReadsTexts)
    assert TASK.for_role("teacher").logits(network, batch).shape == (2, 3)
    assert network.ids.tolist() == [[8, 0, 0], [5, 6, 7]]
    assert network.more["attention_mask"].tolist() == [[True, False, False], [True, True, True]]
    TASK.for_role("student").logits(network, batch)
    assert network.ids.tolist() == [[2, 3], [1, 0]]
    assert network.more["attention_mask"].tolist() == [[True, True], [True, False]]
    assert set(network.more) == {"attention_mask"}
    assert batch["targets"].tolist() == [0, 2]
    assert batch["index"].tolist() == [1, 0]


def test_a_network_that_tells_the_texts_of_a_pair_apart_is_given_their_numbers() -> None:
    types = {role_column("teacher", TYPE_IDS): [[0, 1, 1], [0]]}
    batch, network = TASK.collate(table(**types), torch.tensor([0, 1])), Said()
    TASK.for_role("teacher").logits(network, batch)
    assert network.more["token_type_ids"].tolist() == [[0, 1, 1], [0, 0, 0]]
    TASK.for_role("student").logits(network, batch)
    assert "token_type_ids" not in network.more


def test_a_role_s_task_leaves_the_other_as_it_is() -> None:
    TASK.for_role("teacher")
    assert TASK.role == "student"


def test_the_example_batch_is_one_of_the_role() -> None:
    for role in ("teacher", "student"):
        network, task = Said(), TASK.for_role(role)
        task.logits(network, task.example_batch())
        assert network.ids.shape == (2, 8)
        assert bool(network.more["attention_mask"].all())
