"""The whole job, stage by stage: each is found in the store, resumed or run, and all end in one record.

    split data -> teacher -> student alone -> pre-train -> distil -> test once

Settings come as plain data and ``build`` turns a node with a ``_target_`` into its object: nothing here knows Hydra.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kd_lightning.code import code_fingerprint, targets_of
from kd_lightning.data.base import SPLITS, ExperimentData, Prepared, Source
from kd_lightning.data.prepared import read_prepared, write_prepared
from kd_lightning.evaluation import evaluated, validated
from kd_lightning.modules.distillation import DistillationModule
from kd_lightning.modules.supervised import SupervisedModule
from kd_lightning.preflight import building, check_callbacks, check_curve, check_network
from kd_lightning.seeds import derive
from kd_lightning.stage import QUIET, WEIGHTS, Stage, StageBoard, TrainerSettings, note, obtain
from kd_lightning.store import Entry, Store, content_key, file_digest, publish_json
from kd_lightning.tasks.base import Task
from kd_lightning.weights import find_teacher, load_teacher, load_weights

Settings = dict[str, Any]
Build = Callable[[Any], Any]

STAGES = ("data", "teacher", "baseline", "pretrain", "distill", "test")
MODELS = {"teacher": "teacher", "baseline": "baseline", "pretrained": "pretrain", "distilled": "distill"}
"""Name in ``results.json`` -> stage."""

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

SUPERVISED_CODE = ("kd_lightning.modules.supervised", "kd_lightning.data.base")
DISTILLATION_CODE = ("kd_lightning.modules.distillation", "kd_lightning.data.base")


class Experiment:
    """One run.

    Args:
        settings: The resolved configuration as plain data; ``conf/config.yaml`` documents each key.
        build: Turns a settings node with a ``_target_`` into the object it describes.
        packages: Top-level packages of the user whose code counts in keys.
        board: Where progress is shown.

    Raises:
        KDError: Something in the settings or the data is wrong; nothing has been trained then.
    """

    def __init__(self, settings: Settings, build: Build, packages: Sequence[str], board: StageBoard) -> None:
        self.settings = settings
        self.build = build
        self.packages = packages
        self.board = board
        self.store = Store(Path(settings["outputs"]) / "store")
        self.task: Task = build(settings["task"])
        self.seed: int = settings["seed"]
        self.teacher_seed: int = settings["teacher_seed"]
        self.steps: Settings = settings["steps"]
        self.entries: dict[str, Entry] = {}
        self.records: dict[str, Settings] = {}

    def run(self) -> Settings:
        """All stages; returns what each has recorded, by stage."""
        self.check()
        self._run_teacher()
        self._obtain(self.baseline())
        if self.steps["pretrain"]:
            self._obtain(self.pretraining())
        self._obtain(self.distillation())
        self.board.start("test")
        rows = {stage: self._test(stage) for stage in self.records}
        self.board.done("test", f"{len(rows)} models on {len(self.prepared.splits['test']['inputs'])} rows")
        return {"records": self.records, "rows": rows}

    def check(self) -> None:
        """All that the stages will be made of can be built and fits together: said now, not after an hour of training.

        Raises:
            KDError: It does not.
        """
        settings = self.settings
        check_callbacks(self.task, settings["callbacks"])
        for name in settings["callbacks"]:
            with building(f"callbacks.{name}"):
                self.build(settings["callbacks"][name])
        with building("logger"):
            self.trainer.loggers("check")
        with building("trainer"):
            self.trainer.trainer(logger=False, **QUIET)
        alpha, temperature = self._softness()
        check_curve(self.build(alpha), "alpha", "a number in [0, 1]", lambda value: 0 <= value <= 1)
        check_curve(self.build(temperature), "temperature", "a number > 0", lambda value: value > 0)
        at_once = settings["data"]["batch_size"] // self.trainer.accumulate
        for role, prefix in (("teacher", "teacher_"), ("student", "")):
            check_network(self.network(role), self.task, self.prepared, role, at_once)
            self.rows(role, 1, only_labelled=True)
            with building(f"{prefix}optimizer"):
                self._supervised(role, 1).configure_optimizers()
        self._distilling(self.network("teacher"), self.network("student"), 1, 0, alpha, temperature)

    # -- data ----------------------------------------------------------------------------------------------------

    @cached_property
    def _data(self) -> tuple[Prepared, str]:
        """Rows and fingerprint, from the store or prepared now."""
        node = self.settings["data"]["source"]
        source: Source = self.build(node)
        key = content_key({"source": node, "content": source.digest(), "code": self._code([], node)})
        entry = self.store.entry("data", key)
        self.board.start("data")
        with entry.lock(waiting=lambda: self.board.say("data: another process prepares it, waiting")):
            reused = entry.problem() is None
            if not reused:
                entry.clear()
                write_prepared(entry, source.prepare())
            prepared, fingerprint = read_prepared(entry)
        limit = self.settings["data"]["limit"]
        if limit is not None:
            prepared = limited(prepared, limit)
            fingerprint = prepared.fingerprint()
        prepared.check(self.task.num_classes)
        sizes = ", ".join(f"{split} {len(prepared.splits[split]['inputs'])}" for split in SPLITS)
        self.board.done("data", f"{sizes} rows" + (f" (reused {entry.key})" if reused else ""))
        return prepared, fingerprint

    @property
    def prepared(self) -> Prepared:
        return self._data[0]

    @property
    def fingerprint(self) -> str:
        return self._data[1]

    @property
    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer, or empty where there is none."""
        text = self.prepared.tokenizer
        return hashlib.sha256(text.encode()).hexdigest() if text else ""

    def rows(self, role: str, stage_steps: int, only_labelled: bool, first_step: int = 0) -> ExperimentData:
        """The data module of a stage for the teacher or the student."""
        data = self.settings["data"]
        return ExperimentData(
            self.prepared,
            batch_size=data["batch_size"],
            steps=stage_steps,
            first_step=first_step,
            seed=self.teacher_seed if role == "teacher" else self.seed,
            labelled=data["labelled_teacher"] if role == "teacher" else data["labelled"],
            only_labelled=only_labelled,
            eval_batch_size=data["eval_batch_size"],
            accumulate=self.trainer.accumulate,
            workers=data["workers"],
        )

    # -- stages --------------------------------------------------------------------------------------------------

    def baseline(self) -> Stage:
        """The student alone, on the labels it has, for the whole student budget."""
        steps = self.steps["student"]
        return Stage(
            name="baseline",
            steps=steps,
            ingredients=self._ingredients("student", steps, SUPERVISED_CODE),
            module=lambda: self._supervised("student", steps),
            data=lambda: self.rows("student", steps, only_labelled=True),
        )

    def teacher(self) -> Stage:
        """The teacher, on the labels it has."""
        steps = self.steps["teacher"]
        return Stage(
            name="teacher",
            steps=steps,
            ingredients=self._ingredients("teacher", steps, SUPERVISED_CODE),
            module=lambda: self._supervised("teacher", steps),
            data=lambda: self.rows("teacher", steps, only_labelled=True),
        )

    def pretraining(self) -> Stage:
        """The student on the teacher's soft targets alone; reads no label."""
        temperature = self.settings["temperature"]
        return self._soft_stage("pretrain", 0, self.steps["pretrain"], alpha=1.0, temperature=temperature, extra={})

    def distillation(self) -> Stage:
        """The pre-trained student on both losses, for what is left of its budget."""
        alpha, temperature = self._softness()
        done = self.steps["pretrain"]
        start = {"start": self.entries["pretrain"].key} if done else {}
        return self._soft_stage("distill", done, self.steps["student"] - done, alpha, temperature, start)

    def _softness(self) -> tuple[Any, Any]:
        """Alpha and temperature of the distil stage: a number, or the settings of a curve."""
        annealing = self.settings["annealing"]
        alpha = annealing.get("alpha") or self.settings["alpha"]
        return alpha, annealing.get("temperature") or self.settings["temperature"]

    def _soft_stage(self, name: str, done: int, steps: int, alpha: Any, temperature: Any, extra: Settings) -> Stage:
        soft = {key: self.settings[key] for key in ("objective", "teacher_outputs")}
        soft |= {
            "alpha": alpha,
            "temperature": temperature,
            "first_step": done,
            "budget": self.steps["student"],
            **extra,
        }
        ingredients = self._ingredients("student", steps, DISTILLATION_CODE, soft)
        ingredients["teacher"] = self.entries["teacher"].key
        return Stage(
            name=name,
            steps=steps,
            ingredients=ingredients,
            module=lambda: self._distilling(
                teacher=self.trained("teacher"),
                student=self.trained("pretrain") if done else self.network("student"),
                steps=steps,
                done=done,
                alpha=alpha,
                temperature=temperature,
            ),
            data=lambda: self.rows("student", steps, only_labelled=False, first_step=done),
        )

    def _ingredients(self, role: str, steps: int, code: Sequence[str], more: Settings | None = None) -> Settings:
        settings, data = self.settings, self.settings["data"]
        teaching = role == "teacher"
        counted: Settings = {
            "task": settings["task"],
            "network": self.network_settings(role),
            "optimizer": settings["teacher_optimizer" if teaching else "optimizer"],
            "scheduler": settings["teacher_scheduler" if teaching else "scheduler"],
            "callbacks": settings["callbacks"],
            **(more or {}),
        }
        return {
            **counted,
            "trainer": {key: value for key, value in settings["trainer"].items() if key not in VOLATILE},
            "data": self.fingerprint,
            "labelled": data["labelled_teacher" if teaching else "labelled"],
            "batch_size": data["batch_size"],
            "seed": self.teacher_seed if teaching else self.seed,
            "steps": steps,
            "validate_every": settings["validate_every"],
            "code": self._code(code, counted),
        }

    def _code(self, roots: Sequence[str], nodes: Any) -> str:
        return code_fingerprint([*roots, *targets_of(nodes)], self.packages)

    def _obtain(self, stage: Stage) -> None:
        entry = self.store.entry(stage.name, content_key(stage.ingredients))
        self.entries[stage.name] = entry
        force = stage.name in self.settings["force"] and entry.folder not in _forced
        self.records[stage.name] = obtain(stage, entry, self.trainer, self.board, force)
        if force:
            _forced.add(entry.folder)

    # -- modules -------------------------------------------------------------------------------------------------

    def network(self, role: str) -> nn.Module:
        """The untrained network of a role; its start depends on the role's seed alone."""
        torch.manual_seed(derive(self.teacher_seed if role == "teacher" else self.seed, "init"))
        return self.build(self.network_settings(role))

    def network_settings(self, role: str) -> Settings:
        """What the network of a role is built from."""
        return {key: value for key, value in self.settings[role].items() if key != "checkpoint"}

    def trained(self, stage: str) -> nn.Module:
        """The network of a finished stage, with its weights."""
        role = "teacher" if stage == "teacher" else "student"
        return load_weights(self.network(role), self.entries[stage].path(WEIGHTS))

    def _supervised(self, role: str, steps: int) -> SupervisedModule:
        prefix = "teacher_" if role == "teacher" else ""
        return SupervisedModule(
            network=self.network(role),
            task=self.task,
            optimizer=self.build(self.settings[f"{prefix}optimizer"]),
            scheduler=self.build(self.settings[f"{prefix}scheduler"]),
            seed=self.teacher_seed if role == "teacher" else self.seed,
            total_steps=steps,
        )

    def _distilling(
        self, teacher: nn.Module, student: nn.Module, steps: int, done: int, alpha: Any, temperature: Any
    ) -> DistillationModule:
        torch.manual_seed(derive(self.seed, "objectives"))
        return DistillationModule(
            student=student,
            teacher=self.build(self.settings["teacher_outputs"])(network=teacher, task=self.task),
            task=self.task,
            objective={name: self.build(node) for name, node in self.settings["objective"].items()},
            alpha=self.build(alpha),
            temperature=self.build(temperature),
            steps=steps,
            optimizer=self.build(self.settings["optimizer"]),
            scheduler=self.build(self.settings["scheduler"]),
            seed=self.seed,
            total_steps=self.steps["student"],
            first_step=done,
        )

    # -- teacher from outside, trainer, test ---------------------------------------------------------------------

    def _run_teacher(self) -> None:
        if self.settings["teacher"].get("checkpoint"):
            self._take_teacher(find_teacher(self.settings["teacher"]["checkpoint"]))
        else:
            self._obtain(self.teacher())

    def _take_teacher(self, path: Path) -> None:
        """A teacher brought by the user becomes an entry like any other, keyed by its bytes."""
        ingredients = {
            "task": self.settings["task"],
            "network": self.network_settings("teacher"),
            "data": self.fingerprint,
        }
        ingredients |= {"weights": file_digest(path), "code": self._code(SUPERVISED_CODE, ingredients)}
        entry = self.store.entry("teacher", content_key(ingredients))
        with entry.lock(waiting=lambda: self.board.say("teacher: another process is at it, waiting")):
            if entry.problem() is not None:
                network = load_teacher(self.network("teacher"), path, self.tokenizer_digest)
                entry.clear()
                self.board.start("teacher")
                adopt(entry, network, self._validated(network, entry.folder), ingredients, str(path), self.task.monitor)
            record = entry.read_json("result.json")
        self.entries["teacher"], self.records["teacher"] = entry, record
        self.board.done("teacher", note(record, f"brought: {path}"))

    def _validated(self, network: nn.Module, folder: Path) -> float:
        return validated(network, self.task, self.rows("teacher", 1, False), self.trainer.trainer, folder)

    @cached_property
    def trainer(self) -> TrainerSettings:
        """The trainer group as the stages use it."""
        settings, node = self.settings, dict(self.settings["trainer"])
        accumulate = node.pop("accumulate_grad_batches", 1)
        return TrainerSettings(
            trainer=self.build(node),
            callbacks=lambda: [self.build(each) for each in settings["callbacks"].values()],
            loggers=lambda stage: [self.build(_for_stage(each, stage)) for each in settings["logger"].values()],
            validate_every=settings["validate_every"],
            checkpoint_every=settings["checkpoint_every"],
            log_every=settings["log_every"],
            accumulate=accumulate,
            one_process="ddp" not in str(node.get("strategy", "auto")),
        )

    def _test(self, stage: str) -> Settings:
        """The model's test rows; its test record joins the stage's."""
        key = content_key(
            {
                "model": self.entries[stage].key,
                "task": self.settings["task"],
                "data": self.fingerprint,
                "code": self._code(SUPERVISED_CODE, self.settings["task"]),
            }
        )
        record, rows = evaluated(
            entry=self.store.entry("test", key),
            network=partial(self.trained, stage),
            task=self.task,
            data=self.rows("student", 1, only_labelled=False),
            trainer=self.trainer.trainer,
            board=self.board,
        )
        self.records[stage] |= record
        self.records[stage]["megabytes"] = self.entries[stage].path(WEIGHTS).stat().st_size / 1e6
        return rows


