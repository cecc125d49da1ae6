"""What a pretrained model is, in one hash: its files' content, wherever the folder lies."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from kd_lightning.errors import ConfigError, MissingExtraError
from kd_lightning.process.packaged import expand_packaged_path
from kd_lightning.safety.error_text import take_first_line
from kd_lightning.store import file_digest

READ = (".json", ".safetensors", ".txt", ".model", ".bin")
"""Endings of the files that a model and its tokenizer are read from."""


def folder_digest(path: str, revision: str | None = None) -> str:
    """SHA-256 over the names and contents of a model's files.

    Args:
        path: Its folder; or its name on the hub, whose files are fetched if they are not in the cache.
        revision: As in ``HubClassifier``.

    Raises:
        ConfigError: There is no such model.
        MissingExtraError: A name of the hub, and ``transformers`` is not installed; or a package that is not.
    """
    folder = Path(expand_packaged_path(path)).expanduser()
    if not folder.is_dir():
        folder = _snapshot(path, revision)
    files = sorted(file for file in folder.iterdir() if file.suffix in READ and file.is_file())
    if not any(file.name == "config.json" for file in files):
        raise ConfigError(f"model.path={path}: the folder has no config.json: name that of a transformers model")
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {_digest_of_file(file, file.stat().st_size, file.stat().st_mtime_ns)}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _digest_of_file(path: Path, size: int, modified: int) -> str:
    return file_digest(path)


def _snapshot(name: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtraError(
            f'model.path={name} is no folder, and to fetch it needs: pip install "kd-lightning[hf]"'
        ) from error
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[f"*{ending}" for ending in READ]))
    except Exception as error:  # no connection, no such name, no right to it: no common base class
        first = take_first_line(error)
        raise ConfigError(f"model.path={name} is no folder, and cannot be fetched from the hub: {first}") from error
