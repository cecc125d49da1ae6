"""A student split over two processes (FSDP2 over gloo): same names, same numbers, whole files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from kd_lightning.data.datamodule import ExperimentData
from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError
from kd_lightning.losses.base import Loss
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.models.lstm_lm import LSTMLM
from kd_lightning.models.transformer_lm import TransformerLM
from kd_lightning.tasks.examples import TokenExample
from kd_lightning.tasks.metrics import Accuracy, CrossEntropy
from kd_lightning.tasks.position import PositionTask
from kd_lightning.teachers.live import LiveTeacher
from kd_lightning.training.callbacks.checkpoints import save_weights
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO
from kd_lightning.training.distillation import DistillationModule
from kd_lightning.training.distributed.strategies import SpawnedDDP, SpawnedModelParallel
from kd_lightning.training.fit import QUIET, lightning_is_quiet
from kd_lightning.training.schedules import Constant
from kd_lightning.training.sharding import gather_network, is_split, list_blocks, local_part
from kd_lightning.training.supervised import SupervisedModule
from kd_lightning.types import Aligned, Outputs

TOKENS, LENGTH, ROWS, STEPS = 11, 5, 8, 6


def task() -> PositionTask:
    metrics = {"accuracy": Accuracy(), "cross_entropy": CrossEntropy()}
    return PositionTask(TOKENS, metrics, "cross_entropy", TokenExample(TOKENS, LENGTH))


def data() -> ExperimentData:
    generator = torch.Generator().manual_seed(0)
    split = Table({name: torch.randint(TOKENS, (ROWS, LENGTH), generator=generator) for name in ("inputs", "targets")})
    return ExperimentData(Prepared(dict.fromkeys(("train", "val", "test"), split)), task().collate, ROWS, STEPS, seed=0)


def lstm() -> nn.Module:
    torch.manual_seed(0)
    return LSTMLM(TOKENS, embedding=7, hidden=9, layers=2, tie_weights=True)


def transformer() -> nn.Module:
    torch.manual_seed(0)
    return TransformerLM(TOKENS, width=8, layers=2, heads=2, max_length=LENGTH)


class Gelu(nn.Module):
    """No list, no ties, one row fewer than processes in its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, 3)
        self.out = nn.Sequential(nn.Linear(3, 1), nn.GELU(), nn.Linear(1, TOKENS))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.embedding(inputs))


def small() -> nn.Module:
    torch.manual_seed(0)
    return Gelu()


NETWORKS = [lstm, transformer, small]


class Match(Loss):
    """A projection of the student's features to the teacher's width: trained, but no part of the student."""

    def __init__(self) -> None:
        super().__init__(taps={"hidden": ("lstm", "lstm")})
        torch.manual_seed(1)
        self.project = nn.Linear(9, 12)

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        difference = self.project(student.features["hidden"]) - teacher.features["hidden"]
        return masked_mean(difference.square().mean(-1), aligned.mask)


def supervised(network: nn.Module) -> SupervisedModule:
    return SupervisedModule(network, task(), adamw, Constant(), seed=0, total_steps=STEPS)


def distilling() -> DistillationModule:
    torch.manual_seed(2)
    teacher = LSTMLM(TOKENS, embedding=7, hidden=12, layers=1)
    return DistillationModule(
        student=lstm(),
        teacher=LiveTeacher(teacher, task()),
        task=task(),
        soft_losses={"match": Match()},
        alpha=0.5,
        temperature=1.0,
        steps=STEPS,
        optimizer=adamw,
        scheduler=Constant(),
        seed=0,
        total_steps=STEPS,
    )


def adamw(parameters: Any) -> torch.optim.Optimizer:
    # The biases of attention's keys have no gradient but rounding; a larger eps keeps that from being scaled up.
    return torch.optim.AdamW(parameters, lr=0.02, eps=1e-6)


