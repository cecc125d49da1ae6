"""The code fingerprint changes with every edit that can change a result, and with no other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from kd_lightning import fingerprint as code
from kd_lightning.fingerprint import code_fingerprint, module_of, targets_of

NAMES = (f"kd_user_package_{number}" for number in count())

FILES = {
    "__init__.py": "",
    "losses/__init__.py": "",
    "losses/soft.py": (
        '"""A loss."""\n\nfrom __future__ import annotations\n\n'
        "from {package}.maths import square\nfrom . import sibling\n"
        'from ..far import away as distant\n\n\nclass Soft:\n    """Soft."""\n\n    def forward(self, x):\n'
        '        """Value."""\n        return square(x) * 2  # twice\n'
    ),
    "losses/sibling.py": "FACTOR = 1\n",
    "maths.py": "import {package}.deeper\n\n\ndef square(x):\n    return x * x\n",
    "deeper.py": "DEPTH = 1\n",
    "far.py": "def away():\n    return 1\n",
    "lazy.py": "def late():\n    from {package} import deeper\n    return deeper\n",
    "unrelated.py": "VALUE = 1\n",
    "losses/unrelated.py": "VALUE = 1\n",
}


class Package:
    """A user's package on disk, to be edited."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.name = name
        for file, text in FILES.items():
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / file).write_text(text.replace("{package}", name), encoding="utf-8")

    def fingerprint(self, *roots: str) -> str:
        """As a fresh process would compute it."""
        code._source.cache_clear()
        code._parse.cache_clear()
        return code_fingerprint([f"{self.name}.{root}" for root in roots or ("losses.soft.Soft",)], [self.name])

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.folder / file).read_text(encoding="utf-8")
        assert old in text
        (self.folder / file).write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    name = next(NAMES)
    monkeypatch.syspath_prepend(tmp_path)
    yield Package(tmp_path, name)
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]
    code._source.cache_clear()
    code._parse.cache_clear()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param("losses/soft.py", "* 2", "* 3", id="the loss itself"),
        pytest.param("maths.py", "x * x", "x * x * x", id="a module it imports"),
        pytest.param("deeper.py", "DEPTH = 1", "DEPTH = 2", id="a module that one imports"),
        pytest.param("losses/sibling.py", "1", "2", id="a relative import of a sibling"),
        pytest.param("far.py", "return 1", "return 2", id="a relative import from a level up"),
        pytest.param("losses/soft.py", "self, x", "self, x=0", id="a default"),
    ],
)
def test_an_edit_of_what_the_loss_uses_is_seen(package: Package, file: str, old: str, new: str) -> None:
    before = package.fingerprint()
    package.edit(file, old, new)
    assert package.fingerprint() != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param("losses/soft.py", "# twice", "# two times", id="comment"),
        pytest.param("losses/soft.py", '"""A loss."""', '"""Another\nloss."""', id="docstring of the module"),
        pytest.param("losses/soft.py", '"""Soft."""', '"""Softer."""', id="docstring of the class"),
        pytest.param("losses/soft.py", '"""Value."""', '"""The value."""', id="docstring of the method"),
        pytest.param("losses/soft.py", '        """Value."""\n', "", id="no docstring"),
        pytest.param("losses/soft.py", "square(x) * 2", "(square(x)\n            * 2)", id="formatting"),
        pytest.param("unrelated.py", "1", "2", id="a module nobody imports"),
        pytest.param("losses/unrelated.py", "1", "2", id="a neighbor nobody imports"),
        pytest.param("lazy.py", "late", "later", id="a module that imports the same ones"),
    ],
)
def test_an_edit_without_effect_is_not_seen(package: Package, file: str, old: str, new: str) -> None:
    before = package.fingerprint()
    package.edit(file, old, new)
    assert package.fingerprint() == before


def test_an_import_inside_a_function_counts(package: Package) -> None:
    before = package.fingerprint("lazy")
    package.edit("deeper.py", "DEPTH = 1", "DEPTH = 2")
    assert package.fingerprint("lazy") != before


def test_a_relative_import_in_a_package_file_counts(package: Package) -> None:
    (package.folder / "losses" / "__init__.py").write_text("from .sibling import FACTOR\n", encoding="utf-8")
    before = package.fingerprint("losses")
    package.edit("losses/sibling.py", "1", "2")
    assert package.fingerprint("losses") != before


