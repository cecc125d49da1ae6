"""A stranger's files: ``kd`` is run inside a folder that somebody else made, and none of their code may run.

    python -m scripts.faults.hostile                    # every root, about a minute
    python -m scripts.faults.hostile escaped_create     # one of them

A root is one way in. Each has a positive control: the user allows it (on the command line, in the environment, ...), and
then the same payload runs. Payloads make one marker and do nothing else. All roots: ``roots.py``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from scripts.faults.hostile.attempt import problems_of
from scripts.faults.hostile.roots import all_roots
from tests.support.commands import share_one_server


def main() -> int:
    """A line for each root; the exit code is 1 if one went wrong."""
    roots = all_roots()
    parser = argparse.ArgumentParser(
        "python -m scripts.faults.hostile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("roots", nargs="*", choices=[*roots, []], metavar="ROOT", help="default: all")
    chosen = parser.parse_args().roots or list(roots)
    share_one_server()
    failed = 0
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="kd-hostile-") as folder:
            _, problems = problems_of(roots[name], Path(folder))
        failed += bool(problems)
        print(f"{name}: {'; '.join(problems) or 'refused; runs where allowed'}", flush=True)
    return min(1, failed)


if __name__ == "__main__":
    sys.exit(main())
