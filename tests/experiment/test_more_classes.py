"""A teacher with more classes than the data, as of a padded vocabulary: trained, brought, stored, or refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.errors import ClassMismatchError, ConfigError, KDError, VocabMismatchError
from kd_lightning.experiment.preflight import check_network
from kd_lightning.models.transformer_lm import TransformerLM
from kd_lightning.tasks.examples import TokenExample
from kd_lightning.tasks.metrics import Perplexity
from kd_lightning.tasks.position import PositionTask
from tests.support.parts import CLASSES, FEATURES, TinyNet
from tests.support.tiny import experiment

UNIVERSAL: dict[str, Any] = {
    "universal_logit": {"_target_": "kd_lightning.losses.logits.universal_logit.UniversalLogit", "weight": 1.5}
}
HINT: dict[str, Any] = {
    "hint": {
        "_target_": "kd_lightning.losses.features.hint.Hint",
        "match": [{"student": "first", "teacher": "first"}],
    }
}
KD: dict[str, Any] = {"kd": {"_target_": "kd_lightning.losses.logits.kd.KD"}}
CACHED = {"_target_": "kd_lightning.teachers.stored.logits.AllLogits", "dtype": "fp16"}
HIDDEN = {"_target_": "kd_lightning.teachers.stored.hidden.Hidden"}
TOPK = {"_target_": "kd_lightning.teachers.stored.topk.TopK", "k": 2}


@pytest.mark.parametrize("outputs", [{}, {"teacher_outputs": CACHED}], ids=["live", "stored"])
def test_it_is_trained_and_distilled_from(outputs: dict[str, Any], tmp_path: Path) -> None:
    run = experiment(tmp_path, teacher__model__classes=CLASSES + 2, loss=UNIVERSAL | HINT, **outputs)
    records = run.run().records
    assert run.parts.trained(run.stage("teacher")).last.out_features == CLASSES + 2
    assert run.parts.trained(run.stage("distill")).last.out_features == CLASSES
    for record in records.values():
        assert math.isfinite(record["test"])
        assert 0 <= record["metrics"]["accuracy"] <= 1


def mlp(width: int, classes: int) -> dict[str, Any]:
    sizes = {"num_classes": classes, "in_features": FEATURES, "hidden": [width]}
    return {"_target_": "kd_lightning.models.mlp.MLP", **sizes}


def test_by_chunks_of_rows_it_comes_to_the_same(tmp_path: Path) -> None:
    networks = {"teacher__model": mlp(9, CLASSES + 2), "student__model": mlp(5, CLASSES)}
    whole, by_chunks = (
        experiment(tmp_path, **networks, loss=UNIVERSAL, chunked_loss=chunked, teacher_outputs=HIDDEN).run()
        for chunked in (False, True)
    )
    for stage, record in whole.records.items():
        assert by_chunks.records[stage]["test"] == pytest.approx(record["test"], rel=1e-4)


def test_one_of_the_users_own_is_measured_and_used(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(TinyNet(width=9, classes=CLASSES + 2).state_dict(), tmp_path / "padded.pt")
    changes = {"teacher__model__classes": CLASSES + 2, "teacher__checkpoint": str(tmp_path / "padded.pt")}
    records = experiment(tmp_path, loss=UNIVERSAL, **changes).run().records
    assert math.isfinite(records["teacher"]["val"])
    assert math.isfinite(records["distill"]["test"])


def test_with_a_loss_that_compares_class_by_class_it_is_refused(tmp_path: Path) -> None:
    run = experiment(tmp_path, teacher__model__classes=CLASSES + 2, loss=UNIVERSAL | KD)
    with pytest.raises(ClassMismatchError, match=r"the teacher gives 5 classes, the data has 3: .* leave out loss kd:"):
        run.check()


@pytest.mark.parametrize(("role", "classes"), [("teacher", CLASSES - 1), ("student", CLASSES + 2)])
def test_fewer_or_another_student_are_refused(role: str, classes: int, tmp_path: Path) -> None:
    run = experiment(tmp_path, loss=UNIVERSAL, **{f"{role}__model__classes": classes})
    with pytest.raises(ClassMismatchError, match=f"the {role} gives {classes} classes, the data has 3: set"):
        run.check()


def test_its_top_k_are_not_stored(tmp_path: Path) -> None:
    run = experiment(tmp_path, teacher__model__classes=CLASSES + 2, loss=UNIVERSAL, teacher_outputs=TOPK)
    with pytest.raises(ConfigError, match=r"a teacher with 5 classes, .* 3, .*: use teacher_outputs=cached or live"):
        run.check()
    experiment(tmp_path, loss=UNIVERSAL, teacher_outputs=TOPK).check()  # the control


VOCABULARY = 7


def padded(tokens: int) -> nn.Module:
    return TransformerLM(tokens, width=4, layers=1, heads=1, max_length=4)


@pytest.mark.parametrize(
    ("tokens", "classwise", "error"),
    [(8, [], None), (8, ["kd", "dist"], VocabMismatchError), (8, None, VocabMismatchError), (7, ["kd"], None)],
)
def test_a_padded_vocabulary(tokens: int, classwise: list[str] | None, error: type[KDError] | None) -> None:
    task = PositionTask(VOCABULARY, {"perplexity": Perplexity()}, "perplexity", TokenExample(VOCABULARY, length=4))
    rows = Table({"inputs": torch.arange(4)[None].repeat(3, 1), "targets": torch.arange(1, 5)[None].repeat(3, 1)})
    prepared = Prepared({"val": rows}, tokenizer="its text")
    if error is None:
        check_network(padded(tokens), task, prepared, "teacher", 2, classwise)
        return
    with pytest.raises(
        error, match=r"the teacher's vocabulary is 8 tokens, the data's 7: set teacher.model.vocab_size=7"
    ) as caught:
        check_network(padded(tokens), task, prepared, "teacher", 2, classwise)
    assert ("leave out loss kd, dist:" in str(caught.value)) == bool(classwise)


def test_a_hard_loss_that_counts_classes_is_refused_beside_more_of_them(tmp_path: Path) -> None:
    adjusted = {"_target_": "kd_lightning.tasks.hard_loss.LogitAdjusted"}
    run = experiment(tmp_path, teacher__model__classes=CLASSES + 2, loss=UNIVERSAL, teacher__hard_loss=adjusted)
    with pytest.raises(ConfigError, match=r"knows the data's 3 classes.*hard_loss@teacher.hard_loss=cross_entropy"):
        run.check()
