"""Images in folders: which files are images of which class, and what their pixels are. Imports numpy for pixels alone.

    FOLDER/CLASS/*.png                      a folder for each class
    FOLDER/{train,val,test}/CLASS/*.png     likewise, in splits

Links to files and to folders of classes are followed; names that begin with a dot are not looked at.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd_lightning.data.rows.values import SPLIT_NAMES, order_labels
from kd_lightning.errors import DataFormatError, EmptyDatasetError, KDError, LabelError, MissingExtraError
from kd_lightning.safety.error_text import take_first_line
from kd_lightning.safety.terminal import escape_unprintable

if TYPE_CHECKING:
    import numpy as np

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
"""Of the files that are images, in small or capital letters."""
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What such a file may hold. Pillow knows more, of which some start programs, as EPS does."""
IMAGE_MODES = {1: "L", 3: "RGB"}
"""Channels -> what Pillow calls them: gray, or red, green and blue."""
GRAY_MODES = ("1", "L", "LA")
"""Of images without colors: black and white, gray, gray with transparency."""


@dataclass(frozen=True)
class ImageListing:
    """What is in a folder of images.

    Attributes:
        splits: Split -> class -> its images, all sorted by name. Where there are no folders of splits, all of them train.
        in_splits: There are folders of splits.
        ignored: How many files and folders beside the images are neither.
    """

    splits: dict[str, dict[str, list[Path]]]
    in_splits: bool
    ignored: int


def list_image_folder(folder: Path) -> ImageListing:
    """The images of each class.

    Raises:
        DataFormatError: Its folders are partly of splits and partly of others, or a name is not UTF-8.
        EmptyDatasetError: It is no folder, has no folders inside, or one of them holds no image.
    """
    places = find_split_folders(folder)
    listed: dict[str, dict[str, list[Path]]] = {}
    ignored = 0
    for place in {folder, *places.values()}:
        ignored += len(list_shown(place)) - len(list_subfolders(place))
    for split, place in places.items():
        listed[split] = {}
        for name, inside in list_subfolders(place).items():
            shown = list_shown(inside)
            images = [path for path in shown if is_image_name(path)]
            if not images:
                raise EmptyDatasetError(
                    f"{show_path(inside)} holds no image ({', '.join(IMAGE_SUFFIXES)}): give it some, or remove the folder"
                )
            ignored += len(shown) - len(images)
            listed[split][name] = images
        if not listed[split]:
            raise EmptyDatasetError(
                f"{show_path(place)} has no folders inside: put the images of each class into a folder of its own"
            )
    return ImageListing(listed, folder not in places.values(), ignored)


def find_split_folders(folder: Path) -> dict[str, Path]:
    """Split -> its folder; the folder itself trains where it has none of splits.

    A single folder with the name of a split stands for a class, beside folders of other classes.

    Raises:
        DataFormatError: See ``list_image_folder``.
        EmptyDatasetError: It is no folder.
    """
    if not folder.is_dir():
        raise EmptyDatasetError(
            f"{show_path(folder)} is not a folder: name one that holds a folder of images for each class"
        )
    split_of = {word: split for split, words in SPLIT_NAMES.items() for word in words}
    inside = list_subfolders(folder)
    found = {name: split_of[name.lower()] for name in inside if name.lower() in split_of}
    splits = set(found.values())
    if not splits or (len(splits) == 1 and len(inside) > 1):
        return {"train": folder}
    if "train" not in splits or len(inside) > len(splits):
        raise DataFormatError(
            f"{show_path(folder)} has the folders {escape_unprintable(', '.join(inside))}: have one each for train and, if you "
            "like, val and test, or folders of classes alone"
        )
    return {split: inside[name] for split in SPLIT_NAMES for name, named in found.items() if named == split}


def read_class_names(folder: Path) -> list[str]:
    """The classes that there are training images of, in the order of their numbers.

    Raises:
        KDError: The folder cannot be read.
        LabelError: There are fewer than two.
    """
    place = find_split_folders(folder)["train"]
    names = order_labels(list_subfolders(place))
    if len(names) < 2:
        found = f"one folder of images, {escape_unprintable(names[0])}" if names else "no folders of images"
        raise LabelError(f"{show_path(place)} has {found}: a folder for each of two classes or more is expected")
    return names


def list_subfolders(folder: Path) -> dict[str, Path]:
    """Name -> folder, sorted, without hidden ones.

    Raises:
        DataFormatError: A name is not UTF-8, and could stand in no report, or has a blank at an end, which labels have not.
    """
    found = {path.name: path for path in list_shown(folder) if path.is_dir()}
    for name, path in found.items():
        if as_text(name) != name:
            raise DataFormatError(f"{show_path(path)}: the name of this folder is not UTF-8: rename it")
        if name.strip() != name:
            raise DataFormatError(f"'{show_path(path)}': the name of this folder has a blank at an end: rename it")
    return found


