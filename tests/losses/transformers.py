"""What the tests of losses on attention layers share: two small transformers, attached, and what they say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kd_lightning.losses.base import Loss
from kd_lightning.models.taps import tap_network
from kd_lightning.models.transformer_lm import TransformerLM
from kd_lightning.tasks.examples import TokenExample
from kd_lightning.tasks.metrics import Perplexity
from kd_lightning.tasks.position import PositionTask
from kd_lightning.training.loss_setup import attach_losses
from kd_lightning.types import Aligned, Outputs

TASK = PositionTask(7, {"perplexity": Perplexity()}, "perplexity", TokenExample(7, length=4), "tokens")
INPUTS = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0], [3, 3, 3, 3]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]).bool()


def networks(role: str, heads: int = 2) -> nn.Module:
    layers, width = (4, 8) if role == "teacher" else (2, 4)
    torch.manual_seed(layers)
    network = TransformerLM(vocab_size=7, width=width, layers=layers, heads=heads, max_length=8)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4)
    return network


def attached(loss: Loss, student_heads: int = 2) -> Loss:
    heads = {"student": student_heads, "teacher": 2}
    attach_losses({"it": loss}, lambda role: networks(role, heads[role]), lambda role: TASK, seed=0, rows=40)
    return loss.double()


@torch.no_grad()
def said(loss: Loss, role: str) -> Outputs:
    """What a network says of ``INPUTS``, with the loss's features; without a graph."""
    side = ("student", "teacher").index(role)
    network = networks(role).double()
    with tap_network(network, {tap: paths[side] for tap, paths in loss.taps.items()}) as features:
        logits = network(INPUTS)
    return Outputs(logits, features)


def value(loss: Loss, student: Outputs, teacher: Outputs, mask: Tensor = MASK) -> Tensor:
    return loss(student, teacher, Aligned(None, mask, mask), 1.0)


def check_gradients(loss: Loss) -> None:
    """Those by the student's features are those of the value."""
    student, teacher = said(loss, "student"), said(loss, "teacher")
    names = list(student.features)

    def by_features(*features: Tensor) -> Tensor:
        given = Outputs(student.logits, dict(zip(names, features, strict=True)))
        return value(loss, given, teacher)

    leaves = [student.features[name].requires_grad_() for name in names]
    # Scores of positions that do not attend are the lowest number there is: no difference can be taken there.
    movable = [leaf for leaf in leaves if leaf.min() > -1e30]
    fixed = {id(leaf) for leaf in leaves} - {id(leaf) for leaf in movable}

    def by_movable(*moved: Tensor) -> Tensor:
        rest = iter(moved)
        return by_features(*(leaf.detach() if id(leaf) in fixed else next(rest) for leaf in leaves))

    assert torch.autograd.gradcheck(by_movable, movable)
    for gradient in torch.autograd.grad(by_features(*leaves), leaves):
        assert gradient.isfinite().all()
        assert gradient.any()


def check_nan_where_nothing_counts(loss: Loss) -> None:
    """NaN at positions that do not count reaches neither the value nor a gradient."""
    student, teacher = said(loss, "student"), said(loss, "teacher")
    before = value(loss, student, teacher)
    for outputs in (student, teacher):
        for name, feature in outputs.features.items():
            square = feature.dim() == 4
            counted = MASK[:, None, :, None] & MASK[:, None, None, :] if square else MASK[..., None]
            outputs.features[name] = feature.masked_fill(~counted, torch.nan)
    leaves = [feature.requires_grad_() for feature in student.features.values()]
    after = value(loss, student, teacher)
    assert torch.equal(after, before)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(after, leaves))
