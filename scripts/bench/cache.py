"""What a store of teacher outputs costs and keeps: bytes, gradient error, build and read rates, and a student's epoch.

    python -m scripts.bench.cache                                        # W1: V = 10,000, about 6 minutes on 2 cores
    python -m scripts.bench.cache --vocabulary 512 --rows 200 --teacher-steps 20 --rounds 2      # a quick look

W1 is an LSTM language model, teacher 2 x 512 (embedding 256), student 1 x 128 (embedding 128), 20 rows of 35 tokens a step,
on the State of the Union speeches (byte-level BPE). The teacher is trained for ``--teacher-steps`` first: an untrained one is
almost uniform, which flatters every format. Errors are of the student's gradient of the soft loss with respect to its
hidden states, against the live teacher in float64. Before times are taken, the loops that are compared must do the same:
with the soft term's weight at 0 the cached loop must end in the student-alone loop's weights.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kd_lightning.data.collate import collate_rows
from kd_lightning.data.datamodule import RowsDataset
from kd_lightning.data.labels import class_rows
from kd_lightning.data.sources.sotu import Sotu
from kd_lightning.losses.functional.chunked.loss import chunked_loss
from kd_lightning.losses.functional.chunked.terms import HardTerm, SoftTerm
from kd_lightning.losses.functional.divergence import ForwardKLDivergence
from kd_lightning.models.lstm_lm import LSTMLM
from kd_lightning.store import Entry
from kd_lightning.tasks.examples import TokenExample
from kd_lightning.tasks.metrics import CrossEntropy
from kd_lightning.tasks.position import PositionTask
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.teachers.live import LiveTeacher
from kd_lightning.teachers.stored.hidden import Hidden
from kd_lightning.teachers.stored.logits import AllLogits
from kd_lightning.teachers.stored.reader import StorageFormat
from kd_lightning.teachers.stored.shards import Shards
from kd_lightning.teachers.stored.topk import TopK
from kd_lightning.teachers.stored.writer import WriteJob, write_outputs
from kd_lightning.types import Batch, LinearLogits, Logits

CONTEXT, BATCH = 35, 20
TEMPERATURES = (1.0, 2.0, 4.0)
ERROR_BATCHES = 4
FORMATS: list[tuple[str, StorageFormat]] = [
    ("all logits fp16", AllLogits("fp16")),
    ("all logits int8", AllLogits("int8")),
    ("hidden fp16", Hidden("fp16")),
    ("hidden bf16", Hidden("bf16")),
    ("hidden int8", Hidden("int8")),
    *((f"top-{k}, {mass}", TopK(k, mass)) for k in (64, 512) for mass in ("none", "uniform", "unigram")),
]
Step = Callable[[LSTMLM, Batch], Tensor]


@dataclass(frozen=True)
class Bench:
    """What all parts share."""

    task: PositionTask
    rows: RowsDataset
    teacher: LSTMLM
    student: LSTMLM
    folder: Path

    def batches(self, seed: int = 0) -> list[Batch]:
        """All rows once, in a random order."""
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(seed)).tolist()
        return [self.rows.__getitems__(order[i : i + BATCH]) for i in range(0, len(order) - BATCH + 1, BATCH)]


def prepared(vocabulary: int, count: int) -> RowsDataset:
    """The first rows of the training split."""
    rows = Sotu(vocabulary, CONTEXT).prepare().splits["train"]
    return RowsDataset(rows.head(count), collate_rows)


def mask_of(batch: Batch) -> Tensor:
    """[B, T] bool: positions that count."""
    return batch.get("mask", torch.ones_like(batch["targets"], dtype=torch.bool))


def hard_loss(
    network: LSTMLM, batch: Batch, weight: float = 1.0, soft: Sequence[SoftTerm] = (), teacher: Logits | None = None
) -> Tensor:
    """Cross-entropy, and soft terms where there are any, by chunks of rows."""
    student = LinearLogits(network.body(batch["inputs"]), network.head.weight, network.head.bias)
    mask = mask_of(batch)
    return chunked_loss(student, teacher, mask, HardTerm(batch["targets"], mask, weight), soft).total


def trained(network: LSTMLM, batches: Sequence[Batch], step: Step, rate: float = 1e-3) -> float:
    """Train on the batches; seconds."""
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=rate, fused=True)
    started = time.perf_counter()
    for batch in batches:
        loss = step(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - started


def made(args: argparse.Namespace, folder: Path) -> Bench:
    """Data, teacher and student."""
    rows = prepared(args.vocabulary, args.rows)
    torch.manual_seed(0)
    teacher = LSTMLM(args.vocabulary, embedding=256, hidden=512, layers=2)
    student = LSTMLM(args.vocabulary, embedding=128, hidden=128, layers=1)
    task = PositionTask(args.vocabulary, {"nats": CrossEntropy()}, "nats", TokenExample(args.vocabulary, CONTEXT))
    bench = Bench(task, rows, teacher, student, folder)
    epochs = [
        batch for seed in range(args.teacher_steps * BATCH // len(rows) + 1) for batch in bench.batches(100 + seed)
    ]
    seconds = trained(teacher, epochs[: args.teacher_steps], hard_loss, 2e-3)
    teacher.eval().requires_grad_(False)
    with torch.no_grad():
        nats = hard_loss(teacher, bench.batches()[0]).item()
    print(
        f"teacher: {args.teacher_steps} steps in {seconds:.0f} s, {nats:.2f} nats a token on a batch it was trained on\n"
    )
    return bench


# -- bytes, errors, rates ---------------------------------------------------------------------------------------------


def stored(bench: Bench, format: StorageFormat, name: str) -> tuple[TeacherOutputs, float, int]:
    """The outputs on disk; seconds of their writing, bytes of a token."""
    entry = Entry(bench.folder / "teacher_outputs" / name)
    entry.clear()
    job = WriteJob(
        network=bench.teacher,
        task=bench.task,
        format=format.resolved(bench.teacher, bench.task, {}),
        taps=[],
        rows=bench.rows.__getitems__,
        count=len(bench.rows),
        class_rows=class_rows(bench.rows.table, bench.task.num_classes),
        batch_size=128,
    )
    started = time.perf_counter()
    write_outputs(job, entry, {}, lambda _: None, lambda *_: None)
    seconds = time.perf_counter() - started
    outputs = format(copy.deepcopy(bench.teacher), bench.task, Shards(entry.folder))
    outputs.connect({})
    return outputs, seconds, job.layout.row_bytes // CONTEXT


def gradients(bench: Bench, outputs: TeacherOutputs, temperature: float, double: bool = False) -> Tensor:
    """Of the soft loss with respect to the student's hidden states, of some batches."""
    found = []
    for batch in bench.batches()[:ERROR_BATCHES]:
        dtype = torch.float64 if double else torch.float32
        hidden = bench.student.body(batch["inputs"]).detach().to(dtype).requires_grad_()
        head = bench.student.head.weight.detach().to(dtype), bench.student.head.bias.detach().to(dtype)
        term = SoftTerm(ForwardKLDivergence(), temperature, 1.0)
        chunked_loss(LinearLogits(hidden, *head), outputs(batch).source, mask_of(batch), None, [term]).total.backward()
        assert hidden.grad is not None
        found.append(hidden.grad.double().flatten())
    return torch.cat(found)


