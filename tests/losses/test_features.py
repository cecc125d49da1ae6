"""Pairs of modules, layer maps, projections between shapes, and means over what counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from kd_lightning.errors import ConfigError, TapError
from kd_lightning.losses.features.base import mean_over_rows
from kd_lightning.losses.features.hint import Hint
from kd_lightning.losses.features.layer_maps import EveryK, LastN
from kd_lightning.losses.features.projections import Projection, channels_last, resized
from kd_lightning.models.transformer_lm import TransformerLM
from kd_lightning.tasks.examples import TokenExample
from kd_lightning.tasks.metrics import Perplexity
from kd_lightning.tasks.position import PositionTask
from kd_lightning.training.loss_setup import attach_losses

TASK = PositionTask(7, {"perplexity": Perplexity()}, "perplexity", TokenExample(7), "tokens")


def networks(role: str) -> nn.Module:
    layers, width = (6, 12) if role == "teacher" else (3, 8)
    return TransformerLM(vocab_size=7, width=width, layers=layers, heads=2, max_length=8)


def attached(*match: dict[str, Any]) -> Hint:
    loss = Hint(list(match))
    attach_losses({"hint": loss}, networks, lambda role: TASK, seed=0, rows=40)
    return loss


def test_layers_meet_as_the_map_says() -> None:
    every = attached({"student": "blocks.*", "teacher": "blocks.*"})
    assert list(every.taps.values()) == [("blocks.0", "blocks.1"), ("blocks.1", "blocks.3"), ("blocks.2", "blocks.5")]
    last = attached({"student": "blocks.*.mlp:input", "teacher": "blocks.*.mlp:input", "layers": LastN(1)})
    assert list(last.taps.values()) == [("blocks.2.mlp:input", "blocks.5.mlp:input")]
    assert last.projections["0"].map.weight.shape == (12, 8)


def test_more_than_nine_layers_are_in_the_order_of_their_numbers() -> None:
    pairs = EveryK()(4, 12)
    assert pairs == [(0, 2), (1, 5), (2, 8), (3, 11)]
    assert EveryK()(2, 5) == [(0, 1), (1, 4)]


@pytest.mark.parametrize(
    ("match", "error", "words"),
    [
        ({"student": "blocks.*", "teacher": "layers.*"}, ConfigError, "no module of the teacher is called 'layers.*'"),
        ({"student": "blocks.*", "teacher": "blocks.*", "layers": LastN(9)}, ConfigError, "the last 9 layers"),
        ({"student": "nrom", "teacher": "norm"}, TapError, "nearest: norm"),
        ({"student": "norm"}, ConfigError, "student and teacher are expected"),
    ],
)
def test_a_pair_that_cannot_be_is_an_error_at_once(match: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        attached(match)
    assert words in str(caught.value)


def test_projections_start_the_same_for_the_same_seed() -> None:
    one, other = (attached({"student": "norm", "teacher": "norm"}) for _ in range(2))
    assert torch.equal(one.projections["0"].map.weight, other.projections["0"].map.weight)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((2, 3), (2, 5)),
        ((2, 6, 3), (2, 6, 5)),
        ((2, 6, 3), (2, 4, 5)),
        ((2, 4, 3), (2, 6, 5)),
        ((2, 3, 8, 8), (2, 5, 4, 4)),
        ((2, 3, 4, 4), (2, 5, 7, 8)),
        ((2, 3, 4, 4), (2, 5)),
        ((2, 6, 3), (2, 5)),
    ],
)
def test_a_student_s_feature_gets_the_teacher_s_shape(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    projection = Projection(student, teacher)
    assert projection(torch.randn(student)).shape == teacher
    assert projection(torch.randn(3, *student[1:])).shape == (3, *teacher[1:])


def test_a_longer_sentence_than_the_example_s_keeps_its_length() -> None:
    assert Projection((2, 8, 3), (2, 8, 5))(torch.randn(4, 64, 3)).shape == (4, 64, 5)


def test_a_constant_stays_what_it_is_on_every_raster() -> None:
    for size in ((2, 2), (8, 8), (3, 7)):
        assert torch.allclose(resized(torch.ones(2, 3, 4, 4), size), torch.ones(2, 3, *size))
    assert torch.allclose(resized(torch.ones(2, 5, 3), (9,)), torch.ones(2, 9, 3))


def test_the_raster_s_means_are_those_of_the_pixels() -> None:
    feature = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert resized(feature, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert resized(feature, ()).item() == 7.5


def test_a_teacher_with_positions_and_a_student_without_is_an_error() -> None:
    with pytest.raises(ConfigError, match="cannot be brought to"):
        Projection((2, 3), (2, 6, 5))


def test_means_go_over_what_counts() -> None:
    values = torch.tensor([[[1.0, 3.0], [5.0, 7.0]], [[100.0, 100.0], [9.0, 9.0]]])  # [B, T, D]
    mask = torch.tensor([[True, True], [False, True]])
    assert mean_over_rows(values, mask).item() == pytest.approx((2 + 6 + 9) / 3)
    assert mean_over_rows(values, torch.zeros_like(mask)).item() == 0
    pixels = channels_last(torch.tensor([[[[1.0, 3.0]]], [[[5.0, 100.0]]]]))  # [B, H, W, D]
    assert mean_over_rows(pixels, torch.tensor([True, False])).item() == 2
    assert mean_over_rows(values[:, :1], mask).item() == pytest.approx((2 + 100) / 2)  # other positions: by row
