"""Who may import whom, read from the source: every import statement, those inside functions too.

The table is the tree of CONTRIBUTING.md's architecture. A file is judged by the longest key that holds it.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import kd_lightning

PACKAGE = Path(kd_lightning.__file__).parent


class Layer(NamedTuple):
    """What a layer may import: ours by prefix, and libraries; the standard library is free."""

    ours: set[str]
    libraries: set[str]


TORCH = {"torch"}
TRAINING = {"torch", "pytorch_lightning", "lightning_fabric", "torchmetrics", "numpy", "safetensors"}
BASES = {"tasks.base", "objectives.base", "teachers.base", "balancing.base", "balancing.fixed"}
CONFIGURATION = Layer({"*"}, {"hydra", "omegaconf"})
SWEEPS = Layer({"*"}, {"hydra", "omegaconf", "rich", "torch", "optuna", "sqlalchemy", "filelock", "submitit"})
ABOVE = Layer({"*"}, TRAINING | {"rich"})

LAYERS = {
    # Pure: no library of ours above them.
    "__init__": Layer(set(), set()),
    "errors": Layer(set(), set()),
    "seeds": Layer(set(), set()),
    "schedules": Layer(set(), set()),
    "code": Layer({"import_paths"}, set()),
    "import_paths": Layer(set(), set()),
    "inside": Layer({"errors"}, set()),
    "trust": Layer({"errors", "import_paths"}, set()),
    "seal": Layer({"errors", "trust"}, set()),
    "trust_verb": Layer({"errors", "store", "trust"}, set()),
    "conf_files": Layer(set(), set()),
    "versions": Layer(set(), set()),
    "sizes": Layer(set(), set()),
    "objective_docs": Layer({"conf_files"}, set()),
    "checks": Layer({"errors", "ranges"}, set()),
    "ranges": Layer({"errors"}, set()),
    "turns": Layer(set(), set()),
    "store": Layer({"errors", "inside", "json_files", "turns"}, {"filelock"}),
    "verdict": Layer({"report.gap", "report.numbers", "report.roles"}, {"numpy"}),
    "types": Layer(set(), TORCH),
    # The things an experiment is made of; each knows types, and hardly each other.
    "functional": Layer({"types", "functional"}, TORCH),
    "models": Layer({"types", "errors", "models"}, TORCH),
    "data": Layer(
        {"types", "errors", "seeds", "store", "data"},
        {"torch", "pytorch_lightning", "numpy", "safetensors", "tokenizers"},
    ),
    "tasks": Layer({"types", "errors", "functional", "tasks"}, {"torch", "torchmetrics"}),
    "chunking": Layer({"errors"}, set()),
    "objectives": Layer({"types", "errors", "functional", "objectives"}, TORCH),
    "balancing": Layer({"errors", "functional", "balancing"}, TORCH),
    "taps": Layer({"types", "errors"}, TORCH),
    "teachers": Layer(
        {"types", "errors", "taps", "tasks.base", "functional.shared_rows", "teachers"}, {"torch", "numpy"}
    ),
    "teachers.building": Layer(
        {"types", "errors", "sizes", "store", "taps", "tasks.base", "teachers"}, {"torch", "numpy"}
    ),
    "modules": Layer(
        {"types", "errors", "seeds", "taps", "tasks.parts", "functional", "modules"} | BASES,
        {"torch", "pytorch_lightning"},
    ),
    "carrying": Layer({"store", "weights", "modules"}, set()),
    "checkpoint_io": Layer({"error_text", "errors", "inside", "store"}, {"torch", "lightning_fabric"}),
    "callbacks": Layer(
        {
            "types",
            "errors",
            "inside",
            "stopping",
            "store",
            "turns",
            "carrying",
            "checkpoint_io",
            "modules",
            "callbacks",
        },
        TRAINING,
    ),
    # Reads files, writes pages: must work where torch is not.
    "json_files": Layer({"errors"}, set()),
    "record_fields": Layer({"json_files"}, set()),
    "report": Layer(
        {
            *(
                "errors",
                "inside",
                "json_files",
                "record_fields",
                "report",
                "sizes",
                "sweeps.folder",
                "terminal",
                "pairwise",
            ),
            *("seed_groups", "sweep_sentences"),
            "verdict_over_seeds",
        },
        {"fpdf"},
    ),
    "run_summary": Layer({"board", "report.summary"}, set()),
    "reporting": Layer(
        {"board", "error_text", "errors", "report", "run_summary", "sweeps.folder", "terminal", "verbs"}, set()
    ),
    "redaction": Layer(set(), set()),
    "terminal": Layer(set(), set()),
    "error_text": Layer({"redaction", "terminal"}, set()),
    "verbs": Layer({"error_text", "errors", "stopping"}, set()),
    "cache_admin": Layer({"errors", "board", "inside", "json_files", "sizes", "store", "terminal"}, {"rich"}),
    "stopping": Layer(set(), set()),
    "fork_server": Layer(set(), set()),
    "collector": Layer(set(), set()),
    "allocator": Layer(set(), set()),
    "machine_load": Layer(set(), set()),
    "openmp": Layer({"machine_load"}, TORCH),
    "cpu_threads": Layer({"machine_load", "openmp"}, TORCH),
    "sweeps.folder": Layer({"errors", "inside", "json_files", "record_fields"}, set()),
    "sweeps.records": Layer({"inside", "sweeps.folder", "store"}, set()),
    "critical_values": Layer(set(), {"numpy", "scipy"}),
    "simultaneous_test": Layer({"critical_values"}, {"numpy"}),
    "power": Layer({"critical_values"}, {"scipy"}),
    "seed_groups": Layer({"verdict", "report.roles", "sweeps.folder"}, set()),
    "seed_sentences": Layer({"report.numbers", "seed_groups", "simultaneous_test"}, set()),
    "pooled_tasks": Layer({"seed_groups"}, {"numpy"}),
    "verdict_over_seeds": Layer(
        {"critical_values", "seed_groups", "seed_sentences", "simultaneous_test", "sweeps.folder"}, set()
    ),
    "pairwise": Layer(
        {"critical_values", "seed_groups", "simultaneous_test", "verdict_over_seeds"}, {"numpy", "scipy"}
    ),
    "sweep_sentences": Layer(
        {
            *("pairwise", "pooled_tasks", "power", "report.numbers", "seed_groups", "seed_sentences"),
            *("simultaneous_test", "sweeps.folder", "verdict_over_seeds"),
        },
        set(),
    ),
    "configuration_table": Layer({"report.numbers", "seed_sentences", "verdict_over_seeds"}, set()),
    "tracking": Layer(
        {
            *("tracking", "callbacks.mlflow_curves", "errors", "inside", "redaction", "report.roles"),
            *("seed_groups", "sweeps.folder", "sweep_sentences"),
        },
        {"torch", "lightning_fabric", "filelock", "mlflow"},
    ),
    "callbacks.mlflow_curves": Layer({"callbacks.metrics_log"}, {"pytorch_lightning", "mlflow"}),
    # The configuration layer and the command line: nobody else knows Hydra.
    "config": CONFIGURATION,
    "hydra_errors": CONFIGURATION,
    "hydra_guard": CONFIGURATION,
    "hydra_parts": CONFIGURATION,
    "config_sources": Layer({"*"}, {"hydra", "omegaconf", "yaml"}),
    "resolution": Layer({"errors"}, {"omegaconf"}),
    "file_settings": Layer({"errors"}, set()),
    "yaml_bounds": Layer({"errors"}, {"yaml"}),
    "real_numbers": CONFIGURATION,
    "shown_config": CONFIGURATION,
    "launch": CONFIGURATION,
    "planning": CONFIGURATION,
    "job": CONFIGURATION,
    "sweeps": SWEEPS,
    "cli": CONFIGURATION,
    "completion": CONFIGURATION,
    "inspection": CONFIGURATION,
    # Everything else stands above the things and below the command line.
    "": ABOVE,
}
NEVER_BELOW = {key for key, layer in LAYERS.items() if layer in (CONFIGURATION, SWEEPS)}
"""What only the configuration layer itself may import."""


def inside(name: str, prefixes: set[str]) -> bool:
    return "*" in prefixes or any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def layer_of(module: str) -> tuple[str, Layer]:
    keys = [key for key in LAYERS if key and inside(module, {key})]
    key = max(keys, key=len, default="")
    return key, LAYERS[key]


def imports(path: Path, module: str, top: str) -> set[str]:
    """Absolute dotted names of all imported modules and of what is taken from them."""
    found: set[str] = set()
    parts = [top, *(part for part in module.split(".") if part != "__init__")]
    package = parts if path.name == "__init__.py" else parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{source}.{alias.name}" for alias in node.names}
    return found


def modules(package: Path) -> dict[str, Path]:
    """Dotted name below the package -> file. A package's own ``__init__`` goes by the package's name."""
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def violations(package: Path) -> list[str]:
    """Every forbidden arrow below the package's folder."""
    found, known = [], modules(package)
    for module, path in sorted(known.items()):
        key, layer = layer_of(module)
        for name in sorted(imports(path, module, package.name)):
            top, _, below = name.partition(".")
            if top == package.name:
                allowed = not below or inside(below, layer.ours)
                if key not in NEVER_BELOW and layer_of(below)[0] in NEVER_BELOW:
                    allowed = False
            else:
                allowed = top in sys.stdlib_module_names or top in layer.libraries
            if not allowed:
                found.append(f"{module} imports {name}")
    return found


