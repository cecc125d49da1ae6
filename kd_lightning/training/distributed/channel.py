"""What the processes of a training say to the one that has started them."""

from __future__ import annotations

import pickle
from multiprocessing.connection import Connection
from typing import Any

RANK_SEAT, RANK_PROGRESS, RANK_DONE, RANK_FAILED = "seat", "progress", "done", "failed"


def send_message(channel: Connection, kind: str, content: Any) -> None:
    """Tell something, as plain bytes: multiprocessing's own pickling sends tensors as handles of the sender, which may be
    gone when they are opened."""
    channel.send_bytes(pickle.dumps((kind, content)))


def receive_message(channel: Connection) -> tuple[str, Any] | None:
    """What is told next; None = nothing now. What a killed process was just saying is nothing."""
    try:
        message = channel.recv_bytes() if channel.poll() else None
    except (EOFError, OSError):
        return None
    return None if message is None else pickle.loads(message)