class Keep(pl.Callback):
    """Writes a resume point in the middle, and the weights at the end."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        if trainer.global_step == STEPS // 2:
            trainer.save_checkpoint(self.folder / f"{self.name}.ckpt", weights_only=False)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, SupervisedModule)
        weights = gather_network(module.network)
        if trainer.is_global_zero:
            save_weights(weights, self.folder / f"{self.name}.safetensors")


class Look(pl.Callback):
    """Looks at the processes from inside; an assertion that fails there fails the test."""

    def __init__(self, look: Callable[[pl.Trainer, Any], None]) -> None:
        self.look = look

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.look(trainer, module)


def fit(
    module: SupervisedModule, folder: Path, name: str, strategy: Any = None, resume: Path | None = None, **more: Any
) -> dict[str, Tensor]:
    """Train, alone or in two processes; the weights as they are stored."""
    look = [Look(more.pop("look"))] if "look" in more else []
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1 if strategy is None else 2,
        strategy=strategy or "auto",
        max_steps=STEPS,
        max_epochs=-1,
        gradient_clip_val=0.3,
        limit_val_batches=0,
        logger=False,
        callbacks=[Keep(folder, name), *look],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
        **QUIET,
        **more,
    )
    with lightning_is_quiet():
        trainer.fit(module, datamodule=data(), ckpt_path=resume, weights_only=True)
    return load_file(folder / f"{name}.safetensors")


def split() -> SpawnedModelParallel:
    return SpawnedModelParallel(start_method="fork")


def form(path: Path) -> Any:
    with safe_open(path, "pt") as file:
        return sorted(file.keys()), file.metadata()


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=tolerance)


@pytest.mark.parametrize("network", NETWORKS)
def test_two_halves_train_as_one_whole(network: Callable[[], nn.Module], tmp_path: Path) -> None:
    one = fit(supervised(network()), tmp_path, "one")
    two = fit(supervised(network()), tmp_path, "two", split())
    start = network().state_dict()
    assert any((one[name] - start[name]).abs().max() > 0.01 for name in one), "positive control: it has moved"
    assert_close(two, one, 1e-5)
    assert form(tmp_path / "two.safetensors") == form(tmp_path / "one.safetensors")


def test_parameters_optimizer_and_projections_are_split_and_the_teacher_is_not(tmp_path: Path) -> None:
    def look(trainer: pl.Trainer, module: DistillationModule) -> None:
        assert len(list(module.parameters())) > 4
        for parameter in module.parameters():
            assert is_split(parameter)
            assert local_part(parameter).numel() < parameter.numel()
        assert not any(is_split(parameter) for parameter in module.teacher.parameters())

    one = fit(distilling(), tmp_path, "one")
    two = fit(distilling(), tmp_path, "two", split(), look=look)
    assert_close(two, one, 1e-5)


@pytest.mark.parametrize(("before", "after"), [("two", "two"), ("one", "two"), ("two", "one")])
def test_a_resume_point_serves_both(before: str, after: str, tmp_path: Path) -> None:
    """Bit for bit in the same kind of training; as near as they are to each other across the two."""
    strategies: dict[str, Callable[[], Any]] = {"one": lambda: None, "two": split}
    whole = fit(distilling(), tmp_path, "whole", strategies[before]())
    again = fit(distilling(), tmp_path, "again", strategies[after](), resume=tmp_path / "whole.ckpt")
    assert_close(again, whole, 0.0 if before == after else 1e-5)


def test_a_resume_point_has_the_form_of_one_process(tmp_path: Path) -> None:
    fit(distilling(), tmp_path, "one")
    fit(distilling(), tmp_path, "two", split())
    one, two = (AtomicCheckpointIO().load_checkpoint(tmp_path / f"{name}.ckpt") for name in ("one", "two"))
    assert list(two["state_dict"]) == list(one["state_dict"])
    for found, wanted in zip(tensors(two), tensors(one), strict=True):
        assert type(found) is Tensor
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, dict):
        return [found for key in sorted(value, key=str) for found in tensors(value[key])]
    if isinstance(value, list):
        return [found for item in value for found in tensors(item)]
    return [value] if isinstance(value, Tensor) else []


def test_mixed_precision_computes_in_bfloat16_and_keeps_float32(tmp_path: Path) -> None:
    full = fit(supervised(transformer()), tmp_path, "full", split())
    half = fit(supervised(transformer()), tmp_path, "half", split(), precision="bf16-mixed")
    assert {tensor.dtype for tensor in half.values()} == {torch.float32}
    assert all(bool(torch.isfinite(tensor).all()) for tensor in half.values())
    assert any(not torch.equal(half[name], full[name]) for name in full)
    assert_close(half, full, 0.1)


def test_blocks_are_the_repeated_parts_that_share_nothing() -> None:
    network = transformer()
    assert list_blocks(network) == list(network.blocks)
    assert list_blocks(lstm()) == []
    twice = nn.Linear(2, 2)
    assert list_blocks(nn.Sequential(twice, nn.ReLU(), twice)) == []
    outer = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.ReLU())
    assert list_blocks(outer) == [outer[0]]


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = small()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs) * self.scale


def test_a_single_number_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"parameter scale is a single number.*trainer=ddp"):
        fit(supervised(Scaled()), tmp_path, "two", split())


def test_ddp_syncs_the_student_and_not_the_teacher(tmp_path: Path) -> None:
    def look(trainer: pl.Trainer, module: DistillationModule) -> None:
        wrapped = trainer.strategy.model
        assert isinstance(wrapped, nn.parallel.DistributedDataParallel)
        synced = {id(parameter) for parameter in wrapped._module_parameters}
        assert synced == {id(parameter) for parameter in module.parameters()}
        assert len(synced) > 4
        teacher = list(module.teacher.parameters())
        assert teacher
        assert not synced & {id(parameter) for parameter in teacher}
        assert not {id(buffer) for buffer in wrapped.modules_buffers} & {id(b) for b in module.teacher.buffers()}

    one = fit(distilling(), tmp_path, "one")
    two = fit(distilling(), tmp_path, "two", SpawnedDDP(start_method="fork"), look=look)
    assert_close(two, one, 1e-5)
