"""The code of a network beside its weights: copies of the files that define it, to be imported without us."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd_lightning.deploy.export.inference import COPIED_CODE, HERE, NETWORK_FILE
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.experiment.run_folder import ARCHITECTURE_SUFFIX, CONFIG_FILE, WEIGHTS_FOLDER
from kd_lightning.fingerprint import OWN_PACKAGE, find_sources, targets_of
from kd_lightning.safety.inside import check_inside


def write_network_code(model: TrainedModel, folder: Path) -> Mapping[str, Any]:
    """Write ``network_code/`` and ``network.json``, which says what to build with it.

    Returns:
        ``code``: the modules that were copied.
    """
    node = simplify(model.settings)
    roots = sorted({target for target in targets_of(node) if not target.startswith("torch.")})
    sources = find_sources(roots)
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
    return {"code": sorted(sources)}


def simplify(node: Any) -> Any:
    """Settings without what says how to make the tokenizer, which lies in the bundle, and without Hydra's own words."""
    if isinstance(node, Mapping):
        kept = {name: each for name, each in node.items() if name == "_target_" or not name.startswith("_")}
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
    """
    tops = "|".join(sorted({re.escape(module.partition(".")[0]) for module in (*sources, OWN_PACKAGE)}))
    return re.sub(rf"^(\s*(?:from|import)\s+)({tops})(?=[.\s])", rf"\1{COPIED_CODE}.\2", code, flags=re.MULTILINE)
