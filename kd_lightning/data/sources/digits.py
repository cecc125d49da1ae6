"""Handwritten digits, 8 x 8 pixels, as shipped inside scikit-learn (BSD-3)."""

from __future__ import annotations

from kd_lightning.data.sources.arrays import CsvImages
from kd_lightning.process.packaged import find_packaged_path


class Digits(CsvImages):
    """1,797 images of 10 classes: 1,000 to train, 300 to validate, 497 to test.

    Args:
        val: As in ``CsvImages``.
        test: As in ``CsvImages``.
        split_seed: As in ``CsvImages``.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """

    def __init__(self, val: int = 300, test: int = 497, split_seed: int = 0) -> None:
        path = find_packaged_path("sklearn", "datasets/data/digits.csv.gz", extra="vision")
        super().__init__(path, (1, 8, 8), scale=16.0, val=val, test=test, split_seed=split_seed)
