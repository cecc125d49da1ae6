"""Settings that make no sense are refused before anything is built: plain data in, one clear error out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from kd_lightning.config.old_words import RENAMED
from kd_lightning.config.shorthands import OF_STUDENT, PARTS, ROLES, UNDER
from kd_lightning.errors import ConfigError, did_you_mean
from kd_lightning.experiment.ranges import check_ranges
from kd_lightning.experiment.settings import trains_teacher

GROUPS = (
    "scheme",
    "task",
    "data",
    *ROLES,
    "loss",
    "annealing",
    "weighting",
    "compress",
    "teacher_outputs",
    "trainer",
    "callbacks",
    "logger",
    "vars",
)
"""Settings that hold settings."""
CHOSEN = {f"{role}.{part}": f"{part}@{role}.{part}" for role in ROLES for part in PARTS}
"""Settings of a role that hold settings -> what chooses one of the files for it."""
TOP_LEVEL_KEYS = frozenset(
    {
        *GROUPS,
        "temperature",
        "alpha",
        "seed",
        "max_steps",
        "validate_every",
        "checkpoint_every",
        "log_every",
        "compile",
        "chunked_loss",
        "matmul_precision",
        "channels_last",
        "outputs",
        "folder",
        "force",
        "progress",
        "confirm",
    }
)
ANNEALED = ("temperature", "alpha", "weight")
RESERVED = {"hard": "the hard loss", "loss": "the whole loss"}
REQUIRED_KEYS = {
    "data": ("batch_size", "eval_batch_size", "workers", "source", "limit"),
    "task": ("name", "monitor"),
    **UNDER,
}
"""What must be set, by a file of the user's own as well."""
USUAL_TEMPERATURES = (0.1, 100.0)
PRODUCTS = ("highest", "high", "medium")


def check_settings(settings: Mapping[str, Any]) -> None:
    """The plain knobs are known, of the right type and in range.

    Raises:
        ConfigError: The first that is not.
    """
    for key in settings:
        if key not in TOP_LEVEL_KEYS:
            hint = new_name(key) or did_you_mean(key, TOP_LEVEL_KEYS) or "; free-form values belong under vars"
            raise ConfigError(f"unknown setting {key!r}{hint}")
    for key in sorted(TOP_LEVEL_KEYS):
        if key not in settings:
            raise ConfigError(f"{key} is missing: every setting of `kd run --cfg job` is needed; take ~{key} back")
    _check_shape(settings)
    _check_named(settings)
    _check_trainer(settings["trainer"])
    teacher = settings["teacher"]
    brought_by = "teacher.checkpoint" if teacher["checkpoint"] else "teacher.train=false"
    if not trains_teacher(settings) and "teacher" in settings["force"]:
        raise ConfigError(f"force=[teacher] with {brought_by}: there is no training to run again; drop one of them")
    if not trains_teacher(settings) and teacher["hard_loss"]:
        raise ConfigError(
            f"teacher.hard_loss with {brought_by}: that teacher is trained already; have one trained, or set "
            "hard_loss@teacher.hard_loss=cross_entropy"
        )
    check_ranges(settings)
    _check_temperature(settings["temperature"])
    _check_steps(settings["student"])
    if not settings["loss"]:
        raise ConfigError("loss is empty: name at least one, for example loss=[kd]")
    _check_some_weight(settings["loss"], settings["annealing"])
    for name in settings["loss"]:
        if name in RESERVED:
            raise ConfigError(f"loss.{name}: the log has that name for {RESERVED[name]}: choose another")
    _check_annealing(settings["annealing"], settings["loss"])


