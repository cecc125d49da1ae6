"""W1 of ``step.py`` by other kits, in their own environment."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.bench.step_job import STUDENT, TEACHER, VOCABULARY, Weights, copied

PEERS = ("TextBrewer", "KD_Lib")


class Flat(nn.Module):
    """Logits as [N, C], as both kits want them with targets [N]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, targets: Tensor | None = None) -> Tensor:
        return self.network(inputs).flatten(0, -2)


class Ready:
    """A loader of ready-made batches; ``dataset`` and the lengths are what the kits ask for."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.dataset = self.batches = [(inputs, targets.flatten()) for inputs, targets in batches]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)


class LastWeights(Ready):
    """A validation without rows that keeps the student's weights: VanillaKD goes back to those of the best accuracy."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__([])
        self.dataset = [(torch.empty(0), torch.empty(0))]  # its length divides
        self.student = student
        self.weights: Weights = {}

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.weights = copied(self.student)
        return iter(())


def peer(kit: str, path: str) -> tuple[float, Weights]:
    """W1 by another kit."""
    from kd_lightning.models.lstm_lm import LSTMLM  # the same networks; this imports torch alone

    given = torch.load(path)
    teacher, student = (Flat(LSTMLM(VOCABULARY, **sizes)) for sizes in (TEACHER, STUDENT))
    teacher.network.load_state_dict(given["teacher"])
    student.network.load_state_dict(given["student"])
    optimizer = torch.optim.AdamW(student.parameters(), **given["optimizer"])
    seconds = KITS[kit](teacher.eval(), student.train(), optimizer, Ready(given["batches"]), given)
    return seconds, student.network.state_dict()


def textbrewer(teacher: Flat, student: Flat, optimizer: Any, loader: Ready, given: dict[str, Any]) -> float:
    """GeneralDistiller; its soft loss has no T^2, so its weight has."""
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

    alpha, t = given["alpha"], given["temperature"]
    with tempfile.TemporaryDirectory() as folder:
        distiller = GeneralDistiller(
            TrainingConfig(device="cpu", output_dir=folder, log_dir=None),
            DistillationConfig(temperature=t, kd_loss_weight=alpha * t**2, hard_label_weight=1 - alpha),
            teacher,
            student,
            lambda batch, logits: {"logits": (logits,)},
            lambda batch, logits: {"logits": (logits,), "losses": (F.cross_entropy(logits, batch[1]),)},
        )
        started = time.perf_counter()
        with distiller:
            distiller.train(optimizer, loader, num_epochs=1)
        return time.perf_counter() - started


def kd_lib(teacher: Flat, student: Flat, optimizer: Any, loader: Ready, given: dict[str, Any]) -> float:
    """VanillaKD with KL as its loss of two softmaxes. It keeps the teacher's graph, as ever."""
    from unittest.mock import MagicMock

    import transformers

    # What its text part imports is no longer there; it is not used here.
    transformers.AdamW = torch.optim.AdamW
    sys.modules |= {name: MagicMock() for name in ("torchtext", "torchtext.legacy")}
    from KD_Lib.KD import VanillaKD

    class KL(nn.Module):
        def forward(self, teacher_probs: Tensor, student_probs: Tensor) -> Tensor:
            return F.kl_div(student_probs.log(), teacher_probs, reduction="batchmean")

    last = LastWeights(student)
    with tempfile.TemporaryDirectory() as folder:
        distiller = VanillaKD(
            *(teacher, student, loader, last, None, optimizer),
            loss_fn=KL(),
            temp=given["temperature"],
            distil_weight=given["alpha"],
            logdir=folder,
        )
        started = time.perf_counter()
        distiller.train_student(epochs=1, plot_losses=False, save_model=False, save_model_pth=f"{folder}/student.pt")
        seconds = time.perf_counter() - started
    student.load_state_dict(last.weights)
    return seconds


KITS: dict[str, Callable[..., float]] = {"TextBrewer": textbrewer, "KD_Lib": kd_lib}
