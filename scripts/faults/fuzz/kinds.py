"""So many cases of each kind."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.utils import instantiate

from scripts.faults.fuzz.case import MARKER, Tally, fuzz, working_in
from scripts.faults.fuzz.checkpoints import Checkpoints, Touch
from scripts.faults.fuzz.configurations import DOCUMENTS, NODES, Configurations
from scripts.faults.fuzz.results import Results

KINDS: dict[str, Callable[[], Any]] = {
    "configurations": Configurations,
    "results": Results,
    "checkpoints": Checkpoints,
}


def control(folder: Path) -> None:
    """The payloads do run where they are called: in a YAML file read without care, in a node, in a pickle."""
    with working_in(folder):
        marker = folder / MARKER
        for work in (
            lambda: yaml.unsafe_load(DOCUMENTS[0]),
            lambda: instantiate(yaml.safe_load(NODES[3])),
            lambda: torch.save(Touch(), "x.pt") or torch.load("x.pt", weights_only=False),
        ):
            work()
            assert marker.exists()
            marker.unlink()


def run(kinds: dict[str, int], seed: int, case: int | None = None) -> dict[str, Tally]:
    """So many cases of each kind."""
    os.environ.pop("HYDRA_FULL_ERROR", None)
    with tempfile.TemporaryDirectory() as name:
        control(Path(name))
    found = {}
    for kind, number in kinds.items():
        start = time.monotonic()
        found[kind] = fuzz(kind, KINDS[kind]().case, number if case is None else case, seed, loud=case is not None)
        told = ", ".join(f"{count} {outcome}" for outcome, count in found[kind].outcomes.most_common(8))
        print(
            f"{kind}: {sum(found[kind].outcomes.values())} cases in {time.monotonic() - start:.0f} s: {told}",
            flush=True,
        )
        print(f"{kind}: {len(found[kind].failures)} failures", flush=True)
        for failure in found[kind].failures[:20]:
            print(f"  {failure[:600]}", flush=True)
    return found
