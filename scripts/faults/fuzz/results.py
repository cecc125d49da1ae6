"""Result files of strangers."""

from __future__ import annotations

import csv
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from kd_lightning.cli.main import main
from kd_lightning.results.sweep_folder import UNREADABLE
from kd_lightning.safety.json_files import read_json
from scripts.faults.fuzz.case import HTML, answer, working_in
from scripts.faults.fuzz.spoil import spoil
from tests.results.report.sweep_sample import GONE, results, write_grid, write_json, write_sweep, write_troubled


class Results:
    """Sweeps and runs with one or two spoiled files: status, the report of the sweep, the report of a run."""

    def __init__(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="fuzz-base-"))
        write_grid(self.place / "grid", {"temperature": (1, 2), "seed": (0, 1)}, points=4)
        write_troubled(self.place / "troubled")
        for number in range(4, 18):
            shutil.rmtree(self.place / "troubled" / str(number)) if number not in (4, 5) else None
        write_sweep(self.place / "troubled", 20, "running", pid=GONE, host="elsewhere")
        write_json(self.place / "grid" / "study.json", STUDY)
        for number in range(4):
            run = self.place / "grid" / str(number)
            write_json(run / "trial.json", {"number": number, "params": {}})
            write_json(run / "environment.json", {"python": "3.12", "threads": 1})
            write_json(run / "progress.json", {"stage": "distill", "step": 3, "steps": 4, "note": "a"})
            (run / "overrides.txt").write_text("temperature=1\nseed=0\n", encoding="utf-8")
            (run / "config.yaml").write_text("seed: 0\n", encoding="utf-8")
        groups = {"head": {"classes": [0, 1], "training_rows": [9, 8]}, "tail": {"classes": [2], "training_rows": [1]}}
        more = {"low": -0.1, "high": 0.2, "level": 0.95, "method": "bootstrap"}
        long = results(40.0, 0, interval=more, class_groups=groups, loss=["kd"], verdict="Better.", labeled=64)
        for name, model in long["models"].items():
            model["metrics"] = {"accuracy_head": 0.9, "accuracy_tail": 0.4}
            model |= {"label": name, "stage": "distill", "role": "student", "start": "distill", "steps_before": 0}
        write_json(self.place / "grid" / "0" / "results.json", long)
        with working_in(self.place):
            assert answer(lambda: main(["report", "grid"]))[0] == 0
        self.rows = rows_of(self.place / "grid")
        assert len(self.rows) == 4

    def case(self, rng: random.Random, folder: Path) -> tuple[str, list[str]]:
        """Spoil files, then look at them in every way."""
        name = "troubled" if rng.random() < 0.2 else "grid"
        sweep = folder / "sweep"
        shutil.copytree(self.place / name, sweep)
        files = sorted(path for path in sweep.rglob("*") if path.suffix in (".json", ".csv", ".txt", ".yaml"))
        files = [path for path in files if path.parent != sweep or path.suffix == ".json"]
        spoiled = rng.sample(files, rng.choice((1, 1, 1, 2)))
        for path in spoiled:
            spoil(rng, path)
        problems, codes = [], []
        for words in (
            ["status", "sweep"],
            ["report", "sweep"],
            ["report", "sweep/0"],
            ["report", "sweep/0", "sweep/1", "--out", "out"],
        ):
            code, _, found = answer(lambda words=words: main(words))
            codes.append(str(code))
            problems += [f"{' '.join(words)}: {problem}" for problem in found]
            if words == ["report", "sweep"] and code == 0:
                problems += self.changes(sweep, spoiled) if name == "grid" else []
        pages = [path.read_text(encoding="utf-8") for path in folder.rglob("report.html")]
        problems += ["a payload on the page"] * any(HTML in page for page in pages)
        told = ", ".join(str(path.relative_to(sweep)) for path in spoiled)
        return f"exit codes {' '.join(codes)}", [f"{problem} ({told})" for problem in problems]

    def changes(self, sweep: Path, spoiled: list[Path]) -> list[str]:
        """Silent changes: a job whose files are whole shows what it did; another what stands in its file, or nothing."""
        problems = []
        rows, touched = rows_of(sweep), {path.parent.name for path in spoiled}
        for number, before in self.rows.items():
            after = rows.get(number)
            if number not in touched:
                changed = [name for name in KEPT if after is None or after.get(name, "") != before[name]]
                problems += [f"job {number}, which is whole, shows other {changed}"] if changed else []
            elif after and after["state"] != UNREADABLE and after.get("models.distilled.val"):
                stands = read_json(sweep / number / "results.json")["models"]["distilled"]["val"]
                shown = after["models.distilled.val"]
                problems += [] if same_number(shown, stands) else [f"job {number} shows {shown} for {stands}"]
        return problems


STUDY = {
    "name": "tpe",
    "storage": "sqlite:///study.db",
    "sampler": "TPE",
    "pruner": "median",
    "best": [1],
    "objectives": [{"value": "models.distilled.val", "direction": "minimize"}],
    "trials": {"complete": 4, "failed": 0},
    "importances": {"temperature": 0.8, "seed": 0.2},
}
KEPT = (
    "state",
    "params.temperature",
    "params.seed",
    "models.distilled.val",
    "models.distilled.test",
    "models.baseline.test",
)


def rows_of(sweep: Path) -> dict[str, dict[str, str]]:
    """``results.csv`` by job."""
    with (sweep / "results.csv").open(encoding="utf-8", newline="") as file:
        return {row["job"]: row for row in csv.DictReader(file)}


def same_number(shown: str, stands: Any) -> bool:
    """The text is the value's, in full precision."""
    try:
        return repr(float(shown)) == repr(float(stands))
    except (TypeError, ValueError):
        return shown == str(stands)
