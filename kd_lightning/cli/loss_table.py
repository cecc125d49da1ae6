"""The table of losses, read from their docstrings: ``docs/reference/losses.md`` and ``kd ls loss``.

Sources are parsed, not imported, so that it takes no torch. ``python -m kd_lightning.cli.loss_table`` prints the page.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kd_lightning.config.conf_files import conf_dir

PACKAGE = Path(__file__).parents[1]
CODE = re.compile(r"``(.+?)``", re.DOTALL)
HEAD = """\
# Losses

Made from the docstrings by `python -m kd_lightning.cli.loss_table`; `kd ls loss` prints the same. Each row is one file in
`conf/loss/` with the settings and where their defaults come from; any of them can be mixed: `loss=[kd,dist]`,
`loss.dist.weight=0.5`.

What holds for all: the value is a mean over the positions that count (padding never does), in nats where it is a divergence,
without the weight; student and teacher are called q and p, at temperature T where a formula says so; the teacher gets no
gradient. Projections and memories that a loss owns go on from pre-training into distillation, and are never exported.
With `standardize=true`, which all losses on the logits of classes take, the formula is that of standardized logits (Sun et
al. 2024). *Taps*: it reads features inside the networks. *Chunked*: with a wide vocabulary it is computed by chunks of rows,
without whole logits (unless standardized). Losses that read labels say what they do where there is none.

| loss | formula | reference | taps | chunked |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class LossRow:
    """What the docstring of a loss says of it.

    Attributes:
        name: Of the YAML file.
        formula: The first code of its docstring; empty for code that is not ours.
        reference: The same.
        taps: It reads features.
        chunked: It can be computed by chunks of rows.
    """

    name: str
    formula: str
    reference: str
    taps: bool
    chunked: bool


def loss_rows(files: Mapping[str, Path]) -> list[LossRow]:
    """A row for each loss.

    Args:
        files: name -> YAML file.
    """
    return [_row(name, path) for name, path in sorted(files.items())]


def render_loss_page() -> str:
    """``docs/reference/losses.md``: our own losses."""
    files = {path.stem: path for path in (conf_dir() / "loss").glob("*.yaml")}
    return HEAD + "".join(_markdown(row) for row in loss_rows(files))


def _markdown(row: LossRow) -> str:
    cells = [
        f"`{row.name}`",
        f"`{row.formula}`",
        row.reference,
        *("yes" if flag else "no" for flag in (row.taps, row.chunked)),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _row(name: str, path: Path) -> LossRow:
    found = re.search(r"^_target_: *kd_lightning\.(\S+)\.(\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    module, cls = found.groups() if found else ("", "")
    family = list(_family(module, cls))
    if not family:  # somebody else's code, of which we know nothing without running it; or a slip
        return LossRow(name, "", "", False, False)
    text, around = _docstring(family[0]), _docstring(_tree(module))
    return LossRow(
        name=name,
        formula=_formula(text) or _formula(around),
        reference=_reference(text) or _reference(around) or _reference_elsewhere(around),
        taps=any(_says_taps(node) for each in family for node in ast.walk(each)),
        chunked=any(
            isinstance(node, ast.FunctionDef) and node.name == "soft_term" for each in family for node in each.body
        ),
    )


def _says_taps(node: ast.AST) -> bool:
    """``taps=...`` is handed to the base class, or ``reads_features`` is set."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    by_attribute = any(isinstance(target, ast.Name) and target.id == "reads_features" for target in targets)
    return by_attribute or (isinstance(node, ast.keyword) and node.arg == "taps")


@cache
def _tree(module: str) -> ast.Module:
    """The source of a module of ours, named without the package; empty where there is none."""
    path = PACKAGE / (module.replace(".", "/") + ".py")
    return ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")


def _family(module: str, cls: str) -> Iterator[ast.ClassDef]:
    """A class and all that it is derived from below ``Loss``."""
    tree = _tree(module)
    node = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls), None)
    if node is None:
        return
    yield node
    origins = dict.fromkeys((each.name for each in tree.body if isinstance(each, ast.ClassDef)), module)
    for each in ast.walk(tree):
        if isinstance(each, ast.ImportFrom) and (each.module or "").startswith("kd_lightning."):
            origins |= {alias.name: str(each.module).removeprefix("kd_lightning.") for alias in each.names}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in origins and base.id != "Loss":
            yield from _family(origins[base.id], base.id)


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    return ast.get_docstring(node) or ""


def _formula(text: str) -> str:
    """What stands after ``Formula:``, else the code of the first paragraph."""
    marked = re.search(r"Formula:\s*``(.+?)``", text, re.DOTALL)
    codes = [marked[1]] if marked else CODE.findall(text.split("\n\n")[0])
    return " with ".join(" ".join(code.split()) for code in codes)


def _reference(text: str) -> str:
    """The paragraph that begins with ``Reference:``, without that word."""
    found = re.search(r"^Reference:\s*(.+?)(?:\n\s*\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return " ".join(found[1].split()).replace("``", "`") if found else ""


def _reference_elsewhere(text: str) -> str:
    """The reference at the function or class in ``functional`` that the text points to."""
    found = re.search(r"at ``(\w+)``", text)
    for path in sorted((PACKAGE / "losses" / "functional").rglob("*.py")) if found else ():
        for node in _tree(".".join(path.relative_to(PACKAGE).with_suffix("").parts)).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and found and node.name == found[1]:
                return _reference(_docstring(node))
    return ""


if __name__ == "__main__":
    print(render_loss_page(), end="")
