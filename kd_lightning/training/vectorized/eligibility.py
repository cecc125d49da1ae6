"""Which trainings can be done in one pass; for those that cannot, why: they are done one after the other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from pytorch_lightning.strategies import SingleDeviceStrategy

from kd_lightning.losses.base import Loss
from kd_lightning.training.callbacks.checkpoints import step_of
from kd_lightning.training.distillation import DistillationModule
from kd_lightning.training.fit import QUIET, Training
from kd_lightning.training.supervised import SupervisedModule
from kd_lightning.training.vectorized.optimizer import ELEMENTWISE
from kd_lightning.training.vectorized.probe import fits_side_by_side, why_not_mapped
from kd_lightning.types import Outputs

OWN = frozenset({"loss", "alpha", "temperature", "weight_curves", "optimizer", "scheduler", "start", "code"})
"""Ingredients in which students of one stack may differ; ``code`` follows from the others."""

LARGEST = 2**17
"""Trained parameters of a student up to which it pays: beyond, the products take the time, not the calls (on one thread, 8
students in one pass against one by one: 1.9 k parameters 5.0 x, 21 k 1.2 x, 88 k 1.5 x, 1.1 M 0.7 x)."""


def why_not_stacked(trainings: Sequence[Training]) -> str | None:
    """Why these trainings must be done one after the other, in one sentence; None = they can be done in one pass.

    Args:
        trainings: Of one stage, about to start.
    """
    checks: Sequence[Callable[[Sequence[Training]], str | None]] = (
        why_alone,
        why_different,
        why_watched,
        why_settings,
        why_modules,
        why_losses,
    )
    for check in checks:
        reason = check(trainings)
        if reason:
            return reason
    first = trainings[0].module
    return None if fits_side_by_side(first.network, first.task) else why_not_mapped(first.network, first.task)


def why_alone(trainings: Sequence[Training]) -> str | None:
    """There are not two."""
    return "there is one training only" if len(trainings) < 2 else None


def why_different(trainings: Sequence[Training]) -> str | None:
    """They differ in more than students of one stack may."""
    if len({training.stage.name for training in trainings}) > 1:
        return "the stages differ"
    first, *others = ({"steps": each.stage.steps, **each.stage.contents} for each in trainings)
    for other in others:
        differing = sorted(name for name in (first.keys() | other.keys()) - OWN if first.get(name) != other.get(name))
        if differing:
            return f"they differ in {', '.join(differing)}"
    if len({step_of(training.resume) if training.resume else 0 for training in trainings}) > 1:
        return "they go on from different steps"
    return None


def why_watched(trainings: Sequence[Training]) -> str | None:
    """Something besides our own callbacks looks at one of them."""
    for training in trainings:
        if training.settings.callbacks():
            return "a job has callbacks of its own"
        if training.settings.loggers("check"):
            return "a job has a logger"
        if training.pruning():
            return "a search may end one of them early"
    return None


def why_settings(trainings: Sequence[Training]) -> str | None:
    """The trainer does more than take one step for each batch, in float32 on one device."""
    first, *others = (training.settings for training in trainings)
    for name in ("validate_every", "checkpoint_every", "log_every"):
        if any(getattr(first, name) != getattr(other, name) for other in others):
            return f"they differ in {name}"
    if first.accumulate > 1:
        return "batches are accumulated"
    trainer = first.trainer(logger=False, **QUIET)
    if trainer.world_size > 1 or not isinstance(trainer.strategy, SingleDeviceStrategy):
        return "there are several devices"
    if trainer.precision != "32-true":
        return f"trainer.precision is {trainer.precision}"
    return None


def why_modules(trainings: Sequence[Training]) -> str | None:
    """A module is none of ours, is large, or computes in a way of its own."""
    network = trainings[0].module.network
    size = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    if size > LARGEST:
        return f"{type(network).__name__} has {size} parameters: too many to gain by it"
    kinds = {type(training.module) for training in trainings}
    if kinds != {SupervisedModule} and kinds != {DistillationModule}:
        return "their modules are of different kinds, or of one that is not stacked"
    optimizers = []
    for module in (training.module for training in trainings):
        if module.compiled:
            return "the network is compiled"
        if module.chunked:
            return "the losses are computed by chunks"
        if isinstance(module, DistillationModule) and module.weighting.learns:
            return f"{type(module.weighting).__name__} weights the losses of each student by what it sees"
        optimizers.append(module.configure_optimizers()["optimizer"])
    for optimizer in optimizers:
        name = type(optimizer).__name__
        if type(optimizer) not in ELEMENTWISE:
            return f"{name} may treat a tensor as a whole"
        if type(optimizer) is not type(optimizers[0]):
            return "their optimizers are of different classes"
        if len(optimizer.param_groups) > 1 or isinstance(optimizer.defaults["lr"], torch.Tensor):
            return f"their {name} has parameter groups, or a learning rate that is a tensor"
    return None


def why_losses(trainings: Sequence[Training]) -> str | None:
    """A loss is more than a function of logits."""
    for module in (training.module for training in trainings):
        if isinstance(module, DistillationModule):
            for name, term in module.soft_losses.items():
                assert isinstance(term, Loss)
                if term.taps:
                    return f"loss.{name} reads features"
                if any(True for _ in term.parameters()) or any(True for _ in term.buffers()):
                    return f"loss.{name} has parameters or state of its own"
                if draws_random_numbers(term, module):
                    return f"loss.{name} draws random numbers"
    return None


def draws_random_numbers(term: Loss, module: DistillationModule) -> bool:
    """The term moves the random state: students that share a pass would draw one after the other."""
    batch = module.task.example_batch()
    network = copy.deepcopy(module.network).eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        outputs = Outputs(module.task.logits(network, batch))
        before = torch.get_rng_state()
        term(outputs, outputs, module.task.align(batch, outputs.logits), module.mixing(0).temperature)
        return not torch.equal(before, torch.get_rng_state())
