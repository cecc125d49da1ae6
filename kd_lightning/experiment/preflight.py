"""What is checked before the first step: that networks, data and budget fit together."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from kd_lightning.data.datamodule import RowsDataset
from kd_lightning.data.labels import check_classes
from kd_lightning.data.source import Prepared
from kd_lightning.errors import ConfigError, KDError, VocabMismatchError, did_you_mean
from kd_lightning.experiment.ranges import Range
from kd_lightning.tasks.base import Task
from kd_lightning.training.distributed.launcher import RankLauncher

MONITOR_PREFIX = "val_"
"""Before the name of a metric where it is logged."""
HALF_MIXED = (16, "16", "16-mixed")
PROGRESS_POINTS = [step / 100 for step in range(101)]


def check_network(
    network: nn.Module,
    task: Task,
    prepared: Prepared,
    who: str,
    batch_size: int,
    classwise: Collection[str] | None = None,
    channels_last: bool = False,
) -> int:
    """How many classes the network answers with, which are the task's, to two rows of the data.

    A teacher whose logits are compared with nobody's may have more, of which the data's are the first.

    Args:
        network: Untrained.
        task: The task.
        prepared: The data.
        who: ``teacher`` or ``student``, for the message.
        batch_size: Rows that the network sees at once.
        classwise: Of a teacher, the losses that need its classes to be the student's.
        channels_last: As in ``RowsDataset``.

    Raises:
        ClassMismatchError: Another number of classes.
        VocabMismatchError: Another vocabulary.
        ConfigError: The network cannot read the rows, or BatchNorm would see one row at a time.
    """
    rows = RowsDataset(prepared.splits["val"], task.collate, channels_last)
    batch = rows.__getitems__(list(range(min(2, len(rows)))))
    network.eval()
    try:
        with torch.no_grad():
            logits = task.logits(network, batch)
    except KDError:
        raise
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        if prepared.tokenizer and isinstance(error, IndexError):
            raise VocabMismatchError(
                f"the {who}'s vocabulary is smaller than the data's {task.num_classes} tokens: set "
                f"{who}.model.vocab_size={task.num_classes}"
            ) from error
        shape = ", ".join(str(tuple(tensor.shape[1:])) for tensor in task.inputs(batch).args)
        raise ConfigError(
            f"the {who} ({type(network).__name__}) cannot read rows of shape {shape}: {str(error).splitlines()[0]}; "
            f"set the {who}'s sizes to the data's{', or channels_last=false' if channels_last else ''}"
        ) from error
    check_class_count(logits.shape[-1], task, prepared, who, classwise)
    if batch_size == 1 and any(isinstance(module, _BatchNorm) for module in network.modules()):
        raise ConfigError(
            f"data.batch_size is 1, and the {who} has BatchNorm, which needs at least 2 rows: set it higher"
        )
    return int(logits.shape[-1])


def check_trained(network: nn.Module) -> None:
    """A network that is to be taken as it is has all of its weights from a training.

    Raises:
        ConfigError: Not so.
    """
    tells: Callable[[], str | None] | None = getattr(network, "why_untrained", None)
    why = tells() if tells else f"{type(network).__name__} starts at random"
    if why:
        raise ConfigError(f"teacher.train=false: {why}; or have it trained: teacher.train=true")


def check_row_shape(prepared: Prepared, shape: Any) -> None:
    """The rows have the shape that the settings say, which networks and examples are made by.

    Args:
        prepared: The data.
        shape: ``data.shape``; None where a data set has no such setting.

    Raises:
        ConfigError: They have another.
    """
    if shape is None:
        return
    found = list(prepared.splits["train"].column("inputs").row_shape)
    if list(shape) != found:
        raise ConfigError(
            f"data.shape={list(shape)}, and a row of the data has the shape {found}: set data.shape={found}"
        )


def check_class_count(
    classes: int, task: Task, prepared: Prepared, who: str, classwise: Collection[str] | None
) -> None:
    """The network's classes are the data's; a teacher's may be more, where no loss compares class by class.

    Raises:
        ClassMismatchError: They are not.
        VocabMismatchError: Likewise, of tokens.
    """
    instead = ""
    if classwise is not None and classes > task.num_classes:
        if not classwise:
            return
        instead = (
            f", or leave out loss {', '.join(classwise)}: the teacher may have more classes where none needs them to "
            "be the student's, as universal_logit and most of those on features do not"
        )
    if prepared.tokenizer and classes != task.num_classes:
        raise VocabMismatchError(
            f"the {who}'s vocabulary is {classes} tokens, the data's {task.num_classes}: set "
            f"{who}.model.vocab_size={task.num_classes}{instead}"
        )
    check_classes(classes, task.num_classes, who, instead)


def check_counted_classes(classes: int, num_classes: int) -> None:
    """A hard loss that counts the data's classes fits the network; of a teacher that may have more, it does not.

    Raises:
        ConfigError: Likewise.
    """
    if classes > num_classes:
        raise ConfigError(
            f"teacher.hard_loss knows the data's {num_classes} classes, and the teacher has {classes}: set "
            "hard_loss@teacher.hard_loss=cross_entropy, or the teacher's classes to the data's"
        )


MORE_ROWS = ("unlabeled", "synthetic")
"""Data settings that add training rows without a label."""


def check_parts(data: Mapping[str, Any], num_labeled: int | None, accumulate: int, devices: Any) -> None:
    """A step's rows divide evenly, and no part of them averages over labels of its own.

    Args:
        data: The data settings.
        num_labeled: Training rows of the student with a label; None = all.
        accumulate: Batches for each optimizer step.
        devices: ``trainer.devices``.

    Raises:
        ConfigError: They do not.
    """
    world = world_size(devices)
    parts = accumulate * world
    if data["batch_size"] % parts:
        raise ConfigError(
            f"data.batch_size={data['batch_size']} does not divide over {world} devices x {accumulate} accumulated batches: "
            f"choose a multiple of {parts}"
        )
    partly = {"student.num_labeled": num_labeled, **{f"data.{name}": data.get(name) for name in MORE_ROWS}}
    for setting, value in partly.items():
        if parts > 1 and value is not None:
            raise ConfigError(
                f"{setting}={value} with {parts} parts of each step (devices x accumulated batches): a part without a label "
                f"would count as much as one with many; use one device without accumulation, or {setting}=null"
            )


def world_size(devices: Any) -> int:
    """How many processes ``trainer.devices`` means, as far as the setting alone says."""
    if isinstance(devices, list):
        return max(len(devices), 1)
    return max(devices, 1) if isinstance(devices, int) else 1


def check_processes(environment: Mapping[str, str]) -> None:
    """The command runs once: the processes of a training are started by its stages.

    Args:
        environment: Of this process.

    Raises:
        ConfigError: Something (torchrun, mpirun) has started it several times. Each would run the whole pipeline, and
            while one waits for the others in a training, they wait for the lock that it holds.
    """
    world = environment.get("WORLD_SIZE", "1")
    if world != "1":
        raise ConfigError(
            f"WORLD_SIZE={world}: the command was started several times; start it once, with trainer=ddp "
            f"trainer.devices={world}, and it starts the processes itself"
        )


def check_trainer(
    build: Callable[..., pl.Trainer], arguments: Mapping[str, Any], node: Mapping[str, Any]
) -> pl.Trainer:
    """A trainer that does what its settings say, in processes that we start and watch.

    Args:
        build: Makes the trainer.
        arguments: For it.
        node: The trainer settings, for the messages.

    Raises:
        ConfigError: It would start the command again in other processes, or compute in another precision.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*AMP with fp16 is not supported.*")  # an error, below
        warnings.filterwarnings("ignore", "GPU available but not used.*")  # trainer=cpu has been asked for
        trainer = build(**arguments)
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, RankLauncher) and (launcher is not None or trainer.world_size > 1):
        raise ConfigError(
            f"trainer.devices={node.get('devices')} with trainer.strategy={_strategy_name(node)} starts the whole command "
            "again for each device: use trainer=ddp or trainer=fsdp, and trainer.devices with it"
        )
    if trainer.num_nodes > 1:
        raise ConfigError(f"trainer.num_nodes={trainer.num_nodes}: a training runs on the devices of one machine")
    if node.get("precision") in HALF_MIXED and trainer.precision != "16-mixed":
        raise ConfigError(
            f"trainer.precision={node['precision']} does not work on the {trainer.strategy.root_device.type}: use "
            "trainer.precision=bf16-mixed, which does"
        )
    return trainer


