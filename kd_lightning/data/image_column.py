"""Images as a column that is read from their files a batch at a time: a folder may be larger than the memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kd_lightning.data.image_files import read_pixels


class ImageColumn:
    """Rows [channels, size, size] uint8, each read whenever it is asked for.

    Args:
        paths: Of the images, N.
        size: As in ``read_pixels``.
        channels: Likewise.
    """

    def __init__(self, paths: Sequence[Path], size: int, channels: int) -> None:
        self.paths = paths
        self.dtype = torch.uint8
        self.row_shape: tuple[int, ...] = (channels, size, size)

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: Tensor) -> Tensor:
        """As all that follow, see ``FixedColumn``.

        Raises:
            DataFormatError: An image cannot be read.
        """
        return self._read([self.paths[row] for row in rows.tolist()])

    def slice(self, start: int, stop: int) -> Tensor:
        return self._read(self.paths[start:stop])

    def select(self, rows: Tensor) -> ImageColumn:
        return ImageColumn([self.paths[row] for row in rows.tolist()], self.row_shape[1], self.row_shape[0])

    def head(self, count: int) -> ImageColumn:
        return ImageColumn(self.paths[:count], self.row_shape[1], self.row_shape[0])

    def whole(self) -> Tensor:
        return self._read(self.paths)

    def _read(self, paths: Sequence[Path]) -> Tensor:
        pixels = np.empty((len(paths), *self.row_shape), np.uint8)
        for row, path in zip(pixels, paths, strict=True):
            row[:] = read_pixels(path, self.row_shape[1], self.row_shape[0])
        return torch.from_numpy(pixels)
