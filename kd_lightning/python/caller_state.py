"""What a run or a training changes in its process, and what the caller's program finds as it was."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from kd_lightning.process.import_paths import TrustedFinder, keep_working_folder_out
from kd_lightning.process.stopping import Terminated, raise_on_sigterm


@contextmanager
def keep_caller_state() -> Iterator[None]:
    """Inside, the process is as a command finds it; afterwards, as the caller left it, whatever was raised.

    That is: the environment, the working folder, what is imported from where, random states, torch's default dtype and
    device, autocast, gradient mode and deterministic algorithms, Lightning's log level, and the handlers of SIGINT and
    SIGTERM. SIGTERM inside a training is granted at the end of a step, once a resume point is saved; then the caller's own
    handler gets it.
    """
    try:
        # Seeds that are set before CUDA is begun wait where nobody can read them. A forked process can do neither.
        if torch.cuda.is_available() and not torch.cuda._is_in_bad_fork():
            torch.cuda.init()
        with ExitStack() as stack:
            for keep in (_keep_environment, _keep_torch_modes, _keep_log_level, keep_random_states, raise_on_sigterm):
                stack.enter_context(keep())
            keep_working_folder_out()
            yield
    except Terminated:
        signal.raise_signal(signal.SIGTERM)
        raise


@contextmanager
def keep_random_states() -> Iterator[None]:
    """Inside, random numbers may be drawn and seeds set: afterwards those of torch, NumPy and Python go on as before."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the caller's
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002 - likewise


@contextmanager
def _keep_environment() -> Iterator[None]:
    variables, folder = dict(os.environ), os.getcwd()
    finders = [finder for finder in sys.meta_path if isinstance(finder, TrustedFinder)]
    try:
        yield
    finally:
        os.chdir(folder)
        for name in set(os.environ) - set(variables):
            del os.environ[name]
        os.environ.update(variables)
        others = [finder for finder in sys.meta_path if not isinstance(finder, TrustedFinder)]
        sys.meta_path[:] = [*others, *finders]


@contextmanager
def _keep_torch_modes() -> Iterator[None]:
    dtype, benchmark = torch.get_default_dtype(), torch.backends.cudnn.benchmark
    deterministic, warns = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)
    try:
        with ExitStack() as stack:
            if torch.get_default_device().type != "cpu":
                stack.enter_context(torch.device("cpu"))
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmark


@contextmanager
def _keep_log_level() -> Iterator[None]:
    log = logging.getLogger("pytorch_lightning")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
