"""Checkpoints that are whole or not there: Lightning's CheckpointIO on our atomic publishing.

Lightning's own writes to a temporary folder that may lie on another file system and moves the file, which is not
atomic there, and it swallows permission errors. Beside each ``X.ckpt`` stands ``X.ckpt.sha256``, published first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from kd_lightning.errors import CheckpointCorruptError
from kd_lightning.safety.error_text import to_one_line
from kd_lightning.safety.inside import is_plain_file
from kd_lightning.store import TEMPORARY, file_digest, publish, publish_file, write_error


class AtomicCheckpointIO(CheckpointIO):
    """Saves atomically with a digest; loads with ``weights_only=True``, after checking the digest."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{TEMPORARY}{path.name}")
        try:
            draft.unlink(missing_ok=True)
            torch.save(checkpoint, draft)
            publish(digest_path(path), file_digest(draft) + "\n")
        except (OSError, RuntimeError) as error:
            raise write_error(path, error) from error
        publish_file(draft, path)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        path = Path(path)
        problem = checkpoint_problem(path)
        if problem:
            raise CheckpointCorruptError(f"checkpoint {path} {problem}: remove it to start again without it")
        try:
            return torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except Exception as error:  # somebody else's, with a digest of its own: unpickling knows no common base
            why = f"cannot be read: {to_one_line(error)}"
            raise CheckpointCorruptError(f"checkpoint {path} {why}: remove it to start again without it") from error

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)
        digest_path(Path(path)).unlink(missing_ok=True)


def digest_path(path: Path) -> Path:
    """Where the digest of a checkpoint stands."""
    return path.with_name(path.name + ".sha256")


def checkpoint_problem(path: Path) -> str:
    """What is wrong with a checkpoint of ours; empty = nothing."""
    if not is_plain_file(path):
        return "is not there"
    if not is_plain_file(digest_path(path)):
        return "has no digest beside it"
    if digest_path(path).read_bytes().strip() != file_digest(path).encode():
        return f"({path.stat().st_size} bytes) does not match its digest"
    return ""
