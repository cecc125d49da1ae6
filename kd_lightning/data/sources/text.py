"""Language modeling on plain text: files -> tokens -> windows of a fixed length.

The split is by file, the tokenizer (byte-level BPE) is trained on the training files alone, and each file is cut into
windows of ``context`` inputs whose targets are the same tokens one further on. An end-of-text token opens each file,
every token of the file is a target exactly once, and the last window of a file is padded and masked.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kd_lightning.data.source import SPLITS, Prepared
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError, EmptyDatasetError, KDError, MissingExtraError, VocabMismatchError
from kd_lightning.seeds import derive_seed

END_OF_TEXT = "<|endoftext|>"


class TextFiles:
    """Plain UTF-8 text files under a folder.

    Args:
        root: The folder.
        vocab_size: Tokens of the BPE, the end-of-text token and the 256 bytes included.
        context: Inputs of a window, T.
        val: Share of the files, in (0, 1), for validation.
        test: Share for the test.
        split_seed: Another seed, another split.
        pattern: Which files, as a glob below ``root``.

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
        if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
            raise ConfigError(f"data.source.val={val}, test={test}: shares in (0, 1) that leave something to train on")
        self.root = Path(root)
        self.vocab_size = vocab_size
        self.context = context
        self.val = val
        self.test = test
        self.split_seed = split_seed
        self.pattern = pattern

    def files(self) -> list[Path]:
        """The text files, sorted.

        Raises:
            EmptyDatasetError: There are none.
        """
        if not self.root.is_dir():
            raise EmptyDatasetError(f"data.root={self.root} is not a folder: name one that holds text files")
        found = sorted(path for path in self.root.glob(self.pattern) if path.is_file())
        if not found:
            raise EmptyDatasetError(
                f"no file matches {self.pattern} below {self.root}: give text files or another pattern"
            )
        return found

    def digest(self) -> str:
        digest = hashlib.sha256()
        for path in self.files():
            digest.update(f"{path.relative_to(self.root).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

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

    def split(self, files: Sequence[Path]) -> dict[str, list[Path]]:
        """Each file in one split; at least one file in each.

        Raises:
            EmptyDatasetError: Fewer than three files.
        """
        if len(files) < len(SPLITS):
            raise EmptyDatasetError(
                f"{len(files)} files below {self.root}: the split is by file and needs at least {len(SPLITS)}"
            )
        shuffled = list(files)
        random.Random(derive_seed(self.split_seed, "split")).shuffle(shuffled)
        # Rounded shares may take every file: one is kept for each split that is still to be served.
        val = min(max(1, round(self.val * len(files))), len(files) - 2)
        test = min(max(1, round(self.test * len(files))), len(files) - 1 - val)
        parts = shuffled[:val], shuffled[val : val + test], shuffled[val + test :]
        return dict(zip(("val", "test", "train"), map(sorted, parts), strict=True))


def read_document(path: Path) -> str:
    """A file's text, a byte-order mark accepted.

    Raises:
        KDError: It is not UTF-8, or holds nothing but white space.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise KDError(f"{path} is not UTF-8 at byte {error.start}: convert it") from error
    if not text.strip():
        raise EmptyDatasetError(f"{path} holds no text: remove it")
    return text


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
