"""Byte-level byte pair encoding: frequent words are one token, rare ones several, and nothing is unknown."""

from __future__ import annotations

from collections.abc import Iterable

from kd_lightning.data.tokenizers.vocabulary import (
    SPECIAL_TOKENS,
    check_tokenizer_sizes,
    import_tokenizers,
    train_tokenizer,
)

BYTES = 256
LEAST_PAIRS = 2
"""A pair of tokens becomes one if it occurs so often: a single text's own words are not worth a place."""


class BpeTokenizer:
    """Bytes, and the most frequent sequences of them in the training texts. Any text can be made again of its tokens.

    Args:
        vocab_size: Most tokens, the 256 bytes and ``[PAD]``, ``[UNK]`` (which no text contains) and ``[SEP]`` included, >= 259;
            short texts give fewer.
        max_length: Most tokens of a row, >= 1.
        lowercase: Read ``The`` as ``the``.

    Raises:
        ConfigError: An argument is out of range.

    Example:
        >>> from tokenizers import Tokenizer
        >>> tokenizer = Tokenizer.from_str(BpeTokenizer(vocab_size=300, max_length=8).fit(["good film, good plot"]))
        >>> tokenizer.encode("good zoo").tokens
        ['good', 'Ġ', 'z', 'o', 'o']

    Reference:
        Sennrich, Haddow & Birch, Neural Machine Translation of Rare Words with Subword Units, ACL 2016; on bytes after Radford
        et al., Language Models are Unsupervised Multitask Learners, 2019.
    """

    type_ids = False

    def __init__(self, vocab_size: int, max_length: int, lowercase: bool = False) -> None:
        check_tokenizer_sizes(vocab_size, BYTES + len(SPECIAL_TOKENS), max_length)
        self.vocab_size = vocab_size
        self.max_length = max_length
        self.lowercase = lowercase

    def fit(self, texts: Iterable[str]) -> str:
        """See ``TextTokenizer``.

        Raises:
            EmptyDatasetError: The texts hold no words.
            MissingExtraError: The ``tokenizers`` package is not installed.
        """
        package = import_tokenizers()
        tokenizer = package.Tokenizer(package.models.BPE())
        if self.lowercase:
            tokenizer.normalizer = package.normalizers.Lowercase()
        tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = package.decoders.ByteLevel()
        trainer = package.trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            min_frequency=LEAST_PAIRS,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=sorted(package.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        return train_tokenizer(tokenizer, trainer, texts)