def test_a_star_import_counts(package: Package) -> None:
    package.edit("unrelated.py", "VALUE = 1", f"from {package.name}.deeper import *")
    before = package.fingerprint("unrelated")
    package.edit("deeper.py", "DEPTH = 1", "DEPTH = 2")
    assert package.fingerprint("unrelated") != before


def test_modules_that_import_each_other_end(package: Package) -> None:
    package.edit("deeper.py", "DEPTH", f"import {package.name}.maths\nDEPTH")
    assert package.fingerprint("maths") == package.fingerprint("deeper")


def test_class_module_and_function_of_a_module_are_the_module(package: Package) -> None:
    whole = package.fingerprint("losses.soft")
    assert package.fingerprint("losses.soft.Soft") == package.fingerprint("losses.soft.Soft.forward") == whole
    assert package.fingerprint("losses.soft", "losses.soft.Soft") == whole
    assert package.fingerprint("losses.sibling") != whole


def test_order_of_the_roots_does_not_count(package: Package) -> None:
    assert package.fingerprint("maths", "far") == package.fingerprint("far", "maths")


def test_a_package_that_is_not_trusted_is_not_followed(package: Package) -> None:
    root = [f"{package.name}.losses.soft"]
    nothing = code_fingerprint([], [])
    assert code_fingerprint(root, []) == nothing
    assert code_fingerprint(root, [package.name]) != nothing
    assert code_fingerprint(["torch.optim.AdamW"], [package.name]) == nothing


def test_within_a_process_the_code_is_that_which_was_first_read(package: Package) -> None:
    """A sweep goes on with the code it started with, whatever is edited meanwhile."""
    root = [f"{package.name}.losses.soft"]
    before = code_fingerprint(root, [package.name])
    package.edit("losses/soft.py", "* 2", "* 3")
    assert code_fingerprint(root, [package.name]) == before


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("kd_lightning.losses.logits.kd.KD", "kd_lightning.losses.logits.kd"),
        ("kd_lightning.losses.logits.kd", "kd_lightning.losses.logits.kd"),
        ("kd_lightning.losses.logits.kd.KD.forward", "kd_lightning.losses.logits.kd"),
        ("kd_lightning.losses", "kd_lightning.losses"),
        ("kd_lightning.nothing.Here", "kd_lightning"),
        ("torch.nn.Linear", None),
        ("", None),
    ],
)
def test_a_dotted_name_belongs_to_its_nearest_module(name: str, module: str | None) -> None:
    assert module_of(name, frozenset({"kd_lightning"})) == module


def reached(roots: list[str], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The modules of ours that a fingerprint read."""
    seen: set[str] = set()
    parse: Callable[[str], tuple[str, tuple[str, ...]]] = code._parse

    def note(module: str) -> tuple[str, tuple[str, ...]]:
        seen.add(module)
        return parse(module)

    monkeypatch.setattr(code, "_parse", note)
    code_fingerprint(roots, [])
    return seen


def test_our_own_stages_depend_on_what_they_use(monkeypatch: pytest.MonkeyPatch) -> None:
    distill = reached(["kd_lightning.training.distillation", "kd_lightning.losses.logits.kd.KD"], monkeypatch)
    assert {
        "kd_lightning.losses.logits.kd",
        "kd_lightning.losses.functional.divergence",
        "kd_lightning.losses.functional.reduce",
        "kd_lightning.models.taps",
        "kd_lightning.seeds",
        "kd_lightning.training.supervised",
    } <= distill
    teacher = reached(["kd_lightning.training.supervised", "kd_lightning.tasks.position.PositionTask"], monkeypatch)
    assert "kd_lightning.tasks.metrics" in teacher
    soft = ("base", "logits", "features", "relations", "weighting")
    assert not any(module.startswith(tuple(f"kd_lightning.losses.{part}" for part in soft)) for module in teacher)
    assert "kd_lightning.errors" not in distill | teacher  # a message changes no result


def test_targets_are_found_at_any_depth() -> None:
    nodes = {
        "_target_": "a.A",
        "metrics": {"x": {"_target_": "b.B", "inner": [{"_target_": "c.C"}, [{"_target_": "d.D"}], 3, None]}},
        "no": {"_target_": 3, "target": "e.E"},
    }
    assert sorted(targets_of([nodes])) == ["a.A", "b.B", "c.C", "d.D"]
