"""The default job beside busy processes, against a loop by hand with one and with two threads.

    python -m scripts.bench.neighbor                           # 40 steps of the teacher, 3 rounds; about 5 minutes on 2 cores
    python -m scripts.bench.neighbor --rounds 5 --steps 100
    python -m scripts.bench.neighbor --spins 0 1000 300000     # and with other numbers of looks before a thread sleeps

Each side is a process that trains the teacher of ``kd run`` for some steps, by the stage's own trainer or by hand: alone,
beside one, and beside two processes that compute all the time. Sides take turns within a round. Ours chooses its number of
threads when the training begins; with a thread for every core it is as if the neighbors came later.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kd_lightning.process.machine_load import usable_cores
from scripts.bench.interleaved import Answers, Side, Silent, head, median, ratio, rounds, row, serve
from scripts.bench.settings import compose_settings

NEIGHBORS = {"alone": 0, "beside one": 1, "beside two": 2}
OURS, BY_HAND = "ours", "by hand"


class Teacher:
    """The default job's teacher, trained for a few steps.

    Args:
        steps: How many.
        outputs: A folder.
    """

    def __init__(self, steps: int, outputs: str) -> None:
        import logging

        from kd_lightning.config.instantiate import build_node
        from kd_lightning.experiment.experiment import Experiment

        logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
        words = [f"outputs={outputs}", "folder=x", "data.limit=6000", f"teacher.steps={steps}"]
        self.settings = compose_settings(*words)
        self.steps, self.outputs, self.build = steps, Path(outputs), build_node
        self.experiment = Experiment(self.settings, build_node, [], Silent())

    def train_by_framework(self) -> None:
        """As a stage of a run, its validation and files included."""
        from kd_lightning.store import Store
        from kd_lightning.training.fit import train

        entry = Store(self.outputs / "bench").entry("teacher", str(os.getpid()))
        entry.clear()
        train(self.experiment.stage("teacher"), entry, self.experiment.builder.trainer, Silent())

    def train_by_hand(self) -> None:
        """The loop that a careful person writes, with one validation."""
        import torch
        from torch.nn import functional as F

        from kd_lightning.data.samplers import TrainingBatches

        network = self.experiment.builder.network("teacher").train()
        optimizer = self.build(self.settings["teacher"]["optimizer"])(network.parameters())
        curve, rate = self.build(self.settings["teacher"]["scheduler"]), optimizer.param_groups[0]["lr"]
        rows = self.experiment.builder.dataset.rows("teacher", self.steps, only_labeled=True)
        ids = torch.arange(len(rows.train_set))

        def loss_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return F.cross_entropy(network(batch["inputs"]).flatten(0, -2), batch["targets"].flatten())

        for step, chosen in enumerate(TrainingBatches(ids, rows.batch_size, self.steps, rows.seed)):
            optimizer.param_groups[0]["lr"] = rate * curve((step + 0.5) / self.steps)
            loss = loss_of(rows.train_set.__getitems__(chosen))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), self.settings["trainer"]["gradient_clip_val"])
            optimizer.step()
        with torch.no_grad():
            for batch in rows.val_dataloader():
                loss_of(batch)


def be(side: str, steps: int) -> None:
    """Answer with the seconds that the steps take."""
    with tempfile.TemporaryDirectory() as outputs:
        teacher = Teacher(steps, outputs)
        train = teacher.train_by_framework if side == OURS else teacher.train_by_hand

        def answer(question: dict[str, Any]) -> dict[str, Any]:
            started = time.perf_counter()
            train()
            return {"seconds": time.perf_counter() - started}

        serve(answer)


@contextmanager
def neighbors(count: int) -> Iterator[None]:
    """Inside, so many other processes compute all the time."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def begin_sides(steps: int, spins: list[int]) -> list[Side]:
    """The processes, each with its own environment."""
    environments = {
        OURS: (OURS, []),
        f"{OURS}, a thread for every core": (OURS, [f"OMP_NUM_THREADS={usable_cores()}"]),
        **{
            f"{OURS}, a thread for every core, {count} looks": (
                OURS,
                [f"OMP_NUM_THREADS={usable_cores()}", f"GOMP_SPINCOUNT={count}"],
            )
            for count in spins
        },
        f"{BY_HAND}, two threads": (BY_HAND, ["OMP_NUM_THREADS=2"]),
        f"{BY_HAND}, one thread": (BY_HAND, ["OMP_NUM_THREADS=1"]),
    }
    command = [sys.executable, "-m", "scripts.bench.neighbor", "--steps", str(steps), "--side"]
    return [Side(name, "env", [*words, *command, side]) for name, (side, words) in environments.items()]


def bench(steps: int, count: int, spins: list[int]) -> None:
    """Print the table."""
    sides = begin_sides(steps, spins)
    for side in sides:  # what only the first steps cost
        side.ask()
    found: dict[str, dict[str, Answers]] = {name: {side.name: [] for side in sides} for name in NEIGHBORS}
    for _ in range(count):
        for name, busy in NEIGHBORS.items():
            with neighbors(busy):
                for side, answers in rounds(sides, 1).items():
                    found[name][side] += answers
    for side in sides:
        side.close()
    print(f"seconds of {steps} steps, {count} rounds, {os.cpu_count()} cores; times the same side alone in brackets")
    print(head("side", *NEIGHBORS))
    for side in sides:
        beside = [{"beside": found[name][side.name], "alone": found["alone"][side.name]} for name in NEIGHBORS]
        cells = [f"{median(each['beside']):.1f} ({ratio(each, 'beside', 'alone')})" for each in beside]
        print(row(side.name, *cells), flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--spins", type=int, nargs="*", default=[])
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        be(arguments.side, arguments.steps)
    else:
        bench(arguments.steps, arguments.rounds, arguments.spins)


if __name__ == "__main__":
    main()
