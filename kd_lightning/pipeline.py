"""The whole job, stage by stage: each is found in the store, resumed or run, and all end in one record.

    split data -> teacher -> student alone -> pre-train -> distil -> test once

Settings come as plain data and ``build`` turns a node with a ``_target_`` into its object: nothing here knows Hydra.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from pytorch_lightning import Trainer
from torch import nn

from kd_lightning import carrying, turns
from kd_lightning.attaching import prepared
from kd_lightning.evaluation import evaluated
from kd_lightning.matmul import matmul_precision
from kd_lightning.modules.distillation import DistillationModule
from kd_lightning.own_teacher import take_teacher
from kd_lightning.preflight import (
    building,
    check_callbacks,
    check_counted_classes,
    check_curve,
    check_network,
    check_parts,
    splits_networks,
    world_size,
)
from kd_lightning.recipe import SUPERVISED_CODE, TEST_CODE, Build, Recipe, Settings, Softness, TeacherSource
from kd_lightning.sharing import ALONE, Alone
from kd_lightning.stage import QUIET, WEIGHTS, Stage, StageBoard, obtain, stored
from kd_lightning.store import Entry, content_key
from kd_lightning.teacher_cache import opened
from kd_lightning.teacher_choice import chosen_source
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.weights import load_weights

STAGES = ("data", "teacher", "baseline", "teacher_outputs", "pretrain", "distill", "test")
MODELS = {"teacher": "teacher", "baseline": "baseline", "pretrained": "pretrain", "distilled": "distill"}
"""Name in ``results.json`` -> stage."""


def role_of(stage: str) -> str:
    """Whose network a stage trains."""
    return "teacher" if stage == "teacher" else "student"


class Experiment:
    """One run.

    Args:
        settings: The resolved configuration as plain data; ``conf/config.yaml`` documents each key.
        build: Turns a settings node with a ``_target_`` into the object it describes.
        packages: Top-level packages of the user whose code counts in keys.
        board: Where progress is shown.
        name: The run's, or its sweep's: what ``force`` names is made again once under each name.
        sharing: What it has in common with other jobs of this process.

    Raises:
        KDError: Something in the settings or the data is wrong; nothing has been trained then.
    """

    def __init__(
        self,
        settings: Settings,
        build: Build,
        packages: Sequence[str],
        board: StageBoard,
        name: str = "run",
        sharing: Alone = ALONE,
    ) -> None:
        self.name = name
        self.recipe = Recipe(settings, build, packages, board, sharing)
        self.board = board
        self.steps = self.recipe.steps
        self.source = self.recipe.sources()[0]
        self.entries: dict[str, Entry] = {}
        self.records: dict[str, Settings] = {}

    def run(self) -> Settings:
        """All stages; returns what each has recorded, by stage."""
        with matmul_precision(self.recipe.settings["matmul"]):
            return self._run()

    def _run(self) -> Settings:
        self.check()
        if self._teacher_elsewhere():  # the student alone meanwhile
            self._obtain(self.baseline())
        self._run_teacher()
        if "baseline" not in self.entries:
            self._obtain(self.baseline())
        self.source = turns.computed(
            lambda: chosen_source(self.recipe, self.soft_stages, lambda: self.trained("teacher"))
        )
        soft = self.soft_stages(self.source)
        self._provide(soft)
        for stage in soft:
            self._obtain(stage)
        self.board.start("test")
        rows = {stage: self._test(stage) for stage in MODELS.values() if stage in self.records}
        self.board.done("test", f"{len(rows)} models on {len(self.recipe.prepared.splits['test']['inputs'])} rows")
        return {"records": self.records, "rows": rows}

    def check(self) -> None:
        """All that the stages will be made of can be built and fits together: said now, not after an hour of training.

        Raises:
            KDError: It does not.
        """
        settings = self.recipe.settings
        check_parts(settings["data"], self.recipe.trainer.accumulate, settings["trainer"].get("devices"))
        check_callbacks(self.recipe.task, settings["callbacks"])
        for name in settings["callbacks"]:
            with building(f"callbacks.{name}"):
                self.recipe.build(settings["callbacks"][name])
        with building("logger"):
            self.recipe.trainer.loggers("check")
        with building("trainer"):
            trainer = self.recipe.trainer.trainer(logger=False, **QUIET)
        softness, distilled = self.recipe.softness(), self.steps["student"] - self.steps["pretrain"]
        ranges: dict[str, tuple[Any, str, Callable[[float], bool]]] = {
            "alpha": (softness.alpha, "a number in [0, 1]", lambda value: 0 <= value <= 1),
            "temperature": (softness.temperature, "a number > 0", lambda value: 0 < value < math.inf),
        }
        for name, curve in softness.weight_curves.items():
            ranges[f"weight.{name}"] = (curve, "a number >= 0", lambda value: 0 <= value < math.inf)
        for name, (curve, what, ok) in ranges.items():
            with building(f"annealing.{name}"):
                check_curve(self.recipe.build(curve), distilled, name, what, ok)
        like = {name: value for name, value in settings.items() if name not in ("alpha", "temperature", "folder")}
        self.recipe.sharing.once(("checked", content_key(like)), partial(self._check_stages, trainer))
        if self.recipe.chunked("student", soft=True):
            self.board.say(
                f"losses by chunks of rows: {self.recipe.task.num_classes} classes (chunked_loss=false: whole)"
            )

    def _check_stages(self, trainer: Trainer) -> None:
        """The part of ``check`` that is the same for every alpha and temperature."""
        settings = self.recipe.settings
        world = world_size(settings["trainer"].get("devices"))
        at_once = settings["data"]["batch_size"] // (self.recipe.trainer.accumulate * world)
        for role, prefix in (("teacher", "teacher_"), ("student", "")):
            classwise = self.recipe.classwise() if role == "teacher" else None
            parts = self.recipe.network(role), self.recipe.task, self.recipe.prepared
            classes = turns.computed(
                partial(check_network, *parts, role, at_once, classwise, self.recipe.channels_last)
            )
            self.recipe.rows(role, 1, only_labelled=True)
            with building(f"{prefix}hard_loss"):
                self.recipe.trained_task(role)
            if settings[f"{prefix}hard_loss"]:
                check_counted_classes(classes, self.recipe.task.num_classes)
            with building(f"{prefix}optimizer"):
                self.recipe.supervised(role, 1).configure_optimizers()
        for source in self.recipe.sources():
            teacher = self.recipe.teacher_outputs(self.recipe.network("teacher"), source)
            module = self.recipe.distilling(teacher, self.recipe.network("student"), 1, 0, self.recipe.softness())
            if splits_networks(trainer):
                module.refuse_splitting()

    def teacher(self) -> Stage:
        """The teacher, on the labels it has."""
        return self._hard_stage("teacher", "teacher", self.steps["teacher"])

    def baseline(self) -> Stage:
        """The student alone, on the labels it has, for the whole student budget."""
        return self._hard_stage("baseline", "student", self.steps["student"])

    def _hard_stage(self, name: str, role: str, steps: int) -> Stage:
        return Stage(
            name=name,
            steps=steps,
            ingredients=self.recipe.ingredients(role, steps, SUPERVISED_CODE),
            module=lambda: self.recipe.supervised(role, steps),
            data=lambda: self.recipe.rows(role, steps, only_labelled=True),
        )

    def soft_stages(self, source: TeacherSource) -> list[Stage]:
        """The stages that read the teacher's outputs, from one source."""
        return [*([self.pretraining(source)] if self.steps["pretrain"] else []), self.distillation(source)]

    def pretraining(self, source: TeacherSource | None = None) -> Stage:
        """The student on the teacher's soft targets alone; reads no label."""
        softness = Softness(alpha=1.0, temperature=self.recipe.settings["temperature"], weight_curves={})
        unread: Settings = {"hard_loss": {}}  # so that students who differ in it alone have this stage in common
        return self._soft_stage("pretrain", source or self.source, 0, self.steps["pretrain"], softness, unread)

    def distillation(self, source: TeacherSource | None = None) -> Stage:
        """The pre-trained student on both losses, for what is left of its budget."""
        source, done = source or self.source, self.steps["pretrain"]
        start = {"start": content_key(self.pretraining(source).ingredients)} if done else {}
        left = self.steps["student"] - done
        return self._soft_stage("distill", source, done, left, self.recipe.softness(), start)

    def _soft_stage(
        self, name: str, source: TeacherSource, done: int, steps: int, softness: Softness, extra: Settings
    ) -> Stage:
        soft = {
            "objective": self.recipe.settings["objective"],
            "teacher_outputs": self.recipe.counted_source(source),
            "balancing": self.recipe.settings["balancing"],
            **asdict(softness),
            "first_step": done,
            "budget": self.steps["student"],
            **extra,
        }
        ingredients = self.recipe.ingredients("student", steps, self.recipe.reading_code(source), soft)
        ingredients["teacher"] = self.entries["teacher"].key
        return Stage(
            name=name,
            steps=steps,
            ingredients=ingredients,
            module=lambda: self._distilling(done, steps, softness),
            data=lambda: self.recipe.rows("student", steps, only_labelled=False, first_step=done),
        )

    def _distilling(self, done: int, steps: int, softness: Softness) -> DistillationModule:
        """The module of a soft stage as it is before its first step; ``done`` = the steps of pre-training before it."""
        module = self.recipe.distilling(
            teacher=self.teacher_outputs(),
            student=self.trained("pretrain") if done else self.recipe.network("student"),
            steps=steps,
            done=done,
            softness=softness,
        )
        if done:
            carrying.go_on(module, self.entries["pretrain"])
        return prepared(module, partial(self.trained, "teacher"))

    def _provide(self, stages: Sequence[Stage]) -> None:
        """Have the teacher's outputs at hand, where a stage is not stored and reads them from disk."""
        needed = not all(stored(self._place(stage), self._force(stage)) for stage in stages)
        if needed:
            self.source = opened(self.recipe, self.source, lambda: self.trained("teacher"))
        if self.source.shards is None and self.recipe.stores:
            self.board.done(
                "teacher_outputs", "not needed: it is live" if needed else "not needed: all that reads them is stored"
            )

    def _obtain(self, stage: Stage) -> None:
        self.entries[stage.name] = self._place(stage)
        self.records[stage.name] = obtain(
            stage,
            self.entries[stage.name],
            self.recipe.trainer,
            self.board,
            self._force(stage),
            trained_by=self.recipe.sharing.train,
        )

    def _teacher_elsewhere(self) -> bool:
        """Another process is training the teacher."""
        return not self.recipe.settings["teacher"].get("checkpoint") and self._place(self.teacher()).busy()

    def _place(self, stage: Stage) -> Entry:
        return self.recipe.store.entry(stage.name, content_key(stage.ingredients))

    def _force(self, stage: Stage) -> str | None:
        return self.name if stage.name in self.recipe.settings["force"] else None

    def trained(self, stage: str) -> nn.Module:
        """The network of a finished stage, with its weights."""
        return load_weights(self.recipe.network(role_of(stage)), self.entries[stage].path(WEIGHTS))

    def teacher_outputs(self) -> TeacherOutputs:
        """The trained teacher's outputs, from where the run has them; the same for all jobs of a cohort that it serves."""
        key = {
            "store": str(self.recipe.store.root),
            "teacher": self.entries["teacher"].key,
            "outputs": self.source.node,
            "rows": str(self.source.shards.folder) if self.source.shards else "",
            "trainer": self.recipe.settings["trainer"],
        }
        return self.recipe.sharing.teacher(
            content_key(key), lambda: self.recipe.teacher_outputs(self.trained("teacher"), self.source)
        )

    def _run_teacher(self) -> None:
        checkpoint = self.recipe.settings["teacher"].get("checkpoint")
        if checkpoint:
            self.entries["teacher"], self.records["teacher"] = take_teacher(self.recipe, checkpoint)
        else:
            self._obtain(self.teacher())

    def _test(self, stage: str) -> Settings:
        """The model's test rows; its test record joins the stage's."""
        key = content_key(
            {
                "model": self.entries[stage].key,
                "task": self.recipe.settings["task"],
                "data": self.recipe.fingerprint,
                "matmul": self.recipe.settings["matmul"],
                "channels_last": self.recipe.channels_last,
                # The speed is in the record, too, and depends on these.
                "trainer": self.recipe.counted_trainer,
                "accelerator": self.recipe.settings["trainer"].get("accelerator"),
                "eval_batch_size": self.recipe.settings["data"]["eval_batch_size"],
                "chunked": self.recipe.chunked(role_of(stage)),
                "code": self.recipe.code(TEST_CODE, self.recipe.settings["task"]),
            }
        )
        record, rows = evaluated(
            entry=self.recipe.store.entry("test", key),
            network=partial(self.trained, stage),
            task=self.recipe.task,
            data=self.recipe.rows("student", 1, only_labelled=False),
            trainer=self.recipe.trainer.trainer,
            board=self.board,
            chunked=self.recipe.chunked(role_of(stage)),
        )
        self.records[stage] |= record
        self.records[stage]["megabytes"] = self.entries[stage].path(WEIGHTS).stat().st_size / 1e6
        return rows
