"""The garbage collector rests while commands import, and works while they train. In processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import DIGITS

STATES = """
import gc
from kd_lightning.process.collector import pause_collection, resume_collection

def state():
    return gc.isenabled(), gc.get_freeze_count() > 0

resume_collection()
print(state())
with pause_collection():
    print(state())
    resume_collection()
    print(state())
print(state())
gc.unfreeze()
try:
    with pause_collection():
        raise ValueError
except ValueError:
    print(state())
"""
LEADING = """
import gc
from hydra_plugins.kd_launchers import SubmititLauncher
from kd_lightning.process.collector import pause_collection

with pause_collection():
    SubmititLauncher("local", "unused").setup(hydra_context=None, task_function=None, config=None)
    print(gc.isenabled())
"""
SERVING = """
import gc, sys
sys.orig_argv.append("from multiprocessing.forkserver import main")
import kd_lightning.process.fork_server, os
print(gc.isenabled(), flush=True)
if not os.fork():
    print(gc.isenabled(), gc.get_freeze_count() > 0, flush=True)
    os._exit(0)
os.wait()
"""
TELLING = """
import gc

import pytorch_lightning as pl


class Telling(pl.Callback):
    def on_train_start(self, trainer, module):
        print("collects:", gc.isenabled(), "set aside:", gc.get_freeze_count() > 100_000)
"""


def said(*words: str, **more: str | Path) -> list[str]:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True, **more)  # type: ignore[call-overload]
    return str(done.stdout).splitlines()


def test_it_rests_until_told_to_go_on_or_until_the_end() -> None:
    outside, at_rest, gone_on, after, failed = said("-c", STATES)
    assert outside == "(True, False)", "nothing happens outside"
    assert at_rest == "(False, False)"
    assert gone_on == after == failed == "(True, True)"


def test_it_works_while_a_sweep_is_led() -> None:
    assert said("-c", LEADING) == ["True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_it_rests_in_the_server_of_workers_and_works_in_them() -> None:
    assert said("-c", SERVING) == ["False", "True True"]


@pytest.mark.full
def test_it_works_while_a_run_trains(tmp_path: Path) -> None:
    (tmp_path / "telling.py").write_text(TELLING)
    words = (*DIGITS, "teacher=mlp", "student=mlp_tiny", "+callbacks.telling._target_=telling.Telling")
    environ = {"KD_LIGHTNING_TRUST": "telling"}
    lines = said("-m", "kd_lightning.cli.main", "run", *words, f"outputs={tmp_path}", cwd=tmp_path, env=environ)
    told = [line for line in lines if line.startswith("collects")]
    assert told
    assert set(told) == {"collects: True set aside: True"}
