"""Smaller sentence encoders by kd_lightning, sentence-transformers and model2vec: the same teacher, texts, steps and seeds.

    python3 -m venv peers
    peers/bin/pip install -c constraints.txt torch sentence-transformers 'model2vec[distill]'
    python -m scripts.bench.peers_embedding --teacher FOLDER --peer-python peers/bin/python --pairs simlex999.txt wordsim353.tsv

Two comparisons, each with both sides in turn (A B A B) in a process of its own, on as many threads as OMP_NUM_THREADS says:

    layers   two layers of the teacher's own, trained to give its embeddings: ours and sentence-transformers' MSELoss
    static   a vector for each token of the teacher's: ours and model2vec.distill, which reads no texts

Scores: Spearman correlation of the cosines of random pairs of test sentences with the teacher's cosines, and of the cosines of
word pairs with people's scores. Files of pairs: two words and a score in each line, parted by tabs. Seconds are those of a
whole process, from its start to its end.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from scripts.bench.interleaved import ROOT, head, row

LAYERS, BATCH, STEPS, RATE = (0, 5), 32, 400, 3e-4
WIDTH = 256
"""Of the static embeddings, model2vec's default."""
TEST_PAIRS = 20_000
KD = "from kd_lightning.cli.main import main; import sys; sys.exit(main())"


def write_texts(folder: Path, train: int, other: int) -> dict[str, Path]:
    """Sentences of ``data=sotu_sentences`` as files of each split, drawn with a fixed seed."""
    from kd_lightning.data.sources.sotu_sentences import SotuSentences

    prepared = SotuSentences(val=0.03, test=0.06).prepare()
    paths = {}
    for split, count in (("train", train), ("val", other), ("test", other)):
        column = prepared.splits[split].column("text").whole()  # type: ignore[union-attr]
        texts = [bytes(each.tolist()).decode() for each in column.values.split(column.lengths.tolist())]
        chosen = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))[:count].tolist()
        paths[split] = folder / f"{split}.jsonl"
        paths[split].write_text("".join(json.dumps({"text": texts[row]}) + "\n" for row in chosen), encoding="utf-8")
    return paths


def read_pairs(path: Path) -> tuple[list[str], list[str], list[float]]:
    """Both words and the score of each line; lines that begin with # say nothing."""
    with open(path, encoding="utf-8") as file:
        lines = [line for line in csv.reader(file, delimiter="\t") if line and not line[0].startswith("#")]
    return [line[0] for line in lines], [line[1] for line in lines], [float(line[2]) for line in lines]


