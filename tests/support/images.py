"""Folders of small images, made by Pillow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

COLORS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (220, 40, 40)}


def write_image(path: Path, color: tuple[int, int, int], seed: int, size: tuple[int, int] = (12, 12)) -> Path:
    """A file of noise around a color; another seed, another image."""
    noise = np.random.default_rng(seed).integers(-30, 30, (size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)).save(path)
    return path


def write_image_folder(folder: Path, counts: Mapping[str, int], seed: int = 0) -> Path:
    """A folder of PNG files for each class; a class is a color.

    Args:
        folder: Where.
        counts: Class -> images.
        seed: Another seed, other images.
    """
    for number, (name, count) in enumerate(counts.items()):
        for each in range(count):
            write_image(folder / name / f"{each:03}.png", COLORS[name], seed * 10_000 + number * 1000 + each)
    return folder
