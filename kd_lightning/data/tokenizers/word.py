"""Words and punctuation marks: a vocabulary of the most frequent ones."""

from __future__ import annotations

import json
from collections.abc import Iterable

from kd_lightning.data.tokenizers.vocabulary import (
    SPECIAL_TOKENS,
    UNKNOWN_TOKEN,
    check_tokenizer_sizes,
    import_tokenizers,
    train_tokenizer,
)
from kd_lightning.errors import ConfigError, EmptyDatasetError

WORDS = "\\w+(?:['\u2019]\\w+)*|[^\\w\\s]\\p{M}*"
"""A word, with apostrophes inside; or any other mark by itself, with the accents and variants that belong to it."""


class WordTokenizer:
    """The most frequent words and punctuation marks of the training texts; all others are ``[UNK]``.

    Of words that are equally frequent the first in the order of their characters are taken. Chinese and Japanese characters
    are words by themselves. Accents stay, however they are encoded (NFC).

    Args:
        vocab_size: Most tokens, ``[PAD]``, ``[UNK]`` and ``[SEP]`` included, >= 4; texts of fewer words give fewer.
        max_length: Most tokens of a row, >= 1.
        lowercase: Read ``The`` as ``the``.
        min_frequency: How often a word must occur in the training texts, >= 1.

    Raises:
        ConfigError: An argument is out of range.

    Example:
        >>> from tokenizers import Tokenizer
        >>> tokenizer = Tokenizer.from_str(WordTokenizer(vocab_size=100, max_length=8).fit(["Good, good film."]))
        >>> tokenizer.encode("A good film").tokens
        ['[UNK]', 'good', 'film']
    """

    type_ids = False

    def __init__(self, vocab_size: int, max_length: int, lowercase: bool = True, min_frequency: int = 1) -> None:
        check_tokenizer_sizes(vocab_size, len(SPECIAL_TOKENS) + 1, max_length)
        if not isinstance(min_frequency, int) or isinstance(min_frequency, bool) or min_frequency < 1:
            raise ConfigError(f"tokenizer.min_frequency={min_frequency!r}: a whole number of at least 1 is needed")
        self.vocab_size = vocab_size
        self.max_length = max_length
        self.lowercase = lowercase
        self.min_frequency = min_frequency

    def fit(self, texts: Iterable[str]) -> str:
        """See ``TextTokenizer``.

        Raises:
            EmptyDatasetError: The texts hold no words, or none that is frequent enough.
            MissingExtraError: The ``tokenizers`` package is not installed.
        """
        package = import_tokenizers()
        tokenizer = package.Tokenizer(package.models.WordLevel(unk_token=UNKNOWN_TOKEN))
        tokenizer.normalizer = package.normalizers.Sequence(
            [
                package.normalizers.NFC(),
                package.normalizers.BertNormalizer(
                    clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=self.lowercase
                ),
            ]
        )
        tokenizer.pre_tokenizer = package.pre_tokenizers.Split(package.Regex(WORDS), behavior="removed", invert=True)
        trainer = package.trainers.WordLevelTrainer(
            vocab_size=self.vocab_size,
            min_frequency=self.min_frequency,
            special_tokens=list(SPECIAL_TOKENS),
            show_progress=False,
        )
        fitted = train_tokenizer(tokenizer, trainer, texts)
        if len(json.loads(fitted)["model"]["vocab"]) == len(SPECIAL_TOKENS):
            raise EmptyDatasetError(
                f"no word occurs {self.min_frequency} times in the training texts: lower tokenizer.min_frequency"
            )
        return fitted
