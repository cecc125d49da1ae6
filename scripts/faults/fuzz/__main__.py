"""Seeded fuzz of everything that a stranger may have written: configurations, result files, checkpoints.

    python -m scripts.faults.fuzz                                     # 2,000 + 2,000 + 500 cases
    python -m scripts.faults.fuzz --configurations 50 --seed 7        # fewer of one kind; the others keep their numbers
    python -m scripts.faults.fuzz --only results --case 1234          # one case again, with what it printed

A case fails on a traceback or a defect (exit code 1 where the user's file is at fault), on a payload that runs or reaches a
page, on a control character on the terminal, on a hang, and on a silent change of a result: a damaged file is refused, or
shows what stands in it, and takes nothing from the others; of sealed files (store entries, resume points) every change is
refused. Positive controls: the payload runs where it is called, and the untouched files pass. Exit code 0: no case failed.
"""

from __future__ import annotations

import argparse
import sys

from scripts.faults.fuzz.kinds import KINDS, run

NUMBERS = {"configurations": 2000, "results": 2000, "checkpoints": 500}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m scripts.faults.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for kind, number in NUMBERS.items():
        parser.add_argument(f"--{kind}", type=int, default=number)
    parser.add_argument("--only", choices=list(KINDS))
    parser.add_argument("--case", type=int)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    given = parse()
    asked = {kind: getattr(given, kind) for kind in KINDS if given.only in (None, kind)}
    sys.exit(any(tally.failures for tally in run(asked, given.seed, given.case).values()))
