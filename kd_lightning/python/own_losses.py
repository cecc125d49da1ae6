"""Losses by name or of one's own, for networks and loaders of one's own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import nn

from kd_lightning.config.choices import build_choice
from kd_lightning.errors import ConfigError
from kd_lightning.losses.base import Loss
from kd_lightning.python.loaders import LoaderData
from kd_lightning.seeds import derive_seed
from kd_lightning.tasks.base import Task
from kd_lightning.training.loss_setup import attach_losses

LOSS_GROUP = "loss"


def build_losses(given: Sequence[str | Loss], seed: int) -> dict[str, Loss]:
    """The terms by name; a term of the caller's is copied, since it may be trained, and is called as its class.

    Args:
        given: Names of choices of ``loss``, or terms.
        seed: Of their projections, as in a run.

    Raises:
        ConfigError: There is none, no choice of that name, or two terms have the same name.
    """
    torch.manual_seed(derive_seed(seed, "objectives"))  # the old word: a run's start
    found: dict[str, Loss] = {}
    for each in given:
        if not isinstance(each, str | Loss):
            raise ConfigError(f"loss is of type {type(each).__name__}: a name (kd ls loss) or a Loss is expected")
        name = each if isinstance(each, str) else type(each).__name__.lower()
        if name in found:
            raise ConfigError(f"loss {name} is given twice")
        found[name] = cast(Loss, build_choice(LOSS_GROUP, each)) if isinstance(each, str) else copy.deepcopy(each)
    if not found:
        raise ConfigError('loss is empty: name at least one, as loss="kd"')
    return found


def fit_losses(
    losses: Mapping[str, Loss], networks: Mapping[str, nn.Module], task: Task, data: LoaderData, seed: int
) -> None:
    """Let the terms see networks, classes and features, as a run does.

    Args:
        losses: name -> term.
        networks: Role -> network.
        task: Of both.
        data: Its training rows are counted where a term asks for that.
        seed: Of the projections.

    Raises:
        ConfigError: A term needs what loaders do not tell, or features that cannot be compared.
        TapError: A network has no module of that name.
    """
    for name, term in losses.items():
        if type(term).expect_rows is not Loss.expect_rows:
            raise ConfigError(f"loss {name} remembers rows by their numbers, which loaders do not give: use kd.run")
        if term.counts_classes:
            term.expect_classes(data.count_class_rows(task.num_classes))
    attach_losses(losses, lambda role: copy.deepcopy(networks[role]).cpu(), lambda _: task, seed, rows=1)
