"""Distillation without labels: a teacher that is brought, and a student that learns from what it says alone.

There is no student alone, which would need labels; the honest baseline is the student before its first step, with the weights
that it starts from.
"""

from __future__ import annotations

from kd_lightning.experiment.parts import Parts, name_models
from kd_lightning.experiment.stage import Comparison, Stages


def unlabeled(parts: Parts) -> Stages:
    """Teacher, the student as it starts, the student distilled from there."""
    teacher = yield parts.teacher()
    start = yield parts.student_at_start(teacher)
    outputs = yield parts.teacher_outputs(teacher)
    small = parts.compressed_distillation(teacher, outputs, reads_labels=False)
    student, *small = yield [parts.unlabeled_distillation(teacher, outputs), *small]
    return Comparison(teacher=teacher, baseline=start, distilled=student, **name_models(small))
