"""What losses on attention layers share: parts of matched modules as taps, and the positions that count.

Shape legend: B batch, T positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.samples import counted_rows


def with_parts(taps: Mapping[str, tuple[str, str]], parts: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A tap for each part of each pair of modules.

    Example:
        >>> with_parts({"0": ("a", "b")}, ["query", "key"])
        {'0/query': ('a:query', 'b:query'), '0/key': ('a:key', 'b:key')}
    """
    return {
        f"{name}/{part}": (f"{student}:{part}", f"{teacher}:{part}")
        for name, (student, teacher) in taps.items()
        for part in parts
    }


def position_mask(mask: Tensor, length: int) -> Tensor:
    """[B, T] bool for sequences of T positions: the mask itself if it has as many, else all positions of rows that count."""
    return mask if mask.dim() == 2 and mask.shape[1] == length else counted_rows(mask)[:, None].expand(-1, length)


def check_positions(name: str, taps: tuple[str, str], student: Tensor, teacher: Tensor, dims: int) -> None:
    """Both features have positions, and equally many.

    Args:
        name: The loss's.
        taps: Where they come from.
        student: [B, T, D] or [B, H, T, T].
        teacher: Likewise.
        dims: 3 or 4.

    Raises:
        ConfigError: They have not.
    """
    if not student.dim() == teacher.dim() == dims or student.shape[-2] != teacher.shape[-2]:
        raise ConfigError(
            f"loss.{name}: {taps[0]} of the student gives {tuple(student.shape)}, {taps[1]} of the teacher "
            f"{tuple(teacher.shape)}: features of equally many positions are expected, with {dims} dimensions"
        )
