"""What a folder of images holds: classes, sizes, colors, files that stand there twice. Imports no torch."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from kd_lightning.data.image_files import list_image_folder, measure_image, read_class_names
from kd_lightning.errors import DataFormatError
from kd_lightning.store import file_digest


@dataclass(frozen=True)
class ImageProfile:
    """What is known of a folder of images.

    Attributes:
        path: The folder.
        split_counts: Split -> images. Where there are no folders of splits, all of them train.
        in_splits: There are folders of splits.
        label_counts: Class -> images of all splits.
        sides: Shorter side in pixels of each image that can be read, sorted.
        smallest: Width and height of the one with the fewest pixels.
        largest: Of the one with the most.
        in_color: Images that have colors.
        duplicates: Images that are a copy of an earlier file.
        conflicts: Copies of a file of another class.
        leaks: Copies of a file of another split.
        problems: What is wrong with images that cannot be read.
        ignored: As in ``ImageListing``.
    """

    path: Path
    split_counts: dict[str, int]
    in_splits: bool
    label_counts: dict[str, int]
    sides: list[int]
    smallest: tuple[int, int]
    largest: tuple[int, int]
    in_color: int
    duplicates: int
    conflicts: int
    leaks: int
    problems: list[str]
    ignored: int

    @property
    def images(self) -> int:
        """Of all splits."""
        return sum(self.split_counts.values())

    @property
    def median_side(self) -> int:
        """The shorter side of the image in the middle, in pixels."""
        return int(statistics.median_low(self.sides))


def profile_images(folder: Path) -> ImageProfile:
    """Read every file once; of its pixels, none.

    Raises:
        KDError: The folder cannot be read, has fewer than two classes, or no image can be read.
    """
    listing = list_image_folder(folder)
    read_class_names(folder)
    labels: Counter[str] = Counter()
    problems: list[str] = []
    sizes: list[tuple[int, int]] = []
    in_color = 0
    copies: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for split, classes in listing.splits.items():
        for name, paths in classes.items():
            labels[name] += len(paths)
            for path in paths:
                try:
                    width, height, colored = measure_image(path)
                except DataFormatError as error:
                    problems.append(str(error))
                    continue
                sizes.append((width, height))
                in_color += colored
                copies[file_digest(path)].append((split, name))
    if not sizes:
        raise DataFormatError(f"no image can be read: {problems[0]}")
    sizes.sort(key=lambda size: size[0] * size[1])
    return ImageProfile(
        path=folder,
        split_counts={split: sum(map(len, classes.values())) for split, classes in listing.splits.items()},
        in_splits=listing.in_splits,
        label_counts=dict(labels),
        sides=sorted(map(min, sizes)),
        smallest=sizes[0],
        largest=sizes[-1],
        in_color=in_color,
        duplicates=sum(len(found) - 1 for found in copies.values()),
        conflicts=sum(len({name for _, name in found}) - 1 for found in copies.values()),
        leaks=sum(len({split for split, _ in found}) - 1 for found in copies.values()),
        problems=problems,
        ignored=listing.ignored,
    )
