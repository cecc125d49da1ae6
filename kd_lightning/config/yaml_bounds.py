"""A YAML file of the user's, read within bounds: a few hundred bytes whose aliases multiply can stand for gigabytes.

Files are measured here before OmegaConf copies what an alias stands for to every place where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from kd_lightning.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_YAML_VALUES = 100_000
"""Values of one file, aliases written out."""
MAX_YAML_DEPTH = 50


def compose_within_bounds(path: Path) -> tuple[yaml.Node | None, int]:
    """The syntax tree of a YAML file, and how many values it stands for; None if the file is empty. Aliases are shared nodes.

    Raises:
        ConfigError: It is no YAML, or it is too large; names file and line.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ConfigError(f"{path} has {size / 1e6:.1f} MB: a configuration file has at most {MAX_BYTES / 1e6:.0f} MB")
    try:
        tree: yaml.Node | None = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(describe_yaml_error(path, error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8 text") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested more than {MAX_YAML_DEPTH} levels deep") from error
    return tree, count_values(tree, path) if tree is not None else 0


def describe_yaml_error(path: Path, error: yaml.YAMLError) -> str:
    """``FILE:LINE: what is wrong`` for an error of the YAML parser."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{path}:{mark.line + 1}: {problem}" if mark else f"{path}: {problem}"


def count_values(tree: yaml.Node, path: Path) -> int:
    """How many values a tree has where every alias is written out.

    Raises:
        ConfigError: Too many, nested too deeply, or without an end.
    """
    counts: dict[int, int] = {}
    above: set[int] = set()

    def count(node: yaml.Node) -> int:
        key, line = id(node), node.start_mark.line + 1
        if key in counts:
            return counts[key]
        if key in above:
            raise ConfigError(f"{path}:{line}: an alias stands inside of what it stands for")
        if len(above) == MAX_YAML_DEPTH:
            raise ConfigError(f"{path}:{line}: nested more than {MAX_YAML_DEPTH} levels deep")
        above.add(key)
        counts[key] = 1 + sum(count(child) for child in iterate_children(node))
        above.remove(key)
        if counts[key] > MAX_YAML_VALUES:
            raise ConfigError(
                f"{path}:{line}: its aliases stand for more than {MAX_YAML_VALUES:,} values: write fewer values or aliases"
            )
        return counts[key]

    return count(tree)


def iterate_children(node: yaml.Node) -> Iterator[yaml.Node]:
    """Keys and values, or items, of a node."""
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def iterate_scalars(tree: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """Every text of a tree, keys too; what an alias stands for comes once."""
    seen, left = set(), [tree]
    while left:
        node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            yield node
        left += iterate_children(node)
