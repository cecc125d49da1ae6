"""A program with Hydra at work and a log file, seeds and handlers of its own: it calls ``kd.run`` and looks at itself."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer

import kd_lightning as kd
from kd_lightning.training.callbacks.checkpoints import Checkpoints
from tests.support.cli import DIGITS

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def watch_own_state() -> int:
    """The program; its word says how the run ends. The exit code: 0 = it finds itself as it was."""
    (end,) = sys.argv[1:]
    own = Path.cwd() / "own"
    own.mkdir()
    (own / "config.yaml").write_text("answer: ${twice:21}\n")
    OmegaConf.register_new_resolver("twice", lambda number: 2 * number)
    handler = logging.FileHandler(Path.cwd() / "own.log", mode="w")
    logging.getLogger().addHandler(handler)
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True, warn_only=True)
    with initialize_config_dir(str(own), version_base="1.3"), torch.no_grad(), torch.autocast("cpu"):
        before = look("before")
        run(end)
        after = look("after")
    changed = [name for name in before if before[name] != after[name]]
    print("changed:", {name: (before[name], after[name]) for name in changed})
    return len(changed)


def run(end: str) -> None:
    """A run that ends so."""
    settings = (
        "hydra.job.chdir=true",
        "+hydra.job.env_set.MINE=1",
        "hydra/job_logging=default",
        "+trainer.benchmark=true",
    )
    words = [*DIGITS, *settings, f"outputs={Path.cwd()}/outputs"]
    if end == "done":
        result = kd.run(words)
        assert {parameter.dtype for parameter in result.student.parameters()} == {torch.float32}
        return
    if end == "interrupted":
        Checkpoints.on_train_batch_end = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt if end == "interrupted" else kd.KDError):
        kd.run(words, *(["alpha=7"] if end == "refused" else []))


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def look(when: str) -> dict[str, Any]:
    """What the program sees of itself."""
    logging.getLogger().warning(when)
    return {
        "its own configuration": compose("config").answer,
        "Hydra": (id(GlobalHydra.instance()), id(GlobalHydra.instance().hydra), HydraConfig.initialized()),
        "instances": (id(Singleton._instances), sorted(map(str, Singleton._instances))),
        "resolvers": sorted(BaseContainer._resolvers),
        "methods": (ConfigLoaderImpl.load_configuration, CachingConfigRepository.load_config),
        "process": (list(sys.argv), dict(os.environ), os.getcwd(), list(map(id, sys.meta_path))),
        "signals": [signal.getsignal(number) for number in SIGNALS],
        "logging": (list(logging.getLogger().handlers), logging.getLogger("pytorch_lightning").level),
        "torch": (
            *(torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()),
            torch.is_autocast_enabled("cpu"),
        ),
        "algorithms": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.benchmark,
            torch.get_float32_matmul_precision(),
        ),
        "seeds": (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()),  # noqa: NPY002
    }
