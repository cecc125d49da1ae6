"""Everything that writes, with little to write and with more than there is room for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kd_lightning.experiment import run_folder
from kd_lightning.experiment.train_stage import FILES
from kd_lightning.results.report.sweep.report import write_sweep_report
from kd_lightning.results.sweep_records import begin_job, begin_sweep, end_job, end_sweep
from kd_lightning.store import Entry, publish, publish_json
from kd_lightning.training.callbacks.checkpoints import save_weights
from kd_lightning.training.callbacks.metrics_log import MetricsLog
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO

BIG = 400_000
SOURCE = {False: "source-old", True: "source-new"}


@dataclass(frozen=True)
class Writer:
    """Something that writes.

    Attributes:
        name: What.
        write: (folder, whether it is the new content, which is large); begins with the old one already there.
    """

    name: str
    write: Callable[[Path, bool], Any]


def text(new: bool) -> str:
    """Far more than there is room for; or a little."""
    return "new" * BIG if new else "old"


def write_status(folder: Path, new: bool) -> None:
    """``status.json`` of an entry."""
    entry = Entry(folder)
    for name in FILES:
        if not new:
            publish(entry.path(name), "content")
    entry.finish(FILES, {"forced_by": text(new)})


def append_metrics(folder: Path, new: bool) -> None:
    """Lines at the end of ``metrics.csv``."""
    log = MetricsLog(folder / "metrics.csv", 1)
    log._lines = [f"{step},train,loss,1.0\n" for step in range(1, BIG // 5 if new else 3)]
    log.flush(argparse.Namespace(is_global_zero=True))  # type: ignore[arg-type]


def copy_weights(folder: Path, new: bool) -> None:
    """As into a run folder on another file system, where there are no hard links."""

    def no_links(*_: Any) -> None:
        raise OSError("no links here")

    os.link = no_links  # this process does nothing else
    run_folder.link_or_copy(folder.parent / SOURCE[new], folder / "teacher.safetensors")


def write_page(folder: Path, new: bool) -> None:
    """The report of a sweep beside the folder, over an old one."""
    if new:
        write_sweep_report([folder.parent / "sweep"], folder)
    else:
        for name in ("report.html", "report.md", "results.csv"):
            publish(folder / name, "old")


def save_network(folder: Path, new: bool) -> None:
    """Weights as safetensors, 1.2 MB or little."""
    save_weights(torch.nn.Linear(550, 550 if new else 1), folder / "best-000000001.safetensors")


def save_resume_point(folder: Path, new: bool) -> None:
    """A checkpoint, 1.6 MB or little."""
    AtomicCheckpointIO().save_checkpoint({"a": torch.ones(BIG if new else 1)}, folder / "resume-000000001.ckpt")


def write_job(folder: Path, new: bool) -> None:
    """``job.json`` of a job that has begun, or has failed with long words."""
    if new:
        end_job(folder / "0", "failed", error=text(new))
    else:
        begin_job(folder / "0", 0, [text(new)])


def write_sweep(folder: Path, new: bool) -> None:
    """``sweep.json`` of a sweep that has begun, or ended."""
    if new:
        end_sweep(folder, text(new))
    else:
        begin_sweep(folder, "kd run", [], "worker", "basic")


WRITERS = [
    Writer("publish", lambda folder, new: publish(folder / "file", text(new))),
    Writer("publish_json", lambda folder, new: publish_json(folder / "file.json", text(new))),
    Writer("status.json", write_status),
    Writer("weights", save_network),
    Writer("checkpoint", save_resume_point),
    Writer("metrics.csv", append_metrics),
    Writer("run folder's weights", copy_weights),
    Writer("job.json, begin", lambda folder, new: begin_job(folder / "0", 0, [text(new)])),
    Writer("job.json, end", write_job),
    Writer("sweep.json, begin", lambda folder, new: begin_sweep(folder, text(new), [], "worker", "basic")),
    Writer("sweep.json, end", write_sweep),
    Writer("sweep's report", write_page),
]
