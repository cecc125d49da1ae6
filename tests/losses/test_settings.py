"""Settings of losses that are not possible are refused when built, by their name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kd_lightning.errors import ConfigError
from kd_lightning.types import Outputs
from tests.losses.test_formulas import ON_LOGITS, example
from tests.losses.test_laws import build, raw


@pytest.mark.parametrize("name", [name for name in ON_LOGITS if "temperature" in raw(name)])
@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_above_zero(name: str, temperature: float) -> None:
    with pytest.raises(Exception, match=rf"loss\.{name}\.temperature={temperature}") as error:
        build(name, temperature=temperature)
    assert isinstance(error.value.__cause__, ConfigError)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("adaptive_kl", {"mu": 1.0}),
        ("ctc_frame_kd", {"blank": -1}),
        ("ctc_frame_kd", {"blank_weight": 1.5}),
        ("label_smoothing", {"smoothing": 0.0}),
        ("pairwise_ranking", {"top": 0}),
        ("skew_kl", {"skew": 1.0}),
    ],
)
def test_a_number_out_of_range(name: str, setting: dict[str, Any]) -> None:
    ((key, value),) = setting.items()
    with pytest.raises(Exception, match=rf"loss\.{name}\.{key}={value}") as error:
        build(name, **setting)
    assert isinstance(error.value.__cause__, ConfigError)


def test_a_blank_that_is_no_class() -> None:
    student, teacher, aligned = example((7, 5))
    with pytest.raises(ValueError, match=r"blank=5: the teacher has 5 classes"):
        build("ctc_frame_kd", blank=5)(Outputs(student), Outputs(teacher), aligned, 1.0)


def test_blank_elimination_and_its_opposite() -> None:
    student, teacher, aligned = example((7, 5))
    args = Outputs(student), Outputs(teacher), aligned
    silent = teacher.argmax(-1) == 0
    assert (silent & aligned.mask).any()
    kept = type(aligned)(aligned.targets, aligned.mask & ~silent, aligned.labeled)
    torch.testing.assert_close(build("ctc_frame_kd", blank_weight=1.0)(*args, 2.0), build("kd")(*args, 2.0))
    torch.testing.assert_close(build("ctc_frame_kd", blank_weight=0.0)(*args, 2.0), build("kd")(*args[:2], kept, 2.0))
    only_blank = Outputs(teacher.clone().index_fill(-1, torch.tensor(0), 50.0))
    assert build("ctc_frame_kd", blank_weight=0.0)(args[0], only_blank, aligned, 2.0).item() == 0.0
