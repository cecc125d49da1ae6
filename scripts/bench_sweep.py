"""Wall-clock time of a sweep of 12 jobs from an empty store, against the same 12 jobs one by one.

    python scripts/bench_sweep.py                # three rounds of four sides; about half an hour on 2 cores
    python scripts/bench_sweep.py --rounds 1 --steps 100

Sides, interleaved in every round, each from nothing:
  sweep       kd run -m ...                                  one warm worker, one teacher, two students alone
  processes   kd run -m hydra/launcher=process ...           the same, two jobs at once in fresh processes
  singles     12 x kd run ..., each with a store of its own  12 teachers
  by hand     12 x a hand-written PyTorch script             12 teachers, no framework to import

The jobs: digits with 100 labels, temperature 1, 2, 4 x alpha 0.5, 0.9 x seed 0, 1. Before any time is told, the sides are
compared: sweep and singles must give the same numbers to the last digit; the processes have fewer CPU threads each, which
changes the rounding, and the script has the same maths, budget and choice by validation but its own random order: their mean
test accuracies must agree within 3 points, the student alone's within 12: it rests on two draws of 100 labels, and one
draw differs from another by 6 points at 200 steps.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEMPERATURES, ALPHAS, SEEDS = (1.0, 2.0, 4.0), (0.5, 0.9), (0, 1)
JOBS = list(itertools.product(TEMPERATURES, ALPHAS, SEEDS))
SIDES = ("sweep", "processes", "singles", "by hand")
KD = [sys.executable, "-m", "kd_lightning.cli", "run"]
Result = dict[str, float]


# -- the hand-written script ------------------------------------------------------------------------------------------


def by_hand(temperature: float, alpha: float, seed: int, steps: int) -> Result:
    """What somebody without a framework runs for one setting: teacher, student alone, distilled student, test once."""
    from sklearn.datasets import load_digits

    from kd_lightning.models.convnet import ConvNet  # the same networks; this imports torch alone

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    y = torch.tensor(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, val, test = order[:997], order[997:1297], order[1297:]
    torch.manual_seed(seed)
    labelled = train[torch.randperm(len(train))[:100]]

    def accuracy(network: nn.Module, rows: Tensor) -> float:
        network.eval()
        with torch.no_grad():
            right = (network(x[rows]).argmax(-1) == y[rows]).float().mean().item()
        network.train()
        return right

    def fit(network: nn.Module, rows: Tensor, rate: float, loss: Callable[[nn.Module, Tensor], Tensor]) -> nn.Module:
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        best, kept = -1.0, copy.deepcopy(network.state_dict())
        queue: list[Tensor] = []
        for step in range(1, steps + 1):
            if not queue:
                queue = [part for part in rows[torch.randperm(len(rows))].split(32) if len(part) > 1]
            optimizer.zero_grad()
            loss(network, queue.pop()).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            if step % 100 == 0 or step == steps:
                value = accuracy(network, val)
                if value > best:
                    best, kept = value, copy.deepcopy(network.state_dict())
        network.load_state_dict(kept)
        return network

    def hard(network: nn.Module, rows: Tensor) -> Tensor:
        return F.cross_entropy(network(x[rows]), y[rows])

    teacher = fit(network_of(ConvNet, "convnet"), train, 0.005, hard).eval()
    has_label = torch.zeros(len(x), dtype=torch.bool)
    has_label[labelled] = True

    def both(network: nn.Module, rows: Tensor) -> Tensor:
        logits = network(x[rows])
        with torch.no_grad():
            wanted = F.log_softmax(teacher(x[rows]) / temperature, -1)
        soft = F.kl_div(F.log_softmax(logits / temperature, -1), wanted, reduction="batchmean", log_target=True)
        mask = has_label[rows]
        supervised = F.cross_entropy(logits[mask], y[rows][mask]) if mask.any() else logits.new_zeros(())
        return (1 - alpha) * supervised + alpha * temperature**2 * soft

    alone = fit(network_of(ConvNet, "convnet_tiny"), labelled, 0.03, hard)
    distilled = fit(network_of(ConvNet, "convnet_tiny"), train, 0.03, both)
    return {"teacher": accuracy(teacher, test), "alone": accuracy(alone, test), "distilled": accuracy(distilled, test)}


def network_of(network: type[nn.Module], name: str) -> nn.Module:
    """A network as ``conf/model`` describes it."""
    import yaml

    from kd_lightning.conf_files import conf_dir

    node = yaml.safe_load((conf_dir() / "model" / f"{name}.yaml").read_text())
    given = {"in_channels": 1, "num_classes": 10}
    return network(**{key: given.get(key, value) for key, value in node.items() if key not in ("_target_", "name")})


# -- the sides --------------------------------------------------------------------------------------------------------


def words(steps: int, outputs: Path) -> list[str]:
    """Overrides that all of our sides share."""
    budget = [f"steps.teacher={steps}", f"steps.student={steps}", "steps.pretrain=0"]
    return ["experiment=digits", *budget, "progress=false", f"outputs={outputs}"]


def call(command: list[str]) -> str:
    """Run a command; what it printed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def tests(results: Path) -> Result:
    """Test values of a run folder."""
    models = json.loads(results.read_text())["models"]
    return {
        name: models[role]["test"] for name, role in (("teacher", "teacher"), ("alone", "baseline"), ("distilled",) * 2)
    }


