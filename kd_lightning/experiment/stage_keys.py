"""What results depend on: the ingredients of every key, all of them written here.

A stage is found in the store under the hash of its ingredients. What is not among them changes where, how loudly or how
fast a stage runs, never what it computes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from kd_lightning.experiment.builder import Builder
from kd_lightning.experiment.settings import (
    STUDENT,
    TEACHER,
    Settings,
    Softness,
    TeacherSource,
    seed_of,
)
from kd_lightning.experiment.stage import Stage
from kd_lightning.models.weights import find_weights
from kd_lightning.results.roles import DISTILLED_MODEL
from kd_lightning.store import content_key, file_digest
from kd_lightning.teachers.live import hash_state
from kd_lightning.teachers.stored.reader import StorageFormat
from kd_lightning.teachers.stored.shards import FORMAT
from kd_lightning.teachers.stored.writer import WriteJob

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

ROWS_CODE = ("kd_lightning.data.datamodule", "kd_lightning.data.labels")
SUPERVISED_CODE = ("kd_lightning.training.supervised", *ROWS_CODE)
TEST_CODE = (*SUPERVISED_CODE, "kd_lightning.training.evaluation")
DISTILLATION_CODE = ("kd_lightning.training.distillation", "kd_lightning.training.loss_setup", *ROWS_CODE)
CARRYING_CODE = ("kd_lightning.training.loss_state",)
"""Of stages between which losses carry something."""
COMPRESSING_CODE = ("kd_lightning.training.compression.module",)
INIT_CODE = (
    "kd_lightning.models.weights",
    "kd_lightning.models.narrowing",
    "kd_lightning.models.token_vectors",
    "kd_lightning.data.token_texts",
    "kd_lightning.data.texts",
)
"""Of a student that begins with somebody's weights, or with what the teacher makes of its tokens."""
STORING_CODE = ("kd_lightning.teachers.stored.writer",)
"""Of the rows that a stage reads, where the teacher's outputs are stored."""
OUTPUTS_CODE = (*STORING_CODE, "kd_lightning.data.datamodule")


def supervised(builder: Builder, role: str, steps: int) -> Settings:
    """Of a stage that learns from labels alone."""
    return _trained(builder, role, steps, SUPERVISED_CODE, {}, soft=False)


def distilled(
    builder: Builder,
    teacher_role: str,
    source: TeacherSource,
    softness: Softness,
    steps: int,
    done: int,
    reads_labels: bool = True,
    compress: str = "",
) -> Settings:
    """Of a stage that learns from a teacher; the teacher's own key comes from the stage.

    Args:
        builder: The experiment's.
        teacher_role: Whose network teaches.
        source: Where its outputs come from.
        softness: How the losses are mixed.
        steps: Optimizer steps.
        done: The student's steps before it.
        reads_labels: False = the hard loss does not count, so that students that differ in it alone share the stage.
        compress: Name of what makes the student small on the way; empty = nothing.
    """
    settings = builder.settings
    soft: Settings = {
        "loss": settings["loss"],
        "teacher_outputs": builder.counted_source(teacher_role, source),
        "weighting": settings["weighting"],
        **asdict(softness),
        "first_step": done,
        "budget": settings[STUDENT]["steps"],
        **({} if reads_labels else {"hard_loss": {}}),
        **({"compress": settings["compress"][compress]} if compress else {}),
    }
    code = (
        *DISTILLATION_CODE,
        *(STORING_CODE if isinstance(builder.build(source.node), StorageFormat) else ()),
        *(CARRYING_CODE if builder.carries else ()),
        *(COMPRESSING_CODE if compress else ()),
    )
    return _trained(builder, STUDENT, steps, code, soft, soft=True)


def _trained(builder: Builder, role: str, steps: int, code: Sequence[str], more: Settings, soft: bool) -> Settings:
    settings, own = builder.settings, builder.settings[role]
    counted: Settings = {
        "task": _choosing_task(settings),
        "network": own["model"],
        **{name: own[name] for name in ("optimizer", "scheduler", "hard_loss")},
        "callbacks": settings["callbacks"],
        **(_start(own) if role == STUDENT else {}),
        **more,
    }
    if "init" in counted:
        code = (*code, *INIT_CODE)
    return {
        **counted,
        **_computation(builder),
        "compile": builder.compiled,
        "chunked": builder.chunked(role, soft),
        "labeled": own["num_labeled"],
        "batch_size": settings["data"]["batch_size"],
        "augment": settings["data"].get("augment"),
        "seed": seed_of(settings, role),
        "steps": steps,
        "validate_every": settings["validate_every"],
        "code": builder.context.code(code, counted),
    }


