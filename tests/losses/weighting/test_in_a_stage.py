"""Weighting inside a stage: resumed, in several processes, in the log and the key, and where it steps aside."""

from __future__ import annotations

import csv
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.logits.kd import KD
from kd_lightning.losses.logits.logit_mse import LogitMSE
from kd_lightning.losses.weighting.base import Weighting
from kd_lightning.losses.weighting.fixed import Fixed
from kd_lightning.losses.weighting.gradient_norm import GradientNorm
from kd_lightning.losses.weighting.uncertainty import Uncertainty
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO
from kd_lightning.training.distillation import DistillationModule
from kd_lightning.training.vectorized.eligibility import why_not_stacked
from kd_lightning.types import Aligned, Outputs
from tests.support.processes import FSDP, in_two
from tests.support.stacks import MLP, alone, distilling, entries, trainings
from tests.support.tiny import experiment, train_teacher
from tests.training.test_chunked_losses import NETWORKS
from tests.training.test_distillation import data, fit, net
from tests.training.test_distillation import distilling as tiny
from tests.training.test_resume import Stop, StopAfter, assert_equal_states, run, stored

LOSSES = {
    "kd": {"_target_": "kd_lightning.losses.logits.kd.KD"},
    "logit_mse": {"_target_": "kd_lightning.losses.logits.logit_mse.LogitMSE", "weight": 3.0},
}
UNCERTAINTY = {"_target_": "kd_lightning.losses.weighting.uncertainty.Uncertainty"}
GRADIENT_NORM = {"_target_": "kd_lightning.losses.weighting.gradient_norm.GradientNorm", "every": 2, "asymmetry": 0.5}
LEARNING = {"uncertainty": UNCERTAINTY, "gradient_norm": GRADIENT_NORM}
STATE = {"uncertainty": {"log_variances"}, "gradient_norm": {"norms", "values", "first"}}