def read_rate(bench: Bench, outputs: TeacherOutputs) -> float:
    """Rows a second, in a random order, out of the page cache; logits are not made."""
    batches = bench.batches(seed=1)
    started = time.perf_counter()
    for batch in batches:
        outputs(batch)
    return len(batches) * BATCH / (time.perf_counter() - started)


def table_of_formats(bench: Bench) -> dict[str, TeacherOutputs]:
    """Print the first table; the stored outputs by name."""
    exact = LiveTeacher(copy.deepcopy(bench.teacher).double(), bench.task)
    exact.connect({}, by_rows=True)
    reference = {t: gradients(bench, exact, t, double=True) for t in TEMPERATURES}
    print("Errors |g - g_live| / |g_live| and cosines of the student's gradient wrt its hidden states.")
    print(
        f"| kept | B/token | {' | '.join(f'T={t:g}' for t in TEMPERATURES)} | build rows/s | MB/s | read rows/s | MB/s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    live = LiveTeacher(bench.teacher, bench.task)
    live.connect({}, by_rows=True)
    print(f"| (live, float32) | - | {errors(bench, live, reference)} | - | - | {read_rate(bench, live):,.0f} | - |")
    kept = {}
    for name, format in FORMATS:
        outputs, seconds, token = stored(bench, format, name.replace(" ", "-"))
        rate, megabytes = len(bench.rows) / seconds, token * CONTEXT / 1e6
        read = read_rate(bench, outputs)
        rates = f"{rate:,.0f} | {rate * megabytes:,.0f} | {read:,.0f} | {read * megabytes:,.0f}"
        print(f"| {name} | {token:,} | {errors(bench, outputs, reference)} | {rates} |", flush=True)
        kept[name] = outputs
    return kept


def errors(bench: Bench, outputs: TeacherOutputs, reference: dict[float, Tensor]) -> str:
    """A cell for each temperature."""
    cells = []
    for temperature, exact in reference.items():
        got = gradients(bench, outputs, temperature)
        cosine = torch.cosine_similarity(got, exact, dim=0)
        cells.append(f"{float((got - exact).norm() / exact.norm()):.1e}; {float(cosine):.3f}")
    return " | ".join(cells)


# -- a student's epoch ------------------------------------------------------------------------------------------------


def distilling(outputs: TeacherOutputs, temperature: float, weight: float = 0.5) -> Step:
    """Hard and soft loss, half each."""

    def step(network: LSTMLM, batch: Batch) -> Tensor:
        soft = [SoftTerm(ForwardKLDivergence(), temperature, weight)]
        return hard_loss(network, batch, 1 - weight, soft, outputs(batch).source)

    return step


class InMemory(TeacherOutputs):
    """What a stored teacher says, read beforehand: the soft loss without the reading."""

    def __init__(self, outputs: TeacherOutputs, batches: Sequence[Batch]) -> None:
        super().__init__()
        self.said = {int(batch["index"][0]): outputs(batch) for batch in batches}

    def forward(self, batch: Batch) -> object:  # type: ignore[override]
        return self.said[int(batch["index"][0])]


def check_same(bench: Bench, outputs: TeacherOutputs, batches: Sequence[Batch]) -> None:
    """With the soft term at 0, the cached loop ends in the weights of the student alone."""
    alone, cached = copy.deepcopy(bench.student), copy.deepcopy(bench.student)
    trained(alone, batches[:10], hard_loss)
    trained(cached, batches[:10], distilling(outputs, 2.0, weight=0.0))
    worst = max(
        float((a - b).detach().abs().max()) for a, b in zip(alone.parameters(), cached.parameters(), strict=True)
    )
    print(f"\nsame loop: weights of the student alone and with the soft term at 0 differ by {worst:.1e} after 10 steps")
    assert worst < 1e-5, "the loops do not do the same"


def table_of_epochs(bench: Bench, kept: dict[str, TeacherOutputs], temperature: float, rounds: int) -> None:
    """Print the second table: an epoch with each teacher over one of the student alone, rounds interleaved."""
    batches = bench.batches(seed=2)
    live = LiveTeacher(copy.deepcopy(bench.teacher), bench.task)
    live.connect({}, by_rows=True)
    sides: dict[str, Step] = {
        "student alone": hard_loss,
        "hidden fp16": distilling(kept["hidden fp16"], temperature),
        "the same outputs, in memory": distilling(InMemory(kept["hidden fp16"], batches), temperature),
        **{
            name: distilling(kept[name], temperature)
            for name in ("hidden int8", "top-64, unigram", "top-64, uniform", "top-64, none", "all logits fp16")
        },
        "live teacher": distilling(live, temperature),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, step in sides.items():
            took = trained(copy.deepcopy(bench.student), batches, step)
            if number:  # the first round warms up
                seconds[name].append(took)
    print(f"\nOne epoch of {len(batches)} steps, T = {temperature:g}, {rounds} interleaved rounds.")
    print("| teacher outputs | s/epoch | over the student alone, median [range] | over the same outputs in memory |")
    print("|---|---|---|---|")
    for name, times in seconds.items():
        cells = [ratios(times, seconds[other]) for other in ("student alone", "the same outputs, in memory")]
        print(f"| {name} | {statistics.median(times):.2f} | {cells[0]} | {cells[1]} |")


def ratios(times: Sequence[float], others: Sequence[float]) -> str:
    """Median and range of the rounds' ratios."""
    found = [one / other for one, other in zip(times, others, strict=True)]
    return f"{statistics.median(found):.2f} [{min(found):.2f}-{max(found):.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--teacher-steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--temperature", type=float, nargs="+", default=[1.0, 2.0], help="of the epochs")
    parser.add_argument("--matmul", default="highest", help="torch.set_float32_matmul_precision: highest or medium")
    args = parser.parse_args()
    torch.set_float32_matmul_precision(args.matmul)
    print(
        f"V = {args.vocabulary:,}, {args.rows:,} rows of {CONTEXT} tokens, {torch.get_num_threads()} threads, {args.matmul}"
    )
    with tempfile.TemporaryDirectory() as folder:
        bench = made(args, Path(folder))
        kept = table_of_formats(bench)
        check_same(bench, kept["hidden fp16"], bench.batches(seed=2))
        for temperature in args.temperature:
            table_of_epochs(bench, kept, temperature, args.rounds)


if __name__ == "__main__":
    main()
