"""Other views of training images: cropped at random after padding, mirrored at random.

A view is a function of the seed, the epoch and the row alone. So a resumed training sees the views that it would have seen,
however many processes share its batches, and students of one seed see the same ones in the same steps, alone and distilled.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.errors import ConfigError, did_you_mean
from kd_lightning.seeds import derive_seed


@dataclass(frozen=True)
class Augmentation:
    """What may be done to an image.

    Attributes:
        crop: Black pixels that are put around it before a part of its old size is cut out, >= 0; 0 = none.
        flip: Every second image, at random, is mirrored left to right.

    Raises:
        ConfigError: A value is not possible.
    """

    crop: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.crop, int) or isinstance(self.crop, bool) or self.crop < 0:
            raise ConfigError(f"data.augment.crop={self.crop!r}: a whole number of pixels, 0 or more, is expected")
        if not isinstance(self.flip, bool):
            raise ConfigError(f"data.augment.flip={self.flip!r}: true or false is expected")

    def view_images(self, images: Tensor, seed: int, epochs: Tensor, rows: Tensor) -> Tensor:
        """A view of each image.

        Args:
            images: [B, C, H, W].
            seed: Another seed, other views.
            epochs: [B] int64: how often the training has gone through its rows before, of each image.
            rows: [B] int64, their numbers.

        Returns:
            [B, C, H, W].
        """
        height, width = images.shape[-2:]
        padded, views = F.pad(images, [self.crop] * 4), torch.empty_like(images)
        for number, (epoch, row) in enumerate(zip(epochs.tolist(), rows.tolist(), strict=True)):
            draw = random.Random(derive_seed(seed, "view", epoch, row))
            top, left = draw.randint(0, 2 * self.crop), draw.randint(0, 2 * self.crop)
            view = padded[number, :, top : top + height, left : left + width]
            views[number] = view.flip(-1) if self.flip and draw.random() < 0.5 else view
        return views


def read_augmentation(settings: Any) -> Augmentation | None:
    """Of ``data.augment``; None = the images stay as they are.

    Raises:
        ConfigError: It holds something else than ``crop`` and ``flip``, or a value that is not possible.
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
                f"unknown setting 'data.augment.{name}'{did_you_mean(str(name), known)}; {', '.join(known)} are known"
            )
    return Augmentation(**settings)
