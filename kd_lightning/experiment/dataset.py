"""The rows of an experiment: prepared once for all runs, made long-tailed or cut as asked, and served to each stage."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property

from torch import Tensor

from kd_lightning.data.augmentation import read_augmentation
from kd_lightning.data.datamodule import ExperimentData
from kd_lightning.data.labels import class_rows
from kd_lightning.data.long_tail import check_one_class_each, long_tailed
from kd_lightning.data.prepared import read_prepared, write_prepared
from kd_lightning.data.source import IMAGES, LABELS, NOTES, SPLITS, Prepared, Source
from kd_lightning.data.table import TEXT_COLUMN, WORDS_COLUMN
from kd_lightning.data.texts import TOO_LONG, FittedTokenizer, encode_rows, with_ids
from kd_lightning.data.tokenizers.base import TextTokenizer
from kd_lightning.data.words import FITTING_WORDS, IDS, LONGEST_ROW
from kd_lightning.errors import ConfigError, SequenceTooLongError
from kd_lightning.experiment.context import Context
from kd_lightning.experiment.preflight import check_row_shape
from kd_lightning.experiment.settings import STUDENT, TEACHER, accumulated_batches, seed_of
from kd_lightning.experiment.stage import DATA
from kd_lightning.experiment.teacher_vectors import TeacherVectors, drop_labels
from kd_lightning.process.sizes import parse_size
from kd_lightning.results.numbers import shorten_hash
from kd_lightning.store import Entry, content_key
from kd_lightning.tasks.base import ReadsTexts, Task
from kd_lightning.types import OutputKind

TARGET_RANGES = {OutputKind.LABELS: 2, OutputKind.QUANTITIES: None, OutputKind.VECTORS: None}
"""How many values a target may have, where not one for each class; None = any number."""


class Dataset:
    """The rows, read when they are first asked for.

    Args:
        context: The experiment's.
        task: Makes batches of rows, and knows how many classes there are.
        vectors: Of a teacher whose answers are the targets of rows without labels; None = the rows have targets of their own.

    Raises:
        ConfigError: ``data.memory_map_above`` is no size.
    """

    def __init__(self, context: Context, task: Task, vectors: TeacherVectors | None = None) -> None:
        self.context = context
        self._vectors = vectors
        self.task = task
        self.num_classes = task.num_classes
        self._map_above = parse_memory_map_above(context.settings["data"])
        self._reads_texts = isinstance(task, ReadsTexts)
        self._class_rows: dict[str, Tensor] = {}

    @cached_property
    def prepared(self) -> Prepared:
        """The rows as networks read them."""
        if not self._reads_texts:
            return self.raw
        return with_ids(self.raw, self._encoded)

    @cached_property
    def measured(self) -> Prepared:
        """The same with targets to measure models on, where those are the teacher's answers."""
        return self._vectors.add(self.prepared, self.fingerprint) if self._vectors else self.prepared

    @property
    def targets_key(self) -> str | None:
        """Of the targets in the store; None = the rows have their own."""
        return self._vectors.key(self.fingerprint) if self._vectors else None

    @property
    def raw(self) -> Prepared:
        """The rows as the source has them: texts are texts."""
        return self._rows[0]

    @property
    def label_names(self) -> list[str] | None:
        """In the order of class numbers; None where the classes have no names."""
        names = self.raw.facts.get(LABELS)
        return list(map(str, names)) if names else None

    @property
    def reads_images(self) -> bool:
        """The rows are the pixels of image files."""
        return bool(self.raw.facts.get(IMAGES))

    @property
    def fingerprint(self) -> str:
        """The rows' fingerprint."""
        return self._rows[1]

    @property
    def key(self) -> str:
        """Of the rows' entry in the store, which holds them before any are left out."""
        return self._rows[2].key

    def fitted_tokenizer(self, role: str) -> FittedTokenizer | None:
        """What makes the ids that networks of the teacher or the student read; None = they read none."""
        if not self._reads_texts:
            return FittedTokenizer(self.raw.tokenizer) if self.raw.tokenizer else None
        built: TextTokenizer = self.context.build(self.context.settings[role]["model"]["tokenizer"])
        return FittedTokenizer(self._encoded[role].tokenizer, built.max_length, built.type_ids)

    def tokenizer_digest(self, role: str) -> str:
        """SHA-256 of the tokenizer of the teacher or the student, or empty where there is none."""
        fitted = self.fitted_tokenizer(role)
        return hashlib.sha256(fitted.text.encode()).hexdigest() if fitted else ""

    @property
    def training_rows(self) -> Tensor:
        """[C] training rows of each class, labeled or not."""
        return class_rows(self.prepared.splits["train"], self.num_classes)

    def __len__(self) -> int:
        """Training rows."""
        return len(self.prepared.splits["train"])

    def class_rows(self, role: str) -> Tensor:
        """[C] training positions of each class whose label the teacher or the student may read."""
        if role not in self._class_rows:
            table = self.rows(role, 1, only_labeled=True).train_set.table
            self._class_rows[role] = class_rows(table, self.num_classes)
        return self._class_rows[role]

    def rows(self, role: str, steps: int, only_labeled: bool, first_step: int = 0) -> ExperimentData:
        """The data module of a stage for the teacher or the student."""
        settings = self.context.settings
        data, seed, labeled = settings["data"], seed_of(settings, role), settings[role]["num_labeled"]
        channels_last = bool(settings["channels_last"])
        return ExperimentData(
            self.measured,
            self.task.collate,
            batch_size=data["batch_size"],
            steps=steps,
            first_step=first_step,
            seed=seed,
            labeled=labeled,
            only_labeled=only_labeled,
            eval_batch_size=data["eval_batch_size"],
            accumulate=accumulated_batches(settings),
            workers=data["workers"],
            channels_last=channels_last,
            augmentation=read_augmentation(data.get("augment")),
        )

    @cached_property
    def _encoded(self) -> dict[str, Prepared]:
        """Role -> ids of all rows of the source."""
        return {role: self._encode(role, self._rows[2]) for role in (TEACHER, STUDENT)}

    @cached_property
    def _rows(self) -> tuple[Prepared, str, Entry]:
        """Rows, fingerprint and place in the store, from there or prepared now."""
        context, data, board = self.context, self.context.settings["data"], self.context.board
        node = data["source"]
        source: Source = context.build(node)
        key = content_key({"source": node, "content": source.digest(), "code": context.code([], node)})
        entry = context.store.entry(DATA, key)
        made_of = (
            DATA,
            str(entry.folder),
            data.get("imbalance"),
            self.num_classes,
            data["limit"],
            self.task.output_kind,
        )
        board.start(DATA)
        prepared, fingerprint, reused = context.once(made_of, lambda: self._read_entry(entry, source))
        prepared.check(TARGET_RANGES.get(self.task.output_kind, self.num_classes))
        self._check_kind(prepared)
        check_row_shape(prepared, data.get("shape"))
        sizes = ", ".join(f"{split} {len(prepared.splits[split])}" for split in SPLITS)
        board.done(DATA, f"{sizes} rows" + (f" (reused {shorten_hash(entry.key)})" if reused else ""))
        train = class_rows(prepared.splits["train"], self.num_classes)
        if self.task.output_kind is OutputKind.CLASSES and int((train > 0).sum()) == 1:
            board.say(
                "warning: all training rows have the same class, so there is nothing to learn: look at data.source"
            )
        for sentence in prepared.facts.get(NOTES, ()):
            board.say(f"data: {sentence}")
        return prepared, fingerprint, entry

    def _check_kind(self, prepared: Prepared) -> None:
        """The task reads texts where the rows are texts, words where they are words, else numbers, and such targets.

        Raises:
            ConfigError: Not so.
        """
        reads = self.task.raw_column if isinstance(self.task, ReadsTexts) else "numbers"
        found = next((name for name in (TEXT_COLUMN, WORDS_COLUMN) if name in prepared.splits["train"]), "numbers")
        kinds = {TEXT_COLUMN: "texts", WORDS_COLUMN: "words with tags"}
        fixes = {
            TEXT_COLUMN: "task=text_classification (or multi_label, regression, embedding) reads texts",
            WORDS_COLUMN: "task=token_classification (or pos_tagging) reads words with tags",
            "numbers": "data=table data.path=FILE.csv has texts, data=tagged_words data.path=FILE words with tags",
        }
        if found != reads:
            raise ConfigError(
                f"the rows are {kinds.get(found, found)}, and the task reads {kinds.get(reads, reads)}: {fixes[found]}"
            )
        shape = {OutputKind.LABELS: (self.num_classes,), OutputKind.QUANTITIES: (), OutputKind.VECTORS: ()}.get(
            self.task.output_kind
        )
        targets = prepared.splits["train"].column("targets").row_shape
        if shape is not None and targets != shape:
            raise ConfigError(
                f"targets of a row have the shape {list(targets)}, and {self.task.output_kind.value} have {list(shape)}: "
                "choose another task, or have the source give them so"
            )

    def _encode(self, role: str, raw: Entry) -> Prepared:
        """The rows of an entry as ids of a role's tokenizer, from the store or made now.

        Raises:
            ConfigError: The role's network has no tokenizer.
            SequenceTooLongError: A row of words has more tokens than its network reads.
        """
        context = self.context
        node = context.settings[role]["model"].get("tokenizer")
        if not node:
            name = str(context.settings[role]["model"].get("_target_")).rpartition(".")[2]
            raise ConfigError(
                f"{role}.model: {name} has no tokenizer to read texts with: choose one that has: {role}=bilstm"
            )
        tokenizer: TextTokenizer = context.build(node)
        key = content_key({"rows": raw.key, "tokenizer": node, "code": context.code(["kd_lightning.data.texts"], node)})
        entry = context.store.entry(IDS, key)

        def made() -> Prepared:
            with entry.lock(waiting=lambda: context.board.say("data: another process reads the texts, waiting")):
                if entry.problem() is not None:
                    entry.clear()
                    write_prepared(entry, encode_rows(read_prepared(raw, self._map_above)[0], tokenizer))
                return read_prepared(entry, self._map_above)[0]

        encoded: Prepared = context.once((IDS, str(entry.folder)), made)
        setting = f"{role}.model.tokenizer.max_length"
        found = {split: count for split in SPLITS if (count := encoded.facts[f"{split} {TOO_LONG}"])}
        counts = ", ".join(f"{count} {split}" for split, count in found.items())
        if found and LONGEST_ROW in encoded.facts:
            raise SequenceTooLongError(
                f"{role}: rows have more than {tokenizer.max_length} tokens ({counts}), and every word is taught and tested: "
                f"set {setting}={encoded.facts[LONGEST_ROW]}, or have long rows split: "
                f"data.max_words={encoded.facts[FITTING_WORDS]}"
            )
        if found:
            context.board.say(f"{role}: texts longer than {tokenizer.max_length} tokens are cut ({counts}): {setting}")
        return encoded

    def _read_entry(self, entry: Entry, source: Source) -> tuple[Prepared, str, bool]:
        """Rows, fingerprint, and whether they were there already."""
        board = self.context.board
        with entry.lock(waiting=lambda: board.say("data: another process prepares it, waiting")):
            reused = entry.problem() is None
            if not reused:
                entry.clear()
                write_prepared(entry, source.prepare())
            prepared, fingerprint = read_prepared(entry, self._map_above)
        chosen = choose_rows(prepared, self.context.settings["data"], self.num_classes)
        fingerprint = fingerprint if chosen is prepared else chosen.fingerprint()
        return drop_labels(chosen) if self.task.output_kind is OutputKind.VECTORS else chosen, fingerprint, reused


