"""Interpolations are resolved once, into what OmegaConf makes of them, and within bounds."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from omegaconf import OmegaConf
from omegaconf.base import Container
from omegaconf.errors import InterpolationKeyError

from kd_lightning.config.resolution import SettingsTooLargeError, check_size, escape_node, resolve_node
from tests.support.cli import settings_of

BOMBS: dict[str, dict[str, Any]] = {
    "text": {"a0": "x" * 100} | {f"a{i}": f"${{a{i - 1}}}${{a{i - 1}}}" for i in range(1, 40)},
    "settings": {"a0": {"x": 1}} | {f"a{i}": {"p": f"${{a{i - 1}}}", "q": f"${{a{i - 1}}}"} for i in range(1, 40)},
    "wide": {"a": list(range(5000)), "b": ["${a}"] * 5000},
    "deep": {"a0": {"p": 1}} | {f"a{i}": {"p": f"${{a{i - 1}}}"} for i in range(1, 150)},
    "long": {"a": "x" * 100_000, "b": ["${a}"] * 5000},
    "many in one text": {"a": 1, "b": "${a}" * 50} | {f"c{i}": "${b}" * 50 for i in range(50)},
}


@pytest.mark.parametrize("name", BOMBS)
def test_interpolations_that_multiply_are_refused(name: str) -> None:
    expand, began = (check_size if name == "settings" else resolve_node), time.monotonic()
    with pytest.raises(SettingsTooLargeError, match="stand for too many values"):
        expand(OmegaConf.create(BOMBS[name]))
    assert time.monotonic() - began < 20


def test_the_result_is_omegaconfs() -> None:
    config = OmegaConf.create(
        {"a": {"b": [1, {"c": None}], 3: True}, "d": "${a.b}", "e": "x${a.b[0]}\\${f}", "g": "${.d}", "h": "${a}"}
    )
    assert resolve_node(config) == OmegaConf.to_container(config, resolve=True)
    assert resolve_node(config)["e"] == "x1${f}"
    with pytest.raises(InterpolationKeyError):
        resolve_node(OmegaConf.create({"a": "${b}"}))


def test_what_is_missing_stays() -> None:
    assert resolve_node(OmegaConf.create({"a": "???", "b": ["???", 1]})) == {"a": "???", "b": ["???", 1]}


def test_escaped_data_reads_as_it_stands() -> None:
    rng, parts = random.Random(0), ["\\", "$", "{", "}", "a", "${", "\\${", ":", " ", "'", "${a}", "${now:%Y}"]
    for _ in range(300):
        text = "".join(rng.choices(parts, k=rng.randint(1, 10)))
        assert resolve_node(OmegaConf.create({"a": [escape_node(text)]})) == {"a": [text]}


def test_contract_omegaconf_evaluates_every_interpolation_there() -> None:
    """``Container.resolve_parse_tree``, which is wrapped to count: once for each evaluation, nested ones too."""
    calls = []
    evaluate = Container.resolve_parse_tree

    class Counted(type(OmegaConf.create({}))):  # type: ignore[misc]
        def resolve_parse_tree(self, *args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return evaluate(self, *args, **kwargs)

    config = Counted({"a": 1, "b": "${a}", "c": "${b}${b}"})
    assert config.c == "11"
    assert len(calls) == 3


def test_our_own_settings_are_far_from_the_bounds() -> None:
    text = str(settings_of())
    assert 1000 < len(text) < 100_000
