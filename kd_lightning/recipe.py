"""What a run is made of, built from its settings: rows, networks, modules, the trainer, and what they depend on.

Settings come as plain data and ``build`` turns a node with a ``_target_`` into its object: nothing here knows Hydra.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from kd_lightning import turns
from kd_lightning.attaching import attach
from kd_lightning.balancing.base import Balancing
from kd_lightning.chunking import chunks
from kd_lightning.code import code_fingerprint, targets_of
from kd_lightning.data.base import SPLITS, ExperimentData, Prepared, Source
from kd_lightning.data.labels import class_rows
from kd_lightning.data.long_tail import long_tailed
from kd_lightning.data.prepared import read_prepared, write_prepared
from kd_lightning.errors import ConfigError
from kd_lightning.modules.distillation import DistillationModule
from kd_lightning.modules.supervised import SupervisedModule
from kd_lightning.objectives.base import Objective, lasting, teacher_taps
from kd_lightning.precision import with_possible_precision
from kd_lightning.preflight import check_processes, check_row_shape, check_trainer
from kd_lightning.profiling import NoProfiler
from kd_lightning.report.numbers import shorten_hash
from kd_lightning.seeds import derive
from kd_lightning.sharing import Alone
from kd_lightning.stage import StageBoard, TrainerSettings
from kd_lightning.store import Store, content_key
from kd_lightning.tasks.base import CountsClasses, Task, why_whole
from kd_lightning.teachers.auto import STORING, Auto
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.teachers.cached import Policy
from kd_lightning.teachers.shards import Shards

Settings = dict[str, Any]
Build = Callable[[Any], Any]

VOLATILE = frozenset(
    {
        "accelerator",
        "profiler",
        "enable_progress_bar",
        "enable_model_summary",
        "log_every_n_steps",
        "strategy",
        "_partial_",
    }
)
"""Trainer settings that never enter a key: they change where and how loudly a stage runs, not what it computes.
Top-level settings need no such list: a stage's ingredients name what counts."""

ROWS_CODE = ("kd_lightning.data.base", "kd_lightning.data.labels")
SUPERVISED_CODE = ("kd_lightning.modules.supervised", *ROWS_CODE)
TEST_CODE = (*SUPERVISED_CODE, "kd_lightning.tasks.predictions")
DISTILLATION_CODE = ("kd_lightning.modules.distillation", "kd_lightning.attaching", *ROWS_CODE)
CARRYING_CODE = ("kd_lightning.carrying",)
"""Of stages between which objectives carry something."""
STORING_CODE = ("kd_lightning.teachers.building",)
"""Of the rows that a stage reads, where the teacher's outputs are stored."""


@dataclass(frozen=True)
class TeacherSource:
    """Where the soft stages have the teacher's outputs from.

    Attributes:
        node: The settings that make them.
        shards: Rows on disk to read; None = live, or not at hand yet.
    """

    node: Settings
    shards: Shards | None = None


@dataclass(frozen=True)
class Softness:
    """How the losses of a soft stage are mixed: settings.

    Attributes:
        alpha: A number, or a node of a curve.
        temperature: The same.
        weight_curves: Name of an objective -> node of a curve that its weight is multiplied by.
    """

    alpha: Any
    temperature: Any
    weight_curves: Settings


