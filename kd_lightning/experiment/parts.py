"""Builds stages from the settings, for schemes: the only place that knows both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from kd_lightning.errors import ConfigError
from kd_lightning.experiment import stage_keys
from kd_lightning.experiment.builder import Builder
from kd_lightning.experiment.driver import look_ahead
from kd_lightning.experiment.outputs_work import OutputsWork
from kd_lightning.experiment.pretrained_teacher import PretrainedWork
from kd_lightning.experiment.settings import (
    STUDENT,
    TEACHER,
    Softness,
    TeacherSource,
    soft_alone,
    softness,
    trains_teacher,
)
from kd_lightning.experiment.stage import Stage, Stages, TrainedStage
from kd_lightning.experiment.training_work import TrainingWork
from kd_lightning.experiment.untrained_student import UntrainedWork
from kd_lightning.models.weights import find_weights, load_weights
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.training import loss_state as carrying
from kd_lightning.training.distillation import DistillationModule
from kd_lightning.training.fit import WEIGHTS
from kd_lightning.training.loss_setup import prepare_module
from kd_lightning.training.supervised import SupervisedModule
from kd_lightning.types import OutputKind


class Parts:
    """The stages that a scheme may ask for.

    A scheme that asks for the same part twice gives each a ``name`` of its own, and a ``title`` and ``label`` to go with it.

    Args:
        builder: The experiment's.
        scheme: The scheme itself: what the teacher's outputs are needed for is found out by looking ahead.
        sources: Where the teacher's outputs may come from; None = as the settings have it.
    """

    def __init__(
        self, builder: Builder, scheme: Callable[[Parts], Stages], sources: Sequence[TeacherSource] | None = None
    ) -> None:
        self.builder = builder
        self.settings = builder.settings
        self.scheme = scheme
        self.sources = sources
        self._training = TrainingWork(builder)

    def teacher(self, name: str = "teacher", title: str = "teacher", label: str = "teacher") -> Stage:
        """The teacher, on the labels it has; or one that is brought: by ``teacher.checkpoint``, or as the pretrained model
        that its settings name."""
        if trains_teacher(self.settings):
            return self._supervised(name, title, label, TEACHER, self.settings[TEACHER]["steps"])
        checkpoint = self.settings[TEACHER]["checkpoint"]
        return Stage(
            name=name,
            title=title,
            label=label,
            role=TEACHER,
            work=PretrainedWork(self.builder, checkpoint),
            ingredients=lambda: stage_keys.brought(
                self.builder, TEACHER, find_weights(checkpoint, "teacher.checkpoint", TEACHER) if checkpoint else None
            ),
        )

    def student_alone(
        self,
        teacher: Stage | None = None,
        *,
        name: str = "baseline",
        title: str = "student alone",
        label: str = "student alone",
    ) -> TrainedStage:
        """The student on the labels it has, without learning from a teacher, for its whole budget.

        Args:
            teacher: Whose weights it begins with if ``student.init`` is ``teacher``, as when it is distilled.
            name: Of the stage.
            title: Likewise.
            label: Of its model.

        Raises:
            ConfigError: There must be a teacher, and none is given.
        """
        steps = self.settings[STUDENT]["steps"]
        if self.settings[STUDENT]["init"] != TEACHER:
            return self._supervised(name, title, label, STUDENT, steps)
        if teacher is None:
            raise ConfigError("student.init=teacher: the scheme gives the student alone no teacher to begin with")
        return self._supervised(name, title, label, STUDENT, steps, teacher)

    def student_at_start(
        self, teacher: Stage, name: str = "start", title: str = "student at start", label: str = "student at start"
    ) -> Stage:
        """The student before its first step: with its teacher's weights, where it begins with these, or at random."""
        return Stage(
            name=name,
            title=title,
            label=label,
            role=STUDENT,
            work=UntrainedWork(self.builder, partial(self._new_student, teacher)),
            ingredients=lambda: stage_keys.started(self.builder),
            after={"init": teacher} if self.settings[STUDENT]["init"] == TEACHER else {},
        )

    def teacher_outputs(self, teacher: Stage, name: str = "teacher_outputs", title: str = "store teacher") -> Stage:
        """Where the stages that learn from the teacher read its outputs: live, or rows on disk that are written first."""
        work = OutputsWork(
            builder=self.builder,
            role=teacher.role,
            network=partial(self.trained, teacher),
            readers=partial(self.readers, name),
            sources=self.sources or self.builder.sources(),
        )
        formats = {"sources": [source.node for source in work.sources]}
        return Stage(
            name=name,
            title=title,
            role=teacher.role,
            work=work,
            ingredients=lambda: formats,
            after={"teacher": teacher},
            unit="rows",
            shown=self.builder.stores,
        )

    def pretraining(
        self,
        teacher: Stage,
        outputs: Stage,
        name: str = "pretrain",
        title: str = "pre-train",
        label: str = "pre-trained",
    ) -> TrainedStage | None:
        """The student on the teacher's soft targets alone, reading no label; None where ``student.pretrain_steps`` is 0."""
        steps = self.settings[STUDENT]["pretrain_steps"]
        if not steps:
            return None
        mixed = soft_alone(self.settings)
        return self._soft(name, title, label, teacher, outputs, None, steps, mixed, reads_labels=False)

    def distillation(
        self,
        teacher: Stage,
        outputs: Stage,
        start: Stage | None = None,
        name: str = "distill",
        title: str = "distill",
        label: str = "distilled",
    ) -> TrainedStage:
        """The student on labels and teacher, from ``start`` on, for what is left of its budget."""
        steps = self.settings[STUDENT]["steps"] - (start.steps_after if start else 0)
        return self._soft(name, title, label, teacher, outputs, start, steps, softness(self.settings))

    def compressed_distillation(
        self, teacher: Stage, outputs: Stage, start: Stage | None = None, reads_labels: bool = True
    ) -> list[TrainedStage]:
        """The same for each choice of ``compress``: a student of its own, made small on the way, with the same budget."""
        steps = self.settings[STUDENT]["steps"] - (start.steps_after if start else 0)
        mixed = softness(self.settings)
        return [
            self._soft(*name_compressed(each), teacher, outputs, start, steps, mixed, reads_labels, each)
            for each in self.settings["compress"]
        ]

    def unlabeled_distillation(
        self, teacher: Stage, outputs: Stage, name: str = "distill", title: str = "distill", label: str = "distilled"
    ) -> TrainedStage:
        """The student on what the teacher says alone, for its whole budget, reading no label: pre-training is part of it.

        Raises:
            ConfigError: The settings ask for labels.
        """
        mixed, steps = softness(self.settings), self.settings[STUDENT]["steps"]
        if mixed.alpha != 1:
            raise ConfigError(
                "scheme=unlabeled reads no label, and alpha leaves a share to them: set alpha=1, annealing=none"
            )
        return self._soft(name, title, label, teacher, outputs, None, steps, mixed, reads_labels=False)

    def trained(self, stage: Stage) -> nn.Module:
        """The network of a finished stage, with its weights."""
        return load_weights(self.builder.network(stage.role), self.builder.context.place(stage).path(WEIGHTS))

    def readers(self, outputs: str, source: TeacherSource) -> list[Stage]:
        """The stages of the scheme that would read the outputs of that name, in order, if they came from the source."""
        stages, _ = look_ahead(self.scheme(Parts(self.builder, self.scheme, [source])))
        return [stage for stage in stages if any(read.name == outputs for read in stage.reads)]

    def outputs_of(self, outputs: Stage, teacher: Stage) -> TeacherOutputs:
        """The trained teacher's outputs, from where the run has them."""
        return self.builder.teacher_outputs(teacher.role, self.trained(teacher), source_of(outputs))

    def _new_student(self, teacher: Stage | None) -> nn.Module:
        def trained() -> nn.Module:
            assert teacher is not None
            return self.trained(teacher)

        return self.builder.new_student(trained)

    def _supervised(
        self, name: str, title: str, label: str, role: str, steps: int, init: Stage | None = None
    ) -> TrainedStage:
        if self.builder.dataset.task.output_kind is OutputKind.VECTORS:
            fix = "teacher.train=false, or teacher.checkpoint=FILE" if role == TEACHER else "scheme=unlabeled"
            raise ConfigError(f"{title}: task={self.settings['task']['name']} has no labels to train it on: set {fix}")

        def module() -> SupervisedModule:
            network = self._new_student(init) if role == STUDENT else self.builder.network(role)
            return self.builder.supervised(role, network, steps)

        return TrainedStage(
            name=name,
            title=title,
            label=label,
            role=role,
            work=self._training,
            steps=steps,
            ingredients=lambda: stage_keys.supervised(self.builder, role, steps),
            after={"init": init} if init else {},
            module=module,
            data=lambda: self.builder.dataset.rows(role, steps, only_labeled=True),
        )

    def _soft(
        self,
        name: str,
        title: str,
        label: str,
        teacher: Stage,
        outputs: Stage,
        start: Stage | None,
        steps: int,
        mixed: Softness,
        reads_labels: bool = True,
        compress: str = "",
    ) -> TrainedStage:
        done = start.steps_after if start else 0

        def module() -> DistillationModule:
            built = self.builder.distilling(
                teacher=self.outputs_of(outputs, teacher),
                student=self.trained(start) if start else self._new_student(teacher),
                steps=steps,
                done=done,
                softness=mixed,
                compress=compress,
            )
            if start:
                carrying.continue_losses(built, self.builder.context.place(start))
            return prepare_module(built, partial(self.trained, teacher))

        return TrainedStage(
            name=name,
            title=title,
            label=label,
            role=STUDENT,
            work=self._training,
            steps=steps,
            after={"teacher": teacher, **({"start": start} if start else {})},
            reads=(outputs,),
            ingredients=lambda: stage_keys.distilled(
                self.builder, teacher.role, source_of(outputs), mixed, steps, done, reads_labels, compress
            ),
            module=module,
            data=lambda: self.builder.dataset.rows(STUDENT, steps, only_labeled=False, first_step=done),
        )


def name_compressed(compress: str) -> tuple[str, str, str]:
    """Name, title and label of the stage of a choice of ``compress``.

    Example:
        >>> name_compressed("pruned_and_quantized")
        ('distill_pruned_and_quantized', 'distill pruned and quantized', 'distilled, pruned and quantized')
    """
    said = compress.replace("_", " ")
    return f"distill_{compress}", f"distill {said}", f"distilled, {said}"


def name_models(small: Sequence[Stage]) -> dict[str, Stage]:
    """What a comparison calls the students of ``Parts.compressed_distillation``."""
    return {stage.name.replace("distill", "distilled", 1): stage for stage in small}


def source_of(outputs: Stage) -> TeacherSource:
    """Where the rows of a stage of ``Parts.teacher_outputs`` come from, decided by now."""
    assert isinstance(outputs.work, OutputsWork)
    return outputs.work.decided
