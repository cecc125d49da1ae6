"""How cost grows: with the vocabulary, with the jobs of a cohort, with the size of the stored teacher outputs; as pictures.

    python -m scripts.bench.growth --pictures docs/reference          # about 5 minutes on 2 cores; tables on standard output

  vocabulary   one student step of W1 (LSTM 1 x 128, 700 positions, teacher's hidden states of width 512 at hand), losses from
               whole logits and by chunks, V = 1,000 to 128,000
  cohort       milliseconds for each step of all students together: digits (stacked, and step by step), 1 to 32 jobs
  cache        rows a second that a training reads at random, from 1,000 to 32,000 rows of hidden states (default job)

Medians of three rounds; whole logits are left out where a step would need more than half of the free memory.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from kd_lightning.config.instantiate import build_node
from kd_lightning.experiment.experiment import Experiment, Found
from kd_lightning.experiment.pending import Steps
from kd_lightning.experiment.settings import TEACHER
from kd_lightning.experiment.stored_outputs import STAGE, open_source
from kd_lightning.losses.functional.chunked.loss import chunked_loss
from kd_lightning.losses.functional.chunked.terms import HardTerm, SoftTerm
from kd_lightning.losses.functional.divergence import ForwardKLDivergence
from kd_lightning.models.lstm_lm import LSTMLM
from kd_lightning.results.report.charts.chart import Chart, Series
from kd_lightning.results.report.charts.svg import draw_chart
from kd_lightning.sweeps.cohort.limits import free_memory
from kd_lightning.sweeps.cohort.run_cohort import CohortJob, advance_in_turn
from kd_lightning.training.fit import lightning_is_quiet
from kd_lightning.types import LinearLogits
from scripts.bench.interleaved import Silent
from scripts.bench.settings import compose_settings

ROUNDS = 3
VOCABULARIES = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000)
JOBS = (1, 2, 4, 8, 16, 32)
CACHED = (1_000, 4_000, 16_000, 32_000)
ROWS, CONTEXT, TEACHER_WIDTH = 20, 35, 512
Points = list[tuple[int, float]]


def timed(work: Callable[[], Any], repeats: int) -> float:
    """Seconds of one call: the median of the rounds, after one that does not count."""
    work()
    found = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        found.append((time.perf_counter() - started) / repeats)
    return statistics.median(found)


def vocabulary() -> dict[str, Points]:
    """Steps a second against V / 1000."""
    found: dict[str, Points] = {"whole logits": [], "by chunks": []}
    for classes in VOCABULARIES:
        step = Step(classes)
        found["by chunks"].append((classes // 1000, 1 / timed(step.chunked, 3)))
        if 8 * 4 * ROWS * CONTEXT * classes < free_memory("cpu") / 2:
            found["whole logits"].append((classes // 1000, 1 / timed(step.whole, 3)))
    return found


class Step:
    """One step of a student, the teacher's hidden states at hand."""

    def __init__(self, classes: int) -> None:
        torch.manual_seed(0)
        self.student = LSTMLM(classes, 128, 128, 1)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), fused=True)
        self.inputs, self.targets = torch.randint(classes, (2, ROWS, CONTEXT))
        self.teacher = LinearLogits(torch.randn(ROWS, CONTEXT, TEACHER_WIDTH), torch.randn(classes, TEACHER_WIDTH) / 16)
        self.every = torch.ones(ROWS, CONTEXT, dtype=torch.bool)

    def chunked(self) -> None:
        head = self.student.head
        student = LinearLogits(self.student.body(self.inputs), head.weight, head.bias)
        terms = [SoftTerm(ForwardKLDivergence(), 2.0, 0.5)]
        self.take(chunked_loss(student, self.teacher, self.every, HardTerm(self.targets, self.every, 0.5), terms).total)

    def whole(self) -> None:
        logits = self.student(self.inputs).flatten(0, 1)
        with torch.no_grad():
            wanted = F.log_softmax(self.teacher.dense().flatten(0, 1) / 2, dim=-1)
        soft = F.kl_div(F.log_softmax(logits / 2, dim=-1), wanted, reduction="batchmean", log_target=True) * 4
        self.take((F.cross_entropy(logits, self.targets.flatten()) + soft) / 2)

    def take(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def settings(outputs: str, *words: str) -> dict[str, Any]:
    """Composed settings of a job with one soft stage."""
    shared = ["student.pretrain_steps=0", "validate_every=100000", "checkpoint_every=100000", "folder=x"]
    return compose_settings(*words, *shared, f"outputs={outputs}")


def cohort(steps: int = 300) -> dict[str, Points]:
    """Milliseconds of a step of all students, against their number."""
    found: dict[str, Points] = {"stacked": [], "step by step": []}
    with tempfile.TemporaryDirectory() as outputs:
        words = ("experiment=digits", "student=convnet_micro", "teacher.steps=20", f"student.steps={steps}")
        for number, jobs in enumerate(JOBS):
            for name in found:
                taken = []
                for attempt in range(ROUNDS):
                    shift = 1e-3 * (number * ROUNDS + attempt + 1) + (5e-4 if name == "stacked" else 0)
                    grid = [settings(outputs, *words, f"temperature={1 + shift + 0.1 * k}") for k in range(jobs)]
                    taken.append(1e3 * together(grid, stack=name == "stacked") / steps)
                found[name].append((jobs, statistics.median(taken)))
    return found


def together(grid: Sequence[dict[str, Any]], stack: bool) -> float:
    """Seconds of the soft stages of a cohort."""
    made: dict[Any, Any] = {}
    experiments = [Experiment(each, build_node, [], Silent(), "bench", made=made) for each in grid]

    def work(experiment: Experiment, clock: object) -> Steps[Found]:
        return experiment.steps()

    with lightning_is_quiet():
        jobs = [CohortJob(partial(work, each), sys.stdout) for each in experiments]
        advance_in_turn(jobs, len(jobs), stack)
    seconds = [each.entry("distill").read_json("result.json")["seconds"] for each in experiments]
    return max(seconds) if stack else sum(seconds)  # in a stack each has the time of all


def cache() -> dict[str, Points]:
    """Rows read in a second, against the thousands of rows that are stored."""
    points: Points = []
    with tempfile.TemporaryDirectory() as outputs:
        for count in CACHED:
            words = ("teacher_outputs=hidden", f"data.limit={count}", "teacher.steps=5", "student.steps=5")
            builder = Experiment(settings(outputs, *words), build_node, [], Silent()).builder
            (source,) = builder.sources()
            # What the teacher knows does not matter for the time.
            source = open_source(builder, TEACHER, source, partial(builder.network, TEACHER), STAGE)
            rows = len(builder.dataset)
            order = torch.randperm(rows).split(32)
            assert source.shards is not None
            seconds = timed(lambda shards=source.shards, order=order: [shards.read(each) for each in order], 1)  # type: ignore[misc]
            points.append((rows // 1000, rows / seconds))
    return {"fp16 hidden states": points}


STYLE = """<style>
.chart { background: #fff; font: 14px system-ui, sans-serif } .chart text { fill: #1a1d21 } .mid { text-anchor: middle }
.end { text-anchor: end } .grid { stroke: #e4e7eb } .axis { stroke: #555d68 } .line { fill: none; stroke-width: 2 }
.line.s3 { stroke: #0068b0 } .dot.s3 { fill: #0068b0 }
.line.s1 { stroke: #c44e00; stroke-dasharray: 2 3 } .dot.s1 { fill: #c44e00 }
</style>"""


def show(name: str, title: str, x: str, y: str, found: dict[str, Points], pictures: Path | None) -> None:
    """The table, and the picture."""
    print(f"\n| {x} | " + " | ".join(found) + " |\n|" + "---|" * (len(found) + 1))
    for place in sorted({point[0] for points in found.values() for point in points}):
        cells = [dict(points).get(place) for points in found.values()]
        print(f"| {place:,} | " + " | ".join("-" if cell is None else f"{cell:,.3g}" for cell in cells) + " |")
    if pictures:
        styles = (3, 1)
        series = tuple(Series(label, styles[i], tuple(points)) for i, (label, points) in enumerate(found.items()))
        picture = draw_chart(Chart(title, x, y, series), name, "wide", 720, 320)
        head, _, rest = picture.partition(">")
        (pictures / f"growth-{name}.svg").write_text(
            f'{head} xmlns="http://www.w3.org/2000/svg" width="720" height="320">{STYLE}{rest}\n', encoding="utf-8"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="folder for growth-*.svg")
    pictures = parser.parse_args().pictures
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, medians of {ROUNDS} rounds")
    # The cohort first: what this thread computes gives it a pool of threads, as a sweep's own process has none beside it.
    show("cohort", "A step of all students of a cohort", "jobs", "ms", cohort(), pictures)
    show("vocabulary", "Student steps a second", "vocabulary, thousands", "steps a second", vocabulary(), pictures)
    show(
        "cache", "Rows read of the stored teacher outputs", "rows stored, thousands", "rows a second", cache(), pictures
    )


if __name__ == "__main__":
    main()