def log(outputs: Path, stage: str = "distill") -> dict[str, list[float]]:
    """The training values of a stage by name."""
    (path,) = (outputs / "store" / stage).glob("*/metrics.csv")
    found: dict[str, list[float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == "train":
                found.setdefault(row["name"], []).append(float(row["value"]))
    return found


@pytest.mark.parametrize("name", LEARNING)
def test_a_run_that_was_stopped_ends_bit_for_bit_the_same(name: str, tmp_path: Path) -> None:
    changes = {"loss": LOSSES, "weighting": LEARNING[name]}
    states = run(tmp_path / "whole", **changes)
    with pytest.raises(Stop):
        run(tmp_path / "parts", [StopAfter(12 + 10 + 4 + 3)], **changes)
    point = next((tmp_path / "parts" / "store" / "distill").glob("*/resume-*.ckpt"))
    kept = AtomicCheckpointIO().load_checkpoint(point)["state_dict"]
    assert {key.removeprefix("weighting.") for key in kept if key.startswith("weighting.")} == STATE[name]
    again = run(tmp_path / "parts", **changes)
    assert stored(tmp_path / "parts") == stored(tmp_path / "whole")
    assert_equal_states(again[-1], states[-1])
    (weights,) = (tmp_path / "whole" / "store" / "distill").glob("*/weights.safetensors")
    assert set(load_file(weights)) == set(experiment(tmp_path).builder.network("student").state_dict())


def test_accumulated_batches_resume_as_well(tmp_path: Path) -> None:
    changes = {"loss": LOSSES, "weighting": GRADIENT_NORM, "trainer__accumulate_grad_batches": 2}
    run(tmp_path / "whole", **changes)
    with pytest.raises(Stop):
        run(tmp_path / "parts", [StopAfter(2 * (12 + 10 + 4 + 3))], **changes)
    run(tmp_path / "parts", **changes)
    assert stored(tmp_path / "parts") == stored(tmp_path / "whole")


@pytest.mark.parametrize("name", LEARNING)
def test_the_log_holds_terms_unweighted_and_the_weights_in_force(name: str, tmp_path: Path) -> None:
    experiment(tmp_path, loss=LOSSES, weighting=LEARNING[name]).run()
    found = log(tmp_path)
    assert {"weight_hard", "weight_kd", "weight_logit_mse"} <= set(found)
    assert len(set(found["weight_kd"])) > 1
    rest = [
        0.3 * found["weight_hard"][i] * found["hard"][i]
        + 0.7 * sum(found[f"weight_{term}"][i] * found[term][i] for term in LOSSES)
        for i in range(len(found["loss"]))
    ]
    apart = [loss - each for loss, each in zip(found["loss"], rest, strict=True)]
    if name == "gradient_norm":
        assert apart == pytest.approx([0.0] * 6, abs=1e-5)
    else:  # the log-variances' own part: s = -log f
        own = [
            -0.5 * (0.3 * torch.tensor(a).log() + 0.7 * torch.tensor(b).log() + 2.1 * torch.tensor(c / 3).log()).item()
            for a, b, c in zip(*(found[f"weight_{term}"] for term in ("hard", *LOSSES)), strict=True)
        ]
        assert apart == pytest.approx(own, abs=1e-5)
    assert "weight_hard" not in log(tmp_path, "pretrain")  # which reads no label


def test_fixed_weights_are_not_logged(tmp_path: Path) -> None:
    experiment(tmp_path, loss=LOSSES).run()
    assert not [name for name in log(tmp_path) if name.startswith("weight_")]


def test_a_weighting_has_a_key_of_its_own(tmp_path: Path) -> None:
    nodes = [{"_target_": "kd_lightning.losses.weighting.fixed.Fixed"}, UNCERTAINTY, GRADIENT_NORM]
    found = [experiment(tmp_path, loss=LOSSES, weighting=node) for node in nodes]
    codes = {one.stage("distill").contents["code"] for one in found}
    assert len(codes) == 3
    assert len({one.stage("baseline").contents["code"] for one in found}) == 1


class Diary(GradientNorm):
    """Writes down what each process measures, and the factors that come of it."""

    def __init__(self, folder: str) -> None:
        super().__init__(every=1)
        self.folder = Path(folder)

    def observe(self, terms: Any, parameters: Any, step: int) -> None:
        super().observe(terms, parameters, step)
        with (self.folder / f"process-{torch.distributed.get_rank()}").open("a") as file:
            file.write(f"{terms['kd'].item()} {self.norms.tolist()}\n")


def test_processes_agree_on_the_factors(tmp_path: Path) -> None:
    node = {"_target_": "tests.losses.weighting.test_in_a_stage.Diary", "folder": str(tmp_path)}
    run(tmp_path / "run", loss=LOSSES, weighting=node, **in_two())
    pages = [(tmp_path / f"process-{n}").read_text().splitlines() for n in (0, 1)]
    (first, factors), (second, others) = (zip(*(line.split(" ", 1) for line in page), strict=True) for page in pages)
    assert len(factors) == 10
    assert factors == others
    assert first != second  # the control: their rows are their own


@pytest.mark.full
def test_log_variances_are_trained_where_networks_are_split(tmp_path: Path) -> None:
    """Two processes end where one ends: their gradients come together."""
    changes = {"loss": LOSSES, "weighting": UNCERTAINTY, "student__pretrain_steps": 0}
    changes |= {role: {**network, "dropout": 0.0} for role, network in NETWORKS.items()}
    run(tmp_path / "one", **changes)
    run(tmp_path / "two", **changes, **in_two(FSDP))
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    for name in ("weight_hard", "weight_kd", "weight_logit_mse"):
        assert two[name] == pytest.approx(one[name], abs=1e-4)
        assert len(set(one[name])) == len(one[name])


@pytest.mark.parametrize("name", LEARNING)
def test_where_it_steps_aside(name: str, tmp_path: Path) -> None:
    jobs = [distilling(tmp_path, weighting=LEARNING[name], temperature=t, **MLP) for t in (1.0, 2.0)]
    reason = why_not_stacked(trainings(jobs, entries(tmp_path / "jobs", 2)))
    assert reason is not None
    assert "weights the losses" in reason
    with pytest.raises(ConfigError, match="weighting that learns takes each loss by itself"):
        experiment(tmp_path, **NETWORKS, weighting=LEARNING[name], chunked_loss=True).run()
    assert experiment(tmp_path, **NETWORKS, weighting=LEARNING[name]).builder.chunked("student", soft=True) is False
    assert experiment(tmp_path, **NETWORKS, chunked_loss=True).builder.chunked("student", soft=True) is True


def test_gradients_by_themselves_are_refused_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set compile=false"):
        experiment(tmp_path, weighting=GRADIENT_NORM, compile=True).check()
    with pytest.raises(ConfigError, match="use trainer=ddp"):
        experiment(tmp_path, weighting=GRADIENT_NORM, **in_two(FSDP)).check()
    module = tiny(weighting=GradientNorm())
    module._device_mesh = object()  # what the strategy gives it
    with pytest.raises(ConfigError, match="use trainer=ddp"):
        module.configure_model()


def test_it_is_in_the_modules_tree_and_begins_with_all_names(tmp_path: Path) -> None:
    one = experiment(tmp_path, loss=LOSSES, weighting=UNCERTAINTY, student__pretrain_steps=0)
    train_teacher(one)
    module = one.stage("distill").module()
    assert isinstance(module, DistillationModule)
    assert isinstance(module.weighting, Uncertainty)
    assert module.weighting.names == ("hard", "kd", "logit_mse")
    optimizer = module.configure_optimizers()["optimizer"]
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert id(module.weighting.log_variances) in trained


class Scaled(LogitMSE):
    """A term whose unit somebody has chosen badly."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        return self.scale * super().compare(student, teacher, aligned, temperature)


def trained(scale: float, weighting: Weighting, folder: Path) -> Tensor:
    """The first layer of a student; Adam, so that a factor before the whole loss is none."""
    losses = {"kd": KD(), "scaled": Scaled(scale)}
    module = tiny(net(dropout=0.0), soft_losses=losses, weighting=weighting)
    fit(module, data(), folder)
    return module.network[0].weight.detach()


def test_with_gradient_norms_the_unit_of_a_term_does_not_matter(tmp_path: Path) -> None:
    """The effect, and its control."""
    one, other = (trained(scale, GradientNorm(every=1, memory=0.0), tmp_path) for scale in (1.0, 1e3))
    torch.testing.assert_close(one, other, rtol=0, atol=2e-3)
    one, other = (trained(scale, Fixed(), tmp_path) for scale in (1.0, 1e3))
    assert (one - other).abs().max() > 2e-2


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_other_precisions_train(name: str, precision: str, tmp_path: Path) -> None:
    job = distilling(
        tmp_path,
        loss=LOSSES,
        weighting=LEARNING[name],
        trainer__precision=precision,
        student__optimizer__lr=0.01,
        **MLP,
    )
    entry = alone(job, entries(tmp_path / "job", 1)[0])
    with entry.path("metrics.csv").open(newline="") as file:
        found = [float(row["value"]) for row in csv.DictReader(file) if row["name"] == "weight_kd"]
    assert len(set(found)) > 1
    assert all(math.isfinite(value) and value > 0 for value in found)


def test_fixed_is_the_sum() -> None:
    terms = {"hard": torch.tensor(2.0), "kd": torch.tensor(3.0), "hint": torch.tensor(5.0)}
    assert Fixed()(terms, 0.25, {"kd": 0.5, "hint": 2.0}).item() == 0.75 * 2.0 + 0.25 * (1.5 + 10.0)


def test_terms_that_fall_below_0_are_refused_where_the_formula_is_not_for_them(tmp_path: Path) -> None:
    class Below(LogitMSE):
        bounded = False

    for weighting, refused in ((Uncertainty(), True), (GradientNorm(asymmetry=1.0), True), (GradientNorm(), False)):
        with pytest.raises(ConfigError, match=r"never fall below 0, as loss\.below") if refused else nullcontext():
            tiny(weighting=weighting, soft_losses={"below": Below()})
