"""The fault matrix: kills, signals, full disks and damaged files, again and again, and what they cost.

    python -m scripts.faults                                  # all rows in full: an hour or two
    python -m scripts.faults saves disk --scale 0.1           # two rows, a tenth of the tries
    python -m scripts.faults --markdown table.md --outputs /var/tmp/faults

Every row has a positive control, the column "struck": how often the fault provably hit work in progress. A row fails if
one try fails, or if its fault never struck. Exit code 0: all rows passed; 1: one did not. Run it from the checkout:
it uses the tests' tiny experiment.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch

from scripts.faults.processes import Outcome
from scripts.faults.rows import ROWS

SEED = 2026
HEADER = ["row", "fault", "where", "tries", "struck", "passed", "seconds", "passes if", "seen"]


def measure(name: str, scale: float, outputs: Path) -> tuple[Outcome, float]:
    """A row, in its own folder, which is removed if all went well; seconds."""
    row, folder = ROWS[name], outputs / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.perf_counter()
    outcome = row.body(random.Random(f"{SEED} {name}"), max(2, round(row.tries * scale)), folder)
    if outcome.ok:
        shutil.rmtree(folder)
    return outcome, time.perf_counter() - began


def line(name: str, outcome: Outcome, seconds: float) -> str:
    """A row of the Markdown table."""
    row = ROWS[name]
    numbers = [str(outcome.tries), str(outcome.fired), str(outcome.passed), f"{seconds:.0f}"]
    return f"| {' | '.join([name, row.fault, row.where, *numbers, row.passes, outcome.note])} |"


def main() -> int:
    """The table on stdout, failures on stderr; the exit code."""
    parser = argparse.ArgumentParser(
        "python -m scripts.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], metavar="ROW", help=f"{', '.join(ROWS)}; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the tries; default 1")
    parser.add_argument("--outputs", type=Path, help="folder to work in; default: a temporary one")
    parser.add_argument("--markdown", type=Path, help="file for the table, too")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    lines = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="kd-faults-") as temporary:
        print(f"seed {SEED}, scale {chosen.scale}", *lines, sep="\n", flush=True)
        for name in chosen.rows or list(ROWS):
            outcome, seconds = measure(name, chosen.scale, chosen.outputs or Path(temporary))
            lines.append(line(name, outcome, seconds))
            print(lines[-1], flush=True)
            for failure in outcome.failures:
                print(f"{name}: {failure}", file=sys.stderr, flush=True)
            if not outcome.fired:
                print(f"{name}: the fault never struck: nothing is shown", file=sys.stderr)
            failed += not outcome.ok
    if chosen.markdown:
        chosen.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return min(1, failed)


if __name__ == "__main__":
    sys.exit(main())
