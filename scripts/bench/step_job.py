"""One distillation by the framework and by hand, for ``step.py``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.bench.interleaved import Silent
from scripts.bench.settings import compose_settings

Weights = dict[str, Tensor]
VOCABULARY, CONTEXT = 10_000, 35
TEACHER, STUDENT = {"embedding": 256, "hidden": 512, "layers": 2}, {"embedding": 128, "hidden": 128, "layers": 1}
W1 = [
    *(f"data.vocab_size={VOCABULARY}", f"data.context={CONTEXT}", "data.batch_size=20", "data.eval_batch_size=20"),
    *(
        f"{role}.model.{key}={value}"
        for role, sizes in (("teacher", TEACHER), ("student", STUDENT))
        for key, value in sizes.items()
    ),
    *("temperature=2", "alpha=0.5", "optimizer=adamw", "scheduler=constant", "trainer.gradient_clip_val=null"),
]
JOBS = {"W1": (W1, 12), "W2": (["experiment=digits"], 400), "default": (["data.limit=6000"], 60)}
"""Overrides and steps."""
COMPARED = 20
"""Steps, at most, after which weights are compared."""
MORE_STEPS = 20
"""Times as many on a GPU, whose steps are short."""


class RandomTokens:
    """A source: tokens drawn uniformly. A step costs what it costs on text."""

    def digest(self) -> str:
        return "random"

    def prepare(self) -> Any:
        from kd_lightning.data.source import Prepared
        from kd_lightning.data.table import Table

        generator = torch.Generator().manual_seed(0)
        splits = {}
        for split, rows in (("train", 2000), ("val", 20), ("test", 20)):
            tokens = torch.randint(VOCABULARY, (rows, CONTEXT + 1), generator=generator)
            splits[split] = Table({"inputs": tokens[:, :-1].contiguous(), "targets": tokens[:, 1:].contiguous()})
        return Prepared(splits)


class Job:
    """One distillation, without pre-training, by the framework or by hand.

    Args:
        name: Of ``JOBS``.
        overrides: On top of the job's.
        outputs: A folder.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, name: str, overrides: list[str], outputs: str, device: str) -> None:
        import logging

        from kd_lightning.config.instantiate import build_node
        from kd_lightning.experiment.experiment import Experiment

        logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
        job, self.steps, self.device = JOBS[name][0], steps_of(name, device), device
        budget = [f"student.steps={self.steps}", "teacher.steps=2", "student.pretrain_steps=0", "validate_every=100000"]
        budget += ["teacher.optimizer.lr=0"]  # or the sides' own ways to train it would differ in the last digits
        words = [*job, *overrides, f"outputs={outputs}", "folder=x", *budget]
        words += ["trainer.accelerator=gpu"] if device == "cuda" else []
        self.settings = compose_settings(*words)
        source = self.settings["data"]["source"]

        def built(node: Any) -> Any:
            return RandomTokens() if name == "W1" and node is source else build_node(node)

        self.build = build_node
        self.folder = Path(outputs)
        self.experiment = Experiment(self.settings, built, [], Silent())
        self.compared = min(self.steps, COMPARED)

    @cached_property
    def teacher(self) -> nn.Module:
        """As it starts, bit for bit the same on all sides; what it knows does not matter for the time."""
        from kd_lightning.experiment.pending import run_alone

        stage = self.experiment.stage("teacher")
        run_alone(stage.work.obtain(stage))
        return self.experiment.parts.trained(stage).eval()

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """The rows of each step, indexed in memory."""
        from kd_lightning.data.samplers import TrainingBatches

        rows = self.experiment.builder.dataset.rows("student", self.steps, only_labeled=False)
        ids = torch.arange(len(rows.train_set))
        for chosen in TrainingBatches(ids, rows.batch_size, self.steps, rows.seed):
            yield rows.train_set.__getitems__(chosen)

    def by_hand(self) -> tuple[float, Weights]:
        """The loop that a careful person writes; seconds of its steps, and the weights that are compared."""
        chosen, teacher = self.settings, self.teacher.requires_grad_(False).to(self.device)
        student = self.experiment.builder.network("student").train().to(self.device)
        optimizer = self.build(chosen["student"]["optimizer"])(student.parameters())
        scheduler = self.build(chosen["student"]["scheduler"])
        rate, clip = optimizer.param_groups[0]["lr"], chosen["trainer"]["gradient_clip_val"]
        started = time.perf_counter()
        for step, batch in enumerate(self.batches()):
            optimizer.param_groups[0]["lr"] = rate * scheduler((step + 0.5) / self.steps)
            batch = {key: tensor.to(self.device) for key, tensor in batch.items()}
            loss = loss_of(student, teacher, batch, chosen["alpha"], chosen["temperature"])
            optimizer.zero_grad()
            loss.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(student.parameters(), clip)
            optimizer.step()
            if step + 1 == self.compared:
                weights = copied(student)
        return now(self.device) - started, weights

    def by_us(self) -> tuple[float, Weights]:
        """The same by the framework."""
        from kd_lightning.store import Store
        from kd_lightning.training.fit import train
        from kd_lightning.training.matmul import matmul_precision

        entry = Store(self.folder / "bench").entry("distill", "bench")
        entry.clear()
        assert self.teacher is not None
        stage = self.experiment.stage("distill")
        clock = _clock(self.device, self.compared)
        trainer = replace(self.experiment.builder.trainer, callbacks=lambda: [clock])
        with matmul_precision(self.settings["matmul_precision"]):
            train(stage, entry, trainer, Silent())
        return clock.seconds, clock.weights

    def hand_over(self, path: str) -> None:
        """Write what the peers need: batches, weights, settings."""
        node = self.settings["student"]["optimizer"]
        torch.save(
            {
                "batches": [(batch["inputs"], batch["targets"]) for batch in self.batches()],
                "teacher": self.teacher.state_dict(),
                "student": self.experiment.builder.network("student").state_dict(),
                "optimizer": {key: node[key] for key in ("lr", "weight_decay")},
                "alpha": self.settings["alpha"],
                "temperature": self.settings["temperature"],
            },
            path,
        )


