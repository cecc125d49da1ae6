"""A teacher's outputs on disk, read by row number: memory-mapped numpy files and a JSON manifest.

    manifest.json        what the bytes mean: format, teacher, layout, rows, rows of a shard
    shard-00000.npy      [rows of a shard, row_bytes] uint8: rows 0, 1, 2, ... of the training split
    extra-NAME.npy       what belongs to all rows

Row i lies in shard ``i // shard_rows``. The files are whole when they are opened (the store has checked their digests), and
nobody writes into a published file: a rebuilt one takes its name, and who has the old one mapped goes on with that.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_lightning.teachers.stored.row_layout import Layout

FORMAT = 1
MANIFEST = "manifest.json"
SAMPLED = 64  # rows


def shard_name(number: int) -> str:
    """The file of a shard."""
    return f"shard-{number:05}.npy"


def extra_name(name: str) -> str:
    """The file of what belongs to all rows."""
    return f"extra-{name}.npy"


class Shards:
    """The rows of a finished folder.

    Args:
        folder: Holds the files above.

    Attributes:
        layout: What a row's bytes mean.
        rows: How many there are.
        teacher: The hash of the network that said them.
        extras: Tensors that belong to all rows, by name.
        positions: To which all rows are filled up, where they differ in length; None = they do not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        self.layout = Layout.read(manifest["layout"])
        self.rows: int = manifest["rows"]
        self.shard_rows: int = manifest["shard_rows"]
        self.teacher: str = manifest["teacher"]
        self.positions: int | None = manifest["positions"]
        self.extras = {name: torch.from_numpy(np.load(folder / extra_name(name))) for name in manifest["extras"]}
        self._maps = self._opened()

    def _opened(self) -> list[np.ndarray[Any, Any]]:
        count = -(-self.rows // self.shard_rows)
        return [np.load(self.folder / shard_name(number), mmap_mode="r") for number in range(count)]

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be sent as all that it maps; the other process opens its own.
        return {**self.__dict__, "_maps": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._maps = self._opened()

    def read(self, index: Tensor, device: torch.device | None = None) -> dict[str, Tensor]:
        """The columns [B, ...] of some rows, as they stand on disk.

        Args:
            index: [B] int64, row numbers in [0, rows).
            device: Where the columns go; None = that of ``index``. To a GPU they go without anybody waiting for them, if
                ``index`` is not there.
        """
        device = index.device if device is None else device
        wanted = index.cpu().numpy()
        assert len(wanted) == 0 or (wanted.min() >= 0 and wanted.max() < self.rows), "an index that is no training row"
        packed = torch.from_numpy(self._bytes(wanted))
        if device.type == "cuda":
            packed = packed.pin_memory()  # torch keeps the memory until the copy is done
        return self.layout.unpack(packed.to(device, non_blocking=device.type == "cuda"))

    def _bytes(self, wanted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """[B, row_bytes] uint8."""
        if len(self._maps) == 1:
            return np.take(self._maps[0], wanted, axis=0)
        packed = np.empty((len(wanted), self.layout.row_bytes), np.uint8)
        numbers, places = np.divmod(wanted, self.shard_rows)
        for number in np.unique(numbers):
            chosen = numbers == number
            packed[chosen] = np.take(self._maps[number], places[chosen], axis=0)
        return packed

    def sample_digest(self) -> str:
        """SHA-256 over some rows, spread evenly, and the extras: what is read stays as it was when it was opened."""
        step = max(1, self.rows // SAMPLED)
        digest = hashlib.sha256(self._bytes(np.arange(0, self.rows, step)).tobytes())
        for name in sorted(self.extras):
            digest.update(self.extras[name].cpu().numpy().tobytes())
        return digest.hexdigest()