def test_known_modules_are_found() -> None:
    assert {"types", "functional.divergence", "objectives.kd", "report", "cli", "__init__"} <= set(modules(PACKAGE))


def test_no_forbidden_arrow() -> None:
    assert violations(PACKAGE) == []


def test_every_layer_of_the_table_exists() -> None:
    known = modules(PACKAGE)
    assert [key for key in LAYERS if key and not any(inside(module, {key}) for module in known)] == []


def test_packages_open_with_an_empty_file() -> None:
    inits = [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]
    assert inits
    assert [path for path in inits if path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize(
    ("file", "statement", "arrow"),
    [
        ("types.py", "import numpy", "types imports numpy"),
        ("types.py", "from kd_lightning.errors import KDError", "types imports kd_lightning.errors.KDError"),
        ("functional/new.py", "from kd_lightning.tasks import base", "functional.new imports kd_lightning.tasks.base"),
        ("functional/new.py", "from ..tasks import base", "functional.new imports kd_lightning.tasks.base"),
        ("models/new.py", "import kd_lightning.data.base", "models.new imports kd_lightning.data.base"),
        (
            "data/deep/new.py",
            "from kd_lightning.models.mlp import MLP",
            "data.deep.new imports kd_lightning.models.mlp.MLP",
        ),
        ("objectives/new.py", "def f():\n    import hydra", "objectives.new imports hydra"),
        ("objectives/new.py", "from .. import teachers", "objectives.new imports kd_lightning.teachers"),
        ("teachers/new.py", "import kd_lightning.tasks.position", "teachers.new imports kd_lightning.tasks.position"),
        (
            "modules/new.py",
            "from kd_lightning.objectives.kd import KD",
            "modules.new imports kd_lightning.objectives.kd.KD",
        ),
        ("report/new.py", "import torch", "report.new imports torch"),
        ("report/__init__.py", "from . import page\nfrom .. import modules", "report imports kd_lightning.modules"),
        ("store.py", "import yaml", "store imports yaml"),
        ("code.py", "from kd_lightning import errors", "code imports kd_lightning.errors"),
        ("experiment/new.py", "from omegaconf import OmegaConf", "experiment.new imports omegaconf.OmegaConf"),
        ("run.py", "from kd_lightning.launch import run", "run imports kd_lightning.launch.run"),
        ("brand_new.py", "import hydra", "brand_new imports hydra"),
        ("__init__.py", "import torch", "__init__ imports torch"),
    ],
)
def test_a_forbidden_arrow_is_found(file: str, statement: str, arrow: str, tmp_path: Path) -> None:
    """The positive control, in a tree of its own."""
    path = tmp_path / "kd_lightning" / file
    path.parent.mkdir(parents=True)
    path.write_text(f"import json\n{statement}\n", encoding="utf-8")
    assert violations(tmp_path / "kd_lightning") == [arrow]


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("types.py", "from torch import Tensor"),
        ("objectives/new.py", "from ..functional.divergence import tempered_kl"),
        ("modules/new.py", "from kd_lightning.objectives.base import Objective"),
        ("config.py", "import hydra.utils\nfrom kd_lightning.errors import ConfigError"),
        ("cli.py", "def f():\n    from kd_lightning import launch"),
    ],
)
def test_an_allowed_arrow_passes(file: str, statement: str, tmp_path: Path) -> None:
    path = tmp_path / "kd_lightning" / file
    path.parent.mkdir(parents=True)
    path.write_text(f"from __future__ import annotations\n{statement}\n", encoding="utf-8")
    assert violations(tmp_path / "kd_lightning") == []
