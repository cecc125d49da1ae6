"""Finished runs of a few steps, and what they predicted on their test split."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from kd_lightning.cli.main import main
from tests.deploy.tiny import write_table

STEPS = (
    "teacher.steps=10",
    "student.steps=10",
    "student.pretrain_steps=0",
    "validate_every=5",
    "teacher_outputs=live",
    "progress=false",
)


@dataclass(frozen=True)
class FinishedRun:
    """A run that has been carried out.

    Attributes:
        root: Working folder of the command.
        run: The run's folder, in it.
        away: A copy of the run's folder alone, somewhere else.
        results: ``results.json``.
        predicted: Model -> class numbers of the test rows.
    """

    root: Path
    run: Path
    away: Path
    results: dict[str, Any]
    predicted: dict[str, list[int]]


def carry_out(root: Path, *words: str) -> FinishedRun:
    """Do the run in that folder."""
    before = Path.cwd()
    os.chdir(root)
    try:
        assert main(["run", *words]) == 0
    finally:
        os.chdir(before)
    (run,) = (root / "outputs" / "runs").iterdir()
    away = root / "away" / "copied"
    shutil.copytree(run, away)
    results = json.loads((run / "results.json").read_text())
    tested = {
        json.dumps(json.loads((folder / "result.json").read_text())["metrics"]): folder
        for folder in (root / "outputs" / "store" / "test").iterdir()
        if folder.is_dir()
    }
    predicted = {
        name: load_file(tested[json.dumps(model["metrics"])] / "rows.safetensors")["predicted"].tolist()
        for name, model in results["models"].items()
    }
    return FinishedRun(root, run, away, results, predicted)


def write_splits(root: Path, labels: Sequence[str] = ("neg", "pos"), pair: bool = False) -> tuple[str, ...]:
    """Three files of texts, and the words that name them."""
    for seed, (name, rows) in enumerate({"train": 120, "val": 20, "test": 40}.items()):
        write_table(root / f"{name}.csv", rows, seed, labels, pair)
    return (
        "experiment=texts",
        f"data.path={root}/train.csv",
        f"data.val_path={root}/val.csv",
        f"data.test_path={root}/test.csv",
        "data.text=review",
        "data.label=kind",
        *(["data.text_pair=reply"] if pair else []),
        *STEPS,
    )