def loss_of(student: nn.Module, teacher: nn.Module, batch: dict[str, Tensor], alpha: float, t: float) -> Tensor:
    """(1 - alpha) * cross-entropy + alpha * T^2 * KL, means over what counts."""
    logits = student(batch["inputs"])
    with torch.no_grad():
        teacher_logits = teacher(batch["inputs"])
    targets = batch["targets"]
    mask = batch.get("mask", torch.ones_like(targets, dtype=torch.bool))
    labeled = mask & batch["labeled"] if "labeled" in batch else mask
    nats = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)
    hard = torch.where(labeled, nats, 0.0).sum() / labeled.sum().clamp(min=1)
    student_log_probs = F.log_softmax(logits / t, dim=-1)
    teacher_log_probs = F.log_softmax(teacher_logits / t, dim=-1)
    kl = F.kl_div(student_log_probs, teacher_log_probs, reduction="none", log_target=True).sum(-1) * t**2
    return (1 - alpha) * hard + alpha * torch.where(mask, kl, 0.0).sum() / mask.sum().clamp(min=1)


def steps_of(name: str, device: str) -> int:
    """Of a job's run."""
    return JOBS[name][1] * (MORE_STEPS if device == "cuda" else 1)


def now(device: str) -> float:
    """Seconds, once the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def copied(network: nn.Module) -> Weights:
    """Its weights now."""
    return {name: tensor.detach().clone().cpu() for name, tensor in network.state_dict().items()}


def _clock(device: str, compared: int) -> Any:
    """A callback with the seconds from the first batch's start to the last one's end, so that validation is on neither side,
    and with the weights after ``compared`` steps."""
    from pytorch_lightning import Callback

    class Clock(Callback):
        started = seconds = 0.0
        weights: Weights

        def on_train_batch_start(self, *_: Any) -> None:
            self.started = self.started or now(device)

        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            if trainer.global_step == compared:
                self.weights = copied(module.network)
            last = trainer.global_step == trainer.max_steps
            self.seconds = now(device if last else "cpu") - self.started

    return Clock()