class Recipe:
    """Everything that the stages share.

    Args:
        settings: The resolved configuration as plain data; ``conf/config.yaml`` documents each key.
        build: Turns a settings node with a ``_target_`` into the object it describes.
        packages: Top-level packages of the user whose code counts in keys.
        board: Told about the data.
        sharing: What is in common with other jobs of this process.

    Raises:
        KDError: The task cannot be built.
    """

    def __init__(
        self, settings: Settings, build: Build, packages: Sequence[str], board: StageBoard, sharing: Alone
    ) -> None:
        self.settings = settings
        self.build = build
        self.packages = packages
        self.board = board
        self.sharing = sharing
        self.store = Store(Path(settings["outputs"]) / "store")
        self._task: Task = build(settings["task"])
        self.steps: Settings = settings["steps"]
        self._chunked: dict[tuple[str, bool], bool] = {}
        self._read: tuple[Prepared, str] | None = None
        self._grouped: Task | None = None
        self._class_rows: dict[str, Tensor] = {}
        self._counted: dict[str, Settings] = {}
        self._carries: bool | None = None

    def seed(self, role: str) -> int:
        """The seed of the teacher, or of the student."""
        seed: int = self.settings["teacher_seed" if role == "teacher" else "seed"]
        return seed

    @property
    def task(self) -> Task:
        """The task; its metrics tell frequent classes from rare ones where the rows were made long-tailed."""
        if not self.long_tailed or not isinstance(self._task, CountsClasses):
            return self._task
        if self._grouped is None:
            self._grouped = self._task.with_class_groups(self.training_rows)
        return self._grouped

    @property
    def long_tailed(self) -> bool:
        """The training rows are asked to be."""
        return (self.settings["data"].get("imbalance") or 1) > 1

    @property
    def training_rows(self) -> Tensor:
        """[C] training rows of each class, labelled or not."""
        return class_rows(self.prepared.splits["train"], self._task.num_classes)

    def class_rows(self, role: str) -> Tensor:
        """[C] training positions of each class whose label the teacher or the student may read."""
        if role not in self._class_rows:
            rows = self.rows(role, 1, only_labelled=True).train_set.rows
            self._class_rows[role] = class_rows(rows, self._task.num_classes)
        return self._class_rows[role]

    def trained_task(self, role: str) -> Task:
        """The task with the hard loss that the teacher, or the student in all of its stages, is trained with.

        Raises:
            ConfigError: It cannot have that one.
        """
        name = "teacher_hard_loss" if role == "teacher" else "hard_loss"
        node, task = self.settings[name], self.task
        if not node:
            return task
        if not isinstance(task, CountsClasses):
            raise ConfigError(
                f"{name}: {type(task).__name__} has no `with_hard_loss`: choose {name}=cross_entropy, its own hard loss"
            )
        return task.with_hard_loss(self.build(node), self.class_rows(role))

    @property
    def _data(self) -> tuple[Prepared, str]:
        """Rows and fingerprint, from the store or prepared now; once."""
        # No cached_property: before Python 3.12 it holds one lock for all instances, and jobs of a cohort wait in here.
        if self._read is None:
            self._read = self._read_data()
        return self._read

    def _read_data(self) -> tuple[Prepared, str]:
        node = self.settings["data"]["source"]
        source: Source = self.build(node)
        key = content_key({"source": node, "content": source.digest(), "code": self.code([], node)})
        entry = self.store.entry("data", key)
        imbalance, limit = self.settings["data"].get("imbalance"), self.settings["data"]["limit"]
        classes = self._task.num_classes
        self.board.start("data")

        def read() -> tuple[Prepared, str, bool]:
            with entry.lock(waiting=lambda: self.board.say("data: another process prepares it, waiting")):
                reused = entry.problem() is None
                if not reused:
                    entry.clear()
                    write_prepared(entry, turns.computed(source.prepare))
                prepared, fingerprint = read_prepared(entry)
            if imbalance is not None:
                prepared.check(classes)
                prepared = long_tailed(prepared, imbalance, classes)
            if limit is not None:  # last, or a few rows would have to make a long tail
                prepared = limited(prepared, limit)
            if imbalance is not None or limit is not None:
                fingerprint = prepared.fingerprint()
            return prepared, fingerprint, reused

        made_of = ("data", str(entry.folder), imbalance, classes, limit)
        prepared, fingerprint, reused = self.sharing.once(made_of, read)
        prepared.check(classes)
        check_row_shape(prepared, self.settings["data"].get("shape"))
        sizes = ", ".join(f"{split} {len(prepared.splits[split]['inputs'])}" for split in SPLITS)
        self.board.done("data", f"{sizes} rows" + (f" (reused {shorten_hash(entry.key)})" if reused else ""))
        return prepared, fingerprint

    @property
    def prepared(self) -> Prepared:
        """The rows."""
        return self._data[0]

    @property
    def fingerprint(self) -> str:
        """The rows' fingerprint."""
        return self._data[1]

    @property
    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer, or empty where there is none."""
        text = self.prepared.tokenizer
        return hashlib.sha256(text.encode()).hexdigest() if text else ""

    def rows(self, role: str, stage_steps: int, only_labelled: bool, first_step: int = 0) -> ExperimentData:
        """The data module of a stage for the teacher or the student."""
        data = self.settings["data"]
        labelled = data["labelled_teacher"] if role == "teacher" else data["labelled"]
        rows = ExperimentData(
            self.prepared,
            batch_size=data["batch_size"],
            steps=stage_steps,
            first_step=first_step,
            seed=self.seed(role),
            labelled=labelled,
            only_labelled=only_labelled,
            eval_batch_size=data["eval_batch_size"],
            accumulate=self.trainer.accumulate,
            workers=data["workers"],
            channels_last=self.channels_last,
        )
        made_of = (self.fingerprint, self.seed(role), labelled, only_labelled, self.channels_last)
        rows.last_batch = self.sharing.last_batch(made_of)
        return rows

    def ingredients(self, role: str, steps: int, code: Sequence[str], more: Settings | None = None) -> Settings:
        """All that a stage depends on, as plain data."""
        settings, data = self.settings, self.settings["data"]
        teaching = role == "teacher"
        counted: Settings = {
            "task": settings["task"],
            "network": self.network_settings(role),
            "optimizer": settings["teacher_optimizer" if teaching else "optimizer"],
            "scheduler": settings["teacher_scheduler" if teaching else "scheduler"],
            "hard_loss": settings["teacher_hard_loss" if teaching else "hard_loss"],
            "callbacks": settings["callbacks"],
            **(more or {}),
        }
        return {
            **counted,
            "trainer": self.counted_trainer,
            "compile": self.compiled,
            "matmul": settings["matmul"],
            "channels_last": self.channels_last,
            "chunked": self.chunked(role, soft=more is not None),
            "data": self.fingerprint,
            "labelled": data["labelled_teacher" if teaching else "labelled"],
            "batch_size": data["batch_size"],
            "seed": self.seed(role),
            "steps": steps,
            "validate_every": settings["validate_every"],
            "code": self.code(code, counted),
        }

    @property
    def compiled(self) -> bool:
        """The networks are compiled while they are trained; what is measured on the test split runs as it is."""
        return bool(self.settings["compile"])

    @property
    def channels_last(self) -> bool:
        """Images have their channels innermost in memory, wherever a network reads them."""
        return bool(self.settings["channels_last"])

    @property
    def counted_trainer(self) -> Settings:
        """The trainer settings that change what is computed."""
        return {key: value for key, value in self.settings["trainer"].items() if key not in VOLATILE}

    def chunked(self, role: str, soft: bool = False) -> bool:
        """The losses of the teacher's stage, the student alone, or the soft stages are computed by chunks of rows.

        Args:
            role: Whose.
            soft: In the student's soft stages, where objectives may tap the head; the student alone is the same for all.

        Raises:
            ConfigError: That is asked for and not possible.
        """
        if (role, soft) not in self._chunked:
            taps = [path for term in self.objective().values() for path, _ in term.taps.values()] if soft else []
            against = why_whole(self.network(role), taps)
            if soft and self.balancing().learns:
                against = "balancing the losses takes each of them by itself"
            self._chunked[role, soft] = chunks(self.settings["chunked_loss"], self.task.num_classes, against)
        return self._chunked[role, soft]

    def code(self, roots: Sequence[str], nodes: Any) -> str:
        """Fingerprint of the root modules and of all that the nodes name."""
        return code_fingerprint([*roots, *targets_of(nodes)], self.packages)

    def softness(self) -> Softness:
        """Of the distil stage."""
        annealing = self.settings["annealing"]
        return Softness(
            alpha=annealing.get("alpha") or self.settings["alpha"],
            temperature=annealing.get("temperature") or self.settings["temperature"],
            weight_curves=annealing.get("weight") or {},
        )

    def balancing(self) -> Balancing:
        """What puts the terms of a soft stage together, untrained."""
        balancing: Balancing = self.build(self.settings["balancing"])
        return balancing

    def network(self, role: str) -> nn.Module:
        """The untrained network of a role; its start depends on the role's seed alone."""
        torch.manual_seed(derive(self.seed(role), "init"))
        return self.build(self.network_settings(role))

    def network_settings(self, role: str) -> Settings:
        """What the network of a role is built from."""
        return {key: value for key, value in self.settings[role].items() if key != "checkpoint"}

    def supervised(self, role: str, steps: int) -> SupervisedModule:
        """The untrained module of the teacher, or of the student alone."""
        prefix = "teacher_" if role == "teacher" else ""
        return SupervisedModule(
            network=self.network(role),
            task=self.trained_task(role),
            optimizer=self.build(self.settings[f"{prefix}optimizer"]),
            scheduler=self.build(self.settings[f"{prefix}scheduler"]),
            seed=self.seed(role),
            total_steps=steps,
            compiled=self.compiled,
            chunked=self.chunked(role),
        )

    def objective(self) -> dict[str, Objective]:
        """The soft terms by name, untrained."""
        seed = self.seed("student")
        torch.manual_seed(derive(seed, "objectives"))
        found = {name: self.build(node) for name, node in self.settings["objective"].items()}
        for term in found.values():
            if term.counts_classes:
                term.expect_classes(self.class_rows("student"))
        attach(found, self.network, self.task, seed, rows=len(self.prepared.splits["train"]["inputs"]))
        return found

    @property
    def carries(self) -> bool:
        """What objectives own goes on from pre-training into distillation."""
        if self._carries is None:
            self._carries = bool(self.steps["pretrain"] and lasting(self.objective()))
        return self._carries

    def classwise(self) -> list[str]:
        """The objectives that need the teacher's classes to be the student's."""
        return [name for name, node in self.settings["objective"].items() if self.build(node).classwise]

    def sources(self) -> list[TeacherSource]:
        """Where the teacher's outputs may come from: what is set, or what ``auto`` chooses from, the stored ones first."""
        node = self.settings["teacher_outputs"]
        if isinstance(self.build(node), Auto):
            return [TeacherSource(node["cached"]), TeacherSource(node["live"])]
        return [TeacherSource(node)]

    @property
    def stores(self) -> bool:
        """The teacher's outputs may be written to disk."""
        return isinstance(self.build(self.settings["teacher_outputs"]), STORING)

    def reading_code(self, source: TeacherSource) -> tuple[str, ...]:
        """Root modules of the code of a stage that reads a source: where rows are stored, what has written them counts."""
        return (
            *DISTILLATION_CODE,
            *(STORING_CODE if isinstance(self.build(source.node), Policy) else ()),
            *(CARRYING_CODE if self.carries else ()),
        )

    def teacher_outputs(self, network: nn.Module, source: TeacherSource) -> TeacherOutputs:
        """The teacher's outputs from a source, not connected yet."""
        rows = {} if source.shards is None else {"shards": source.shards}
        outputs: TeacherOutputs = self.build(source.node)(network=network, task=self.task, **rows)
        return outputs

    def counted_source(self, source: TeacherSource) -> Settings:
        """What of a source's settings a stage depends on, as a node that builds the same.

        Raises:
            KDError: The source is not possible for the teacher and the objectives.
        """
        text = repr(source.node)
        if text not in self._counted:
            outputs = self.teacher_outputs(self.network("teacher"), TeacherSource(source.node))
            outputs.connect(teacher_taps(self.objective()), by_rows=self.chunked("student", soft=True))
            self._counted[text] = dict(outputs.counted(source.node))
        return self._counted[text]

    def distilling(
        self,
        teacher: TeacherOutputs,
        student: nn.Module,
        steps: int,
        done: int,
        softness: Softness,
    ) -> DistillationModule:
        """The module of a soft stage; ``done`` = the student's steps before it."""
        return DistillationModule(
            student=student,
            teacher=teacher,
            task=self.trained_task("student"),
            objective=self.objective(),
            alpha=self.build(softness.alpha),
            temperature=self.build(softness.temperature),
            steps=steps,
            optimizer=self.build(self.settings["optimizer"]),
            scheduler=self.build(self.settings["scheduler"]),
            seed=self.seed("student"),
            total_steps=self.steps["student"],
            first_step=done,
            compiled=self.compiled,
            chunked=self.chunked("student", soft=True),
            weight_curves={name: self.build(node) for name, node in softness.weight_curves.items()},
            balancing=self.balancing(),
        )

    @cached_property
    def trainer(self) -> TrainerSettings:
        """The trainer group as the stages use it."""
        settings, node = self.settings, dict(self.settings["trainer"])
        accumulate = node.pop("accumulate_grad_batches", 1)
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
            accumulate=accumulate,
            folder=settings["folder"],
        )


def limited(prepared: Prepared, limit: int) -> Prepared:
    """The first ``limit`` rows of every split."""
    splits = {split: {name: tensor[:limit] for name, tensor in rows.items()} for split, rows in prepared.splits.items()}
    return Prepared(splits, prepared.tokenizer, {**prepared.facts, "limit": limit})


def _for_stage(node: Mapping[str, Any], stage: str) -> Settings:
    """The logger's settings with ``{stage}`` filled in."""
    return {key: value.replace("{stage}", stage) if isinstance(value, str) else value for key, value in node.items()}
