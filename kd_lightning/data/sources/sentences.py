"""Sentences of plain text files, without labels; every file is in one split, and every sentence stands once."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from kd_lightning.data.rows.values import hash_text
from kd_lightning.data.source import SPLITS, Prepared
from kd_lightning.data.sources.documents import DocumentFiles, read_document
from kd_lightning.data.table import GROUP, TEXT_COLUMN, Table
from kd_lightning.data.texts import text_column
from kd_lightning.errors import ConfigError, EmptyDatasetError
from kd_lightning.seeds import derive_seed

ABBREVIATIONS = ("Mr", "Mrs", "Ms", "Dr", "St", "No", "Gen", "Gov", "Messrs", "U.S", "vs")
"""Behind these, a full stop ends no sentence."""
CLOSING = r"[\"')\]]"
"""What may stand behind the mark that ends a sentence, up to three of them, and is of the sentence."""
BEHIND_MARK = "|".join(rf"(?<=[.!?]{CLOSING * count})" for count in range(4))
SENTENCE_END = re.compile(
    "".join(rf"(?<!\b{re.escape(word)}\.)" for word in ABBREVIATIONS) + rf"(?:{BEHIND_MARK})\s+(?=[\"'(\[]?[A-Z0-9])"
)
PARAGRAPH_END = re.compile(r"\n\s*\n")


class SentenceFiles(DocumentFiles):
    """A row for each sentence.

    Args:
        root: As in ``DocumentFiles``, and so the others.
        shortest: Words that a sentence has at least; headings and fragments are shorter.
        longest: Words that it has at most; longer ones are left out, not cut.
        most: Training sentences at most, drawn over all files; None = all.
        most_measured: Sentences of validation at most, and of the test, likewise.
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
        most: int | None = None,
        most_measured: int | None = None,
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
        for name, bound in (("most", most), ("most_measured", most_measured)):
            if bound is not None and bound < 1:
                raise ConfigError(
                    f"data.source.{name}={bound}: how many sentences at most, above 0, or null is expected"
                )
        self.shortest = shortest
        self.longest = longest
        self.most = {"train": most, "val": most_measured, "test": most_measured}

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
            chosen = self.draw(split, len(texts))
            tables[split] = Table(
                {
                    TEXT_COLUMN: text_column([texts[row] for row in chosen.tolist()]),
                    "targets": torch.zeros(len(chosen)),  # nobody reads them: there is no label
                    GROUP: torch.tensor(groups)[chosen],
                }
            )
        facts = {f"{split} files": len(by_split[split]) for split in SPLITS}
        return Prepared({split: tables[split] for split in SPLITS}, facts=facts)

    def draw(self, split: str, count: int) -> Tensor:
        """Which of so many sentences of a split stay, ascending: all, or as many as there may be at most."""
        generator = torch.Generator().manual_seed(derive_seed(self.split_seed, f"sentences of {split}"))
        return torch.randperm(count, generator=generator)[: self.most[split]].sort().values

    def cut(self, text: str) -> Iterator[str]:
        """The sentences of a text that are neither too short nor too long, white space made even."""
        for paragraph in PARAGRAPH_END.split(text):
            for sentence in SENTENCE_END.split(" ".join(paragraph.split())):
                if self.shortest <= len(sentence.split()) <= self.longest:
                    yield sentence
