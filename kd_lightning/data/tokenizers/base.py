"""What a network that reads texts says of its tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class TextTokenizer(Protocol):
    """Makes the ids that a network reads."""

    max_length: int
    """Most tokens of a row; longer ones are cut, and counted."""
    type_ids: bool
    """The network wants ``token_type_ids`` for pairs."""

    def fit(self, texts: Iterable[str]) -> str:
        """JSON of a ``tokenizers.Tokenizer`` without truncation or padding.

        Args:
            texts: Of the training rows; a tokenizer that comes with a model reads none of them.
        """
        ...
