"""Offline distillation: a teacher that is trained first and frozen from then on (Hinton et al., 2015)."""

from __future__ import annotations

from kd_lightning.experiment.parts import Parts, name_models
from kd_lightning.experiment.stage import Comparison, Stages


def offline(parts: Parts) -> Stages:
    """The article's four steps; its first one, splitting the data, comes before every scheme."""
    teacher = parts.teacher()
    teacher, alone = yield [teacher, parts.student_alone(teacher)]
    outputs = yield parts.teacher_outputs(teacher)
    start = yield parts.pretraining(teacher, outputs)
    small = parts.compressed_distillation(teacher, outputs, start)
    student, *small = yield [parts.distillation(teacher, outputs, start), *small]
    return Comparison(teacher=teacher, baseline=alone, pretrained=start, distilled=student, **name_models(small))
