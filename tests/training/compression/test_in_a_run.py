"""Students that are made small, in a run: as small as asked, with the same budget, resumed, side by side, refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kd_lightning.errors import ConfigError
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.parts import Parts
from kd_lightning.experiment.stage import Comparison, Stages
from kd_lightning.training.compression.magnitude_pruning import MagnitudePruning
from kd_lightning.training.compression.module import CompressedDistillationModule
from kd_lightning.training.compression.quantization_aware import round_weight
from kd_lightning.training.vectorized.eligibility import why_not_stacked
from tests.support.cli import kd
from tests.support.processes import FSDP, in_two
from tests.support.stacks import MLP, distilling, entries, trainings
from tests.support.tiny import experiment
from tests.training.test_resume import Stop, StopAfter, assert_equal_states, run
from tests.training.together.test_one_fit import EARLY, side_by_side

FOLDER = "kd_lightning.training.compression"
PRUNED = {
    "_target_": f"{FOLDER}.magnitude_pruning.MagnitudePruning",
    "sparsity": 0.6,
    "begin": 0.0,
    "end": 0.5,
    "every": 1,
}
QUANTIZED = {"_target_": f"{FOLDER}.quantization_aware.QuantizationAware"}
BOTH = {"_target_": f"{FOLDER}.base.Together", "pruning": PRUNED, "quantization": QUANTIZED}
ALL = {"pruned": PRUNED, "quantized": QUANTIZED, "pruned_and_quantized": BOTH}


def plain(parts: Parts) -> Stages:
    """A scheme of somebody who has not heard of ``compress``."""
    teacher = parts.teacher()
    teacher, alone = yield [teacher, parts.student_alone(teacher)]
    outputs = yield parts.teacher_outputs(teacher)
    student = yield parts.distillation(teacher, outputs)
    return Comparison(teacher=teacher, baseline=alone, distilled=student)


PLAIN = {"_target_": "tests.training.compression.test_in_a_run.plain", "_partial_": True}


def weights_of(outputs: Path, stage: str) -> dict[str, torch.Tensor]:
    (path,) = (outputs / "store" / stage).glob("*/weights.safetensors")
    return load_file(path)


def sparsity(weights: dict[str, torch.Tensor]) -> float:
    large = [each for each in weights.values() if each.dim() > 1]
    return sum(int((each == 0).sum()) for each in large) / sum(each.numel() for each in large)


def small_module(module: Any) -> CompressedDistillationModule:
    """The same, as if it were to be pruned."""
    small: Any = CompressedDistillationModule.__new__(CompressedDistillationModule)
    small.__dict__ = module.__dict__
    return small


def is_rounded(weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.allclose(round_weight(each), each, atol=1e-7) for each in weights.values() if each.dim() == 2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Experiment, Any]:
    outputs = tmp_path_factory.mktemp("whole")
    one = experiment(outputs, compress=ALL, validate_every=1)
    return outputs, one, one.run()


def test_each_is_as_small_as_asked_and_is_compared(whole: tuple[Path, Experiment, Any]) -> None:
    outputs, one, found = whole
    expected = {
        "": (False, False),
        "_pruned": (True, False),
        "_quantized": (False, True),
        "_pruned_and_quantized": (True, True),
    }
    for name, (pruned, rounded) in expected.items():
        weights = weights_of(outputs, f"distill{name}")
        assert (abs(sparsity(weights) - 0.6) < 0.02) == pruned
        assert is_rounded(weights) == rounded
        stage = one.stage(f"distill{name}")
        assert (stage.steps_before, stage.steps_after) == (4, 10), "the same budget"
        assert found.records[stage.name]["teacher_unchanged"]
    labels = [stage.label for stage in one.planned.models.values()]
    assert labels[-4:] == ["distilled", "distilled, pruned", "distilled, quantized", "distilled, pruned and quantized"]
    assert list(one.planned.models)[-3:] == [
        "distilled_pruned",
        "distilled_quantized",
        "distilled_pruned_and_quantized",
    ]


def test_no_network_that_is_not_yet_small_is_kept(whole: tuple[Path, Experiment, Any]) -> None:
    _, _, found = whole
    assert found.records["distill_pruned"]["best_step"] >= 3


def test_they_change_no_other_stage(whole: tuple[Path, Experiment, Any]) -> None:
    _, one, _ = whole
    plain = experiment(one.context.store.root.parent, validate_every=1)
    assert [stage.key for stage in plain.stages] == [one.stage(stage.name).key for stage in plain.stages]
    other = experiment(
        one.context.store.root.parent, validate_every=1, compress={"pruned": {**PRUNED, "sparsity": 0.7}}
    )
    assert other.stage("distill_pruned").key != one.stage("distill_pruned").key
    codes = {one.stage(f"distill{name}").contents["code"] for name in ("", "_pruned", "_quantized")}
    assert len(codes) == 3


@pytest.mark.parametrize(("name", "batches"), [("pruned", 1), ("pruned_and_quantized", 1), ("quantized", 2)])
def test_stopped_and_gone_on_with_it_ends_bit_for_bit_the_same(name: str, batches: int, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "compress": {name: ALL[name]},
        "trainer__accumulate_grad_batches": batches,
        "data__batch_size": 8,
    }
    states = run(tmp_path / "whole", **changes)
    with pytest.raises(Stop):
        run(tmp_path / "parts", [StopAfter(batches * (12 + 10 + 4 + 6 + 3))], **changes)
    again = run(tmp_path / "parts", **changes)
    assert len(again) == 1, "the control: the others were done"
    for file in ("weights.safetensors", "metrics.csv"):
        one, other = (
            next((tmp_path / each / "store" / f"distill_{name}").glob(f"*/{file}")) for each in ("whole", "parts")
        )
        assert one.read_bytes() == other.read_bytes()
    assert_equal_states(again[-1], states[-1])


def test_side_by_side_they_give_what_they_give_alone(tmp_path: Path) -> None:
    jobs: list[dict[str, Any]] = [
        {"compress": {"pruned": PRUNED}},
        {"compress": {"pruned": {**PRUNED, "sparsity": 0.3}}},
        {"compress": ALL},
    ]
    found, errors = side_by_side(tmp_path / "together", jobs)
    assert errors == [None] * 3
    for number, job in enumerate(jobs):
        one = experiment(tmp_path / f"alone-{number}", **job)
        one.run()
        for name in job["compress"]:
            files = [each.entry(f"distill_{name}").path("weights.safetensors") for each in (one, found[number])]
            assert files[0].read_bytes() == files[1].read_bytes()


def test_they_are_not_stacked(tmp_path: Path) -> None:
    kinds = []
    for small in (False, True):
        jobs = [distilling(tmp_path, temperature=t, **MLP) for t in (1.0, 2.0)]
        found = trainings(jobs, entries(tmp_path / f"jobs-{small}", 2))
        if small:
            found = [replace(each, module=small_module(each.module)) for each in found]
        kinds.append(why_not_stacked(found))
    assert kinds == [None, "their modules are of different kinds, or of one that is not stacked"]


class Diary(MagnitudePruning):
    """Writes down what weights each process has after each step."""

    def __init__(self, folder: str, **more: Any) -> None:
        super().__init__(**more)
        self.folder = Path(folder)

    def watch(self, optimizer: torch.optim.Optimizer, network: torch.nn.Module, *more: Any) -> None:
        super().watch(optimizer, network, *more)

        def write(*_: Any) -> None:
            with (self.folder / f"process-{torch.distributed.get_rank()}").open("a") as file:
                file.write(f"{[each.tolist() for each in network.parameters()]}\n")

        optimizer.register_step_post_hook(write)


@pytest.mark.full
def test_two_processes_prune_the_same_weights(tmp_path: Path) -> None:
    node = {**PRUNED, "_target_": "tests.training.compression.test_in_a_run.Diary", "folder": str(tmp_path)}
    both = {"_target_": f"{FOLDER}.base.Together", "pruning": node, "quantization": QUANTIZED}
    run(tmp_path / "run", compress={"both": both}, **in_two())
    one, other = ((tmp_path / f"process-{n}").read_text().splitlines() for n in (0, 1))
    assert len(one) == 6
    assert one == other
    assert sparsity(weights_of(tmp_path / "run", "distill_both")) == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"compress": {"pruned": {**PRUNED, "sparsity": 3}}}, r"compress\.pruned: .*MagnitudePruning"),
        ({"compress": {"mine": {"sparsity": 0.9}}}, "compress is no kd_lightning"),
        (
            {"compress": {"pruned": PRUNED}, "callbacks": {"early": EARLY}},
            r"callbacks\.early would end compress=pruned",
        ),
        ({"compress": {"pruned": PRUNED}, "scheme": PLAIN}, r"compress=\[pruned\]: the scheme has no such student"),
        ({"compress": {"quantized": QUANTIZED}, "compile": True}, "compile=true does not see"),
        ({"compress": {"quantized": QUANTIZED}, **in_two(FSDP)}, "which trainer=fsdp spreads"),
    ],
)
def test_where_it_cannot_be_is_said_before_the_first_step(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    one = experiment(tmp_path, **changes)
    with pytest.raises(ConfigError, match=told):
        one.run()
    assert not list((tmp_path / "store").glob("teacher/*/weights.safetensors"))


def test_it_is_a_word_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "experiment=digits",
        "teacher=mlp",
        "student=mlp_tiny",
        "compress=[pruned,quantized]",
        f"outputs={tmp_path}",
    )
    answer = kd(capsys, "run", "--plan", *words, "compress.pruned.sparsity=0.9")
    assert answer.code == 0
    assert "distill_pruned" in answer.out
    assert "distill quantized" in answer.out
    answer = kd(capsys, "run", *words, "compress.pruned.sparsity=1.5")
    assert answer.code == 2
    assert "sparsity=1.5" in answer.err
