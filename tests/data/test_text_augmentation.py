"""Texts made of others: which words stay, how often they are masked or cut, and that a seed says all of it."""

from __future__ import annotations

from typing import Any

import pytest

from kd_lightning.data.text_augmentation import LONGEST_CUT, MASK_WORD, TextAugmentation, read_text_augmentation
from kd_lightning.errors import ConfigError

WORDS = [f"w{number}" for number in range(20)]
TEXT = " ".join(WORDS)


def test_a_copy_holds_the_words_in_their_places_or_masks() -> None:
    for copy in TextAugmentation(copies=200, mask=0.3, cut=0.0).change(TEXT, 0):
        assert all(word in (own, MASK_WORD) for word, own in zip(copy.split(), WORDS, strict=True))


def test_words_are_masked_as_often_as_is_said() -> None:
    words = " ".join(map(str, range(200)))  # so long that no two copies are the same
    copies = TextAugmentation(copies=1000, mask=0.1, cut=0.0).change(words, 0)
    assert len(copies) == 1000
    rates = [sum(copy.split()[place] == MASK_WORD for copy in copies) / len(copies) for place in range(200)]
    assert sum(rates) / len(rates) == pytest.approx(0.1, abs=0.005)
    assert max(rates) - min(rates) < 0.08


def test_a_cut_is_some_words_in_a_row() -> None:
    copies = TextAugmentation(copies=400, mask=0.0, cut=1.0).change(TEXT, 0)
    assert all(copy in TEXT and 1 <= len(copy.split()) <= LONGEST_CUT for copy in copies)
    assert {len(copy.split()) for copy in copies} == set(range(1, LONGEST_CUT + 1))
    assert {copy.split()[0] for copy in copies} == set(WORDS)


def test_copies_differ_from_the_text_and_from_each_other() -> None:
    copies = TextAugmentation(copies=50, mask=0.2, cut=0.5).change("two words", 0)
    assert "two words" not in copies
    assert len(set(copies)) == len(copies)
    assert TextAugmentation(mask=0.0, cut=0.0).change("two   words", 0) == []


def test_the_draw_depends_on_its_parts_alone() -> None:
    one = TextAugmentation()
    assert one.change(TEXT, 3, 7) == one.change(TEXT, 3, 7)
    assert one.change(TEXT, 3, 7) != one.change(TEXT, 3, 8)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"copies": 0}, "copies=0: a whole number"),
        ({"copies": 1.5}, "copies=1.5: a whole number"),
        ({"mask": 1.0}, r"mask=1.0: a probability in \[0, 1\)"),
        ({"cut": -0.1}, r"cut=-0.1: a probability in \[0, 1\]"),
        ({"mask": "x"}, "synthetic.mask='x': a probability"),
        ({"masks": 0.1}, "did you mean 'mask'"),
        (3, "data.synthetic=3: settings are expected"),
    ],
)
def test_what_is_not_possible_is_refused(settings: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read_text_augmentation(settings)


def test_null_augments_nothing() -> None:
    assert read_text_augmentation(None) is None
    assert read_text_augmentation({"copies": 3}) == TextAugmentation(copies=3)
