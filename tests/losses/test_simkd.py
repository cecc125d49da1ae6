"""SimKD: an oracle with loops, and runs in which the student ends in the teacher's last layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kd_lightning.errors import ClassMismatchError, ConfigError
from kd_lightning.losses.features.simkd import SimKD
from kd_lightning.models.mlp import MLP
from kd_lightning.models.reused_head import ReusedHead
from tests.support.features import built, features, gradient_is_right, match, value
from tests.support.parts import CLASSES, FEATURES
from tests.support.processes import DDP, FSDP, in_two
from tests.support.rounding import tolerance
from tests.support.tiny import entries, experiment
from tests.training.test_resume import Stop, StopAfter, run, stored

LAST = [{"student": "last:input", "teacher": "last:input"}]
SIMKD = {"_target_": "kd_lightning.losses.features.simkd.SimKD", "match": LAST, "weight": 1.0}
CHANGES: dict[str, Any] = {"loss": {"simkd": SIMKD}, "student__model__width": 9}


def test_it_is_the_mean_squared_difference() -> None:
    student, teacher = features((4, 3, 5)), features((4, 3, 5), seed=1)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]], dtype=torch.bool)
    loss = built(SimKD(match()), student, teacher)
    expected = 0.0
    for row, position in mask.nonzero().tolist():
        expected += sum(float(student["0"][row, position, d] - teacher["0"][row, position, d]) ** 2 for d in range(5))
    assert abs(value(loss, student, teacher, mask).item() - expected / (6 * 5)) < 1e-6
    assert gradient_is_right(loss, student, teacher, mask)


def test_a_student_with_the_same_features_answers_as_its_teacher() -> None:
    teacher, student = MLP(3, 4, (8,)), ReusedHead(MLP(3, 4, (5,)), width=8)
    loss = SimKD([{"student": "head:input", "teacher": "head:input"}])
    loss.attach(student, teacher)
    loss.prepare(student, lambda: teacher)
    read = torch.randn(6, 8)
    assert torch.equal(student.head(read), teacher.head(read))
    assert [name for name, each in student.named_parameters() if not each.requires_grad] == ["head.weight", "head.bias"]
    with torch.no_grad():
        student.head.weight += 1
    assert not torch.equal(student.head.weight, teacher.head.weight), "a copy, and not the teacher's own"


@pytest.mark.parametrize(
    ("student", "tap", "said"),
    [
        (
            MLP(3, 4, (5,)),
            "head:input",
            "Linear\\(in_features=5.*Linear\\(in_features=8.*student\\.model\\.width=8, and the same classes",
        ),
        (MLP(3, 4, (8,)), "head", "name what layers read, as head:input"),
    ],
)
def test_a_student_that_cannot_end_like_its_teacher_is_refused(student: nn.Module, tap: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SimKD([{"student": tap, "teacher": tap}]).attach(student, MLP(3, 4, (8,)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teacher__model__classes": CLASSES + 2}, "the teacher gives 5 classes, .* 3: .* or leave out loss simkd"),
        (
            {"teacher__model__classes": CLASSES + 2, "student__model__classes": CLASSES + 2},
            "the teacher gives 5 classes",
        ),
        (
            {"teacher__model__classes": CLASSES - 1},
            "the teacher gives 2 classes, the data has 3: set the teacher's classes",
        ),
        (
            {"student__model__classes": CLASSES + 2},
            "the student gives 5 classes, the data has 3: set the student's classes",
        ),
    ],
)
def test_classes_that_differ_are_named_before_training(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ClassMismatchError, match=said):
        experiment(tmp_path, **CHANGES, **changes).check()


def test_widths_that_differ_are_named_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"loss\.simkd\.match: .*in_features=7.*student\.model\.width=9"):
        experiment(tmp_path, **CHANGES | {"student__model__width": 7}).check()


def mlp(*hidden: int) -> dict[str, Any]:
    sizes = {"num_classes": CLASSES, "in_features": FEATURES, "hidden": list(hidden)}
    return {"_target_": "kd_lightning.models.mlp.MLP", **sizes}


def weights_of(outputs: Path, changes: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Stage -> weights of a short run whose networks work on each row by itself."""
    node = {**SIMKD, "match": [{"student": "head:input", "teacher": "head:input"}]}
    sizes = {"teacher__steps": 2, "student__steps": 4, "student__pretrain_steps": 2, "validate_every": 2}
    networks = {"teacher__model": mlp(9), "student__model": mlp(5, 9)}
    one = experiment(outputs, loss={"simkd": node}, **networks, **sizes, **changes)
    one.run()
    return {stage: load_file(entry.path("weights.safetensors")) for stage, entry in entries(one).items()}


@pytest.mark.full
def test_in_two_processes_it_is_what_it_is_in_one(tmp_path: Path) -> None:
    alone = weights_of(tmp_path / "alone", {})
    for strategy in (DDP, FSDP):
        both = weights_of(tmp_path / strategy["_target_"], in_two(strategy))
        for stage, tensors in alone.items():
            torch.testing.assert_close(both[stage], tensors, rtol=0, atol=tolerance(terms=64, steps=6))
        for name in ("head.weight", "head.bias"):
            assert torch.equal(both["distill"][name], both["teacher"][name])
        assert not torch.equal(both["distill"]["features.1.weight"], both["pretrain"]["features.1.weight"])


def test_the_exported_student_ends_in_the_teacher_s_layer_and_the_one_alone_does_not(tmp_path: Path) -> None:
    one = experiment(tmp_path, **CHANGES)
    records = one.run().records
    weights = {stage: load_file(entry.path("weights.safetensors")) for stage, entry in entries(one).items()}
    for name in ("last.weight", "last.bias"):
        for stage in ("pretrain", "distill"):
            assert torch.equal(weights[stage][name], weights["teacher"][name])
        assert not torch.equal(weights["baseline"][name], weights["teacher"][name])
    assert not torch.equal(weights["distill"]["first.weight"], weights["pretrain"]["first.weight"])
    assert records["distill"]["teacher_unchanged"]


def test_a_stopped_run_goes_on_with_the_layer_frozen(tmp_path: Path) -> None:
    changes = {**CHANGES, "teacher__steps": 1, "student__pretrain_steps": 0, "student__steps": 6}
    run(tmp_path / "whole", **changes)
    with pytest.raises(Stop):
        run(tmp_path / "stopped", [StopAfter(1 + 6 + 4)], **changes)
    run(tmp_path / "stopped", **changes)
    assert stored(tmp_path / "stopped") == stored(tmp_path / "whole")


class Tied(nn.Module):
    """Its last layer's weights are its first one's."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.first.weight


def test_weights_that_another_layer_has_as_well_are_not_overwritten() -> None:
    loss = SimKD([{"student": "head:input", "teacher": "head:input"}])
    with pytest.raises(ConfigError, match=r"shares its weights.*student\.model\.tie_weights=false"):
        loss.attach(Tied(), Tied())


def test_a_layer_without_weights_is_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    loss = SimKD([{"student": "1:input", "teacher": "1:input"}])
    with pytest.raises(ConfigError, match="no weights to take over"):
        loss.attach(network, network)
