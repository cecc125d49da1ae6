"""Which layer of the student learns from which layer of the teacher."""

from __future__ import annotations

from typing import Protocol


class LayerMap(Protocol):
    """Pairs of layer numbers."""

    def __call__(self, student: int, teacher: int) -> list[tuple[int, int]]:
        """(student's layer, teacher's layer), from 0.

        Args:
            student: Layers of the student.
            teacher: Layers of the teacher.

        Raises:
            ValueError: The map asks for layers that are not there.
        """
        ...


class EveryK:
    """Each layer of the student learns from the last of an equal share of the teacher's layers.

    Formula: ``g(i) = floor((i + 1) * T / S) - 1`` for i = 0 ... S - 1.

    Example:
        >>> EveryK()(3, 6)
        [(0, 1), (1, 3), (2, 5)]

    Reference: Jiao et al. 2020, "TinyBERT", section 3.1 (the uniform strategy); PKD-skip of Sun et al. 2019 is the same
    without the last layer.
    """

    def __call__(self, student: int, teacher: int) -> list[tuple[int, int]]:
        if student > teacher:
            raise ValueError(f"the student's {student} layers cannot be spread over the teacher's {teacher}")
        return [(layer, (layer + 1) * teacher // student - 1) for layer in range(student)]


class LastN:
    """The last n layers of both, one to one.

    Args:
        n: How many; None = all of the student's.

    Example:
        >>> LastN(2)(3, 6)
        [(1, 4), (2, 5)]

    Reference: PKD-last, Sun et al. 2019, "Patient Knowledge Distillation for BERT Model Compression"; MiniLM (n = 1).
    """

    def __init__(self, n: int | None = None) -> None:
        self.n = n

    def __call__(self, student: int, teacher: int) -> list[tuple[int, int]]:
        n = student if self.n is None else self.n
        if not 1 <= n <= min(student, teacher):
            raise ValueError(f"the last {n} layers of a student with {student} and a teacher with {teacher}")
        return [(student - i, teacher - i) for i in range(n, 0, -1)]
