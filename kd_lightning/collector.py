"""The garbage collector rests while ``kd run`` imports.

Torch and Lightning make 400,000 objects that are there to stay. Looking through them again and again takes a third of the
time of importing them, and once more at the end most of the time that a process takes to leave.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_rest() -> Iterator[None]:
    """Inside, nothing is collected until ``go_on`` is called. It works again afterwards, if it did before."""
    worked = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if worked:
            gc.enable()


def go_on() -> None:
    """All is imported: collect again, but never look at what is there by now. Nothing happens outside of ``at_rest``."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
