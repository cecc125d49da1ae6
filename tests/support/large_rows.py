"""A training on more rows than the process may have memory for: ``python -m tests.support.large_rows FOLDER``.

After a first tiny experiment, which imports and allocates what every run needs, the process may take ``ALLOWED`` bytes more
(RLIMIT_DATA: what it allocates and private writable maps; files mapped for reading do not count). It prints, as JSON, how the
experiment went with rows left in their files, what came of copying a column whole, and of an experiment with rows in memory.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from kd_lightning.data.source import PreparedPieces
from kd_lightning.data.table import Table
from tests.support.parts import CLASSES
from tests.support.tiny import experiment

FEATURES = 4096
PIECE = 250
"""Rows: what is made and written at a time needs some 30 MB, a third of ``ALLOWED``."""
PIECES = {"train": 88, "val": 4, "test": 4}
TRAIN_BYTES = PIECES["train"] * PIECE * FEATURES * 4
ALLOWED = TRAIN_BYTES // 4


class LargeRows:
    """A source that gives its rows piece by piece: one input of a row is larger, which says its class."""

    def digest(self) -> str:
        return "large"

    def prepare(self) -> PreparedPieces:
        return PreparedPieces(self.pieces(), facts={"rows": sum(PIECES.values()) * PIECE})

    @staticmethod
    def pieces() -> Iterator[tuple[str, Table]]:
        """Of 4 MB each."""
        generator = torch.Generator().manual_seed(0)
        for split, count in PIECES.items():
            for _ in range(count):
                targets = torch.randint(CLASSES, (PIECE,), generator=generator)
                inputs = torch.randn(1, FEATURES, generator=generator).repeat(PIECE, 1)
                inputs[torch.arange(PIECE), targets] += 9
                yield split, Table({"inputs": inputs, "targets": targets})


def run(folder: Path, memory_map_above: str | None) -> Any:
    """The tiny experiment on the large rows, a part of them chosen in each way there is."""
    network = {"_target_": "kd_lightning.models.mlp.MLP", "num_classes": CLASSES, "in_features": FEATURES}
    one = experiment(
        folder,
        data__source={"_target_": "tests.support.large_rows.LargeRows"},
        data__memory_map_above=memory_map_above,
        data__imbalance=1.2,
        data__limit=20_000,
        student__num_labeled=600,
        data__eval_batch_size=50,
        task__example__shape=[FEATURES],
        teacher__model={**network, "hidden": [8]},
        student__model={**network, "hidden": [4]},
        checkpoint_every=100,
    )
    one.run()
    return one


def outcome(work: Any) -> str:
    """``done``, or the error."""
    try:
        work()
    except (RuntimeError, MemoryError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def field(name: str) -> int:
    """Bytes, of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main(folder: Path) -> None:
    """See the head of this file."""
    experiment(folder / "tiny").run()
    limit = field("VmData") + ALLOWED
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    started = time.perf_counter()
    one = run(folder, "1MB")
    seconds = time.perf_counter() - started
    train = one.builder.dataset.prepared.splits["train"]
    report = {
        "train_bytes": len(train) * FEATURES * 4,
        "seconds": seconds,
        "copied": outcome(lambda: train["inputs"].sum()),
        "in_memory": outcome(lambda: run(folder, None)),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
