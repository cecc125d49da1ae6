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
from kd_lightning.models.huggingface.architecture import DescribesArchitecture
from kd_lightning.safety.git_state import read_git_state
from kd_lightning.safety.inside import check_inside
from kd_lightning.safety.redaction import redact_settings
from kd_lightning.safety.versions import list_versions
from kd_lightning.store import TEMPORARY, publish, publish_file, publish_json, write_error
from kd_lightning.training.fit import WEIGHTS

WEIGHTS_FOLDER, WEIGHTS_SUFFIX = "weights", ".safetensors"
TOKENIZER_SUFFIX, ARCHITECTURE_SUFFIX = ".tokenizer.json", ".model"
"""After a role: its tokenizer, and the folder of a pretrained model's configuration."""
CONFIG_FILE = "config.json"


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
    for name in ("metrics", WEIGHTS_FOLDER):
        check_inside(folder, folder / name).mkdir(exist_ok=True)
    weights = folder / WEIGHTS_FOLDER
    roles = dict.fromkeys(stage.role for stage in compared.models.values())
    parts = {role: write_role_files(weights, experiment, role) for role in roles}
    for model, stage in compared.models.items():
        entry = experiment.context.place(stage)
        link_or_copy(entry.path(WEIGHTS), weights / f"{model}{WEIGHTS_SUFFIX}")
        publish_json(weights / f"{model}.json", {**describe_weights(experiment, stage), **parts[stage.role]})
        if entry.path("metrics.csv").is_file():
            link_or_copy(entry.path("metrics.csv"), folder / "metrics" / f"{stage.name}.csv")


def write_role_files(weights: Path, experiment: Experiment, role: str) -> dict[str, Any]:
    """What all networks of a role are built and fed with: the tokenizer, and a pretrained model's configuration.

    Returns:
        ``tokenizer``: ``max_length`` and ``type_ids``, or None without one; ``rebuilt``: settings of a network that is built
        from the configuration, or None where the network's own settings are enough.
    """
    fitted, network = experiment.builder.dataset.fitted_tokenizer(role), experiment.builder.network(role)
    described: dict[str, Any] = {"tokenizer": None, "rebuilt": None}
    if fitted is not None:
        publish(weights / f"{role}{TOKENIZER_SUFFIX}", fitted.text)
        described["tokenizer"] = {"max_length": fitted.max_length, "type_ids": fitted.type_ids}
    if isinstance(network, DescribesArchitecture):
        architecture, place = network.describe_architecture(), weights / f"{role}{ARCHITECTURE_SUFFIX}"
        check_inside(weights, place).mkdir(exist_ok=True)
        publish_json(place / CONFIG_FILE, architecture.config)
        described["rebuilt"] = architecture.settings
    return described


def describe_weights(experiment: Experiment, stage: Stage) -> dict[str, Any]:
    """What somebody needs to know to use a weights file elsewhere."""
    settings, dataset = experiment.context.settings, experiment.builder.dataset
    data = settings["data"]
    columns = {name: data[name] for name in ("text", "text_pair", "label") if isinstance(data.get(name), str | list)}
    return {
        "network": redact_settings(settings[stage.role]["model"]),
        "role": stage.role,
        "task": redact_settings(settings["task"]),
        "classes": experiment.builder.task.num_classes,
        "labels": dataset.label_names,
        "data": {**columns, "shape": data.get("shape"), "pixels": dataset.reads_images},
        "tokenizer_sha256": dataset.tokenizer_digest(stage.role),
        "data_fingerprint": dataset.fingerprint,
        "data_key": dataset.key,
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
