"""What somebody without a framework writes, for ``sweep.py``."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ByHand:
    """What somebody without a framework writes: the same networks, budgets, curves and choice by validation.

    Args:
        work: Name of the work.
        rows: File of prepared rows.
        steps: Of the teacher, and of a student.
        seed: Of everything random.
    """

    def __init__(self, work: str, rows: Path, steps: tuple[int, int], seed: int) -> None:
        torch.manual_seed(seed)
        self.text = work == "w1"
        self.rows = torch.load(rows)
        self.steps = steps
        self.batch = 20 if self.text else 32
        self.every = 100 if not self.text else 200
        train = self.rows["train"]["inputs"]
        self.labeled = torch.ones(len(train), dtype=torch.bool)
        if not self.text:
            self.labeled = torch.zeros(len(train), dtype=torch.bool)
            self.labeled[torch.randperm(len(train))[:100]] = True
        self.student = "convnet_micro" if work == "w2" else "convnet_tiny"

    def network(self, role: str) -> nn.Module:
        """Untrained."""
        from kd_lightning.models.convnet import ConvNet  # the same networks; these import torch alone
        from kd_lightning.models.lstm_lm import LSTMLM

        if self.text:
            sizes = (256, 512, 2) if role == "teacher" else (128, 128, 1)
            return LSTMLM(10_000, *sizes)
        return network_of(ConvNet, "convnet" if role == "teacher" else self.student)

    def teacher(self) -> nn.Module:
        rate = 0.003 if self.text else 0.005
        return self.fit("teacher", torch.arange(len(self.labeled)), rate, self.hard)

    def alone(self) -> nn.Module:
        return self.fit("student", self.labeled.nonzero().flatten(), self.rate, self.hard)

    def distilled(self, teacher: nn.Module, temperature: float, alpha: float) -> nn.Module:
        teacher.eval().requires_grad_(False)

        def both(network: nn.Module, rows: Tensor) -> Tensor:
            inputs, targets, mask = self.take("train", rows)
            logits = network(inputs)
            with torch.no_grad():
                wanted = F.log_softmax(teacher(inputs) / temperature, -1)
            given = F.log_softmax(logits / temperature, -1)
            soft = F.kl_div(given, wanted, reduction="none", log_target=True).sum(-1)[mask].mean() * temperature**2
            right = mask & self.labeled[rows].reshape(-1, *[1] * (mask.dim() - 1))
            supervised = F.cross_entropy(logits[right], targets[right]) if right.any() else logits.new_zeros(())
            return (1 - alpha) * supervised + alpha * soft

        return self.fit("student", torch.arange(len(self.labeled)), self.rate, both)

    @property
    def rate(self) -> float:
        return 0.005 if self.text else 0.03

    def take(self, split: str, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.rows[split]
        targets = found["targets"][rows].long()
        inputs = found["inputs"][rows]
        mask = found["mask"][rows] if "mask" in found else torch.ones_like(targets, dtype=torch.bool)
        return inputs.long() if self.text else inputs, targets, mask

    def hard(self, network: nn.Module, rows: Tensor) -> Tensor:
        inputs, targets, mask = self.take("train", rows)
        return F.cross_entropy(network(inputs)[mask], targets[mask])

    def fit(self, role: str, rows: Tensor, rate: float, loss: Callable[[nn.Module, Tensor], Tensor]) -> nn.Module:
        network, steps = self.network(role), self.steps[role != "teacher"]
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        best, kept = -math.inf, copy.deepcopy(network.state_dict())
        queue: list[Tensor] = []
        for step in range(1, steps + 1):
            if not queue:
                queue = [part for part in rows[torch.randperm(len(rows))].split(self.batch) if len(part) > 1]
            optimizer.zero_grad()
            loss(network, queue.pop()).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            if step % self.every == 0 or step == steps:
                value = self.score(network, "val")
                if value > best:
                    best, kept = value, copy.deepcopy(network.state_dict())
        network.load_state_dict(kept)
        return network

    @torch.no_grad()
    def score(self, network: nn.Module, split: str) -> float:
        """Accuracy; of language models, minus the perplexity."""
        network.eval()
        total, count = 0.0, 0
        for rows in torch.arange(len(self.rows[split]["inputs"])).split(128):
            inputs, targets, mask = self.take(split, rows)
            logits = network(inputs)[mask]
            right = (
                F.cross_entropy(logits, targets[mask], reduction="sum")
                if self.text
                else (logits.argmax(-1) == targets[mask]).sum()
            )
            total, count = total + right.item(), count + int(mask.sum())
        network.train()
        return -math.exp(total / count) if self.text else total / count

    def test(self, network: nn.Module) -> float:
        return abs(self.score(network, "test"))


def network_of(network: type[nn.Module], name: str) -> nn.Module:
    """A network as ``conf/model`` describes it."""
    import yaml

    from kd_lightning.config.conf_files import conf_dir

    node = yaml.safe_load((conf_dir() / "model" / f"{name}.yaml").read_text())
    given = {"in_channels": 1, "num_classes": 10}
    return network(**{key: given.get(key, value) for key, value in node.items() if key not in ("_target_", "name")})


def script(work: str, rows: Path, steps: tuple[int, int], part: str, job: dict[str, float]) -> dict[str, float]:
    """Body of a process of the script. ``part``: all, or one of teacher, alone, distilled with the teacher from a file, or
    "plain": distilled with a teacher trained here."""
    seed = int(job.get("seed", 0))
    hand, file = ByHand(work, rows, steps, seed), rows.with_name("teacher.pt")
    found: dict[str, float] = {}
    started = time.perf_counter()
    if part in ("all", "plain", "teacher"):
        teacher = hand.teacher()
        found |= {"teacher": hand.test(teacher), "teacher seconds": time.perf_counter() - started}
        torch.save(teacher.state_dict(), file)
    if part in ("all", "alone"):
        found["alone"] = hand.test(hand.alone())
    if part in ("all", "plain", "distilled"):
        if part == "distilled":
            teacher = hand.network("teacher")
            teacher.load_state_dict(torch.load(file))
        found["distilled"] = hand.test(hand.distilled(teacher, job["temperature"], job["alpha"]))
    return found