def sweep(outputs: Path, steps: int, *more: str) -> list[Result]:
    """All jobs by one command."""
    grid = [
        "temperature=" + ",".join(map(str, TEMPERATURES)),
        "alpha=" + ",".join(map(str, ALPHAS)),
        "seed=" + ",".join(map(str, SEEDS)),
    ]
    call([*KD, "-m", *words(steps, outputs), *grid, *more])
    (folder,) = (outputs / "sweeps").iterdir()
    return [tests(folder / str(number) / "results.json") for number in range(len(JOBS))]


def singles(outputs: Path, steps: int) -> list[Result]:
    """A command and a store for each job."""
    found = []
    for number, (temperature, alpha, seed) in enumerate(JOBS):
        own = outputs / str(number)
        call([*KD, *words(steps, own), f"temperature={temperature}", f"alpha={alpha}", f"seed={seed}"])
        (folder,) = (own / "runs").iterdir()
        found.append(tests(folder / "results.json"))
    return found


def scripts(steps: int) -> list[Result]:
    """A process of the hand-written script for each job."""
    command = [sys.executable, __file__, "--steps", str(steps), "--by-hand"]
    return [json.loads(call([*command, *map(str, job)])) for job in JOBS]


def timed(side: str, steps: int) -> tuple[float, list[Result]]:
    """Seconds of a side from nothing, and what it found."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        if side == "by hand":
            found = scripts(steps)
        elif side == "singles":
            found = singles(Path(folder), steps)
        else:
            found = sweep(Path(folder), steps, *(["hydra/launcher=process"] if side == "processes" else []))
        return time.perf_counter() - started, found


def compare(found: dict[str, list[Result]]) -> None:
    """The sides have done the same work.

    Raises:
        SystemExit: They have not.
    """
    if found["singles"] != found["sweep"]:
        raise SystemExit(f"singles and sweep differ: {found['singles']} {found['sweep']}")
    for name, limit in (("teacher", 0.03), ("alone", 0.12), ("distilled", 0.03)):
        means = {side: statistics.mean(each[name] for each in found[side]) for side in SIDES}
        print(f"mean test accuracy, {name}:", {side: round(value, 4) for side, value in means.items()})
        if max(means.values()) - min(means.values()) > limit:
            raise SystemExit(f"{name}: the sides do not do the same work")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000, help="of the teacher, and of each student")
    parser.add_argument("--by-hand", nargs=3, metavar=("T", "ALPHA", "SEED"), help="run the hand-written script once")
    arguments = parser.parse_args()
    if arguments.by_hand:
        temperature, alpha, seed = arguments.by_hand
        print(json.dumps(by_hand(float(temperature), float(alpha), int(seed), arguments.steps)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}, {arguments.steps} steps a stage")
    rounds = []
    for _ in range(arguments.rounds):
        done = {side: timed(side, arguments.steps) for side in SIDES}
        compare({side: found for side, (_, found) in done.items()})
        rounds.append({side: seconds for side, (seconds, _) in done.items()})
        print({side: round(seconds, 1) for side, seconds in rounds[-1].items()}, flush=True)
    print("| side | seconds, median | times the sweep's, median [range] |")
    print("|---|---|---|")
    for side in SIDES:
        ratios = sorted(each[side] / each["sweep"] for each in rounds)
        spread = f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}-{ratios[-1]:.2f}]"
        print(f"| {side} | {statistics.median(each[side] for each in rounds):.0f} | {spread} |")


if __name__ == "__main__":
    main()
