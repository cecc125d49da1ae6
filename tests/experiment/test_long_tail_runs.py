"""A run on long-tailed rows: which losses see which counts, what is shared, what the results say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lightning.config.instantiate import build_node
from kd_lightning.errors import ConfigError
from kd_lightning.experiment.collect_results import results_of
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.settings import softness
from kd_lightning.losses.functional.balanced import BalancedKL
from kd_lightning.losses.functional.class_balance import effective_number_weights, log_prior
from kd_lightning.losses.logits.balanced_kd import BalancedKD
from kd_lightning.tasks.position import PositionTask
from kd_lightning.types import OutputKind
from tests.support.cli import kd, settings_of, text_words, texts
from tests.support.processes import in_two
from tests.support.rounding import tolerance
from tests.support.tiny import SilentBoard, experiment
from tests.training.distributed.test_several_processes import PLAIN, weights

ADJUSTED = {"_target_": "kd_lightning.tasks.hard_loss.LogitAdjusted", "tau": 1.0}
WEIGHTED = {"_target_": "kd_lightning.tasks.hard_loss.EffectiveNumber", "beta": 0.99}
MLP = {"_target_": "kd_lightning.models.mlp.MLP", "num_classes": 3, "in_features": 6, "hidden": [5]}
BALANCED = {"balanced_kd": {"_target_": "kd_lightning.losses.logits.balanced_kd.BalancedKD", "weight": 1.0}}


def long_tailed(folder: Path, **changes: Any) -> Experiment:
    given = {"data__imbalance": 7, "student__hard_loss": ADJUSTED, "loss": BALANCED, "checkpoint_every": 100, **changes}
    return experiment(folder, **given)


def test_the_run_ends_in_accuracies_of_head_and_tail(tmp_path: Path) -> None:
    one = long_tailed(tmp_path)
    results = json.loads(json.dumps(results_of(one, one.run(), "kd run")))
    assert results["imbalance"] == 7
    assert (results["hard_loss"], results["teacher_hard_loss"]) == ("LogitAdjusted(tau=1.0)", "cross_entropy")
    assert results["class_groups"] == {
        "head": {"classes": [0], "training_rows": [14]},
        "medium": {"classes": [1], "training_rows": [5]},
        "tail": {"classes": [2], "training_rows": [2]},
    }
    assert len(results["models"]) == 4
    for model in results["models"].values():
        metrics = model["metrics"]
        parts = [metrics[f"accuracy_{name}"] for name in results["class_groups"]]
        assert sum(parts) / 3 == pytest.approx(metrics["accuracy"])  # the test split has 7 rows of each class
    log = next((tmp_path / "store" / "distill").glob("*/metrics.csv")).read_text()
    assert "accuracy_tail" in log


def test_other_data_say_nothing_of_groups(tmp_path: Path) -> None:
    for imbalance in (None, 1):
        builder = experiment(tmp_path, data__imbalance=imbalance).builder
        assert sorted(builder.task.metrics()) == ["accuracy", "cross_entropy"]


def test_hard_losses_count_the_labels_that_they_see(tmp_path: Path) -> None:
    labels = {"student__num_labeled": 9, "teacher__num_labeled": 15}
    builder = long_tailed(tmp_path, **labels, teacher__hard_loss=WEIGHTED).builder
    student, teacher = (builder.supervised(role, builder.network(role), 1).task for role in ("student", "teacher"))
    assert isinstance(student, PositionTask)
    assert isinstance(teacher, PositionTask)
    assert student.offsets is not None
    assert student.class_weights is teacher.offsets is None
    assert teacher.class_weights is not None
    counts = builder.dataset.class_rows("student")
    assert int(counts.sum()) == 9
    assert torch.equal(student.offsets.values, log_prior(counts))
    assert torch.equal(
        teacher.class_weights.values, effective_number_weights(builder.dataset.class_rows("teacher"), 0.99)
    )
    term = builder.losses()["balanced_kd"]
    assert isinstance(term, BalancedKD)
    assert isinstance(term.divergence, BalancedKL)
    assert torch.equal(term.divergence.log_weights.values, effective_number_weights(counts, 0.9999).log())


def test_alone_and_distilled_have_the_same_hard_loss_and_the_teacher_its_own(tmp_path: Path) -> None:
    runs = {
        name: long_tailed(tmp_path, student__hard_loss=node) for name, node in (("plain", {}), ("adjusted", ADJUSTED))
    }
    keys: dict[str, dict[str, Any]] = {}
    for name, one in runs.items():
        teacher, baseline = one.stage("teacher").contents, one.stage("baseline").contents
        distill = one.stage("distill").contents
        assert baseline["hard_loss"] == distill["hard_loss"] == one.context.settings["student"]["hard_loss"]
        keys[name] = {"teacher": teacher, "baseline": baseline, "distill": distill}
        module = one.builder.distilling(
            one.builder.teacher_outputs("teacher", one.builder.network("teacher"), one.builder.sources()[0]),
            one.builder.network("student"),
            1,
            0,
            softness(one.context.settings),
        )
        assert isinstance(module.task, PositionTask)
        assert (module.task.offsets is None) == (name == "plain")
    assert keys["plain"]["teacher"] == keys["adjusted"]["teacher"]
    assert keys["plain"]["baseline"] != keys["adjusted"]["baseline"]
    assert keys["plain"]["distill"] != keys["adjusted"]["distill"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"chunked_loss": True, "student__model": MLP, "teacher__model": MLP},
        {"weighting": {"_target_": "kd_lightning.losses.weighting.gradient_norm.GradientNorm", "every": 2}},
        {"annealing__alpha": {"_target_": "kd_lightning.training.schedules.Linear", "start": 0.0, "end": 1.0}},
    ],
    ids=["whole", "by chunks", "balanced", "annealed"],
)
def test_pre_training_is_bit_for_bit_the_same_whatever_the_hard_loss(changes: dict[str, Any], tmp_path: Path) -> None:
    """So it need not be in the stage's key."""
    found: dict[str, list[bytes]] = {"pretrain": [], "baseline": []}
    keys = []
    for folder, node in ((tmp_path / "plain", {}), (tmp_path / "adjusted", ADJUSTED)):
        one = long_tailed(folder, student__hard_loss=node, **changes)
        one.run()
        keys.append(one.entry("pretrain").key)
        for stage, kept in found.items():
            kept.append(one.entry(stage).path("weights.safetensors").read_bytes())
    assert found["pretrain"][0] == found["pretrain"][1]
    assert keys[0] == keys[1]
    assert found["baseline"][0] != found["baseline"][1]  # the control


