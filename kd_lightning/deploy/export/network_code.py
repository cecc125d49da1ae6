"""The code of a network beside its weights: copies of the files that define it, to be imported without us."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from kd_lightning.deploy.export.inference import COPIED_CODE, HERE, NETWORK_FILE
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.experiment.run_folder import ARCHITECTURE_SUFFIX, CONFIG_FILE, WEIGHTS_FOLDER
from kd_lightning.fingerprint import OWN_PACKAGE, find_sources, targets_of
from kd_lightning.process.import_paths import find_source
from kd_lightning.safety.inside import check_inside

KEPT_WORDS = ("_target_", "_args_", "_partial_")
"""Hydra's own, of which ``inference.py`` knows the meaning."""


def write_network_code(model: TrainedModel, folder: Path) -> Mapping[str, Any]:
    """Write ``network_code/`` and ``network.json``, which says what to build with it.

    Returns:
        ``code``: the modules that were copied; ``packages``: what they import beside them.
    """
    node = simplify(model.settings)
    roots = sorted({target for target in targets_of(node) if not target.startswith("torch.")})
    sources, packages = find_code(roots)
    for module, path in sources.items():
        inside = folder / COPIED_CODE / Path(*module.split("."))
        target = inside / "__init__.py" if path.name == "__init__.py" else inside.with_suffix(".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(move_imports(path.read_text(encoding="utf-8"), sources), encoding="utf-8")
    for place in {each.parent for each in (folder / COPIED_CODE).rglob("*.py")} | {folder / COPIED_CODE}:
        (place / "__init__.py").touch()
    if model.architecture is not None:
        place = folder / f"{model.role}{ARCHITECTURE_SUFFIX}"
        place.mkdir()
        config = check_inside(model.folder / WEIGHTS_FOLDER, model.architecture / CONFIG_FILE)
        (place / CONFIG_FILE).write_bytes(config.read_bytes())
        node["path"] = f"{HERE}{place.name}"
    text = json.dumps(move_targets(node, sources), indent=2)
    (folder / NETWORK_FILE).write_text(text + "\n", encoding="utf-8")
    return {"code": sorted(sources), "packages": packages}


def find_code(roots: list[str]) -> tuple[dict[str, Path], list[str]]:
    """The files that objects are defined in, and the installed packages that those import.

    What is neither installed nor of Python is somebody's own, and is copied, too.
    """
    installed = metadata.packages_distributions()
    while True:
        sources = find_sources(roots)
        tops = {module.partition(".")[0] for module in sources}
        imported = {top for path in sources.values() for top in list_imports(path.read_text(encoding="utf-8"))}
        others = imported - tops - sys.stdlib_module_names - {OWN_PACKAGE}
        own = {top for top in others if top not in installed and find_source(top, None) is not None}
        if not own:
            return sources, sorted({installed[top][0] for top in others if top in installed})
        roots = [*roots, *own]


def list_imports(code: str) -> set[str]:
    """The top packages that some code imports.

    Example:
        >>> sorted(list_imports("import os.path, torch as t; from numpy import pi; from . import mine"))
        ['numpy', 'os', 'torch']
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found


def simplify(node: Any) -> Any:
    """Settings without what says how to make the tokenizer, which lies in the bundle, and without Hydra's own words."""
    if isinstance(node, Mapping):
        kept = {name: each for name, each in node.items() if name in KEPT_WORDS or not name.startswith("_")}
        return {name: None if name == "tokenizer" else simplify(each) for name, each in kept.items()}
    return [simplify(each) for each in node] if isinstance(node, list | tuple) else node


def move_targets(node: Any, sources: Mapping[str, Path]) -> Any:
    """Settings that name the copies."""
    if isinstance(node, dict):
        return {
            name: f"{COPIED_CODE}.{each}"
            if name == "_target_" and is_copied(each, sources)
            else move_targets(each, sources)
            for name, each in node.items()
        }
    return [move_targets(each, sources) for each in node] if isinstance(node, list) else node


def is_copied(target: str, sources: Mapping[str, Path]) -> bool:
    """The class stands in one of the modules."""
    return target.rpartition(".")[0] in sources


def move_imports(code: str, sources: Mapping[str, Path]) -> str:
    """Code that imports the copies.

    Example:
        >>> move_imports("from kd_lightning.errors import KDError", {"kd_lightning.errors": Path()})
        'from network_code.kd_lightning.errors import KDError'
        >>> move_imports("import mine.layers, os", {"mine.layers": Path()})
        'import network_code.mine.layers; from network_code import mine; import os'
    """
    tops = {module.partition(".")[0] for module in sources} | {OWN_PACKAGE}
    named = "|".join(sorted(map(re.escape, tops)))
    code = re.sub(rf"^(\s*from\s+)({named})(?=[.\s])", rf"\1{COPIED_CODE}.\2", code, flags=re.MULTILINE)

    def move(found: re.Match[str]) -> str:
        said = [move_import(each.strip(), tops) for each in found[2].split(",")]
        return found[1] + "; ".join(said)

    return re.sub(rf"^([ \t]*)import[ \t]+((?:.*\b)?(?:{named})\b[^#\n]*)", move, code, flags=re.MULTILINE)


def move_import(name: str, tops: Collection[str]) -> str:
    """``import NAME``, of the copy if there is one, bound to the same name."""
    top = re.split(r"[.\s]", name)[0]
    if top not in tops:
        return f"import {name}"
    return f"import {COPIED_CODE}.{name}" + ("" if " as " in name else f"; from {COPIED_CODE} import {top}")