def parse_memory_map_above(data: Mapping[str, object]) -> float | None:
    """Bytes of rows from which they stay in their files; None = they never do. It changes no result, and is in no key.

    Args:
        data: The data settings.

    Raises:
        ConfigError: ``data.memory_map_above`` is no size.
    """
    setting = data.get("memory_map_above")
    if setting is None or (isinstance(setting, (int, float)) and not isinstance(setting, bool)):
        return setting
    try:
        return parse_size(str(setting))
    except ValueError as error:
        raise ConfigError(f"data.memory_map_above={error}; null = never") from error


def choose_rows(prepared: Prepared, data: Mapping[str, object], num_classes: int) -> Prepared:
    """The rows as ``data.imbalance`` and ``data.limit`` ask for them.

    Args:
        prepared: All rows.
        data: The data settings.
        num_classes: The task's.
    """
    imbalance, limit = data.get("imbalance"), data["limit"]
    if isinstance(imbalance, (int, float)):
        check_one_class_each(prepared.splits["train"], imbalance)
        prepared.check(num_classes)
        prepared = long_tailed(prepared, imbalance, num_classes)
    if isinstance(limit, int):  # last, or a few rows would have to make a long tail
        prepared = limit_rows(prepared, limit)
    return prepared


def limit_rows(prepared: Prepared, limit: int) -> Prepared:
    """The first ``limit`` rows of every split."""
    splits = {split: table.head(limit) for split, table in prepared.splits.items()}
    return Prepared(splits, prepared.tokenizer, {**prepared.facts, "limit": limit})
