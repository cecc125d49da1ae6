"""When storing pays: the rule and the sentence."""

from __future__ import annotations

import pytest

from kd_lightning.errors import ConfigError
from kd_lightning.teachers.auto import Auto, Use
from kd_lightning.teachers.live import LiveTeacher
from kd_lightning.teachers.stored.hidden import Hidden


@pytest.mark.parametrize(
    ("jobs", "steps", "batch", "rows", "pays"),
    [
        (1, 800, 32, 60_000, False),
        (2, 800, 32, 60_000, False),
        (4, 800, 32, 60_000, True),
        (1, 800, 32, 1_000, True),
        (1, 15, 10, 100, True),
        (1, 14, 10, 100, False),
    ],
)
def test_it_pays_from_one_and_a_half_readings_of_each_row(
    jobs: int, steps: int, batch: int, rows: int, pays: bool
) -> None:
    assert Use(jobs, steps, batch, rows).pays is pays


def test_the_reason_says_all_numbers() -> None:
    assert str(Use(2, 800, 32, 60_000)) == (
        "2 jobs x 800 steps x 32 rows read the teacher 51,200 times, the training split has 60,000 rows"
    )
    assert str(Use(1, 800, 32, 60_000)).startswith("1 job x ")


def test_what_is_to_be_stored_must_be() -> None:
    Auto(Hidden(), LiveTeacher)
    with pytest.raises(ConfigError, match="stores nothing"):
        Auto(LiveTeacher, LiveTeacher)  # type: ignore[arg-type]
