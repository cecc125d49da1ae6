"""Time and peak memory of one loss with its gradients, from hidden states and head weights, by row chunks and otherwise.

    python -m scripts.bench.chunked_loss                           # V = 10k, 32k, 128k; 2048 rows; about 10 minutes
    python -m scripts.bench.chunked_loss --classes 128000 --divergence jsd --rounds 9
    python -m scripts.bench.chunked_loss --peers peers/bin/python  # Liger's and TRL's losses as well
    python -m scripts.bench.chunked_loss --device cuda --dtype bfloat16 --rows 8192 --peers python
    python -m scripts.bench.chunked_loss --device cuda --dtype bfloat16 --rows 8192 --widths 2048 4096 --classes 128000

Peers come from their own packages, in an environment of their own; without --peers they are left out:

    python -m venv peers && peers/bin/pip install -c constraints.txt torch liger-kernel trl

The loss: 0.5 * cross-entropy + 0.5 * D(teacher, student) at T = 2, means over the rows, D forward KL or the Jensen-Shannon
divergence, without the factor T^2 (the peers have none). Heads without bias; gradients
go to the student's hidden states and head. Every side makes the same tensors from the same seed, in a process of its own.

  ours     kd_lightning.losses.functional.chunked.loss
  compiled the same with compiled=True, on CUDA alone
  least    the same in chunks of 32 rows, on CUDA alone: for memory
  naive    F.linear, F.cross_entropy, F.log_softmax, F.kl_div, autograd
  liger    liger_kernel.chunked_loss.LigerFusedLinearJSDLoss, pure torch, compiled=False
  trl      trl's generalized_jsd_loss on whole logits, and F.cross_entropy
  triton   Liger's fused kernels of the divergence and of cross-entropy, on CUDA alone

Checked first: loss and gradients of all sides agree. Peak memory is that of one step, beyond inputs and libraries: on the CPU
how far the resident size rises in the first step at this size above what it was (Linux's VmHWM, set back before; freed memory
is returned first), after one at a tiny size; on CUDA torch's own count. Times are medians over rounds A B C A B C, ratios are
taken within a round.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scripts.bench.interleaved import Side, head, median, ratio, rounds, row, serve

TEMPERATURE, ALPHA = 2.0, 0.5
BETAS = {"forward_kl": 0.0, "jsd": 0.5}
"""Divergence -> beta of the generalized JSD, as the peers name it."""
OWN, PEERS = ("ours", "naive"), ("liger", "trl")
OWN_ON_GPU, PEERS_ON_GPU = ("compiled", "least"), ("triton",)


@dataclass(frozen=True)
class Problem:
    """The tensors of a loss.

    Attributes:
        hidden: [N, D], with gradient.
        weight: [C, D], with gradient.
        teacher_hidden: [N, D'].
        teacher_weight: [C, D'].
        targets: [N].
        beta: Of the divergence.
    """

    hidden: Tensor
    weight: Tensor
    teacher_hidden: Tensor
    teacher_weight: Tensor
    targets: Tensor
    beta: float

    @staticmethod
    def made(rows: int, classes: int, student: int, teacher: int, device: str, dtype: str, beta: float) -> Problem:
        """From the seed; logits have a standard deviation of about 2."""
        generator = torch.Generator().manual_seed(0)

        def random(*shape: int, scale: float = 1.0) -> Tensor:
            return (torch.randn(*shape, generator=generator) * scale).to(device, getattr(torch, dtype))

        return Problem(
            random(rows, student).requires_grad_(),
            random(classes, student, scale=2 / student**0.5).requires_grad_(),
            random(rows, teacher),
            random(classes, teacher, scale=2 / teacher**0.5),
            torch.randint(classes, (rows,), generator=generator).to(device),
            beta,
        )


# -- the sides' losses ------------------------------------------------------------------------------------------------


def ours(problem: Problem, rows: int | None = None, compiled: bool = False) -> Tensor:
    """By chunks of rows."""
    from kd_lightning.losses.functional.chunked.loss import chunked_loss
    from kd_lightning.losses.functional.chunked.terms import HardTerm, SoftTerm
    from kd_lightning.losses.functional.divergence import generalized_jsd
    from kd_lightning.types import LinearLogits

    divergence = generalized_jsd(problem.beta)
    every = torch.ones_like(problem.targets, dtype=torch.bool)
    return chunked_loss(
        LinearLogits(problem.hidden, problem.weight),
        LinearLogits(problem.teacher_hidden, problem.teacher_weight),
        every,
        HardTerm(problem.targets, every, 1 - ALPHA),
        [SoftTerm(divergence, TEMPERATURE, ALPHA / TEMPERATURE**divergence.order)],
        rows=rows,
        compiled=compiled,
    ).total


def naive(problem: Problem) -> Tensor:
    """From whole logits, by autograd."""
    logits = F.linear(problem.hidden, problem.weight).float()
    with torch.no_grad():
        teacher = F.log_softmax(F.linear(problem.teacher_hidden, problem.teacher_weight).float() / TEMPERATURE, dim=-1)
    student = F.log_softmax(logits / TEMPERATURE, dim=-1)
    if problem.beta == 0:
        soft = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    else:
        mixed = torch.logaddexp(student, teacher) - torch.tensor(2.0).log()
        one, other = (F.kl_div(mixed, side, reduction="batchmean", log_target=True) for side in (teacher, student))
        soft = (one + other) / 2
    return (1 - ALPHA) * F.cross_entropy(logits, problem.targets) + ALPHA * soft


def liger(problem: Problem) -> Tensor:
    """Chunks in pure torch."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    loss = LigerFusedLinearJSDLoss(1 - ALPHA, ALPHA, beta=problem.beta, temperature=TEMPERATURE, compiled=False)
    none: Any = None
    return loss(
        problem.hidden,
        problem.weight,
        problem.teacher_hidden,
        problem.teacher_weight,
        problem.targets,
        none,
        none,
    )


def trl(problem: Problem) -> Tensor:
    """TRL's function on whole logits."""
    from trl.experimental.gkd import GKDTrainer

    logits = F.linear(problem.hidden, problem.weight).float()
    with torch.no_grad():
        teacher = F.linear(problem.teacher_hidden, problem.teacher_weight).float()
    soft = GKDTrainer.generalized_jsd_loss(logits[None], teacher[None], beta=problem.beta, temperature=TEMPERATURE)
    # Its batchmean divides by the first dimension, which is 1 here.
    return (1 - ALPHA) * F.cross_entropy(logits, problem.targets) + ALPHA * soft / len(logits)


def triton(problem: Problem) -> Tensor:
    """Liger's kernels; the head's products are made once for each."""
    from liger_kernel.transformers.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyLoss
    from liger_kernel.transformers.fused_linear_jsd import LigerFusedLinearJSD

    teacher = problem.teacher_hidden, problem.teacher_weight
    soft = LigerFusedLinearJSD(problem.beta, temperature=TEMPERATURE)(problem.hidden, problem.weight, *teacher, None)
    hard = LigerFusedLinearCrossEntropyLoss()(problem.weight, problem.hidden, problem.targets)
    return (1 - ALPHA) * hard + ALPHA * soft


LOSSES: dict[str, Callable[[Problem], Tensor]] = {
    "ours": ours,
    "compiled": partial(ours, compiled=True),
    "least": partial(ours, compiled=True, rows=32),
    "naive": naive,
    "liger": liger,
    "trl": trl,
    "triton": triton,
}


# -- in a side's process ----------------------------------------------------------------------------------------------


def be(side: str) -> None:
    """Answer ``make``, ``memory``, ``save`` and ``time``."""
    problem: list[Problem] = []

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        if question["do"] == "make":
            tiny = Problem.made(64, 512, 128, 128, *question["where"])
            if not tiny.hidden.is_cuda:
                step(side, tiny)  # loads what is loaded at the first use
            problem[:] = [Problem.made(*question["size"], *question["where"])]
            if tiny.hidden.is_cuda:  # or the compiler would take sizes for variable
                step(side, problem[0])
            return {"threads": torch.get_num_threads(), "torch": torch.__version__}
        (one,) = problem
        if question["do"] == "memory":
            one.hidden.grad = one.weight.grad = None
            before = start_counting(one.hidden.device)
            step(side, one)
            return {"bytes": peak(one.hidden.device) - before}
        if question["do"] == "save":
            torch.save([tensor.detach().float().cpu() for tensor in step(side, one)], question["path"])
            return {}
        started = time.perf_counter()
        step(side, one)
        return {"seconds": time.perf_counter() - started}

    serve(answer)


def step(side: str, problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and gradients."""
    problem.hidden.grad = problem.weight.grad = None
    loss = LOSSES[side](problem)
    loss.backward()
    if problem.hidden.is_cuda:
        torch.cuda.synchronize()
    assert problem.hidden.grad is not None
    assert problem.weight.grad is not None
    return loss, problem.hidden.grad, problem.weight.grad


def start_counting(device: torch.device) -> int:
    """Bytes in use now; ``peak`` tells the most from here on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is not to be used again uncounted
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def peak(device: torch.device) -> int:
    """The most bytes in use since."""
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else resident("VmHWM")


def resident(name: str) -> int:
    """Bytes that the kernel tells of this process under that name."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


# -- in the main process ----------------------------------------------------------------------------------------------


def compare(sides: list[Side], tolerance: float) -> dict[str, float]:
    """The largest difference of each side's gradients from the naive ones, over these' norm.

    Raises:
        SystemExit: It is too large, or the losses differ.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = {side.name: Path(folder) / f"{side.name}.pt" for side in sides}
        for side in sides:
            side.ask(do="save", path=str(paths[side.name]))
        expected = torch.load(paths["naive"])
        found = {}
        for name, path in paths.items():
            pairs = zip(torch.load(path), expected, strict=True)
            found[name] = max(float((one - other).norm() / other.norm()) for one, other in pairs)
            if found[name] > tolerance:
                raise SystemExit(f"{name} does not compute the same loss: it differs by {found[name]:.2g} of the norm")
    return found


def bench(names: dict[str, str], classes: int, arguments: argparse.Namespace) -> None:
    """Print the lines of one vocabulary; ``names``: side -> interpreter."""
    sides = [Side(name, python, ["-m", "scripts.bench.chunked_loss", "--side", name]) for name, python in names.items()]
    where = [arguments.device, arguments.dtype, BETAS[arguments.divergence]]
    memory = {}
    for side in sides:
        side.ask(do="make", size=[arguments.rows, classes, *arguments.widths], where=where)
        memory[side.name] = side.ask(do="memory")["bytes"]
    differ = compare(sides, 1e-4 if arguments.dtype == "float32" else 0.05)
    times = rounds(sides, arguments.rounds, do="time")
    for side in sides:
        side.close()
    for name in names:
        milliseconds, megabytes = 1e3 * median(times[name]), memory[name] / 1e6
        share = f"1/{memory['naive'] / max(memory[name], 1):.1f}"
        print(
            row(
                *(f"{classes:,}", name, f"{milliseconds:.3g}", ratio(times, name, "naive")),
                *(f"{megabytes:,.0f}", share, f"{differ[name]:.1g}"),
            ),
            flush=True,
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[10_000, 32_000, 128_000], metavar="V")
    parser.add_argument("--rows", type=int, default=2048, metavar="N")
    parser.add_argument("--widths", type=int, nargs=2, default=[128, 512], metavar="D", help="of student and teacher")
    parser.add_argument("--divergence", choices=BETAS, default="forward_kl")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter of the peers' environment")
    parser.add_argument("--without", choices=(*PEERS, *PEERS_ON_GPU), nargs="+", default=[], metavar="PEER")
    parser.add_argument("--side", choices=LOSSES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        be(arguments.side)
        return
    on_gpu = arguments.device == "cuda"
    own = (*OWN, *(OWN_ON_GPU if on_gpu else ()))
    peers = [peer for peer in (*PEERS, *(PEERS_ON_GPU if on_gpu else ())) if peer not in arguments.without]
    names = dict.fromkeys(own, sys.executable) | (dict.fromkeys(peers, arguments.peers) if arguments.peers else {})
    if not arguments.peers:
        print("without the peers: --peers PYTHON, see --help")
    where = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} threads"
    print(
        f"{arguments.divergence} at T = {TEMPERATURE:g}, N = {arguments.rows}, "
        f"D = {arguments.widths[0]} and {arguments.widths[1]}, {where} {arguments.dtype}, torch {torch.__version__}, "
        f"{arguments.rounds} rounds"
    )
    print(
        head("V", "side", "ms", "times the naive time", "peak MB of a step", "of the naive memory", "gradients differ")
    )
    for classes in arguments.classes:
        bench(names, classes, arguments)


if __name__ == "__main__":
    main()
