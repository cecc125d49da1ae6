"""Fingerprints of source code: which results an edit makes stale.

A stage depends on its module file, on the files that its ``_target_``s name, and on everything these import from our
package or from the user's trusted ones. Comments, docstrings and formatting do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from kd_lightning.process.import_paths import find_source

OWN_PACKAGE = "kd_lightning"
WITHOUT_EFFECT = ("errors", "process", "safety", "store")
"""What says where, in which turn and in which words, and computes nothing: editing it keeps every result."""


def code_fingerprint(roots: Iterable[str], packages: Iterable[str]) -> str:
    """SHA-256 over the code of the root modules and all they import from ``packages``, transitively.

    Args:
        roots: Module names, or dotted names of objects inside modules (a ``_target_``).
        packages: Top-level packages to follow; everything else is a library, named by its version in the record.
    """
    return hashlib.sha256(repr(sorted(code_behind(roots, packages).items())).encode()).hexdigest()


def code_behind(roots: Iterable[str], packages: Iterable[str]) -> dict[str, str]:
    """Each module that a fingerprint holds -> SHA-256 of its code; as ``code_fingerprint``."""
    tops = frozenset(packages) | {OWN_PACKAGE}
    found = _walk(roots, tops, is_without_effect)
    return {module: hashlib.sha256(code.encode()).hexdigest() for module, code in found}


def find_sources(roots: Iterable[str]) -> dict[str, Path]:
    """The file of each module that some objects need from their own packages and from ours, whatever it does.

    Args:
        roots: As in ``code_fingerprint``.
    """
    named = list(roots)
    tops = frozenset(root.partition(".")[0] for root in named) | {OWN_PACKAGE}
    return {
        module: path
        for module, _ in _walk(named, tops, lambda module: module == OWN_PACKAGE)
        if (path := _source(module)) is not None
    }


def _walk(roots: Iterable[str], tops: frozenset[str], leave_out: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Each module behind the roots, with its normalized code."""
    waiting = [module for root in roots if (module := module_of(root, tops))]
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen or leave_out(module):
            continue
        seen.add(module)
        code, imports = _parse(module)
        yield module, code
        waiting += [found for name in (*imports, *_parents(module)) if (found := module_of(name, tops))]


def is_without_effect(module: str) -> bool:
    """It is in one of these rooms, or the package itself."""
    top, _, rest = module.partition(".")
    return top == OWN_PACKAGE and rest.partition(".")[0] in ("", *WITHOUT_EFFECT)


def targets_of(node: Any) -> Iterator[str]:
    """Every ``_target_`` in nested plain settings."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from targets_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets_of(value)


def module_of(name: str, tops: frozenset[str]) -> str | None:
    """The longest prefix of a dotted name that is a module of ``tops``, or None."""
    parts = name.split(".")
    if parts[0] not in tops:
        return None
    while parts:
        if _source(".".join(parts)) is not None:
            return ".".join(parts)
        parts.pop()
    return None


@cache
def _source(module: str) -> Path | None:
    """The file of a module, found without running it or its packages."""
    spec = None
    places: Sequence[str] | None = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        if name != part and places is None:
            return None  # something below a module that is no package
        spec = find_source(name, places)
        if spec is None:
            return None
        places = spec.submodule_search_locations
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _parents(module: str) -> list[str]:
    """The packages around a module: Python runs their ``__init__`` first."""
    parts = module.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


@cache
def _parse(module: str) -> tuple[str, tuple[str, ...]]:
    """Normalized code of a module and the names it imports. Cached: the process runs what it first imported."""
    path = _source(module)
    assert path is not None
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    imports: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports += [f"{_absolute(node, package)}.{alias.name}" for alias in node.names]
        elif isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            _drop_docstring(node)
    return ast.unparse(tree), tuple(imports)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _drop_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    if ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.Pass()]
