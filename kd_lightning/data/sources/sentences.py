"""Sentences of plain text files, without labels; every file is in one split, and every sentence stands once."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch

from kd_lightning.data.rows.values import hash_text
from kd_lightning.data.source import SPLITS, Prepared
from kd_lightning.data.sources.documents import DocumentFiles, read_document
from kd_lightning.data.table import GROUP, TEXT_COLUMN, Table
from kd_lightning.data.texts import text_column
from kd_lightning.errors import ConfigError, EmptyDatasetError

ABBREVIATIONS = ("Mr", "Mrs", "Ms", "Dr", "St", "No", "Gen", "Gov", "Messrs", "U.S", "vs")
"""Behind these, a full stop ends no sentence."""
SENTENCE_END = re.compile(
    "".join(rf"(?<!\b{re.escape(word)}\.)" for word in ABBREVIATIONS) + r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])"
)
PARAGRAPH_END = re.compile(r"\n\s*\n")


class SentenceFiles(DocumentFiles):
    """A row for each sentence.

    Args:
        root: As in ``DocumentFiles``, and so the others.
        shortest: Words that a sentence has at least; headings and fragments are shorter.
        longest: Words that it has at most; longer ones are left out, not cut.
        val: Likewise.
        test: Likewise.
        split_seed: Likewise.
        pattern: Likewise.

    Raises:
        ConfigError: As ``DocumentFiles``; or no sentence is so long.
    """

    def __init__(
        self,
        root: str,
        shortest: int = 3,
        longest: int = 60,
        val: float = 0.1,
        test: float = 0.1,
        split_seed: int = 0,
        pattern: str = "**/*.txt",
    ) -> None:
        super().__init__(root, val, test, split_seed, pattern)
        if not 1 <= shortest <= longest:
            raise ConfigError(
                f"data.source.shortest={shortest}, longest={longest}: words of a sentence, at least and at most, are expected"
            )
        self.shortest = shortest
        self.longest = longest

    def prepare(self) -> Prepared:
        by_split, seen, tables = self.split(self.files()), set[int](), {}
        for split in reversed(SPLITS):  # a sentence of two splits is left to the one that tests
            texts, groups = [], []
            for number, path in enumerate(by_split[split]):
                for sentence in self.cut(read_document(path)):
                    key = hash_text(sentence, None)
                    if key not in seen:
                        seen.add(key)
                        texts.append(sentence)
                        groups.append(number)
            if not texts:
                raise EmptyDatasetError(
                    f"the {split} split has no sentence of {self.shortest} to {self.longest} words: give it other files, or "
                    "set data.source.shortest, data.source.longest"
                )
            tables[split] = Table(
                {
                    TEXT_COLUMN: text_column(texts),
                    "targets": torch.zeros(len(texts)),  # nobody reads them: there is no label
                    GROUP: torch.tensor(groups),
                }
            )
        facts = {f"{split} files": len(by_split[split]) for split in SPLITS}
        return Prepared({split: tables[split] for split in SPLITS}, facts=facts)

    def cut(self, text: str) -> Iterator[str]:
        """The sentences of a text that are neither too short nor too long, white space made even."""
        for paragraph in PARAGRAPH_END.split(text):
            for sentence in SENTENCE_END.split(" ".join(paragraph.split())):
                if self.shortest <= len(sentence.split()) <= self.longest:
                    yield sentence
