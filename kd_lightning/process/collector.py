"""The garbage collector rests while ``kd run`` imports.

Torch and Lightning make 400,000 objects that are there to stay. Looking through them again and again takes up to a
third of the time of importing them, and once more at the end most of the time that a process takes to leave.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_collection() -> Iterator[None]:
    """Inside, nothing is collected until ``resume_collection`` is called, at the latest at the end."""
    gc.disable()
    try:
        yield
    finally:
        resume_collection()


def resume_collection() -> None:
    """All is imported: collect again, but never look at what is there by now.

    Nothing happens outside of ``pause_collection``.
    """
    if gc.isenabled():
        return
    if not gc.get_freeze_count():  # once: what a second command in this process finds there, the first has left
        gc.freeze()
    gc.enable()
