"""Token classification of your own texts: files of words with a tag each, split into train, val and test by sentence.

Validation and test sentences come from files of their own (``val_path``, ``test_path``), or are drawn from ``path``. For the
formats see ``data/rows/tagged.py``.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kd_lightning.data.columns import InMemory, Ragged
from kd_lightning.data.label_targets import check_labels
from kd_lightning.data.leakage import SHARED_ROWS
from kd_lightning.data.row_splits import TEST_SPLIT, TRAIN_SPLIT, VAL_SPLIT, draw_random
from kd_lightning.data.rows.lines import format_place
from kd_lightning.data.rows.tagged import read_tagged_rows
from kd_lightning.data.rows.values import hash_text, order_labels
from kd_lightning.data.source import LABELS, NOTES, SPLITS, PreparedPieces
from kd_lightning.data.sources.text_table import check_choice, check_data_path, check_rows_left
from kd_lightning.data.table import GROUP, WORDS_COLUMN, Table
from kd_lightning.data.text_rows import TextRows, as_tensor
from kd_lightning.data.words import join_words
from kd_lightning.errors import ConfigError, EmptyDatasetError, LabelError, did_you_mean
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.store import file_digest

OUTSIDE_TAG = "O"
"""Is class 0 where there is such a tag."""


class TaggedRows(TextRows):
    """The rows of all files, in the order in which they were read; ``texts`` are their words, ``groups`` their sentences.

    Attributes:
        tags: Number of the tag in ``label_names``; of each word.
        label_names: Tag -> number, in the order of their first words.
        offsets: The first word of each row, and the number of words.
        first_places: ``path:line`` of the first word of each file and tag, by the split of the file and the tag.
        odd_tags: How many spans begin with an ``I-`` tag.
    """

    def __init__(self, max_words: int | None = None, has_predicates: bool = False) -> None:
        super().__init__()
        self.has_predicates = has_predicates
        self.tags, self.offsets = array("q"), array("q", [0])
        self.label_names: dict[str, int] = {}
        self.first_places: dict[tuple[int, str], str] = {}
        self.sentences = self.odd_tags = 0
        self.max_words = max_words

    def read_sentences(self, path: Path, split: int) -> None:
        """Add the sentences of a file, those of more than ``max_words`` words in parts."""
        self._files.append((path, len(self)))
        for words, tags, lines in read_tagged_rows(path, self.has_predicates):
            for before, tag, line in zip([OUTSIDE_TAG, *tags], tags, lines, strict=False):
                self.first_places.setdefault((split, tag), format_place(path, line))
                self.odd_tags += tag.startswith("I-") and before[1:] != tag[1:]
            step, key = self.max_words or len(words), hash_text(join_words(words))
            for start in range(0, len(words), step):
                self.texts.append(join_words(words[start : start + step]))
                self.keys.append(key)  # of the whole: short parts of different sentences may be the same
                self.splits.append(split)
                self.groups.append(self.sentences)
                self.tags.extend(
                    self.label_names.setdefault(tag, len(self.label_names)) for tag in tags[start : start + step]
                )
                self.offsets.append(len(self.tags))
                self._lines.append(lines[start])
            self.sentences += 1

    def tags_of(self, chosen: Tensor) -> Tensor:
        """[C] bool: which tags, by their numbers, stand in the rows that are True in ``chosen`` [N] bool."""
        words = torch.repeat_interleave(chosen, as_tensor(self.offsets).diff())
        return torch.bincount(as_tensor(self.tags)[words], minlength=len(self.label_names)) > 0

    def with_tags(self, tags: Tensor) -> Tensor:
        """[N] bool: rows with one of the tags that are True in ``tags`` [C] bool."""
        rows = torch.repeat_interleave(torch.arange(len(self)), as_tensor(self.offsets).diff())
        return torch.zeros(len(self), dtype=torch.bool).index_fill(0, rows[tags[as_tensor(self.tags)]], True)

    def take(self, chosen: Tensor, targets: Tensor) -> Table:
        """Rows as a table; parts of sentences have their sentence as their group.

        Args:
            chosen: [n] int64, which.
            targets: [W] int64, class number of each word of all rows.
        """
        part = Ragged(InMemory(targets), InMemory(as_tensor(self.offsets))).take(chosen)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), part.lengths.cumsum(0)])
        columns = {WORDS_COLUMN: self.texts.take(chosen), "targets": Ragged(InMemory(part.values), InMemory(offsets))}
        table = Table(columns)
        return table if self.max_words is None else table.with_column(GROUP, as_tensor(self.groups)[chosen])


class TaggedWords:
    """Sentences of words with a tag each.

    Args:
        path: File of the training sentences.
        labels: Names of the tags in the order of class numbers; None = those of ``path``, ``O`` first, then sorted.
        val_path: File of the validation sentences; None = drawn from ``path``.
        test_path: File of the test sentences; None = drawn from ``path``.
        val: Share of the sentences, in (0, 1), for validation, where they are drawn; those with a tag that no other has are
            left to train.
        test: Share for the test.
        split_seed: Another seed, another draw.
        duplicates: Of sentences that stand in two splits, as in ``TextTable``.
        max_words: Longer sentences are read in parts of so many words, compared as one; None = whole.
        predicates: The files say which word is the predicate that the tags are about, as ``read_tagged_rows`` has it.

    Raises:
        ConfigError: A setting is not possible.
    """

    def __init__(
        self,
        path: str,
        labels: Sequence[object] | None = None,
        val_path: str | None = None,
        test_path: str | None = None,
        val: float = 0.1,
        test: float = 0.1,
        split_seed: int = 0,
        duplicates: str = "drop",
        max_words: int | None = None,
        predicates: bool = False,
    ) -> None:
        if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
            raise ConfigError(f"data.val={val} data.test={test}: shares in (0, 1) that leave something to train on")
        check_choice("data.duplicates", duplicates, SHARED_ROWS)
        if max_words is not None and (not isinstance(max_words, int) or max_words < 1):
            raise ConfigError(f"data.max_words={max_words}: a whole number of at least 1, or null, is expected")
        if predicates and max_words is not None:
            raise ConfigError(
                "data.max_words would part words from their predicate: set it to null, or data.predicates=false"
            )
        self.labels = None if labels is None else check_labels(labels)
        self.files = {TRAIN_SPLIT: path, VAL_SPLIT: val_path, TEST_SPLIT: test_path}
        self.shares = {VAL_SPLIT: val, TEST_SPLIT: test}
        self.split_seed = split_seed
        self.duplicates = duplicates
        self.max_words = max_words
        self.predicates = predicates

    @staticmethod
    def read_open_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The labels and the number of classes that the data's settings leave open.

        Args:
            settings: ``path``, ``labels``, ``num_classes`` of the data.

        Raises:
            KDError: As ``read_tagged_rows``.
        """
        labels = settings["labels"]
        if labels is None:
            path = check_data_path(settings["path"])
            stat = path.stat() if path.is_file() else None
            labels = _read_labels_once(path, (stat.st_size, stat.st_mtime_ns) if stat else None)
        return {"labels": list(labels), "num_classes": len(labels)}

    def digest(self) -> str:
        digest = hashlib.sha256()
        for split, path in self.files.items():
            if path is not None:
                if not Path(path).is_file():
                    raise EmptyDatasetError(f"{escape_unprintable(path)} is not a file: name one of words and tags")
                digest.update(f"{split} {file_digest(Path(path))}\n".encode())
        return digest.hexdigest()

    def prepare(self) -> PreparedPieces:
        rows = TaggedRows(self.max_words, self.predicates)
        for split, path in self.files.items():
            if path is not None:
                rows.read_sentences(Path(path), split)
        splits, shared = SHARED_ROWS[self.duplicates](rows, self.draw_splits(rows))
        check_rows_left(splits)
        names = self.labels or order_tags(name for split, name in rows.first_places if split == TRAIN_SPLIT)
        self.check_tags(rows, splits, names)
        targets = torch.tensor([names.index(name) for name in rows.label_names])[as_tensor(rows.tags)]
        return PreparedPieces(
            self.make_tables(rows, splits, targets), facts=self.list_facts(rows, splits, names, shared)
        )

    def draw_splits(self, rows: TaggedRows) -> Tensor:
        """[N] int8: of each row the split; splits without a file are drawn from the training sentences.

        Raises:
            EmptyDatasetError: There are too few to draw from.
        """
        splits = as_tensor(rows.splits).to(torch.int8)
        shares = {split: share for split, share in self.shares.items() if self.files[split] is None}
        if not shares:
            return splits
        train = splits == TRAIN_SPLIT
        sentences = as_tensor(rows.groups)[train]  # from 0: the training file is read first
        drawn = draw_random(torch.zeros(int(sentences.max()) + 1), shares, self.split_seed)
        alone = rows.tags_of(train)
        splits[train] = drawn[sentences]
        alone &= ~rows.tags_of(splits == TRAIN_SPLIT)
        kept = torch.isin(as_tensor(rows.groups), as_tensor(rows.groups)[rows.with_tags(alone)])
        return splits.masked_fill(train & kept, TRAIN_SPLIT)

    def check_tags(self, rows: TaggedRows, splits: Tensor, names: list[str]) -> None:
        """Every tag has a class, and those of val and test stand in a training sentence.

        Raises:
            LabelError: One has not, or there is only one.
        """
        seen = list(rows.label_names)
        if len(names) < 2:
            raise LabelError(f"all words have the tag {escape_unprintable(seen[0])!r}: there is nothing to learn")
        trained = rows.tags_of(splits == TRAIN_SPLIT)
        for (split, name), place in rows.first_places.items():
            hint = did_you_mean(name, [each for each in names if each != name])
            if name not in names:
                raise LabelError(
                    f"{place}: tag {escape_unprintable(name)!r} is not one of data.labels="
                    f"[{escape_unprintable(','.join(names))}]{hint}; correct it, or set data.labels=null and give training "
                    "sentences of it"
                )
            if not trained[seen.index(name)]:
                raise LabelError(
                    f"{place}: tag {escape_unprintable(name)!r} of the {SPLITS[split]} file stands in no training "
                    f"sentence{hint}; give sentences of it to train on, or remove it"
                )

    def make_tables(self, rows: TaggedRows, splits: Tensor, targets: Tensor) -> Iterator[tuple[str, Table]]:
        """The columns of each split."""
        for number, split in enumerate(SPLITS):
            yield split, rows.take((splits == number).nonzero().flatten(), targets)

    def list_facts(self, rows: TaggedRows, splits: Tensor, names: list[str], shared: int) -> dict[str, Any]:
        """What the reader is told: tags, words of each in each split, sentences that stood in two splits, odd tags."""
        lengths, numbers = as_tensor(rows.offsets).diff(), as_tensor(rows.tags)
        own = list(rows.label_names)
        counts = {}
        for number, split in enumerate(SPLITS):
            words = torch.repeat_interleave(splits == number, lengths)
            found = torch.bincount(numbers[words], minlength=len(own)).tolist()
            counts[split] = {name: found[own.index(name)] if name in own else 0 for name in names}
        notes = []
        if shared:
            notes.append(f"{shared} sentences stand in two splits (data.duplicates={self.duplicates})")
        if rows.odd_tags:
            notes.append(
                f"{rows.odd_tags} spans begin with an I- tag, where IOB2 has B-: they count as spans all the same"
            )
        return {
            LABELS: names,
            NOTES: notes,
            "words": counts,
            "spans that begin with I-": rows.odd_tags,
            "parts of sentences": len(rows) - rows.sentences,
            f"rows in two splits ({self.duplicates})": shared,
        }


@lru_cache(maxsize=32)
def _read_labels_once(path: Path, changed: tuple[int, int] | None) -> tuple[str, ...]:
    """The jobs of a sweep ask for the same file."""
    return tuple(order_tags({tag for row in read_tagged_rows(path) for tag in row.tags}))


def order_tags(names: Iterable[str]) -> list[str]:
    """Tags in the order of their numbers: ``O``, then as other labels.

    Example:
        >>> order_tags(["I-city", "O", "B-city"])
        ['O', 'B-city', 'I-city']
    """
    return sorted(order_labels(names), key=lambda name: name != OUTSIDE_TAG)