def _strategy_name(node: Mapping[str, Any]) -> str:
    strategy = node.get("strategy", "auto")
    return strategy["_target_"] if isinstance(strategy, Mapping) else str(strategy)


def check_callbacks(task: Task, callbacks: Mapping[str, Any]) -> None:
    """A callback that watches a metric names one of the task's, and the way in which it is better.

    Args:
        task: The task.
        callbacks: name -> settings of a callback.

    Raises:
        ConfigError: It does not.
    """
    metrics = {MONITOR_PREFIX + name: metric for name, metric in task.metrics().items()}
    for name, node in callbacks.items():
        monitor = node.get("monitor")
        if monitor is None:
            continue
        if monitor not in metrics:
            raise ConfigError(
                f"callbacks.{name}.monitor={monitor}: not one of {', '.join(metrics)}"
                f"{did_you_mean(str(monitor), metrics)}"
            )
        better = metrics[monitor].higher_is_better
        mode = "max" if better else "min"
        if better is not None and node.get("mode", mode) != mode:
            raise ConfigError(
                f"callbacks.{name}.mode={node['mode']}: {monitor} is better when it is "
                f"{'higher' if better else 'lower'}: set callbacks.{name}.mode={mode}"
            )


def check_curve(curve: Any, steps: int, name: str, allowed: Range) -> None:
    """An annealed setting stays in range at every step of the stage, and at its end.

    Args:
        curve: The setting: progress in [0, 1] -> value, or a constant, which has been checked already.
        steps: The stage's.
        name: The setting, for the message.
        allowed: Its range.

    Raises:
        ConfigError: It does not.
    """
    if not callable(curve):
        return
    for step in range(steps + 1):
        value = curve(step / steps)
        if not (math.isfinite(value) and allowed.holds(value)):
            raise ConfigError(
                f"annealing.{name} is {value:g} after {step / steps:.0%} of the stage: {allowed.what} is expected"
            )


def splits_networks(trainer: pl.Trainer) -> bool:
    """Its strategy spreads a network's parameters over processes."""
    return isinstance(trainer.strategy, ModelParallelStrategy)


@contextmanager
def explain_build_errors(name: str) -> Iterator[None]:
    """What a library says of a setting's value while something is built from it becomes a ``ConfigError``."""
    try:
        yield
    except KDError:
        raise
    except Exception as error:  # libraries raise what they like: ValueError, TypeError, Lightning's own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"{name}: {lines[0]}") from error