def _start(student: Settings) -> Settings:
    """What the student begins with, where it does not begin at random; a teacher's own key comes from the stage."""
    init = student["init"]
    if init is None:
        return {}
    what = init if init == TEACHER else file_digest(find_weights(init, "student.init", DISTILLED_MODEL))
    return {"init": what, "init_layers": student["init_layers"]}


def _choosing_task(settings: Settings) -> Settings:
    """The task without the metrics that choose no weights: one more of them is measured on the test, and trains nothing."""
    task: Settings = settings["task"]
    if not isinstance(task.get("metrics"), Mapping):  # a task of the user's own
        return task
    watched = repr(settings["callbacks"])  # one may stop a training by any metric that it names
    choosing = {name: node for name, node in task["metrics"].items() if name == task["monitor"] or name in watched}
    return {**task, "metrics": choosing}


def _computation(builder: Builder) -> Settings:
    """Rows, and how networks compute on them."""
    settings = builder.settings
    targets = builder.dataset.targets_key
    return {
        "data": builder.dataset.fingerprint,
        **({"targets": targets} if targets else {}),
        "matmul_precision": settings["matmul_precision"],
        "channels_last": bool(settings["channels_last"]),
        "trainer": {key: value for key, value in settings["trainer"].items() if key not in VOLATILE},
    }


def brought(builder: Builder, role: str, weights: Path | None) -> Settings:
    """Of a network whose weights the user brings in a file; None = they come with the pretrained model, and a new part of it
    may start at random."""
    nodes: Settings = {
        "task": _choosing_task(builder.settings),
        "network": builder.settings[role]["model"],
        **_computation(builder),
        "chunked": builder.chunked(role),
    }
    own = {"seed": seed_of(builder.settings, role)} if weights is None else {"weights": file_digest(weights)}
    return {**nodes, **own, "code": builder.context.code(SUPERVISED_CODE, nodes)}


def started(builder: Builder) -> Settings:
    """Of the student before its first step; the teacher's key comes from the stage, where it begins with that one's weights."""
    own = builder.settings[STUDENT]
    nodes: Settings = {"task": _choosing_task(builder.settings), "network": own["model"], **_start(own)}
    return {
        **nodes,
        **_computation(builder),
        "chunked": builder.chunked(STUDENT),
        "seed": seed_of(builder.settings, STUDENT),
        "code": builder.context.code((*SUPERVISED_CODE, *INIT_CODE), nodes),
    }


def stored_outputs(builder: Builder, role: str, job: WriteJob) -> Settings:
    """Of a teacher's outputs on disk."""
    settings = builder.settings
    nodes = {
        "network": settings[role]["model"],
        "task": _choosing_task(settings),
        "outputs": job.format.settings(),
    }
    return {
        **nodes,
        "format": FORMAT,
        "teacher": hash_state(job.network),
        "data": builder.dataset.fingerprint,
        "matmul_precision": settings["matmul_precision"],
        "channels_last": bool(settings["channels_last"]),
        "taps": list(job.taps),
        "extras": digest_of(job.format.extras(job.class_rows)),
        "code": builder.context.code(OUTPUTS_CODE, nodes),
    }


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over some tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def tested(builder: Builder, stage: Stage) -> str:
    """The key of a model's test record."""
    settings = builder.settings
    return content_key(
        {
            "model": stage.key,
            "task": settings["task"],
            **_computation(builder),
            # The speed is in the record, too, and depends on these.
            "accelerator": settings["trainer"].get("accelerator"),
            "eval_batch_size": settings["data"]["eval_batch_size"],
            "chunked": builder.chunked(stage.role),
            "code": builder.context.code(TEST_CODE, settings["task"]),
        }
    )


def likeness(settings: Settings) -> str:
    """Equal for jobs whose networks and modules need to be checked only once."""
    apart = ("alpha", "temperature", "folder")
    return content_key({name: value for name, value in settings.items() if name not in apart})