def cosines(one: Any, other: Any) -> Any:
    """Of the rows [N, D] of both."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(1) / np.maximum(norms, 1e-12)


def run_timed(words: Sequence[str], **environment: str) -> float:
    """Seconds of a process, which has to succeed."""
    start = time.perf_counter()
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": path, **environment}, stdout=sys.stderr)
    return time.perf_counter() - start


class Bench:
    """Both sides on the same texts.

    Args:
        teacher: Folder of the model.
        peer_python: Interpreter of the others' environment.
        pairs: Files of word pairs.
        work: Folder for all that is written.
        texts: Files of the splits.
    """

    def __init__(
        self, teacher: str, peer_python: str, pairs: Sequence[Path], work: Path, texts: dict[str, Path]
    ) -> None:
        self.teacher = teacher
        self.peer_python = peer_python
        self.work = work
        self.texts = texts
        self.pairs = {path.stem: read_pairs(path) for path in pairs}
        self.test = [json.loads(line)["text"] for line in texts["test"].read_text(encoding="utf-8").splitlines()]
        self.words = sorted({word for one, other, _ in self.pairs.values() for word in (*one, *other)})
        wanted = work / "wanted.json"
        wanted.write_text(json.dumps(self.test + self.words), encoding="utf-8")
        self.draw = np.random.default_rng(0).integers(len(self.test), size=(2, TEST_PAIRS))
        self.reference = self.run_peer("teacher", 0)[0][: len(self.test)]

    def run_peer(self, what: str, seed: int) -> tuple[Any, float, float]:
        """Vectors [N, D] of the test sentences and words, seconds, megabytes of the model."""
        output = self.work / f"{what}-{seed}.npz"
        settings = {"layers": LAYERS, "batch": BATCH, "steps": STEPS, "rate": RATE, "width": WIDTH, "seed": seed}
        words = [
            self.teacher,
            str(self.texts["train"]),
            str(self.work / "wanted.json"),
            str(output),
            json.dumps(settings),
        ]
        seconds = run_timed([self.peer_python, "-m", "scripts.bench.peers_embedding_others", what, *words])
        found = np.load(output)
        return found["vectors"], seconds, float(found["megabytes"])

    def run_ours(self, what: str, seed: int) -> tuple[Any, float, float]:
        """Likewise."""
        import kd_lightning as kd

        files = [f"data.{'path' if split == 'train' else f'{split}_path'}={path}" for split, path in self.texts.items()]
        outputs = self.work / f"{what}-{seed}"
        own = OURS[what]()
        common = ["data=table", *files, "data.text=text", f"teacher.model.path={self.teacher}", f"seed={seed}"]
        words = [*own, *common, f"data.batch_size={BATCH}", "progress=false", f"outputs={outputs}"]
        seconds = run_timed([sys.executable, "-c", KD, "run", *words])
        model = kd.load(next((outputs / "runs").iterdir()))
        megabytes = sum(each.numel() * each.element_size() for each in model.model.network.state_dict().values()) / 1e6
        return model.embed(self.test + self.words).numpy(), seconds, megabytes

    def score(self, vectors: Any) -> dict[str, float]:
        """Name of a score -> value."""
        sentences, words = vectors[: len(self.test)], dict(zip(self.words, vectors[len(self.test) :], strict=True))
        one, other = self.draw
        found = {
            "to the teacher": spearmanr(
                cosines(sentences[one], sentences[other]), cosines(self.reference[one], self.reference[other])
            ).statistic
        }
        for name, (first, second, human) in self.pairs.items():
            model = cosines(np.stack([words[word] for word in first]), np.stack([words[word] for word in second]))
            found[name] = spearmanr(model, human).statistic
        return {name: 100 * float(value) for name, value in found.items()}


def layers_of_ours() -> list[str]:
    """Overrides."""
    layers = ",".join(map(str, LAYERS))
    return [
        "experiment=embedding_layers",
        f"student.model.layers=[{layers}]",
        f"student.init_layers=[{layers}]",
        f"student.steps={STEPS}",
        f"student.optimizer.lr={RATE}",
    ]


def static_of_ours() -> list[str]:
    """Overrides: the teacher's own tokens, as many vectors as model2vec's."""
    return [
        "experiment=embedding",
        "student.init=teacher",
        f"student.model.embedding={WIDTH}",
        "student.model.vocab_size=30522",
        "~student.model.tokenizer",
        "+student.model.tokenizer={_target_:kd_lightning.data.tokenizers.hub.HubTokenizer,path:${teacher.model.path},"
        "revision:null,digest:${teacher.model.digest},max_length:128}",
        f"student.steps={STEPS}",
    ]


OURS = {"layers": layers_of_ours, "static": static_of_ours}
PEERS = {"layers": "sentence-transformers", "static": "model2vec"}


def main(arguments: list[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True, help="folder of a sentence encoder")
    parser.add_argument("--peer-python", required=True, help="interpreter of the environment with the others")
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=STEPS * BATCH, help="sentences that train")
    parser.add_argument("--only", choices=list(OURS), nargs="+", default=list(OURS))
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bench = Bench(chosen.teacher, chosen.peer_python, chosen.pairs, work, write_texts(work, chosen.texts, 1000))
        for what in chosen.only:
            found: dict[str, list[dict[str, float]]] = {"kd_lightning": [], PEERS[what]: []}
            for seed in range(chosen.seeds):
                for name, side in (("kd_lightning", bench.run_ours), (PEERS[what], bench.run_peer)):
                    vectors, seconds, megabytes = side(what, seed)
                    found[name].append({**bench.score(vectors), "MB": megabytes, "s": seconds})
            print(f"\n{what}, {chosen.seeds} seeds, mean (least to most)\n")
            print(head("", *found["kd_lightning"][0]))
            for name, answers in found.items():
                print(row(name, *(show([answer[key] for answer in answers]) for key in answers[0])), flush=True)
            pairs = zip(found["kd_lightning"], found[PEERS[what]], strict=True)
            print(row("seconds, ours over theirs", show([one["s"] / other["s"] for one, other in pairs])))
    return 0


def show(values: Sequence[float]) -> str:
    """Mean and range."""
    return f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
