"""What ``import kd_lightning`` offers, and that it costs nothing until it is asked for."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kd_lightning
from kd_lightning.python import distill, load, run

HEAVY = ("torch", "pytorch_lightning", "hydra", "omegaconf", "numpy", "rich", "typing", "kd_lightning.python")
DOCUMENT = Path(kd_lightning.__file__).parents[1] / "docs" / "how-to" / "from-python.md"


def test_the_import_alone_imports_nothing_heavy() -> None:
    code = (
        "import sys, json; before = set(sys.modules); import kd_lightning as kd; dir(kd); kd.KDError; "
        f"print(json.dumps([name for name in {HEAVY} if name in set(sys.modules) - before]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_names_are_there() -> None:
    assert {"run", "load", "distill", "KDError", "__version__"} <= set(dir(kd_lightning))
    assert (kd_lightning.run, kd_lightning.load, kd_lightning.distill) == (run.run, load.load, distill.distill)
    with pytest.raises(AttributeError, match="module 'kd_lightning' has no attribute 'runn'"):
        kd_lightning.runn  # type: ignore[attr-defined]  # noqa: B018


def test_the_document_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its blocks, one after the other, on fewer steps."""
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    code = "\n".join(blocks).replace(
        '"experiment=digits"', '"experiment=digits", "debug=fast_dev_run", "max_steps=null"'
    )
    exec(compile(code.replace("steps=2000", "steps=3"), str(DOCUMENT), "exec"), {"__name__": "__main__"})


def test_type_checkers_are_told_the_same_names() -> None:
    """mypy reads the block that Python skips; what it says of the types was looked at by hand, which takes it a minute."""
    tree = ast.parse(Path(kd_lightning.__file__).read_text(encoding="utf-8"))
    (block,) = (each for each in tree.body if isinstance(each, ast.If) and ast.unparse(each.test) == "TYPE_CHECKING")
    told = {
        alias.asname: f"{each.module}.{alias.name}"
        for each in block.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }
    assert told == {name: f"kd_lightning.{module}.{name}" for name, module in kd_lightning._LAZY.items()}