def list_shown(folder: Path) -> list[Path]:
    """What is in a folder, sorted by name, without what is hidden.

    Raises:
        DataFormatError: The folder cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataFormatError(f"{show_path(folder)} cannot be read ({error.strerror}): make it readable") from error


def is_image_name(path: Path) -> bool:
    """The name is that of an image, and no folder, pipe or device has it."""
    return path.suffix.lower() in IMAGE_SUFFIXES and (path.is_file() or not path.exists())


def holds_images(folder: Path) -> bool:
    """Some folder inside, or inside of one of a split, has an image."""
    places = (path for depth in ("*/*", "*/*/*") for path in folder.glob(depth))
    return any(
        is_image_name(path) and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        for path in places
    )


def find_images(place: Path) -> tuple[list[Path], int]:
    """All images below a folder, sorted by path, and how many other files there are; of an image, itself.

    Links to files are followed, those to folders below it are not.

    Raises:
        EmptyDatasetError: There is none.
    """
    if is_image_name(place) and place.exists():
        return [place], 0
    if not place.is_dir():
        raise EmptyDatasetError(f"{show_path(place)} is neither a folder of images nor an image")
    files = sorted(
        path
        for path in place.rglob("*")
        if not path.is_dir() and not any(part.startswith(".") for part in path.relative_to(place).parts)
    )
    images = list(filter(is_image_name, files))
    if not images:
        raise EmptyDatasetError(f"no image below {show_path(place)} ({', '.join(IMAGE_SUFFIXES)}): name another folder")
    return images, len(files) - len(images)


def read_pixels(path: Path, size: int, channels: int) -> np.ndarray[Any, Any]:
    """An image, upright, cut to a square around its middle and made so large.

    Of several frames it is the first one; what is transparent becomes white. The same bytes and the same Pillow give the same
    pixels.

    Args:
        path: The file.
        size: Height and width, in pixels.
        channels: 1 = gray, 3 = red, green, blue.

    Returns:
        [channels, size, size] uint8.

    Raises:
        DataFormatError: It cannot be read, has more pixels than Pillow takes for safe, or more than 8 bits for each.
        MissingExtraError: Pillow is not installed.
    """
    import numpy as np  # only here: `kd init` must not wait for it

    with open_image(path) as image:
        from PIL import Image, ImageOps  # it is installed, or nothing would be open

        image.draft(None, (2 * size, 2 * size))  # all of a large JPEG need not be decoded
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            colors = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", colors.size, "white"), colors).convert("RGB")
        square = ImageOps.fit(upright.convert(IMAGE_MODES[channels]), (size, size), Image.Resampling.BILINEAR)
        return np.array(square).reshape(size, size, channels).transpose(2, 0, 1)


def measure_image(path: Path) -> tuple[int, int, bool]:
    """Width and height in pixels, and whether it has colors, from the beginning of the file alone.

    Raises:
        DataFormatError: It cannot be read, or has more than 8 bits for each pixel.
        MissingExtraError: Pillow is not installed.
    """
    with open_image(path) as image:
        width, height = image.size
        return width, height, image.mode not in GRAY_MODES


@contextmanager
def open_image(path: Path) -> Iterator[Any]:
    """Pillow's image, whose pixels are read when they are asked for; whatever goes wrong with them meanwhile names the file.

    Raises:
        DataFormatError: It cannot be read, or has more than 8 bits for each pixel.
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError('Pillow is not installed: pip install "kd-lightning[vision]"') from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what stands beside the pixels, such as the camera's notes
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=IMAGE_FORMATS) as image:
                if image.mode.startswith(("I", "F")):
                    raise DataFormatError(
                        f"{show_path(path)} has more than 8 bits a pixel (mode {image.mode}): save it with 8"
                    )
                yield image
    except KDError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataFormatError(
            f"{show_path(path)} has more than {Image.MAX_IMAGE_PIXELS:,} pixels, a small file that fills the memory: make it "
            "smaller, or remove it"
        ) from error
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error: what Pillow raises has no common base
        raise DataFormatError(
            f"{show_path(path)} cannot be read as an image ({escape_unprintable(take_first_line(error))}): save it again, or "
            "remove it"
        ) from error


def as_text(path: Path | str) -> str:
    """A path in characters that every file of text can hold: bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def show_path(path: Path) -> str:
    """A path for a message."""
    return escape_unprintable(as_text(path))
