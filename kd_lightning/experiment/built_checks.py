"""What the stages will be made of can be built and fits together: said before the first step, not after an hour of training.

The plain settings are checked before, in ``checks``: here is what only the built objects know.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping

from kd_lightning.data.datamodule import check_batch_size
from kd_lightning.errors import ConfigError
from kd_lightning.experiment import stage_keys
from kd_lightning.experiment.builder import Builder
from kd_lightning.experiment.monitor_check import check_monitor
from kd_lightning.experiment.outputs_work import OutputsWork
from kd_lightning.experiment.parts import name_compressed
from kd_lightning.experiment.preflight import (
    check_callbacks,
    check_counted_classes,
    check_curve,
    check_network,
    check_parts,
    explain_build_errors,
    splits_networks,
    world_size,
)
from kd_lightning.experiment.ranges import RANGES, WEIGHT
from kd_lightning.experiment.settings import STUDENT, TEACHER, Settings, accumulated_batches, is_augmented, softness
from kd_lightning.experiment.stage import Comparison, Stage
from kd_lightning.losses.base import Loss
from kd_lightning.teachers.auto import Auto
from kd_lightning.training.fit import QUIET
from kd_lightning.types import OutputKind

FITTING_LOSSES = {
    OutputKind.CLASSES: "kd",
    OutputKind.LABELS: "binary_kd",
    OutputKind.QUANTITIES: "regression_mse",
    OutputKind.VECTORS: "embedding_cosine",
}
"""The loss to begin with, for each kind of outputs."""


def check_built(builder: Builder, stages: Sequence[Stage], planned: Comparison) -> None:
    """All of it.

    Args:
        builder: The experiment's.
        stages: What its scheme will ask for.
        planned: What it will compare.

    Raises:
        KDError: Something cannot be built, or does not fit.
    """
    settings, board = builder.settings, builder.context.board
    check_parts(
        settings["data"],
        settings[STUDENT]["num_labeled"],
        accumulated_batches(settings),
        settings["trainer"].get("devices"),
    )
    check_no_labels(builder.task.output_kind, settings)
    check_callbacks(builder.task, settings["callbacks"])
    check_monitor(builder.task)
    for name in settings["callbacks"]:
        with explain_build_errors(f"callbacks.{name}"):
            builder.build(settings["callbacks"][name])
    with explain_build_errors("logger"):
        builder.trainer.loggers("check")
    with explain_build_errors("trainer"):
        trainer = builder.trainer.trainer(logger=False, **QUIET)
    check_curves(builder, planned["distilled"].steps)
    check_losses(builder)
    check_early_stops(builder)
    check_compressed(settings, stages)
    builder.context.once(("checked", stage_keys.likeness(settings)), partial(check_networks, builder, stages, trainer))
    if builder.chunked(STUDENT, soft=True):
        board.say(f"losses by chunks of rows: {builder.task.num_classes} classes (chunked_loss=false: whole)")
    if is_augmented(settings) and isinstance(builder.build(settings["teacher_outputs"]), Auto):
        board.say("teacher outputs: live: data.augment shows the teacher another view of each image at each epoch")


def check_no_labels(kind: OutputKind, settings: Settings) -> None:
    """A task without labels is not asked for some.

    Raises:
        ConfigError: It is.
    """
    for role in (TEACHER, STUDENT):
        labeled = settings[role]["num_labeled"]
        if kind is OutputKind.VECTORS and labeled is not None:
            raise ConfigError(f"{role}.num_labeled={labeled}: the task has no labels: set {role}.num_labeled=null")


def check_curves(builder: Builder, steps: int) -> None:
    """What is annealed stays in range for so many steps."""
    mixed = softness(builder.settings)
    weights = {f"weight.{name}": curve for name, curve in mixed.weight_curves.items()}
    for name, curve in {"alpha": mixed.alpha, "temperature": mixed.temperature, **weights}.items():
        allowed = WEIGHT if name in weights else RANGES[name]
        with explain_build_errors(f"annealing.{name}"):
            check_curve(builder.build(curve), steps, name, allowed)


def check_early_stops(builder: Builder) -> None:
    """No early stop ends a training before its student is as small as asked: what is pruned gets worse before it heals.

    Raises:
        ConfigError: One may.
    """
    settings = builder.settings
    stops = [name for name, node in settings["callbacks"].items() if isinstance(builder.build(node), EarlyStopping)]
    if not stops:
        return
    gradual = [name for name, node in settings["compress"].items() if getattr(builder.build(node), "gradual", False)]
    if gradual:
        raise ConfigError(
            f"callbacks.{stops[0]} would end compress={gradual[0]} before it is pruned, since pruning makes a student worse "
            "before it heals: leave one of them out"
        )


def check_compressed(settings: Settings, stages: Sequence[Stage]) -> None:
    """The scheme asks for every student that ``compress`` names.

    Raises:
        ConfigError: It does not.
    """
    asked = {stage.name for stage in stages}
    for name in settings["compress"]:
        if name_compressed(name)[0] not in asked:
            raise ConfigError(
                f"compress=[{name}]: the scheme has no such student: let it ask for Parts.compressed_distillation, or set "
                "compress=[none]"
            )


def check_losses(builder: Builder) -> None:
    """Each loss compares outputs of the task's kind; that a temperature is not read is said.

    Raises:
        ConfigError: One does not.
    """
    settings, kind = builder.settings, builder.task.output_kind
    for name, node in settings["loss"].items():
        term: Loss = builder.build(node)
        if kind not in term.compares:
            fit = " or ".join(each.value for each in OutputKind if each in term.compares)
            raise ConfigError(
                f"loss.{name} compares {fit}, and the outputs of task={settings['task']['name']} are {kind.value}: choose "
                f"loss=[{FITTING_LOSSES[kind]}]"
            )
        if kind is not OutputKind.CLASSES and getattr(term, "standardize", False):
            raise ConfigError(
                f"loss.{name}.standardize=true takes away the level of the outputs, and {kind.value} are told by it: set it to "
                "false"
            )
    warm = settings["temperature"] != 1 or settings["annealing"].get("temperature")
    if kind in (OutputKind.QUANTITIES, OutputKind.VECTORS) and warm:
        builder.context.board.say(
            f"warning: temperature changes nothing: the task's outputs are {kind.value}, not a distribution: leave it at 1"
        )


def check_networks(builder: Builder, stages: Sequence[Stage], trainer: Trainer) -> None:
    """Networks, losses and optimizers: the same for every alpha and temperature."""
    settings, dataset = builder.settings, builder.dataset
    world = world_size(settings["trainer"].get("devices"))
    at_once = settings["data"]["batch_size"] // (accumulated_batches(settings) * world)
    for role in (TEACHER, STUDENT):
        classwise = builder.classwise() if role == TEACHER else None
        parts = builder.network(role), builder.task_of(role), dataset.prepared
        classes = check_network(*parts, role, at_once, classwise, bool(settings["channels_last"]))
        if builder.task.output_kind is OutputKind.VECTORS:  # no labels, and rows that the teacher is not asked for yet
            check_batch_size(settings["data"]["batch_size"], len(dataset))
        else:
            dataset.rows(role, 1, only_labeled=True)
        with explain_build_errors(f"{role}.hard_loss"):
            builder.trained_task(role)
        if settings[role]["hard_loss"]:
            check_counted_classes(classes, builder.task.num_classes)
        with explain_build_errors(f"{role}.optimizer"):
            builder.supervised(role, builder.network(role), 1).configure_optimizers()
    builder.check_student_start()
    teaching = sorted({stage.role for stage in stages if isinstance(stage.work, OutputsWork)})
    for role, source in itertools.product(teaching, builder.sources()):
        teacher = builder.teacher_outputs(role, builder.network(role), source)
        for compress in ("", *settings["compress"]):
            with explain_build_errors(f"compress.{compress}") if compress else nullcontext():
                module = builder.distilling(teacher, builder.network(STUDENT), 1, 0, softness(settings), compress)
            if splits_networks(trainer):
                module.refuse_splitting()
