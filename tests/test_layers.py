"""Who may import whom, read from the source: every import statement, those inside functions too.

One row a room, in the order of CONTRIBUTING.md's architecture: a room imports only from rooms above it, and of these only
what its row names.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import kd_lightning

PACKAGE = Path(kd_lightning.__file__).parent
SCRIPTS = Path(__file__).parents[1] / "scripts"
LOOSE_FILES = 6
MOST_LINES = 350
MOST_LINES_OF_A_FUNCTION = 60


class Room(NamedTuple):
    """What a room may import: rooms, and libraries; the standard library is free."""

    rooms: set[str]
    libraries: set[str]


LIGHTNING = {"torch", "pytorch_lightning", "lightning_fabric"}
HYDRA = {"hydra", "omegaconf"}

ROOMS = {
    "__init__": Room(set(), set()),
    "types": Room(set(), {"torch"}),
    "errors": Room(set(), set()),
    "seeds": Room(set(), set()),
    "process": Room({"errors"}, {"torch"}),
    "safety": Room({"errors", "process"}, set()),
    "store": Room({"errors", "safety"}, {"filelock"}),
    "fingerprint": Room({"process"}, set()),
    # The things an experiment is made of.
    "losses": Room({"types", "errors"}, {"torch"}),
    "models": Room(
        {"errors", "process", "safety", "store"}, {"torch", "safetensors", "transformers", "huggingface_hub", "peft"}
    ),
    "data": Room(
        {"types", "errors", "seeds", "process", "safety", "store"},
        {
            "torch",
            "pytorch_lightning",
            "numpy",
            "safetensors",
            "tokenizers",
            "transformers",
            "pyarrow",
            "datasets",
            "PIL",
        },
    ),
    "tasks": Room({"types", "errors", "losses", "data"}, {"torch", "torchmetrics"}),
    "teachers": Room({"types", "errors", "process", "store", "models", "tasks"}, {"torch", "numpy"}),
    "training": Room(
        {"types", "errors", "seeds", "process", "safety", "store", "losses", "models", "data", "tasks", "teachers"},
        LIGHTNING | {"torchmetrics", "safetensors"},
    ),
    # Reads files, writes pages: must work where torch is not.
    "results": Room({"errors", "process", "safety", "store"}, {"numpy", "scipy", "fpdf"}),
    "experiment": Room(
        {
            *("types", "errors", "seeds", "process", "safety", "store", "fingerprint", "losses", "models", "data"),
            *("tasks", "teachers", "training", "results"),
        },
        LIGHTNING | {"numpy", "safetensors", "filelock", "mlflow", "rich"},
    ),
    # What is done with a trained model, from its run folder.
    "deploy": Room(
        {
            *("__init__", "types", "errors", "process", "safety", "store", "fingerprint", "models", "data", "tasks"),
            *("training", "results", "experiment"),
        },
        {
            *("torch", "pytorch_lightning", "numpy", "safetensors"),
            *("onnxruntime", "onnxscript", "onnx_ir", "transformers", "tokenizers", "PIL"),
        },
    ),
    # Nobody above knows Hydra.
    "config": Room({"errors", "safety", "data", "experiment"}, HYDRA | {"yaml"}),
    "sweeps": Room(
        {
            *("__init__", "errors", "seeds", "process", "safety", "store", "fingerprint", "training"),
            *("results", "experiment", "config"),
        },
        HYDRA | {"torch", "filelock", "rich", "optuna", "sqlalchemy", "submitit"},
    ),
    "cli": Room(
        {
            *("__init__", "errors", "process", "safety", "store", "data", "results", "experiment", "deploy", "config"),
            "sweeps",
        },
        HYDRA | {"rich", "torch"},
    ),
    # What `import kd_lightning` offers.
    "python": Room(
        {
            *(
                "types",
                "errors",
                "seeds",
                "process",
                "safety",
                "store",
                "losses",
                "models",
                "data",
                "tasks",
                "teachers",
            ),
            *("training", "results", "experiment", "deploy", "config", "sweeps", "cli"),
        },
        {"torch", "pytorch_lightning", "numpy", "pandas"},
    ),
}


def imports(path: Path, module: str, top: str) -> set[str]:
    """Absolute dotted names of all imported modules and of what is taken from them; not what the package itself tells type
    checkers alone: it imports that when somebody asks for it."""
    found: set[str] = set()
    parts = [top, *(part for part in module.split(".") if part != "__init__")]
    package = parts if path.name == "__init__.py" else parts[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if module == "__init__":
        tree.body = [
            node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        ]
    for node in ast.walk(tree):
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


def room_of(name: str) -> str:
    """The room of a dotted name below the package; of a name of the package itself, ``__init__``."""
    first = name.partition(".")[0]
    return first if first in ROOMS else "__init__"


def violations(package: Path) -> list[str]:
    """Every forbidden arrow below the package's folder."""
    found = []
    for module, path in sorted(modules(package).items()):
        own = module.partition(".")[0]
        room = ROOMS.get(own)
        if room is None:
            found.append(f"{module} is in no room")
            continue
        for name in sorted(imports(path, module, package.name)):
            top, _, below = name.partition(".")
            if top == package.name:
                allowed = room_of(below) in {own, *room.rooms}
            else:
                allowed = top in sys.stdlib_module_names or top in room.libraries
            if not allowed:
                found.append(f"{module} imports {name}")
    return found


