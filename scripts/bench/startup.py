"""Seconds from the command to its first training step, where teacher, baseline and pre-training are stored already.

    python -m scripts.bench.startup --rounds 5

Each round asks `kd run experiment=digits` for an alpha not seen before, so that only the distill stage is trained, and waits
for the first line of its metrics. For comparison: the same process start with `import pytorch_lightning` alone. Then the
packages that a run imports, with the seconds that their own modules take (`python -X importtime`, which itself costs time).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = [sys.executable, "-m", "kd_lightning.cli.main", "run", "experiment=digits", "log_every=1", "progress=false"]
SHOWN = 12
SHORT = ["teacher.steps=20", "student.steps=40", "student.pretrain_steps=20"]


def first_step(outputs: Path, alpha: float) -> float:
    """Seconds until the distill stage of a run with this alpha has logged its first step."""
    known = set((outputs / "store").glob("distill/*/"))
    started = time.perf_counter()
    process = subprocess.Popen([*RUN, *SHORT, f"outputs={outputs}", f"alpha={alpha}"], stdout=subprocess.DEVNULL)
    seconds = 0.0
    while not seconds and process.poll() is None:
        for folder in set((outputs / "store").glob("distill/*/")) - known:
            metrics = folder / "metrics.csv"
            if metrics.is_file() and metrics.stat().st_size > 0:
                seconds = time.perf_counter() - started
        time.sleep(0.005)
    if process.wait() or not seconds:
        raise SystemExit("the run failed, or its distill stage was stored already")
    return seconds


def imports() -> float:
    """Seconds of a process that imports Lightning and does nothing."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import pytorch_lightning"], check=True)
    return time.perf_counter() - started


def imported() -> dict[str, tuple[int, float]]:
    """Package -> number of modules and seconds of what a run imports, the slowest first."""
    command = [sys.executable, "-X", "importtime", "-c", "import kd_lightning.cli.run, kd_lightning.experiment.run"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stderr.splitlines()
    found: dict[str, tuple[int, float]] = {}
    for line in lines:
        own, _, name = (part.strip() for part in line.removeprefix("import time:").split("|"))
        if own.isdigit():  # else it is the heading
            package = name.partition(".")[0]
            modules, seconds = found.get(package, (0, 0.0))
            found[package] = modules + 1, seconds + int(own) / 1e6
    return dict(sorted(found.items(), key=lambda item: -item[1][1]))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder)
        first_step(outputs, 0.5)  # fills the store
        pairs = [(imports(), first_step(outputs, 0.1 + i / 1000)) for i in range(rounds)]
    for name, side in zip(
        ("import pytorch_lightning", "kd run to its first step"), zip(*pairs, strict=True), strict=True
    ):
        print(f"{name}: median {statistics.median(side):.1f} s, range {min(side):.1f} to {max(side):.1f}")
    packages = imported()
    total = sum(seconds for _, seconds in packages.values())
    print(f"\n{len(packages)} packages, {sum(n for n, _ in packages.values())} modules, {total:.1f} s; the slowest:")
    print("| package | modules | seconds |\n|---|---|---|")
    for package, (modules, seconds) in list(packages.items())[:SHOWN]:
        print(f"| {package} | {modules} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