_forced: set[Path] = set()
"""Entries this process has run again because ``force`` said so: a sweep forces a shared stage once, not in every job."""


def adopt(entry: Entry, network: nn.Module, val: float, ingredients: Settings, origin: str, metric: str) -> None:
    """Publish a network from outside as a finished teacher."""
    from kd_lightning.callbacks.checkpoints import save_weights

    save_weights(network, entry.path(WEIGHTS))
    publish_json(entry.path("description.json"), {"stage": "teacher", "key": entry.key, **ingredients})
    record = {"stage": "teacher", "metric": metric, "val": val, "steps": 0, "best_step": 0, "seconds": 0.0}
    publish_json(entry.path("result.json"), {**record, "store_key": entry.key, "origin": origin, "reused": False})
    entry.finish([WEIGHTS, "description.json", "result.json"])


def limited(prepared: Prepared, limit: int) -> Prepared:
    """The first ``limit`` rows of every split."""
    splits = {split: {name: tensor[:limit] for name, tensor in rows.items()} for split, rows in prepared.splits.items()}
    return Prepared(splits, prepared.tokenizer, {**prepared.facts, "limit": limit})


def _for_stage(node: Mapping[str, Any], stage: str) -> Settings:
    """The logger's settings with ``{stage}`` filled in."""
    return {key: value.replace("{stage}", stage) if isinstance(value, str) else value for key, value in node.items()}
