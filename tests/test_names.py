"""One public name, one meaning: no function, class or constant of the package stands at the top of two modules."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import kd_lightning

PACKAGE = Path(kd_lightning.__file__).parent
EXEMPT = {"T": "a type variable"}


def top_level_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those inside ``if`` and ``try`` too."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            yield from top_level_statements([*statement.body, *statement.orelse])


def public_names(source: str) -> set[str]:
    """What a module defines at its top level, without what it imports and without ``_private`` names."""
    names: set[str] = set()
    for statement in top_level_statements(ast.parse(source).body):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            found = [node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
            names |= {node.id for node in found if isinstance(node.ctx, ast.Store)}
    return {name for name in names if not name.startswith("_")}


def test_what_counts_as_a_public_name() -> None:
    source = (
        "import a\nfrom b import c\nD, E = 1, 2\nF: int = 3\n_g = 4\nif D:\n    def h(): i = 1\nclass J:\n    k = 1"
    )
    assert public_names(source) == {"D", "E", "F", "h", "J"}


def test_no_public_name_stands_in_two_modules() -> None:
    modules: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in public_names(path.read_text(encoding="utf-8")):
            modules[name].append(str(path.relative_to(PACKAGE)))
    assert "masked_mean" in modules
    assert {name: where for name, where in modules.items() if len(where) > 1 and name not in EXEMPT} == {}
