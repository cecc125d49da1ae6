"""Rows of words, each with a tag, as a column of a table, and as the token ids of each network that reads them.

A source of tagged words prepares raw rows: ``words`` is a ragged column of UTF-8 bytes, a row's words with ``WORD_END`` between
them, and ``targets`` a ragged one of class numbers, one for each word. A tokenizer makes one or more tokens of a word, and
``starts`` says which token of the row is the first of each word: there a network's answer for the word is read. So networks
whose tokenizers split words differently answer for the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kd_lightning.data.columns import ragged_column
from kd_lightning.data.table import Table
from kd_lightning.data.tokenizers.vocabulary import import_tokenizers

WORD_END = "\x1f"
"""Between the words of a row; no word holds it."""
IDS, STARTS = "ids", "starts"
"""Columns of one tokenizer's ids, and of the position of each word's first token among them."""
LONGEST_ROW, FITTING_WORDS = "tokens of the longest row", "words that fit"
"""Facts of rows of words: the second is how many words of a row that is too long have room, of that with the fewest."""
UNKNOWN_WORD = "\u2bd1"
"""Is read in place of a word of which a tokenizer leaves nothing, as of one that is a control character: the uncertainty sign,
unknown to nearly every vocabulary and dropped by no tokenizer."""


def join_words(words: Sequence[str]) -> str:
    """A row's words as one text.

    Example:
        >>> split_row(join_words(["New York", "."]))
        ['New York', '.']
    """
    return WORD_END.join(words)


def split_row(row: str) -> list[str]:
    """The words of a row again."""
    return row.split(WORD_END)


class WordEncoder:
    """Rows of words to ids, as rows are prepared and as a trained network is asked about new ones.

    Every word is read as after a space, as it stands in a text: to tokenizers that tell this apart, ``Ġword`` and ``word`` are
    different tokens, and the first one is what pretrained networks know.

    Args:
        fitted: JSON of a ``tokenizers.Tokenizer``.
        max_length: Most tokens of a row. Longer ones are counted, and not cut: a word without an answer could be neither
            taught nor tested.

    Attributes:
        facts: ``LONGEST_ROW`` and ``FITTING_WORDS`` of all rows so far.

    Raises:
        MissingExtraError: The ``tokenizers`` package is not installed.
    """

    def __init__(self, fitted: str, max_length: int) -> None:
        self.tokenizer = import_tokenizers().Tokenizer.from_str(fitted)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.max_length = max_length
        self.facts: dict[str, Any] = {LONGEST_ROW: 0, FITTING_WORDS: None}

    def encode(self, rows: Sequence[str]) -> tuple[Table, int]:
        """The ids of rows of words, as ``join_words`` gives them, and how many rows are too long.

        Returns:
            Columns ``ids`` and ``starts``, int32.
        """
        ids, starts, too_long = [], [], 0
        split = [split_row(row) for row in rows]
        batch = self.tokenizer.encode_batch([[f" {word}" for word in words] for words in split], is_pretokenized=True)
        for words, found in zip(split, batch, strict=True):
            firsts = find_first_tokens(found.word_ids)
            if len(firsts) < len(words):
                readable = [f" {word if number in firsts else UNKNOWN_WORD}" for number, word in enumerate(words)]
                found = self.tokenizer.encode(readable, is_pretokenized=True)
                firsts = find_first_tokens(found.word_ids)
            ids.append(found.ids)
            starts.append([firsts[number] for number in range(len(words))])
            self.facts[LONGEST_ROW] = max(self.facts[LONGEST_ROW], len(found.ids))
            if len(found.ids) > self.max_length:
                too_long += 1
                # One token is left for the mark at the end, and the last word may need more than its first.
                room = max(1, sum(start < self.max_length - 1 for start in starts[-1]) - 1)
                self.facts[FITTING_WORDS] = min(room, self.facts[FITTING_WORDS] or room)
        return Table({IDS: ragged_column(ids, torch.int32), STARTS: ragged_column(starts, torch.int32)}), too_long


def find_first_tokens(words: Sequence[int | None]) -> dict[int, int]:
    """Of each word that has a token, the position of its first.

    Args:
        words: Of each token, the number of its word; None = it belongs to none.

    Example:
        >>> find_first_tokens([None, 0, 0, 2, None])
        {0: 1, 2: 3}
    """
    firsts: dict[int, int] = {}
    for position, word in enumerate(words):
        if word is not None:
            firsts.setdefault(word, position)
    return firsts
