"""Builds what the stages are made of, from the settings: networks, losses, modules, the trainer."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from kd_lightning.errors import ConfigError
from kd_lightning.experiment.context import Context
from kd_lightning.experiment.dataset import Dataset
from kd_lightning.experiment.lazy_networks import with_all_sizes
from kd_lightning.experiment.preflight import check_processes, check_trained, check_trainer, world_size
from kd_lightning.experiment.settings import (
    STUDENT,
    TEACHER,
    Settings,
    Softness,
    TeacherSource,
    accumulated_batches,
    is_augmented,
    is_long_tailed,
    seed_of,
)
from kd_lightning.experiment.student_start import StudentStart
from kd_lightning.experiment.teacher_vectors import TeacherVectors
from kd_lightning.losses.base import Loss, lasting, teacher_taps
from kd_lightning.losses.weighting.base import Weighting
from kd_lightning.models.weights import find_weights, load_brought_weights
from kd_lightning.process.cpu_threads import on_cpu
from kd_lightning.seeds import derive_seed
from kd_lightning.tasks.base import CountsClasses, Task, read_by_role, why_whole
from kd_lightning.tasks.chunking import chunks
from kd_lightning.teachers.auto import STORING, Auto
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.teachers.stored.reader import StorageFormat
from kd_lightning.training.compression.module import CompressedDistillationModule
from kd_lightning.training.distillation import DistillationModule
from kd_lightning.training.fit import QUIET, TrainerSettings
from kd_lightning.training.loss_setup import attach_losses
from kd_lightning.training.precision import with_possible_precision
from kd_lightning.training.profiling import NoProfiler
from kd_lightning.training.supervised import SupervisedModule
from kd_lightning.types import OutputKind


class Builder:
    """Everything that the stages share.

    Args:
        context: The experiment's.

    Attributes:
        dataset: The rows.
        judged: Name of the stage whose validations a search compares; it alone is ended early.

    Raises:
        KDError: The task cannot be built.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.settings = context.settings
        self.build = context.build
        self._task: Task = context.build(self.settings["task"])
        vectors = TeacherVectors(
            context, read_by_role(self._task, TEACHER), lambda: self.brought_teacher()[0], self.find_device
        )
        self.dataset = Dataset(context, self._task, vectors if self._task.output_kind is OutputKind.VECTORS else None)
        self.judged = ""
        self._chunked: dict[tuple[str, bool], bool] = {}
        self._grouped: Task | None = None
        self._counted: dict[str, Settings] = {}
        self._carries: bool | None = None

    @property
    def task(self) -> Task:
        """The task; its metrics tell frequent classes from rare ones where the rows were made long-tailed."""
        if not is_long_tailed(self.settings) or not isinstance(self._task, CountsClasses):
            return self._task
        if self._grouped is None:
            self._grouped = self._task.with_class_groups(self.dataset.training_rows)
        return self._grouped

    def task_of(self, role: str) -> Task:
        """The task as the networks of the teacher or the student read it."""
        return read_by_role(self.task, role)

    def trained_task(self, role: str) -> Task:
        """The task with the hard loss that the teacher, or the student in all of its stages, is trained with.

        Raises:
            ConfigError: It cannot have that one.
        """
        node, task = self.settings[role]["hard_loss"], self.task_of(role)
        if not node:
            return task
        if not isinstance(task, CountsClasses):
            raise ConfigError(
                f"{role}.hard_loss: {type(task).__name__} has no `with_hard_loss`: choose "
                f"hard_loss@{role}.hard_loss=cross_entropy, its own hard loss"
            )
        return task.with_hard_loss(self.build(node), self.dataset.class_rows(role))

    # -- networks and losses ------------------------------------------------------------------------------------------

    @property
    def compiled(self) -> bool:
        """The networks are compiled while they are trained; what is measured on the test split runs as it is."""
        return bool(self.settings["compile"])

    def chunked(self, role: str, soft: bool = False) -> bool:
        """The losses of the teacher's stage, the student alone, or the soft stages are computed by chunks of rows.

        Args:
            role: Whose.
            soft: In the student's soft stages, where losses may tap the head; the student alone is the same for all.

        Raises:
            ConfigError: That is asked for and not possible.
        """
        if (role, soft) not in self._chunked:
            taps = [path for term in self.losses().values() for path, _ in term.taps.values()] if soft else []
            against = why_whole(self.network(role), taps)
            if self.task.output_kind is not OutputKind.CLASSES:
                against = (
                    f"the task's outputs are {self.task.output_kind.value}, and losses by chunks are for a softmax"
                )
            if soft and self.weighting().learns:
                against = "weighting that learns takes each loss by itself"
            self._chunked[role, soft] = chunks(self.settings["chunked_loss"], self.task.num_classes, against)
        return self._chunked[role, soft]

    def weighting(self) -> Weighting:
        """What puts the terms of a soft stage together, untrained."""
        weighting: Weighting = self.build(self.settings["weighting"])
        return weighting

    def network(self, role: str) -> nn.Module:
        """The untrained network of a role; its start depends on the role's seed alone."""
        torch.manual_seed(derive_seed(seed_of(self.settings, role), "init"))
        return with_all_sizes(self.build(self.settings[role]["model"]), read_by_role(self._task, role), role)

    def brought_teacher(self) -> tuple[nn.Module, str]:
        """A teacher that is not trained here, with its weights, and where they come from.

        Raises:
            KDError: The weights do not fit, or are none.
        """
        network, checkpoint = self.network(TEACHER), self.settings[TEACHER]["checkpoint"]
        if not checkpoint:
            check_trained(network)
            return network, str(self.settings[TEACHER]["model"].get("path"))
        path = find_weights(checkpoint, "teacher.checkpoint", TEACHER)
        digest = self.dataset.tokenizer_digest(TEACHER)
        return load_brought_weights(network, path, digest, "teacher.checkpoint"), str(path)

    def new_student(self, teacher: Callable[[], nn.Module]) -> nn.Module:
        """The student as its trainings find it: untrained, or with what ``student.init`` names.

        Args:
            teacher: Makes the trained teacher, where the student begins with what that one knows.

        Raises:
            KDError: It does not fit the student.
        """
        return StudentStart(self.context, self.dataset).apply(self.network(STUDENT), teacher)

    def check_student_start(self) -> None:
        """The student can begin with what ``student.init`` names.

        Raises:
            KDError: It cannot.
        """
        start = StudentStart(self.context, self.dataset)
        start.apply(self.network(STUDENT), lambda: self.network(TEACHER), only_check=True)

    def losses(self) -> dict[str, Loss]:
        """The soft terms by name, untrained."""
        seed = seed_of(self.settings, STUDENT)
        torch.manual_seed(derive_seed(seed, "objectives"))  # the old word: another would change every start
        found = {name: self.build(node) for name, node in self.settings["loss"].items()}
        for term in found.values():
            if term.counts_classes:
                term.expect_classes(self.dataset.class_rows(STUDENT))
        attach_losses(found, self.network, self.task_of, seed, rows=len(self.dataset))
        return found

    @property
    def carries(self) -> bool:
        """What losses own goes on from pre-training into distillation."""
        if self._carries is None:
            self._carries = bool(self.settings[STUDENT]["pretrain_steps"] and lasting(self.losses()))
        return self._carries

    def classwise(self) -> list[str]:
        """The losses that need the teacher's classes to be the student's."""
        return [name for name, node in self.settings["loss"].items() if self.build(node).classwise]

    # -- the teacher's outputs ----------------------------------------------------------------------------------------

    def sources(self) -> list[TeacherSource]:
        """Where the teacher's outputs may come from: what is set, or what ``auto`` chooses from, the stored ones first.

        Raises:
            ConfigError: They are to be stored, and are of other views of the rows at each epoch.
        """
        node = self.settings["teacher_outputs"]
        made, augmented = self.build(node), is_augmented(self.settings)
        if isinstance(made, Auto):
            return [*([] if augmented else [TeacherSource(node["cached"])]), TeacherSource(node["live"])]
        if augmented and isinstance(made, StorageFormat):
            raise ConfigError(
                "teacher_outputs stores what the teacher says of each image, and data.augment shows another view of it at each "
                "epoch: set teacher_outputs=live (or auto, which is live then), or data.augment=null"
            )
        return [TeacherSource(node)]

    @property
    def stores(self) -> bool:
        """The teacher's outputs may be written to disk."""
        return isinstance(self.build(self.settings["teacher_outputs"]), STORING) and not is_augmented(self.settings)

    def teacher_outputs(self, role: str, network: nn.Module, source: TeacherSource) -> TeacherOutputs:
        """The outputs of a teaching network of that role from a source, not connected yet."""
        rows = {} if source.shards is None else {"shards": source.shards}
        outputs: TeacherOutputs = self.build(source.node)(network=network, task=self.task_of(role), **rows)
        return outputs

    def counted_source(self, role: str, source: TeacherSource) -> Settings:
        """What of a source's settings a stage depends on, as a node that builds the same.

        Args:
            role: Whose network teaches.
            source: The source.

        Raises:
            KDError: The source is not possible for the teacher and the losses.
        """
        text = repr((role, source.node))
        if text not in self._counted:
            outputs = self.teacher_outputs(role, self.network(role), TeacherSource(source.node))
            outputs.connect(teacher_taps(self.losses()), by_rows=self.chunked(STUDENT, soft=True))
            self._counted[text] = dict(outputs.counted(source.node))
        return self._counted[text]

    # -- modules and trainer ------------------------------------------------------------------------------------------

    def supervised(self, role: str, network: nn.Module, steps: int) -> SupervisedModule:
        """The module of the teacher, or of the student alone, before its first step."""
        return SupervisedModule(
            network=network,
            task=self.trained_task(role),
            optimizer=self.build(self.settings[role]["optimizer"]),
            scheduler=self.build(self.settings[role]["scheduler"]),
            seed=seed_of(self.settings, role),
            total_steps=steps,
            compiled=self.compiled,
            chunked=self.chunked(role),
        )

    def distilling(
        self, teacher: TeacherOutputs, student: nn.Module, steps: int, done: int, softness: Softness, compress: str = ""
    ) -> DistillationModule:
        """The module of a soft stage; ``done`` = the student's steps before it, ``compress`` = what makes it small."""
        module: Callable[..., DistillationModule] = DistillationModule
        if compress:
            module = partial(CompressedDistillationModule, self.build(self.settings["compress"][compress]))
        return module(
            student=student,
            teacher=teacher,
            task=self.trained_task(STUDENT),
            soft_losses=self.losses(),
            alpha=self.build(softness.alpha),
            temperature=self.build(softness.temperature),
            steps=steps,
            optimizer=self.build(self.settings[STUDENT]["optimizer"]),
            scheduler=self.build(self.settings[STUDENT]["scheduler"]),
            seed=seed_of(self.settings, STUDENT),
            total_steps=self.settings[STUDENT]["steps"],
            first_step=done,
            compiled=self.compiled,
            chunked=self.chunked(STUDENT, soft=True),
            weight_curves={name: self.build(node) for name, node in softness.weight_curves.items()},
            weighting=self.weighting(),
        )

    @cached_property
    def trainer(self) -> TrainerSettings:
        """The trainer group as the stages use it."""
        settings, node = self.settings, dict(self.settings["trainer"])
        node.pop("accumulate_grad_batches", None)
        check_processes(os.environ)

        def trainer(**more: Any) -> pl.Trainer:
            if node.get("profiler") is None:
                more["profiler"] = NoProfiler()
            # Built anew each time: a strategy belongs to one training.
            return with_possible_precision(check_trainer(self.build(node), more, node))

        return TrainerSettings(
            trainer=trainer,
            callbacks=lambda: [self.build(each) for each in settings["callbacks"].values()],
            loggers=lambda stage: [self.build(_for_stage(each, stage)) for each in settings["logger"].values()],
            validate_every=settings["validate_every"],
            checkpoint_every=settings["checkpoint_every"],
            log_every=settings["log_every"],
            accumulate=accumulated_batches(settings),
            folder=settings["folder"],
            on_cpu=on_cpu(node.get("accelerator")) and world_size(node.get("devices")) == 1,
            judged=self.judged,
        )

    def find_device(self) -> torch.device:
        """Where networks run that one process has to itself."""
        device: torch.device = self.trainer.trainer(
            devices=1, strategy="auto", logger=False, **QUIET
        ).strategy.root_device
        return device


def _for_stage(node: Mapping[str, Any], stage: str) -> Settings:
    """The logger's settings with ``{stage}`` filled in."""
    return {key: value.replace("{stage}", stage) if isinstance(value, str) else value for key, value in node.items()}
