"""What the tokenizers have in common that learn a vocabulary of their own from the training texts.

Ids 0, 1 and 2 are ``[PAD]``, ``[UNK]`` and ``[SEP]``; a text becomes its tokens and no others, a pair ``a [SEP] b``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from kd_lightning.errors import ConfigError, EmptyDatasetError, MissingExtraError

PAD_TOKEN, UNKNOWN_TOKEN, SEPARATOR_TOKEN = "[PAD]", "[UNK]", "[SEP]"
SPECIAL_TOKENS = (PAD_TOKEN, UNKNOWN_TOKEN, SEPARATOR_TOKEN)
"""In the order of their ids."""


def check_tokenizer_sizes(vocab_size: object, least: int, max_length: object) -> None:
    """The sizes of a tokenizer are whole numbers that leave it something to say.

    Args:
        vocab_size: Most tokens of the vocabulary, ``SPECIAL_TOKENS`` included.
        least: Fewest that are of use.
        max_length: Most tokens of a row.

    Raises:
        ConfigError: One of them is too small, or no whole number.
    """
    for name, value, lowest in (("vocab_size", vocab_size, least), ("max_length", max_length, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise ConfigError(f"tokenizer.{name}={value!r}: a whole number of at least {lowest} is needed")


def import_tokenizers() -> Any:
    """The ``tokenizers`` package.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError('tokenizers is not installed: pip install "kd-lightning[text]"') from error
    return tokenizers


def train_tokenizer(tokenizer: Any, trainer: Any, texts: Iterable[str]) -> str:
    """Train a tokenizer, and have it put ``[SEP]`` between the texts of a pair.

    Args:
        tokenizer: An untrained ``tokenizers.Tokenizer``.
        trainer: One of ``tokenizers.trainers`` with ``SPECIAL_TOKENS``.
        texts: To learn from.

    Returns:
        JSON of the tokenizer.

    Raises:
        EmptyDatasetError: The texts hold nothing but white space.
    """
    found = 0

    def count_texts() -> Iterator[str]:
        nonlocal found
        for text in texts:
            found += bool(text.strip())
            yield text

    tokenizer.train_from_iterator(count_texts(), trainer=trainer)
    if not found:
        raise EmptyDatasetError(
            "the training texts hold no words: a tokenizer has nothing to learn its vocabulary from"
        )
    tokenizer.post_processor = import_tokenizers().processors.TemplateProcessing(
        single="$A",
        pair=f"$A {SEPARATOR_TOKEN} $B",
        special_tokens=[(SEPARATOR_TOKEN, SPECIAL_TOKENS.index(SEPARATOR_TOKEN))],
    )
    described = json.loads(tokenizer.to_str())
    # They stay in the vocabulary. Here they would be looked for in texts, and a row that says "[SEP]" be read as two.
    described["added_tokens"] = []
    return json.dumps(described, ensure_ascii=False)
