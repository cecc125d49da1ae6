"""Run folders of untrained networks: what loads, evaluates and exports a model needs no training to be tested."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kd_lightning.config.instantiate import build_node
from kd_lightning.config.settings_checks import check_settings
from kd_lightning.config.shorthands import expand
from kd_lightning.data.table import Table
from kd_lightning.deploy.trained_model import TrainedModel, load_trained_model
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.run_folder import WEIGHTS_SUFFIX, describe_weights, write_role_files
from kd_lightning.experiment.settings import STUDENT
from kd_lightning.experiment.stage import TrainedStage
from kd_lightning.store import publish_json
from kd_lightning.training.callbacks.checkpoints import save_weights
from tests.support.cli import settings_of
from tests.support.tiny import SilentBoard

SMALL = {"embedding": 8, "hidden": 8, "width": 8, "heads": 2, "mlp_width": 16, "layers": 1}
"""Sizes of networks, where they have them."""


@dataclass(frozen=True)
class UntrainedRun:
    """A run that never was.

    Attributes:
        model: Its student.
        table: Its test rows.
        settings: Its settings.
    """

    model: TrainedModel
    table: Table
    settings: dict[str, Any]


def make_untrained_run(folder: Path, *words: str) -> UntrainedRun:
    """The folder of a job with those words, run from the working folder, whose student is as it was built."""
    settings = settings_of(*map(expand, words), f"outputs={folder}/outputs", "teacher_outputs=live")
    for role in ("teacher", "student"):
        network = settings[role]["model"]
        network.update({name: size for name, size in SMALL.items() if type(network.get(name)) is int})
    check_settings(settings)
    experiment = Experiment(settings, build_node, [], SilentBoard())
    stage = next(each for each in experiment.stages if isinstance(each, TrainedStage) and each.role == STUDENT)
    weights = folder / "run" / "weights"
    weights.mkdir(parents=True)
    save_weights(experiment.builder.network(STUDENT), weights / f"distilled{WEIGHTS_SUFFIX}")
    described = {**describe_weights(experiment, stage), **write_role_files(weights, experiment, STUDENT)}
    publish_json(weights / "distilled.json", described)
    publish_json(folder / "run" / "results.json", {})
    model = load_trained_model(folder / "run", build_node)
    table = experiment.builder.dataset.raw.splits["test"]
    if model.says_vectors:  # which are measured by how near they are to a teacher's
        vectors = torch.randn(len(table), len(model.labels), generator=torch.Generator().manual_seed(0))
        table = table.with_column("targets", vectors)
    return UntrainedRun(model, table, settings)