def _check_shape(settings: Mapping[str, Any]) -> None:
    """Settings that hold others do, lists are lists, flags are flags, paths are texts."""
    for key in GROUPS:
        _check_holds_settings(key, settings[key], chosen_by=key)
    for group, names in REQUIRED_KEYS.items():
        for name in names:
            if name not in settings[group]:
                chosen = CHOSEN.get(f"{group}.{name}")
                fix = f"choose {chosen}=NAME" if chosen else f"the {group} file must set it, see kd ls {group}"
                raise ConfigError(f"{group}.{name} is missing: {fix}")
    for name, chosen_by in CHOSEN.items():
        role, _, part = name.partition(".")
        _check_holds_settings(name, settings[role][part], chosen_by)
    _check_roles(settings)
    for name in ("labelled", "labelled_teacher"):
        if name in settings["data"]:  # a file of the user's own, which would have all rows labeled
            raise ConfigError(f"data.{name} is now {RENAMED[f'data.{name}']}: set that instead")
    if not isinstance(settings["force"], list):
        raise ConfigError(f"force={settings['force']!r}: a list is expected: force=[{settings['force']}]")
    for key in ("progress", "compile", "channels_last"):
        if not isinstance(settings[key], bool):
            raise ConfigError(f"{key}={settings[key]!r}: true or false is expected")
    if settings["chunked_loss"] not in (True, False, "auto"):
        raise ConfigError(f"chunked_loss={settings['chunked_loss']!r}: true, false or auto is expected")
    products = settings["matmul_precision"]
    if products not in PRODUCTS:
        hint = did_you_mean(str(products), PRODUCTS)
        raise ConfigError(f"matmul_precision={products!r}: not one of {', '.join(PRODUCTS)}{hint}")
    if not isinstance(settings["outputs"], str):
        raise ConfigError(f"outputs={settings['outputs']!r}: a folder is expected")
    if not isinstance(settings["teacher"]["train"], bool):
        raise ConfigError(f"teacher.train={settings['teacher']['train']!r}: true or false is expected")
    checkpoint = settings["teacher"]["checkpoint"]
    if checkpoint is not None and not isinstance(checkpoint, str):
        raise ConfigError(f"teacher.checkpoint={checkpoint!r}: a weights file or a run folder is expected")
    _check_init(settings["student"])


def _check_init(student: Mapping[str, Any]) -> None:
    """What the student begins with, and which layers of it."""
    init, layers = student["init"], student["init_layers"]
    if init is not None and not isinstance(init, str):
        raise ConfigError(f"student.init={init!r}: teacher, a weights file or a run folder is expected")
    if layers is None:
        return
    if init is None:
        raise ConfigError(f"student.init_layers={layers} without student.init: say whose layers: student.init=teacher")
    if not isinstance(layers, list) or not layers or any(type(each) is not int or each < 0 for each in layers):
        raise ConfigError(f"student.init_layers={layers!r}: numbers of layers from 0, as [0,2,4], are expected")


def _check_holds_settings(name: str, node: Any, chosen_by: str) -> None:
    if not isinstance(node, Mapping):
        chosen = f"choose a file with {chosen_by}={node}, or " if node and not isinstance(node, list) else ""
        raise ConfigError(f"{name}={node!r}: settings are expected here; {chosen}set one inside, as {name}.NAME=...")


def _check_roles(settings: Mapping[str, Any]) -> None:
    """Under a role stands what belongs to it; the settings of its network stand below ``model``."""
    for role, known in UNDER.items():
        for name in settings[role]:
            if name not in known:
                hint = did_you_mean(name, known) or f"; a network's settings stand under {role}.model"
                raise ConfigError(f"unknown setting '{role}.{name}'{hint}")


def new_name(key: str) -> str:
    """What a setting is called now that a file of the user's own sets by its old name; empty where it never was one."""
    inside = [new for old, new in RENAMED.items() if old == key or old.startswith(f"{key}.")]
    found = [f"student.{key}"] if key in OF_STUDENT else inside
    return f": it is now {', '.join(found)}" if found else ""


def _check_some_weight(losses: Mapping[str, Any], annealing: Mapping[str, Any]) -> None:
    """Some term of the soft loss counts."""
    curves = as_settings(annealing.get("weight"))
    weights = [
        node.get("weight", 1) if isinstance(node, Mapping) and name not in curves else 1
        for name, node in losses.items()
    ]
    if not any(weights):
        names = ", ".join(f"loss.{name}.weight" for name in losses)
        raise ConfigError(
            f"{names}: 0, so no soft loss is left: give one a weight above 0, or train on labels with alpha=0"
        )


def _check_named(settings: Mapping[str, Any]) -> None:
    """What names a file or a folder is not empty, as it is where a shell variable is not set."""
    named = {f"data.{name}": value for name, value in settings["data"].items()}
    named |= {f"data.source.{name}": value for name, value in as_settings(settings["data"].get("source")).items()}
    for name, value in {
        **named,
        "teacher.checkpoint": settings["teacher"]["checkpoint"],
        "student.init": settings["student"]["init"],
    }.items():
        between = name.endswith(".label_separator")  # white space may stand between two labels
        if isinstance(value, str) and not (value if between else value.strip()):
            raise ConfigError(f"{name} is empty (is a shell variable unset?): give it a value, or leave it out")


