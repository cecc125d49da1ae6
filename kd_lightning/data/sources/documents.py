"""Plain text files, each in one split: what sources of tokens and of sentences have in common."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

from kd_lightning.data.source import SPLITS
from kd_lightning.errors import ConfigError, EmptyDatasetError, KDError
from kd_lightning.seeds import derive_seed


class DocumentFiles:
    """Plain UTF-8 text files under a folder.

    Args:
        root: The folder.
        val: Share of the files, in (0, 1), for validation.
        test: Share for the test.
        split_seed: Another seed, another split.
        pattern: Which files, as a glob below ``root``.

    Raises:
        ConfigError: A share is not possible.
    """

    def __init__(
        self, root: str, val: float = 0.1, test: float = 0.1, split_seed: int = 0, pattern: str = "**/*.txt"
    ) -> None:
        if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
            raise ConfigError(f"data.source.val={val}, test={test}: shares in (0, 1) that leave something to train on")
        self.root = Path(root)
        self.val = val
        self.test = test
        self.split_seed = split_seed
        self.pattern = pattern

    def files(self) -> list[Path]:
        """The text files, sorted.

        Raises:
            EmptyDatasetError: There are none.
        """
        if not self.root.is_dir():
            raise EmptyDatasetError(f"data.root={self.root} is not a folder: name one that holds text files")
        found = sorted(path for path in self.root.glob(self.pattern) if path.is_file())
        if not found:
            raise EmptyDatasetError(
                f"no file matches {self.pattern} below {self.root}: give text files or another pattern"
            )
        return found

    def digest(self) -> str:
        digest = hashlib.sha256()
        for path in self.files():
            digest.update(f"{path.relative_to(self.root).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def split(self, files: Sequence[Path]) -> dict[str, list[Path]]:
        """Each file in one split; at least one file in each.

        Raises:
            EmptyDatasetError: Fewer than three files.
        """
        if len(files) < len(SPLITS):
            raise EmptyDatasetError(
                f"{len(files)} files below {self.root}: the split is by file and needs at least {len(SPLITS)}"
            )
        shuffled = list(files)
        random.Random(derive_seed(self.split_seed, "split")).shuffle(shuffled)
        # Rounded shares may take every file: one is kept for each split that is still to be served.
        val = min(max(1, round(self.val * len(files))), len(files) - 2)
        test = min(max(1, round(self.test * len(files))), len(files) - 1 - val)
        parts = shuffled[:val], shuffled[val : val + test], shuffled[val + test :]
        return dict(zip(("val", "test", "train"), map(sorted, parts), strict=True))


def read_document(path: Path) -> str:
    """A file's text, a byte-order mark accepted.

    Raises:
        KDError: It is not UTF-8, or holds nothing but white space.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise KDError(f"{path} is not UTF-8 at byte {error.start}: convert it") from error
    if not text.strip():
        raise EmptyDatasetError(f"{path} holds no text: remove it")
    return text
