"""What a run imports does not grow with what happens to be installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

LOADED = "import sys; print('transformers' in sys.modules)"


def loads_transformers(*modules: str) -> bool:
    code = "; ".join([*(f"import {name}" for name in modules), LOADED])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip() == "True"


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_a_run_imports_transformers_only_where_it_is_asked_for() -> None:
    assert loads_transformers("torchmetrics")  # the control: by itself it does
    assert not loads_transformers("kd_lightning.cli.run", "kd_lightning.experiment.run")
