"""Classification of your own images: a folder for each class, in splits of their own or split at random by class.

Rows are stored as bytes and become floats in [0, 1] a batch at a time (``data/collate.py``): the same numbers in a quarter of
the memory. An image that stands in two splits would be learned by heart before it is tested: ``duplicates`` says what is
done with it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_lightning.data.columns import CHUNK_BYTES
from kd_lightning.data.image_files import (
    IMAGE_MODES,
    ImageListing,
    list_image_folder,
    read_class_names,
    read_pixels,
    show_path,
)
from kd_lightning.data.label_targets import ClassTargets, RowTargets, check_labels
from kd_lightning.data.leakage import SHARED_ROWS
from kd_lightning.data.row_splits import TEST_SPLIT, TRAIN_SPLIT, VAL_SPLIT, draw_stratified
from kd_lightning.data.rows.label_readers import ClassReader
from kd_lightning.data.source import IMAGES, LABELS, NOTES, SPLITS, PreparedPieces
from kd_lightning.data.sources.text_table import check_choice, check_data_path, check_rows_left
from kd_lightning.data.table import Table
from kd_lightning.data.text_rows import TextRows, as_tensor
from kd_lightning.errors import ConfigError, DataFormatError
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.store import file_digest


class ImageRows(TextRows):
    """The images of all splits, in the order of their paths; of the attributes, those of texts stay empty.

    Attributes:
        paths: Of each row.
        digests: SHA-256 of each file.
        ignored: As in ``ImageListing``.
    """

    content = "image"

    def __init__(self, listing: ImageListing) -> None:
        super().__init__()
        self.paths: list[Path] = []
        self.digests: list[str] = []
        self.ignored = listing.ignored
        for split, classes in listing.splits.items():
            for name, images in classes.items():
                label = self.label_values.setdefault(name, len(self.label_values))
                for path in images:
                    self._add_image(path, SPLITS.index(split), label)

    def _add_image(self, path: Path, split: int, label: int) -> None:
        try:
            digest = file_digest(path)
        except OSError as error:
            raise DataFormatError(
                f"{show_path(path)} cannot be read ({error.strerror}): restore or remove it"
            ) from error
        self.paths.append(path)
        self.digests.append(digest)
        self.keys.append(int.from_bytes(bytes.fromhex(digest)[:8], "big", signed=True))
        self.splits.append(split)
        self.labels.append(label)

    def __len__(self) -> int:
        return len(self.paths)

    def place(self, row: int) -> str:
        """Path of an image."""
        return show_path(self.paths[row])


class ImageFolder:
    """Images in ``FOLDER/CLASS`` or ``FOLDER/SPLIT/CLASS``.

    Args:
        path: The folder. Splits that have no folder in it are drawn from the training images, from each class alike; a class
            with fewer images than splits is left to train.
        size: Height and width of a row, in pixels, >= 1; see ``read_pixels``.
        channels: 1 = gray, 3 = color.
        labels: Names in the order of class numbers; None = those of the training folders, sorted.
        val: Share of the images, in (0, 1), for validation, where they are drawn.
        test: Share for the test.
        split_seed: Another seed, another draw.
        duplicates: Of files with the same bytes in two splits: ``drop`` = from the split that trains, first from train, then
            from val; ``refuse`` = an error; ``keep``. They are counted in the facts.

    Raises:
        ConfigError: A setting is not possible.
    """

    def __init__(
        self,
        path: str,
        size: int,
        channels: int,
        labels: Sequence[object] | None = None,
        val: float = 0.1,
        test: float = 0.1,
        split_seed: int = 0,
        duplicates: str = "drop",
    ) -> None:
        if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
            raise ConfigError(f"data.val={val} data.test={test}: shares in (0, 1) that leave something to train on")
        if not isinstance(size, int) or size < 1:
            raise ConfigError(f"data.size={size!r}: a whole number of pixels, 1 or more, is expected")
        if channels not in IMAGE_MODES:
            raise ConfigError(f"data.channels={channels!r}: 1 (gray) or 3 (color) is expected")
        check_choice("data.duplicates", duplicates, SHARED_ROWS)
        self.path = check_data_path(path)
        self.size = size
        self.channels = channels
        self.labels = None if labels is None else check_labels(labels)
        self.shares = {VAL_SPLIT: val, TEST_SPLIT: test}
        self.split_seed = split_seed
        self.duplicates = duplicates
        self._rows: ImageRows | None = None

    @staticmethod
    def read_open_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The labels and the numbers of classes and features that the data's settings leave open.

        Args:
            settings: ``path``, ``size``, ``channels``, ``labels`` of the data.

        Raises:
            KDError: As ``read_class_names``, or ``path`` is none.
        """
        labels = settings["labels"]
        if labels is None:
            labels = read_class_names(check_data_path(settings["path"]))
        found: dict[str, Any] = {"labels": list(labels), "num_classes": len(labels)}
        if isinstance(settings["size"], int) and isinstance(settings["channels"], int):
            found["in_features"] = settings["channels"] * settings["size"] ** 2
        return found

    def read_rows(self) -> ImageRows:
        """Paths and content hashes of all images, read once."""
        if self._rows is None:
            self._rows = ImageRows(list_image_folder(self.path))
        return self._rows

    def digest(self) -> str:
        digest, rows = hashlib.sha256(), self.read_rows()
        for path, content in zip(rows.paths, rows.digests, strict=True):
            digest.update(os.fsencode(path.relative_to(self.path)) + f"\0{content}\n".encode())
        return digest.hexdigest()

    def prepare(self) -> PreparedPieces:
        rows = self.read_rows()
        read_class_names(self.path)
        splits, shared = SHARED_ROWS[self.duplicates](rows, self.draw_splits(rows))
        check_rows_left(splits, rows.content)
        targets = ClassTargets(ClassReader(("folder",)), self.labels).make(rows, splits)
        pieces = self.make_pieces(rows, splits, targets.values)
        return PreparedPieces(pieces, facts=self.list_facts(rows, targets, shared))

    def draw_splits(self, rows: ImageRows) -> Tensor:
        """[N] int8: of each row the split; splits without a folder are drawn from the training images.

        Raises:
            EmptyDatasetError: There are too few to draw from.
        """
        splits = as_tensor(rows.splits).to(torch.int8)
        shares = {split: share for split, share in self.shares.items() if not (splits == split).any()}
        if shares:
            train = (splits == TRAIN_SPLIT).nonzero().flatten()
            splits[train] = draw_stratified(as_tensor(rows.labels)[train], shares, self.split_seed)
        return splits

    def make_pieces(self, rows: ImageRows, splits: Tensor, targets: Tensor) -> Iterator[tuple[str, Table]]:
        """The columns of each split, some rows at a time."""
        step = max(1, CHUNK_BYTES // (self.channels * self.size**2))
        for number, split in enumerate(SPLITS):
            for part in (splits == number).nonzero().flatten().split(step):
                pixels = np.stack([read_pixels(rows.paths[row], self.size, self.channels) for row in part.tolist()])
                yield split, Table({"inputs": torch.from_numpy(pixels), "targets": targets[part]})

    def list_facts(self, rows: ImageRows, targets: RowTargets, shared: int) -> dict[str, Any]:
        """What the reader is told: classes, rows of each in each split, images that stood in two splits, other files."""
        counts, notes = targets.facts["rows"], []
        if shared:
            notes.append(f"{shared} images stand in two splits (data.duplicates={self.duplicates})")
        if rows.ignored:
            notes.append(f"{show_path(self.path)}: {rows.ignored} file{'s' * (rows.ignored > 1)} not read (no image)")
        for split in ("val", "test"):
            missing = [name for name in targets.names if counts["train"][name] and not counts[split][name]]
            if missing:
                notes.append(f"no {split} image of {escape_unprintable(', '.join(missing))}")
        return {
            LABELS: targets.names,
            IMAGES: True,
            NOTES: notes,
            "rows": counts,
            "files that are no images": rows.ignored,
            f"rows in two splits ({self.duplicates})": shared,
        }