def as_settings(node: Any) -> Mapping[str, Any]:
    """A node's settings; of a plain value, none."""
    return node if isinstance(node, Mapping) else {}


def _check_annealing(annealing: Mapping[str, Any], losses: Mapping[str, Any]) -> None:
    """Everything there is a curve; those of weights are of losses that are there."""
    for key in annealing:
        if key not in ANNEALED:
            raise ConfigError(f"unknown setting 'annealing.{key}'{did_you_mean(key, ANNEALED)}")
    weights = annealing.get("weight") or {}
    if not isinstance(weights, Mapping) or "_target_" in weights:
        raise ConfigError("annealing.weight: name the loss: +scheduler@annealing.weight.NAME=cosine")
    for name in weights:
        if name not in losses:
            raise ConfigError(f"annealing.weight.{name}: loss has no {name!r}{did_you_mean(str(name), losses)}")
    curves = {key: annealing.get(key) for key in ("temperature", "alpha")}
    for key, node in {**curves, **{f"weight.{name}": node for name, node in weights.items()}}.items():
        if node is not None and not (isinstance(node, Mapping) and "_target_" in node):
            raise ConfigError(f"annealing.{key}={node!r}: a curve is expected, as in +scheduler@annealing.{key}=cosine")


TRAINER_KEYS_OF_OURS = {
    "max_steps": "teacher.steps, student.steps",
    "min_steps": "teacher.steps, student.steps",
    "max_epochs": "teacher.steps, student.steps",
    "min_epochs": "teacher.steps, student.steps",
    "val_check_interval": "validate_every",
    "check_val_every_n_epoch": "validate_every",
    "num_sanity_val_steps": "debug=fast_dev_run",
    "fast_dev_run": "debug=fast_dev_run",
    "overfit_batches": "debug=overfit",
    "limit_train_batches": "data.limit",
    "limit_val_batches": "data.limit",
    "limit_test_batches": "data.limit",
    "log_every_n_steps": "log_every",
    "callbacks": "callbacks",
    "logger": "logger",
    "default_root_dir": "outputs",
    "enable_progress_bar": "progress",
    "enable_checkpointing": "checkpoint_every",
    "enable_model_summary": "progress",
    "use_distributed_sampler": "trainer.devices",
    "plugins": "trainer.precision",
}
"""Trainer settings that the stages make themselves -> the setting to use instead."""


def _check_trainer(trainer: Mapping[str, Any]) -> None:
    for name, instead in TRAINER_KEYS_OF_OURS.items():
        if name in trainer:
            raise ConfigError(f"trainer.{name} is set by the stages themselves: use {instead}")


def _check_temperature(value: Any) -> None:
    low, high = USUAL_TEMPERATURES
    if not low <= value <= high:
        warnings.warn(
            f"temperature={value} lies outside [{low:g}, {high:g}], where soft targets say little", stacklevel=2
        )


BUDGETS = (("teacher", "steps"), ("student", "steps"), ("student", "pretrain_steps"))


def limit_steps(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with no budget above ``max_steps``, of which pre-training takes half at most.

    Example:
        >>> student = {"steps": 2, "pretrain_steps": 1}
        >>> limit_steps({"teacher": {"steps": 60}, "student": student, "max_steps": 2})["teacher"]
        {'steps': 2}
    """
    most, found = settings["max_steps"], dict(settings)
    for role, name in BUDGETS if most is not None else ():
        limit = most // 2 if name == "pretrain_steps" else most
        found[role] = {**found[role], name: min(found[role][name], limit)}
    return found


def list_cuts(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The budgets that ``limit_steps`` has cut, in words."""
    return [
        f"{role}.{name}={before[role][name]} to {after[role][name]}"
        for role, name in BUDGETS
        if before[role][name] != after[role][name]
    ]


def _check_steps(student: Mapping[str, Any]) -> None:
    if student["pretrain_steps"] >= student["steps"]:
        raise ConfigError(
            f"student.pretrain_steps={student['pretrain_steps']} leaves nothing of student.steps={student['steps']} to "
            "distill: pre-training is a part of the student's budget"
        )
