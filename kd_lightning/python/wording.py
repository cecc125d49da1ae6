"""Advice that names settings of the command, as advice that names arguments of ``kd.distill``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kd_lightning.errors import KDError
from kd_lightning.results.report.gap import BETTER_TEACHER
from kd_lightning.results.statistics.verdict import ONE_SEED_SENTENCE

IN_PYTHON = {
    ONE_SEED_SENTENCE: "This is one seed: seed=1, 2, ... shows how much of it is luck.",
    BETTER_TEACHER: "train it longer, or take a larger one",
    "trainer.gradient_clip_val": "gradient_clip",
    "optimizer.lr": "lr",
    "annealing.": "",
    "; the checkpoints before this step are kept": "",
}
"""What is said of a run -> what it is here."""


def translate_advice(text: str) -> str:
    """The text with the names of arguments.

    Example:
        >>> translate_advice("lower optimizer.lr, or set trainer.gradient_clip_val=1")
        'lower lr, or set gradient_clip=1'
    """
    for said, meant in IN_PYTHON.items():
        text = text.replace(said, meant)
    return text


@contextmanager
def translate_errors() -> Iterator[None]:
    """Inside, errors that name settings are raised again with the names of arguments."""
    try:
        yield
    except KDError as error:
        said = translate_advice(str(error))
        if said == str(error):
            raise
        raise type(error)(said) from error
