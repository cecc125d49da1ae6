"""What a run leaves behind: settings, environment, log, metrics, weights, results, report."""

from __future__ import annotations

import os
import platform
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.stage import Comparison, Stage
from kd_lightning.safety.git_state import read_git_state
from kd_lightning.safety.inside import check_inside
from kd_lightning.safety.redaction import redact_settings
from kd_lightning.safety.versions import list_versions
from kd_lightning.store import TEMPORARY, publish_file, publish_json, write_error
from kd_lightning.training.fit import WEIGHTS


def describe_environment() -> dict[str, Any]:
    """Versions, machine and git state, for the record."""
    return {
        **{f"version {name}": version for name, version in list_versions().items()},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        **read_git_state(Path.cwd()),
    }


def link_models(folder: Path, experiment: Experiment, compared: Comparison) -> None:
    """Put each model's metrics and weights into the run folder, as links where the file system has them."""
    for name in ("metrics", "weights"):
        check_inside(folder, folder / name).mkdir(exist_ok=True)
    for model, stage in compared.models.items():
        entry = experiment.context.place(stage)
        link_or_copy(entry.path(WEIGHTS), folder / "weights" / f"{model}.safetensors")
        publish_json(folder / "weights" / f"{model}.json", describe_weights(experiment, stage))
        if entry.path("metrics.csv").is_file():
            link_or_copy(entry.path("metrics.csv"), folder / "metrics" / f"{stage.name}.csv")


def describe_weights(experiment: Experiment, stage: Stage) -> dict[str, Any]:
    """What somebody needs to know to use a weights file elsewhere."""
    return {
        "network": redact_settings(experiment.context.settings[stage.role]["model"]),
        "classes": experiment.builder.task.num_classes,
        "tokenizer_sha256": experiment.builder.dataset.tokenizer_digest,
        "data_fingerprint": experiment.builder.dataset.fingerprint,
        "store_key": stage.key,
    }


def link_or_copy(source: Path, target: Path) -> None:
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
