"""A run whose losses are computed by chunks of rows, against the same run with whole logits."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.base import Loss
from kd_lightning.losses.functional.chunked import loss as chunked
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.models.mlp import MLP
from kd_lightning.tasks.base import why_whole
from kd_lightning.tasks.chunking import WIDE_VOCABULARY, chunks
from kd_lightning.tasks.metrics import RowMetric
from kd_lightning.types import Aligned, LinearLogits, Outputs
from tests.support.parts import CLASSES, FEATURES, TinyNet
from tests.support.processes import FSDP, in_two
from tests.support.rounding import tolerance
from tests.support.tiny import experiment

NEAR = tolerance(terms=64, steps=26)
"""The teacher's 12 steps, then the student's 14 or less."""
STAGES = ("teacher", "baseline", "pretrain", "distill")


def mlp(width: int) -> dict[str, Any]:
    return {
        "_target_": "kd_lightning.models.mlp.MLP",
        "num_classes": CLASSES,
        "in_features": FEATURES,
        "hidden": [width],
        "dropout": 0.2,
    }


NETWORKS: dict[str, Any] = {"teacher__model": mlp(9), "student__model": mlp(5)}
TINY_TEACHER = {"_target_": "tests.support.parts.TinyNet", "width": 9}


class Match(Loss):
    """Compares features."""

    def __init__(self, tap: str = "features") -> None:
        super().__init__(taps={"hidden": (tap, tap)})
        self.project = nn.LazyLinear(9) if tap == "head" else nn.Linear(5, 9)

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        difference = self.project(student.features["hidden"]) - teacher.features["hidden"]
        return masked_mean(difference.square().mean(-1), aligned.mask)


class OfLogits(Loss):
    """Reads whole logits."""

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        return masked_mean((student.logits - teacher.logits).square().mean(-1), aligned.mask)


def term(name: str, **more: Any) -> dict[str, Any]:
    return {"_target_": f"tests.training.test_chunked_losses.{name}", **more}


def ours(name: str, **more: Any) -> dict[str, Any]:
    return {"_target_": f"kd_lightning.losses.logits.{name}", **more}


KD = ours("kd.KD")
FALLING = {"_target_": "kd_lightning.training.schedules.Linear", "start": 2.0, "end": 0.0}
LOSSES: dict[str, dict[str, Any]] = {
    "kd": {"kd": KD},
    "kin": {"kd": KD, "reverse": ours("reverse_kl.ReverseKL", weight=0.3, temperature=1.5)},
    "features": {"kd": KD, "match": term("Match")},
    "logits": {"kd": KD, "of_logits": term("OfLogits")},
}


def weights(outputs: Path) -> dict[str, Tensor]:
    return {
        f"{stage} {name}": tensor
        for stage in STAGES
        for path in (outputs / "store" / stage).glob("*/weights.safetensors")
        for name, tensor in load_file(path).items()
    }


def both(tmp_path: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The records with and without chunks; the weights of all stages are equal up to rounding."""
    changes = {**NETWORKS, **changes}
    records = {
        name: experiment(tmp_path / name, chunked_loss=setting, **changes).run().records
        for name, setting in (("whole", False), ("chunks", True))
    }
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "chunks")
    assert list(one) == list(other)
    assert len(one) >= 12
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=NEAR)
    return records["whole"], records["chunks"]


@pytest.mark.few(5)
@pytest.mark.parametrize("losses", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_weights_are_those_of_whole_logits(losses: dict[str, Any], alpha: float, tmp_path: Path) -> None:
    whole, chunked_run = both(tmp_path, loss=losses, alpha=alpha)
    for stage in STAGES:
        assert chunked_run[stage]["test"] == pytest.approx(whole[stage]["test"], abs=NEAR)
        assert chunked_run[stage]["store_key"] != whole[stage]["store_key"]


def test_log_holds_the_same_terms(tmp_path: Path) -> None:
    both(tmp_path, loss=LOSSES["kin"])
    tables = []
    for name in ("whole", "chunks"):
        (path,) = (tmp_path / name / "store" / "distill").glob("*/metrics.csv")
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        tables.append({(row["step"], row["split"], row["name"]): float(row["value"]) for row in rows})
    assert {name for _, split, name in tables[0] if split == "train"} >= {"loss", "hard", "kd", "reverse"}
    timeless = [{key: value for key, value in table.items() if "second" not in key[2]} for table in tables]
    assert timeless[1] == pytest.approx(timeless[0], abs=NEAR)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": LOSSES["logits"], "annealing__weight": {"kd": FALLING, "of_logits": FALLING}},
        {"teacher__model": TINY_TEACHER},
        {"task__label_smoothing": 0.1},
        {"student__num_labeled": 12},
        {"trainer__accumulate_grad_batches": 2},
        in_two(),
        pytest.param(in_two(FSDP), marks=pytest.mark.full),
    ],
    ids=["weights that fall", "teacher without a head", "label smoothing", "few labels", "accumulation", "ddp", "fsdp"],
)
def test_in_every_setting(changes: dict[str, Any], tmp_path: Path) -> None:
    if "teacher__model" in changes:
        with pytest.raises(ConfigError, match="chunked_loss=true: TinyNet has no `body`"):
            experiment(tmp_path, chunked_loss=True, **{**NETWORKS, **changes}).check()
        return
    both(tmp_path, **changes)


