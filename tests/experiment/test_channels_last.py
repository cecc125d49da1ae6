"""Images with their channels innermost in memory: wherever a network reads them, for the same results but for last digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.config.instantiate import build_node
from kd_lightning.data.collate import collate_rows
from kd_lightning.data.datamodule import ExperimentData, RowsDataset, channels_innermost
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.preflight import check_network
from kd_lightning.sweeps.cohort.run_cohort import SAME
from kd_lightning.tasks.position import PositionTask
from kd_lightning.types import Batch
from tests.support.cli import settings_of
from tests.support.tiny import SilentBoard

BATCH = 16
WORDS = (
    *("experiment=digits", "progress=false", "data.limit=96", f"data.batch_size={BATCH}", "student.num_labeled=40"),
    *(
        "teacher.steps=6",
        "student.steps=6",
        "student.pretrain_steps=2",
        "validate_every=3",
        "teacher.model.channels=[4,6]",
    ),
)


def experiment(outputs: Path, *words: str) -> Experiment:
    return Experiment(settings_of(*WORDS, f"outputs={outputs}", *words), build_node, [], SilentBoard())


@pytest.mark.parametrize("shape", [(3, 1, 4, 5), (3, 2, 4, 5), (2, 3, 1, 1), (1, 4, 2, 2)])
def test_the_same_images_in_the_order_that_convolutions_keep(shape: tuple[int, ...]) -> None:
    images = torch.randn(shape)
    found = channels_innermost(images)
    _, channels, height, width = shape
    assert torch.equal(found, images)
    assert found.stride() == (height * width * channels, 1, width * channels, channels)
    wide = nn.Conv2d(channels, 8, kernel_size=1)(found)
    if height > 1:  # else one order is the other
        assert wide.is_contiguous(memory_format=torch.channels_last)
        assert not nn.Conv2d(channels, 8, kernel_size=1)(images).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "words", [(), ("teacher_outputs=cached",), ("loss=[kd,hint]", "teacher_outputs=cached")], ids=str
)
def test_a_run_reads_them_so_everywhere_and_finds_the_same(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strides: set[int] = set()
    logits = PositionTask.logits

    def noted(self: PositionTask, network: nn.Module, batch: Batch) -> Tensor:
        if len(batch["inputs"]) >= BATCH:  # else it is the task's example
            strides.add(batch["inputs"].stride(1))
        return logits(self, network, batch)

    monkeypatch.setattr(PositionTask, "logits", noted)
    usual = experiment(tmp_path, *words).run().records
    assert strides == {64}
    strides.clear()
    found = experiment(tmp_path, *words, "channels_last=true").run().records
    assert strides == {1}
    assert not any(record["reused"] for record in found.values()), "they are other stages"
    for stage, record in found.items():
        assert record["val"] == pytest.approx(usual[stage]["val"], abs=0.03), stage
        assert record["metrics"]["cross_entropy"] == pytest.approx(usual[stage]["metrics"]["cross_entropy"], rel=1e-3)


def test_jobs_whose_batches_lie_otherwise_are_not_one_fit(tmp_path: Path) -> None:
    keys = set()
    for word in ("channels_last=false", "channels_last=true"):
        one = experiment(tmp_path, word)
        keys.add(repr([one.stage("distill").contents[name] for name in SAME if name != "teacher"]))
    assert len(keys) == 2


def test_rows_that_are_no_images_are_refused() -> None:
    rows = Table({"inputs": torch.zeros(4, 7), "targets": torch.zeros(4, dtype=torch.int64)})
    prepared: Any = type("Rows", (), {"splits": dict.fromkeys(("train", "val", "test"), rows)})
    with pytest.raises(
        ConfigError, match=r"channels_last=true is for images .* have the shape \[7\]: set channels_last"
    ):
        ExperimentData(prepared, collate_rows, batch_size=2, steps=1, seed=0, channels_last=True)


class Viewing(nn.Module):
    """Takes for granted how its images lie."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.view(len(inputs), -1)[:, :10]


def test_a_network_that_minds_is_refused_before_it_trains(tmp_path: Path) -> None:
    builder = experiment(tmp_path, "channels_last=true").builder
    three = Table({"inputs": torch.zeros(4, 3, 4, 4), "targets": torch.zeros(4, dtype=torch.int64)})
    prepared: Any = type("Rows", (), {"splits": {"val": three}, "tokenizer": ""})
    check_network(Viewing(), builder.task, prepared, "student", 2)
    with pytest.raises(ConfigError, match=r"view.*or channels_last=false"):
        check_network(Viewing(), builder.task, prepared, "student", 2, channels_last=True)


def test_the_stand_in_batch_of_a_process_without_rows_lies_likewise() -> None:
    images = Table({"inputs": torch.zeros(4, 3, 4, 4), "targets": torch.zeros(4, dtype=torch.int64)})
    assert RowsDataset(images, collate_rows, channels_last=True).__getitems__([-1])["inputs"].stride(1) == 1
