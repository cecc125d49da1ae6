"""What a run leaves behind: settings, environment, log, metrics, weights, results, report."""

from __future__ import annotations

import os
import platform
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from kd_lightning.git_state import git_state
from kd_lightning.inside import inside
from kd_lightning.pipeline import MODELS, Experiment, role_of
from kd_lightning.redaction import redacted
from kd_lightning.stage import WEIGHTS
from kd_lightning.store import TEMPORARY, publish_file, publish_json, write_error
from kd_lightning.versions import installed


def environment() -> dict[str, Any]:
    """Versions, machine and git state, for the record."""
    return {
        **{f"version {name}": version for name, version in installed().items()},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        **git_state(Path.cwd()),
    }


def gather(folder: Path, experiment: Experiment) -> None:
    """Put each stage's metrics and weights into the run folder, as links where the file system has them."""
    for name in ("metrics", "weights"):
        inside(folder, folder / name).mkdir(exist_ok=True)
    for model, stage in MODELS.items():
        entry = experiment.entries.get(stage)
        if entry is None:
            continue
        link(entry.path(WEIGHTS), folder / "weights" / f"{model}.safetensors")
        publish_json(folder / "weights" / f"{model}.json", describe(experiment, stage))
        if entry.path("metrics.csv").is_file():
            link(entry.path("metrics.csv"), folder / "metrics" / f"{stage}.csv")


def describe(experiment: Experiment, stage: str) -> dict[str, Any]:
    """What somebody needs to know to use a weights file elsewhere."""
    return {
        "network": redacted(experiment.recipe.network_settings(role_of(stage))),
        "classes": experiment.recipe.task.num_classes,
        "tokenizer_sha256": experiment.recipe.tokenizer_digest,
        "data_fingerprint": experiment.recipe.fingerprint,
        "store_key": experiment.entries[stage].key,
    }


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy where links cannot be made; until it is whole, what was there stays.

    Raises:
        CheckpointWriteError: It could not be written.
    """
    draft = target.with_name(f"{TEMPORARY}{os.getpid()}-{target.name}")
    try:
        draft.unlink(missing_ok=True)  # a copy into an old link would write into the store
        try:
            os.link(source, draft)
        except OSError:
            shutil.copyfile(source, draft)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise write_error(target, error) from error
    publish_file(draft, target)
    draft.unlink(missing_ok=True)  # a rename does nothing where both names are the same file already
