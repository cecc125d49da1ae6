"""Language modeling on plain text: files -> tokens -> windows of a fixed length.

The split is by file, the tokenizer (byte-level BPE) is trained on the training files alone, and each file is cut into
windows of ``context`` inputs whose targets are the same tokens one further on. An end-of-text token opens each file,
every token of the file is a target exactly once, and the last window of a file is padded and masked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from kd_lightning.data.source import SPLITS, Prepared
from kd_lightning.data.sources.documents import DocumentFiles, read_document
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError, MissingExtraError, VocabMismatchError

END_OF_TEXT = "<|endoftext|>"


class TextFiles(DocumentFiles):
    """Plain UTF-8 text files under a folder.

    Args:
        root: As in ``DocumentFiles``, and so the others.
        vocab_size: Tokens of the BPE, the end-of-text token and the 256 bytes included.
        context: Inputs of a window, T.
        val: Likewise.
        test: Likewise.
        split_seed: Likewise.
        pattern: Likewise.

    Raises:
        ConfigError: A size or share is not possible.
    """

    def __init__(
        self,
        root: str,
        vocab_size: int,
        context: int,
        val: float = 0.1,
        test: float = 0.1,
        split_seed: int = 0,
        pattern: str = "**/*.txt",
    ) -> None:
        if vocab_size < 257:
            raise ConfigError(
                f"data.vocab_size is {vocab_size}: byte-level BPE needs at least 257 (256 bytes and the end)"
            )
        if context < 1:
            raise ConfigError(f"data.context is {context}: a window needs at least 1 token")
        super().__init__(root, val, test, split_seed, pattern)
        self.vocab_size = vocab_size
        self.context = context

    def prepare(self) -> Prepared:
        by_split = self.split(self.files())
        texts = {split: [read_document(path) for path in paths] for split, paths in by_split.items()}
        tokenizer = train_bpe(texts["train"], self.vocab_size)
        tokens = {split: [ids.ids for ids in tokenizer.encode_batch(texts[split])] for split in SPLITS}
        end = tokenizer.token_to_id(END_OF_TEXT)
        splits = {split: cut_windows(tokens[split], self.context, end) for split in SPLITS}
        facts = {f"{split} files": len(by_split[split]) for split in SPLITS}
        facts |= {f"{split} tokens": sum(map(len, tokens[split])) for split in SPLITS}
        return Prepared(splits, tokenizer.to_str(), facts)


def train_bpe(texts: Iterable[str], vocab_size: int):  # type: ignore[no-untyped-def]  # tokenizers is an extra
    """A byte-level BPE tokenizer with exactly ``vocab_size`` tokens.

    Raises:
        MissingExtraError: The ``tokenizers`` package is not installed.
        VocabMismatchError: The texts are too small for so many tokens.
    """
    try:
        from tokenizers import ByteLevelBPETokenizer
    except ImportError as error:
        raise MissingExtraError('tokenizers is not installed: pip install "kd-lightning[text]"') from error
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        texts, vocab_size=vocab_size, min_frequency=2, special_tokens=[END_OF_TEXT], show_progress=False
    )
    if tokenizer.get_vocab_size() != vocab_size:
        raise VocabMismatchError(
            f"the training text gives only {tokenizer.get_vocab_size()} tokens, data.vocab_size is {vocab_size}: set "
            f"data.vocab_size={tokenizer.get_vocab_size()} or give more text"
        )
    return tokenizer


def cut_windows(documents: Sequence[Sequence[int]], context: int, end: int) -> Table:
    """Documents cut into rows; see the head of this file.

    Args:
        documents: Token ids of each file.
        context: T.
        end: Id of the end-of-text token, which opens each document and pads its last window.

    Returns:
        ``inputs``, ``targets`` [N, T] int32, ``mask`` [N, T] bool, ``group`` [N] int64 (the document's number).
    """
    inputs, targets, mask, group = [], [], [], []
    for number, ids in enumerate(documents):
        rows = -(-len(ids) // context)
        padded = torch.full((rows * context + 1,), end, dtype=torch.int32)
        padded[1 : len(ids) + 1] = torch.tensor(ids, dtype=torch.int32)
        inputs.append(padded[:-1].reshape(rows, context))
        targets.append(padded[1:].reshape(rows, context))
        mask.append((torch.arange(rows * context) < len(ids)).reshape(rows, context))
        group.append(torch.full((rows,), number))
    return Table({"inputs": _cat(inputs), "targets": _cat(targets), "mask": _cat(mask), "group": _cat(group)})


def _cat(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0].clone()