@pytest.mark.parametrize("brought", [False, True], ids=["trained", "brought"])
def test_validation_and_tests_take_few_rows_at_a_time(
    brought: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = {}
    if brought:
        experiment(tmp_path / "before", **NETWORKS).run()
        (path,) = (tmp_path / "before" / "store" / "teacher").glob("*/weights.safetensors")
        teacher = {"teacher__checkpoint": str(path)}
    monkeypatch.setattr(chunked, "FEWEST_ROWS", 2)
    monkeypatch.setitem(chunked.LOGIT_CHUNK_BYTES, "cpu", 1)
    judged, made = [], []
    update, dense = RowMetric.update, LinearLogits.dense

    def updated(metric: RowMetric, logits: Tensor, *more: Tensor) -> None:
        judged.append(len(logits))
        update(metric, logits, *more)

    def made_dense(logits: LinearLogits) -> Tensor:
        made.append(len(logits.hidden))
        return dense(logits)

    monkeypatch.setattr(RowMetric, "update", updated)
    monkeypatch.setattr(LinearLogits, "dense", made_dense)
    monkeypatch.setattr(
        "kd_lightning.training.evaluation.TestedModule.on_test_epoch_end",
        lambda module: setattr(module, "seconds", [0.0]),
    )
    whole = experiment(tmp_path / "whole", chunked_loss=False, **{**NETWORKS, **teacher}).run().records
    assert set(judged) == {8, 5}, "21 rows in batches of 8"
    assert not made
    judged.clear()
    found = experiment(tmp_path / "parts", chunked_loss=True, **{**NETWORKS, **teacher}).run().records
    assert set(judged) == set(made) == {2, 1}
    assert len(made) == len(judged) / 2, "there are two metrics"
    for stage in STAGES:
        for value in ("val", "test"):
            assert found[stage][value] == pytest.approx(whole[stage][value], abs=NEAR)


def test_auto_takes_each_network_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher without body and head gives whole logits to a student that has both."""
    monkeypatch.setattr("kd_lightning.tasks.chunking.WIDE_VOCABULARY", CLASSES)
    sizes: list[int] = []
    apply = chunked._Chunked.apply

    def counted(hidden: Tensor, *more: Any) -> Any:
        sizes.append(len(hidden))
        return apply(hidden, *more)

    monkeypatch.setattr(chunked._Chunked, "apply", counted)
    run = experiment(tmp_path, **{**NETWORKS, "teacher__model": TINY_TEACHER})
    run.run()
    assert len(sizes) == 10 + 10, "the student alone, pre-trained and distilled; not the teacher"
    assert any("losses by chunks of rows: 3 classes" in line for line in run.context.board.lines)  # type: ignore[attr-defined]


def test_choice() -> None:
    assert chunks("auto", WIDE_VOCABULARY, None)
    assert not chunks("auto", WIDE_VOCABULARY - 1, None)
    assert not chunks("auto", WIDE_VOCABULARY, "a reason")
    assert chunks(True, 2, None)
    assert not chunks(False, WIDE_VOCABULARY, None)
    with pytest.raises(ConfigError, match="a reason"):
        chunks(True, WIDE_VOCABULARY, "a reason")


def test_what_stands_against_it() -> None:
    assert why_whole(MLP(3, 4), []) is None
    assert why_whole(MLP(3, 4), ["features", "features.1:input"]) is None
    assert "TinyNet has no `body`" in str(why_whole(TinyNet(), []))
    assert "taps the head" in str(why_whole(MLP(3, 4), ["head:input"]))
