"""A file that would fill the memory, hang the parser or break it is refused with its line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from kd_lightning.config import yaml_bounds
from kd_lightning.config.yaml_bounds import MAX_YAML_VALUES, compose_within_bounds
from kd_lightning.errors import ConfigError


def doubling(times: int) -> str:
    """A list of two, and lists that each name the one before twice."""
    lines = ["a0: &a0 [1, 2]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, times))]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (doubling(40), "16: its aliases stand for more than 100,000 values"),
        ("a: 1\nb: [1, 2\nc: 3\n", "3: expected ',' or ']'"),
        ("a: &a [1, *a]\n", "1: an alias stands inside of what it stands for"),
        ("a: " + "[" * 60 + "]" * 60, "1: nested more than 50 levels deep"),
        ("[" * 5000, "nested more than 50 levels deep"),
        ("a: *nobody\n", "1: found undefined alias"),
        ("a: caf\xe9\n", "byte 6 is not UTF-8"),
        ("a: \x07\n", "special characters are not allowed"),
    ],
)
def test_bad_files_are_refused_with_their_line(text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text.encode("latin-1"))
    began = time.monotonic()
    with pytest.raises(ConfigError) as error:
        compose_within_bounds(path)
    assert str(error.value).startswith(f"{path}")
    assert what in str(error.value)
    assert "\n" not in str(error.value)
    assert time.monotonic() - began < 5


def test_control_the_values_are_really_there(tmp_path: Path) -> None:
    """What is counted is what the parser makes of it."""

    def size(node: object) -> int:
        if isinstance(node, dict):
            return 1 + sum(1 + size(value) for value in node.values())
        return 1 + sum(map(size, node)) if isinstance(node, list) else 1

    path = tmp_path / "good.yaml"
    path.write_text(doubling(8))
    tree, values = compose_within_bounds(path)
    assert tree is not None
    assert values == size(yaml.safe_load(path.read_text())) < MAX_YAML_VALUES


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("a: 1\n" * 10)
    monkeypatch.setattr(yaml_bounds, "MAX_BYTES", 40)
    with pytest.raises(ConfigError, match=r"large.yaml has"):
        compose_within_bounds(path)
