"""Other views of training images: cropped at random after padding, mirrored at random, mixed with another image.

A view is a function of the seed, the epoch and the row alone. So a resumed training sees the views that it would have seen,
however many processes share its batches, and students of one seed see the same ones in the same steps, alone and distilled.

Mixup (Zhang et al. 2018) draws a share s from Beta(a, a), mixes two images, and takes ``s CE(y) + (1 - s) CE(y')`` as the
loss. Each of the two images is as likely to be the first one. So the expected loss is that of ``CE(y)`` alone with s from
Beta(a + 1, a), whose density is ``2 s`` times the other (Huszar 2017). This is what is done: a row keeps its own label, and no
loss need know of it.

References: Zhang, Cisse, Dauphin, Lopez-Paz 2018, "mixup: Beyond Empirical Risk Minimization"; Huszar 2017, "mixup:
Data-Dependent Data Augmentation" (inference.vc).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.data.collate import Collate
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError, did_you_mean
from kd_lightning.seeds import derive_seed
from kd_lightning.types import Batch


@dataclass(frozen=True)
class Augmentation:
    """What may be done to an image.

    Attributes:
        crop: Black pixels that are put around it before a part of its old size is cut out, >= 0; 0 = none.
        flip: Every second image, at random, is mirrored left to right.
        mixup: a above, >= 0; the larger, the more is mixed. 0 = nothing is.

    Raises:
        ConfigError: A value is not possible.
    """

    crop: int = 0
    flip: bool = False
    mixup: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.crop, int) or isinstance(self.crop, bool) or self.crop < 0:
            raise ConfigError(f"data.augment.crop={self.crop!r}: a whole number of pixels, 0 or more, is expected")
        if not isinstance(self.flip, bool):
            raise ConfigError(f"data.augment.flip={self.flip!r}: true or false is expected")
        number = isinstance(self.mixup, int | float) and not isinstance(self.mixup, bool)
        if not (number and 0 <= self.mixup < math.inf):
            raise ConfigError(f"data.augment.mixup={self.mixup!r}: a number, 0 or more, is expected")

    def check_sides(self, height: int, width: int) -> None:
        """An image is not cropped until little of it is left.

        Raises:
            ConfigError: More than half of a side may be black.
        """
        most = min(height, width) // 2
        if self.crop > most:
            raise ConfigError(
                f"data.augment.crop={self.crop}: {most} at most, half of the images' {min(height, width)} pixels, is expected"
            )


class ImageViews:
    """Makes batches of views.

    Args:
        augmentation: What is done.
        seed: Another seed, other views.
        ids: [n] int64, the rows that are trained on: from these are the images that others are mixed with.
    """

    def __init__(self, augmentation: Augmentation, seed: int, ids: Tensor) -> None:
        self.augmentation = augmentation
        self.seed = seed
        self.ids = ids

    def collate(self, collate: Collate, table: Table, epochs: Tensor, rows: Tensor) -> Batch:
        """A batch of rows, with a view in the place of each image.

        Args:
            collate: Makes a batch of rows; ``inputs`` are images [B, C, H, W].
            table: The rows.
            epochs: [B] int64: how often the training has gone through its rows before, of each row.
            rows: [B] int64.
        """
        batch = collate(table, rows)
        batch["inputs"] = self.crop_and_flip(batch["inputs"], epochs, rows)
        if self.augmentation.mixup:
            partners, shares = self.draw_partners(epochs, rows)
            others = self.crop_and_flip(collate(table, partners)["inputs"], epochs, partners)
            batch["inputs"] = torch.lerp(others, batch["inputs"], shares[:, None, None, None])
        return batch

    def crop_and_flip(self, images: Tensor, epochs: Tensor, rows: Tensor) -> Tensor:
        """A part of each image, [B, C, H, W], perhaps mirrored."""
        crop, (height, width) = self.augmentation.crop, images.shape[-2:]
        draws = self.draws("view", epochs, rows)
        tops, lefts = torch.tensor([[draw.randint(0, 2 * crop) for _ in range(2)] for draw in draws]).unbind(1)
        flips = torch.tensor([self.augmentation.flip and draw.random() < 0.5 for draw in draws])
        across = torch.arange(width)
        below = tops[:, None] + torch.arange(height)  # [B, H]: which row of the padded image stands there
        beside = lefts[:, None] + torch.where(flips[:, None], across.flip(0), across)  # [B, W]: which column
        pixels = below[:, None, :, None] * (width + 2 * crop) + beside[:, None, None, :]  # [B, 1, H, W]
        padded = F.pad(images, [crop] * 4).flatten(2)
        return padded.gather(2, pixels.expand_as(images).flatten(2)).reshape(images.shape)

    def draw_partners(self, epochs: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Which row each one is mixed with, [B] int64, and the share of its own image, [B] float32 in [0, 1]."""
        a, draws = self.augmentation.mixup, self.draws("mix", epochs, rows)
        drawn = [(draw.randrange(len(self.ids)), draw.betavariate(a + 1, a)) for draw in draws]
        return self.ids[[place for place, _ in drawn]], torch.tensor([share for _, share in drawn])

    def draws(self, what: str, epochs: Tensor, rows: Tensor) -> list[random.Random]:
        """Random numbers for each row of its own."""
        pairs = zip(epochs.tolist(), rows.tolist(), strict=True)
        return [random.Random(derive_seed(self.seed, what, epoch, row)) for epoch, row in pairs]


def read_augmentation(settings: Any) -> Augmentation | None:
    """Of ``data.augment``; None = the images stay as they are.

    Raises:
        ConfigError: It holds another setting, or a value that is not possible.
    """
    if settings is None:
        return None
    if not isinstance(settings, Mapping):
        raise ConfigError(
            f"data.augment={settings!r}: null is expected, or settings, in quotes on a command line: "
            "'data.augment={crop: 2, flip: true}'"
        )
    known = tuple(Augmentation.__dataclass_fields__)
    for name in settings:
        if name not in known:
            raise ConfigError(
                f"unknown setting 'data.augment.{name}', only {', '.join(known)}{did_you_mean(str(name), known)}"
            )
    return Augmentation(**settings)
