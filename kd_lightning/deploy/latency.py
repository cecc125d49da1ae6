"""What it costs to ask a model: each format in processes of its own, one round of all after the other, threads pinned."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kd_lightning.data.table import Table
from kd_lightning.deploy.export import timed_process
from kd_lightning.deploy.export.bundle import count_model_bytes, write_parts
from kd_lightning.deploy.export.formats import Format, check_installed
from kd_lightning.deploy.export.parity import list_rows
from kd_lightning.deploy.export.traced_network import make_example
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.errors import ConfigError, KDError, MissingExtraError
from kd_lightning.safety.terminal import escape_unprintable

BENCH_ROWS = 32
"""Rows of the test split that are asked, the first ones."""
BATCHES = (1, 32)
"""Rows at once."""
ASKED_SECONDS = 0.5
"""How long each size of batch is asked for, in each round."""
GIVEN_UP_AFTER = 600
"""Seconds after which a process is given up."""


@dataclass
class TimedFormat:
    """One format of a model.

    Attributes:
        name: Of the format.
        model_bytes: Of its file.
        loads: Seconds until it could be asked, of each round.
        memory: Largest size of its process in bytes, over the rounds.
        answers: Rows at once -> milliseconds of each answer, of each round.
    """

    name: str
    model_bytes: int
    loads: list[float] = field(default_factory=list)
    memory: int = 0
    answers: dict[int, list[list[float]]] = field(default_factory=dict)

    def quantile(self, size: int, share: float) -> float:
        """Milliseconds within which that share of all answers came."""
        found = sorted(each for one in self.answers[size] for each in one)
        return found[min(len(found) - 1, int(share * len(found)))]

    def spread(self, size: int) -> tuple[float, float]:
        """The smallest and the largest median of a round."""
        medians = [statistics.median(one) for one in self.answers[size]]
        return min(medians), max(medians)

    def describe(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "format": self.name,
            "model_bytes": self.model_bytes,
            "load_seconds": statistics.median(self.loads),
            "memory_bytes": self.memory,
            "milliseconds": {
                size: {"p50": self.quantile(size, 0.5), "p95": self.quantile(size, 0.95), "rounds": self.spread(size)}
                for size in self.answers
            },
        }


def time_formats(
    model: TrainedModel,
    chosen: Sequence[Format],
    table: Table,
    rounds: int,
    threads: int,
    seconds: float = ASKED_SECONDS,
) -> list[TimedFormat]:
    """Time some formats of a model.

    Args:
        model: Which.
        chosen: The formats.
        table: Rows to ask; texts as texts.
        rounds: How often each is started.
        threads: Of each process.
        seconds: See ``ASKED_SECONDS``.

    Raises:
        KDError: A format cannot be written or asked.
        MissingExtraError: A package is missing.
    """
    example, folders = make_example(model), {}
    with tempfile.TemporaryDirectory() as place:
        for each in chosen:
            check_installed(each)
            folders[each.name] = Path(place) / each.name
            folders[each.name].mkdir()
            write_parts(model, each, example, folders[each.name])
        return time_bundles(folders, list(list_timed_rows(model, table)), rounds, threads, seconds)


def time_bundles(
    folders: Mapping[str, Path], rows: Sequence[Any], rounds: int, threads: int, seconds: float = ASKED_SECONDS
) -> list[TimedFormat]:
    """Time some bundles in turn.

    Args:
        folders: Name -> the bundle.
        rows: What they are asked.
        rounds: As in ``time_formats``.
        threads: Likewise.
        seconds: Likewise.

    Raises:
        KDError: A bundle cannot be asked.
    """
    found = [TimedFormat(name, count_model_bytes(folder)) for name, folder in folders.items()]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "rows.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
        for _ in range(rounds):
            for one in found:
                told = ask_process(folders[one.name], path, threads, seconds)
                one.loads.append(told["load"])
                one.memory = max(one.memory, told["memory"])
                for size, spent in told["answers"].items():
                    one.answers.setdefault(int(size), []).append(spent)
    return found


def list_timed_rows(model: TrainedModel, table: Table) -> Iterator[Any]:
    """The first rows as a user gives them."""
    part = table.select(torch.arange(min(BENCH_ROWS, len(table))))
    if model.encoder is not None:
        yield from list_rows(part)
        return
    inputs = model.task.inputs(model.task.collate(part, torch.arange(len(part)))).args[0]
    yield from inputs.tolist()


def ask_process(folder: Path, rows: Path, threads: int, seconds: float) -> dict[str, Any]:
    """What one process says of one bundle.

    Raises:
        KDError: It failed.
    """
    command = [sys.executable, timed_process.__file__, str(folder), str(rows), str(seconds), *map(str, BATCHES)]
    pinned = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "KD_INFERENCE_THREADS"), str(threads))
    environ = {**os.environ, **pinned}
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=GIVEN_UP_AFTER)
    except subprocess.TimeoutExpired as error:
        raise KDError(f"{folder.name} cannot be timed: it has not answered for {GIVEN_UP_AFTER} s") from error
    if done.returncode:
        said = escape_unprintable((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
        raise KDError(f"{folder.name} cannot be timed: {said}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def list_possible(model: TrainedModel, formats: Sequence[Format]) -> list[Format]:
    """Those formats that can be written here, of a model that they can hold.

    Raises:
        ConfigError: There is none.
    """
    example, found, why = make_example(model), [], "nothing was asked for"
    for each in formats:
        with tempfile.TemporaryDirectory() as place:
            try:
                check_installed(each)
                write_parts(model, each, example, Path(place))
            except (ConfigError, MissingExtraError) as error:
                why = str(error)
            else:
                found.append(each)
    if not found:
        raise ConfigError(why)
    return found
