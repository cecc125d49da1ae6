"""Times one bundle in a process of its own: loading, answering, memory. Needs what ``inference.py`` needs, and nothing of ours.

python timed_process.py BUNDLE ROWS.json SECONDS SIZE ...      prints one line of JSON
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from pathlib import Path

WARM_UP = 3
"""Answers that are not counted."""
FEWEST = 5
"""Answers that are, however long they take."""


def time_bundle(folder: str, rows_file: str, seconds: float, sizes: list[int]) -> dict[str, object]:
    """What it costs.

    Args:
        folder: The bundle.
        rows_file: JSON of rows, as ``Model.predict`` takes them.
        seconds: How long each size is asked for.
        sizes: Rows at once.

    Returns:
        ``load``: seconds until the model could be asked, imports included; ``answers``: size -> milliseconds of each answer,
        from the raw rows on; ``memory``: the largest that the process was, in bytes.
    """
    began = time.perf_counter()
    sys.path.insert(0, folder)
    bundle = importlib.import_module("inference")
    rows = json.loads(Path(rows_file).read_text(encoding="utf-8"))
    rows = [tuple(row) if isinstance(row, list) and row and isinstance(row[0], str) else row for row in rows]
    model = bundle.Model(folder)
    load = time.perf_counter() - began
    answers = {}
    for size in sizes:
        asked = [[rows[(start + number) % len(rows)] for number in range(size)] for start in range(len(rows))]
        for number in range(WARM_UP):
            model.predict(asked[number % len(asked)], size)
        spent: list[float] = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or len(spent) < FEWEST:
            start = time.perf_counter()
            model.predict(asked[len(spent) % len(asked)], size)
            spent.append(1000 * (time.perf_counter() - start))
        answers[size] = spent
    return {"load": load, "answers": answers, "memory": measure_peak()}


def measure_peak() -> int:
    """The largest that this process was, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # what `getrusage` says is not below that of whoever started the process
        words = status.read_text().partition("VmHWM:")[2].split()
        return int(words[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    print(json.dumps(time_bundle(sys.argv[1], sys.argv[2], float(sys.argv[3]), list(map(int, sys.argv[4:])))))
