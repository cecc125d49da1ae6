"""Interpolations of a composed configuration, resolved once into plain data, within bounds.

A few interpolations that each stand twice in the next one multiply like aliases of YAML do.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.base import Container
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from kd_lightning.errors import ConfigError

MAX_RESOLVED_VALUES = 150_000
MAX_CHARACTERS = 20_000_000
MAX_EVALUATIONS = 5_000
MAX_RESOLVED_DEPTH = 100


class SettingsTooLargeError(ConfigError, InterpolationResolutionError):
    """Interpolations stand for more than a configuration may hold. OmegaConf hands on errors of its own kind alone."""


@dataclass
class Budget:
    """What a configuration may still use up."""

    values: int = MAX_RESOLVED_VALUES
    characters: int = MAX_CHARACTERS
    evaluations: int = MAX_EVALUATIONS
    depth: int = MAX_RESOLVED_DEPTH

    @contextmanager
    def enter(self, value: Any) -> Iterator[None]:
        """A value, and inside what it holds.

        Raises:
            SettingsTooLargeError: Nothing is left.
        """
        self.values, self.depth = self.values - 1, self.depth - 1
        self.charge(value)
        yield
        self.depth += 1

    def charge(self, value: Any) -> None:
        """Take a text from what is left.

        Raises:
            SettingsTooLargeError: Nothing is left.
        """
        self.characters -= len(value) if isinstance(value, str) else 0
        if min(self.values, self.characters, self.evaluations, self.depth) < 0:
            raise SettingsTooLargeError(
                "the settings' interpolations ${...} stand for too many values: some refer to each other "
                "many times over; write them out"
            )


_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def count_evaluations() -> Iterator[Budget]:
    """Inside, evaluations of interpolations are counted."""
    wrap_evaluation()
    budget = Budget()
    token = _budget.set(budget)
    try:
        yield budget
    finally:
        _budget.reset(token)


def wrap_evaluation() -> None:
    """Make OmegaConf count evaluations: one text may refer twice to a text that refers twice to a text, ..."""
    if hasattr(Container.resolve_parse_tree, "__wrapped__"):
        return
    evaluate = Container.resolve_parse_tree

    @functools.wraps(evaluate)
    def counted(self: Container, parse_tree: Any, *args: Any, **kwargs: Any) -> Any:
        budget = _budget.get()
        if budget is None:
            return evaluate(self, parse_tree, *args, **kwargs)
        budget.evaluations -= max(1, parse_tree.getText().count("${"))
        budget.charge(None)
        value = evaluate(self, parse_tree, *args, **kwargs)
        budget.charge(value)
        return value

    Container.resolve_parse_tree = counted  # type: ignore[method-assign]


def resolve_node(node: Any) -> Any:
    """A node of a composed configuration as plain data: its interpolations resolved, once. ``???`` stays.

    Raises:
        OmegaConfBaseException: An interpolation leads nowhere.
        SettingsTooLargeError: It stands for too much.
    """
    with count_evaluations() as budget:
        return _resolve_node(node, budget)


def _resolve_node(node: Any, budget: Budget) -> Any:
    with budget.enter(node):
        if isinstance(node, DictConfig):
            return {key: "???" if OmegaConf.is_missing(node, key) else _resolve_node(node[key], budget) for key in node}
        if isinstance(node, ListConfig):
            return [
                "???" if OmegaConf.is_missing(node, i) else _resolve_node(node[i], budget) for i in range(len(node))
            ]
        return node


def check_size(config: DictConfig) -> None:
    """A composed configuration stays within bounds where it is resolved. What leads nowhere is left for later.

    Raises:
        SettingsTooLargeError: It does not.
    """
    with count_evaluations() as budget:
        _walk(config, budget)


def _walk(node: Any, budget: Budget) -> None:
    keys: Iterable[Any] = ()
    if isinstance(node, (DictConfig, ListConfig)):
        keys = node if isinstance(node, DictConfig) else range(len(node))
    with budget.enter(node):
        for key in keys:
            if OmegaConf.is_missing(node, key):
                continue
            try:
                value = node[key]
            except SettingsTooLargeError:
                raise
            except OmegaConfBaseException:
                continue
            _walk(value, budget)


def escape_node(node: Any) -> Any:
    """Plain data that OmegaConf will read as it stands: nothing in it is an interpolation any more."""
    if isinstance(node, dict):
        return {key: escape_node(value) for key, value in node.items()}
    if isinstance(node, list):
        return [escape_node(value) for value in node]
    return INTERPOLATION.sub(r"\1\1\\${", node) if isinstance(node, str) else node


INTERPOLATION = re.compile(r"(\\*)\$\{")
