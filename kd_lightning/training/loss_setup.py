"""Losses that compare features are told, before training, which networks they will see and what their features are like;
all are told which student a stage is about to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from kd_lightning.data.table import WORDS_COLUMN
from kd_lightning.errors import ConfigError
from kd_lightning.losses.base import Loss
from kd_lightning.models.taps import check_taps, tap_network
from kd_lightning.seeds import derive_seed
from kd_lightning.tasks.base import ReadsTexts, Task
from kd_lightning.training.distillation import DistillationModule


def attach_losses(
    losses: Mapping[str, Loss], network: Callable[[str], nn.Module], task: Callable[[str], Task], seed: int, rows: int
) -> None:
    """Settle the taps of all losses and let them build their projections.

    Args:
        losses: name -> term.
        network: Role -> an untrained network of its architecture; called where a term reads features.
        task: Role -> the task as that role's networks read it, whose example batch they are run on.
        seed: Of the projections' start.
        rows: Of the training split.

    Raises:
        ConfigError: Features that are asked for cannot be compared.
        TapError: A network has no such module.
    """
    terms = {name: term for name, term in losses.items() if term.reads_features}
    if not terms:
        return
    reader = task("student")
    if isinstance(reader, ReadsTexts) and reader.raw_column == WORDS_COLUMN:
        raise ConfigError(
            f"loss.{next(iter(terms))} compares features of tokens, and teacher and student may split words into different "
            "ones: choose losses on logits, which lie on words, as loss=[kd]"
        )
    student, teacher = network("student").eval(), network("teacher").eval()
    for name, term in terms.items():
        term.expect_rows(rows)
        term.attach(student, teacher)
        check_taps(student, {tap: path for tap, (path, _) in term.taps.items()}, "student")
        check_taps(teacher, {tap: path for tap, (_, path) in term.taps.items()}, "teacher")
        torch.manual_seed(derive_seed(seed, "objectives", name))  # the old word: another would change every start
        term.build(
            read_features(student, {tap: path for tap, (path, _) in term.taps.items()}, task("student")),
            read_features(teacher, {tap: path for tap, (_, path) in term.taps.items()}, task("teacher")),
        )


def prepare_module(module: DistillationModule, teacher: Callable[[], nn.Module]) -> DistillationModule:
    """The module after its losses were told which student is about to be trained.

    Args:
        module: Of the stage, its student with the weights that it starts with.
        teacher: Gives the trained teacher, a new one each time.
    """
    for term in module.soft_losses.values():
        cast(Loss, term).prepare(module.network, teacher)
    return module


@torch.no_grad()
def read_features(network: nn.Module, taps: Mapping[str, str], task: Task) -> dict[str, Tensor]:
    """What the taps see of the task's example batch."""
    with tap_network(network, taps) as found:
        task.logits(network, task.example_batch())
    return found