def test_known_modules_are_found() -> None:
    known = {"types", "losses.functional.divergence", "losses.logits.kd", "results.report", "cli.main", "__init__"}
    assert known <= set(modules(PACKAGE))


def test_no_forbidden_arrow() -> None:
    assert violations(PACKAGE) == []


def test_arrows_point_up_the_table_only() -> None:
    order = list(ROOMS)
    for number, (name, room) in enumerate(ROOMS.items()):
        assert room.rooms <= set(order[:number]), name


def test_every_arrow_and_library_of_the_table_is_used() -> None:
    """What nobody needs any more is not allowed any more."""
    used: dict[str, set[str]] = {name: set() for name in ROOMS}
    for module, path in modules(PACKAGE).items():
        for name in imports(path, module, PACKAGE.name):
            top, _, below = name.partition(".")
            used[module.partition(".")[0]].add(room_of(below) if top == PACKAGE.name else top)
    for name, room in ROOMS.items():
        assert room.rooms | room.libraries <= used[name], name


def test_few_files_lie_outside_of_rooms() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= LOOSE_FILES


@pytest.mark.parametrize("folder", [PACKAGE, SCRIPTS], ids=lambda folder: folder.name)
def test_no_file_and_no_function_is_long(folder: Path) -> None:
    files = list(folder.rglob("*.py"))
    assert files
    assert [path for path in files if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES] == []
    long = [
        f"{path.relative_to(folder)}: {node.name}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    ]
    assert long == []


def test_packages_open_with_an_empty_file() -> None:
    inits = [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]
    assert inits
    assert [path for path in inits if path.read_text(encoding="utf-8")] == []
    assert {path.parent for path in PACKAGE.rglob("*.py")} == {PACKAGE, *(path.parent for path in inits)}


@pytest.mark.parametrize(
    ("file", "statement", "arrow"),
    [
        ("types.py", "import numpy", "types imports numpy"),
        ("types.py", "from kd_lightning.errors import KDError", "types imports kd_lightning.errors.KDError"),
        ("losses/new.py", "from kd_lightning.tasks import base", "losses.new imports kd_lightning.tasks.base"),
        ("losses/deep/new.py", "from ...tasks import base", "losses.deep.new imports kd_lightning.tasks.base"),
        ("losses/new.py", "def f():\n    import hydra", "losses.new imports hydra"),
        ("losses/new.py", "from .. import teachers", "losses.new imports kd_lightning.teachers"),
        ("models/new.py", "import kd_lightning.data.base", "models.new imports kd_lightning.data.base"),
        (
            "data/deep/new.py",
            "from kd_lightning.models.mlp import MLP",
            "data.deep.new imports kd_lightning.models.mlp.MLP",
        ),
        (
            "training/new.py",
            "from kd_lightning.experiment import run",
            "training.new imports kd_lightning.experiment.run",
        ),
        ("results/new.py", "import torch", "results.new imports torch"),
        (
            "results/__init__.py",
            "from . import table\nfrom .. import training",
            "results imports kd_lightning.training",
        ),
        ("store.py", "import yaml", "store imports yaml"),
        ("experiment/new.py", "from omegaconf import OmegaConf", "experiment.new imports omegaconf.OmegaConf"),
        ("experiment/new.py", "from kd_lightning.cli import run", "experiment.new imports kd_lightning.cli.run"),
        ("sweeps/new.py", "from kd_lightning.cli.main import main", "sweeps.new imports kd_lightning.cli.main.main"),
        ("brand_new.py", "import json", "brand_new is in no room"),
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
        ("losses/new.py", "from .functional.divergence import tempered_kl"),
        ("training/new.py", "from kd_lightning.losses.base import Loss"),
        ("config/new.py", "import hydra.utils\nfrom kd_lightning.errors import ConfigError"),
        ("cli/new.py", "def f():\n    from kd_lightning.sweeps import launch"),
    ],
)
def test_an_allowed_arrow_passes(file: str, statement: str, tmp_path: Path) -> None:
    path = tmp_path / "kd_lightning" / file
    path.parent.mkdir(parents=True)
    path.write_text(f"from __future__ import annotations\n{statement}\n", encoding="utf-8")
    assert violations(tmp_path / "kd_lightning") == []