@pytest.mark.full
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    """Each has the counts of the whole split, not those of its own share."""
    both = {**PLAIN, "teacher__hard_loss": WEIGHTED}
    long_tailed(tmp_path / "one", **both).run()
    long_tailed(tmp_path / "two", **both, **in_two()).run()
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert list(one) == list(two)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=tolerance(terms=64, steps=26))


class Other:
    """A task of somebody else's, with no more than it needs here."""

    num_classes = 3
    output_kind = OutputKind.CLASSES


def test_a_task_that_cannot_is_named(tmp_path: Path) -> None:
    target = {"_target_": "tests.experiment.test_long_tail_runs.Other"}
    builder = experiment(tmp_path, task=target, teacher__hard_loss=ADJUSTED).builder
    with pytest.raises(
        ConfigError, match=r"teacher\.hard_loss: Other has no `with_hard_loss`: choose hard_loss@teacher\.hard_loss="
    ):
        builder.trained_task("teacher")
    assert builder.trained_task("student") is builder.task


def test_language_models_count_tokens(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = (*text_words(texts(tmp_path / "texts")), "hard_loss=logit_adjusted", "loss=[balanced_kd]")
    answer = kd(capsys, "run", *words, f"outputs={tmp_path}")
    assert answer.code == 0, answer.err
    (folder,) = (tmp_path / "runs").iterdir()
    results = json.loads((folder / "results.json").read_text())
    assert results["hard_loss"] == "LogitAdjusted(tau=1.0)"
    assert "class_groups" not in results
    builder = Experiment(settings_of(*words, f"outputs={tmp_path}"), build_node, [], SilentBoard()).builder
    rows = builder.dataset.prepared.splits["train"]
    seen = rows["targets"][rows["mask"]] if "mask" in rows else rows["targets"]
    assert builder.dataset.class_rows("student").tolist() == [int((seen == token).sum()) for token in range(300)]
