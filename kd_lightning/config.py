"""The layer between Hydra and everything else: composing, checking and building from configuration.

Nothing that a configuration names is imported, let alone called, before its name is on the allowlist.
"""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.metadata
import inspect
import os
import secrets
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from hydra.conf import HydraConf
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from kd_lightning.conf_files import conf_dir, user_conf_dir
from kd_lightning.error_text import one_line
from kd_lightning.errors import ConfigError, KDError, UntrustedTargetError, did_you_mean
from kd_lightning.hydra_guard import guard
from kd_lightning.resolution import SettingsTooLargeError, resolve
from kd_lightning.trust import TRUST_VARIABLE, missing_beside, packages_in_environment, remembered_packages

CONFIG_NAME = "config"
DEFAULT_LAUNCHER = "worker"
TRUST_GROUP = "kd_lightning.trust"
SCHEMES = "experiment.schemes"
OWN_LAYERS = (
    *("models", "data", "tasks", "objectives", "balancing", "teachers", "callbacks", "schedules", "functional"),
    "strategies",
    SCHEMES,
)

ALLOWED_CLASSES = (
    *(f"kd_lightning.{layer}." for layer in OWN_LAYERS),
    "torch.optim.",
    "torch.nn.",
    "torchmetrics.",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.callbacks.",
    "pytorch_lightning.loggers.",
    "pytorch_lightning.strategies.",
    "pytorch_lightning.profilers.",
    "optuna.samplers.",
    "optuna.pruners.",
)
"""Classes under these names may be built, if that is also where they are defined; nothing else may be called."""

ALLOWED_CALLS = frozenset(
    f"transformers.{name}.from_pretrained"
    for name in (
        "AutoModel",
        "AutoModelForCausalLM",
        "AutoModelForMaskedLM",
        "AutoModelForSeq2SeqLM",
        "AutoModelForSequenceClassification",
        "AutoModelForTokenClassification",
        "AutoModelForImageClassification",
        "AutoModelForCTC",
        "AutoTokenizer",
    )
)

REFUSED_ARGUMENT = "trust_remote_code"
"""With it, ``from_pretrained`` runs code from wherever the weights come from."""

_registered: set[str] = set()
_named: frozenset[str] | None = None


# -- Hydra ------------------------------------------------------------------------------------------------------------


class UserConfSearchPath(SearchPathPlugin):
    """Puts the user's ``./conf`` before ours, so that a file copied out with ``kd cp`` wins."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        own = user_conf_dir()
        if own is not None:
            search_path.prepend(provider="user", path=f"file://{own}", anchor="main")


def register_with_hydra() -> None:
    """Make our resolver, the user's ``./conf`` and our distrust known to Hydra, in this process."""
    guard(trusted_packages)
    if not OmegaConf.has_resolver("kd_unique"):
        # Two runs in one second must not share a folder.
        OmegaConf.register_new_resolver("kd_unique", lambda: secrets.token_hex(2), use_cache=True)
    Plugins.instance().register(UserConfSearchPath)
    put_files_before_nodes("hydra/launcher")
    put_files_before_nodes("hydra/sweeper")
    set_default_launcher()


def put_files_before_nodes(group: str) -> None:
    """Take from Hydra's store the nodes that a file of ours stands for: its own and those of installed plugins.

    Hydra would validate the file against the node, and refuse what is new in it.
    """
    node: Any = ConfigStore.instance().repo
    for part in group.split("/"):
        node = node.get(part, {})
    for path in (conf_dir() / group).glob("*.yaml"):
        node.pop(path.name, None)


def set_default_launcher() -> None:
    """Let Hydra launch with ours where nobody chooses; its own ``basic`` runs the jobs in the command's process.

    Not an ``override`` in ``config.yaml``: that of the primary file beats those of experiments and sweeps, which may choose
    a launcher, too.
    """
    ours = HydraConf()
    ours.defaults = [{"launcher": DEFAULT_LAUNCHER} if "launcher" in entry else entry for entry in ours.defaults]
    ConfigStore.instance().store(group="hydra", name="config", node=ours, provider="hydra")


# -- trust ------------------------------------------------------------------------------------------------------------


def register(package: str) -> None:
    """Trust a top-level package: configurations may build its classes and call its functions."""
    _registered.add(package)


def trusted_packages() -> list[str]:
    """The user's trusted packages: from ``register``, the environment variable, ``kd trust`` and entry points; never a
    config."""
    named = read_named_packages() if _named is None else _named
    return sorted(_registered | named | trusted_distributions())


def read_named_packages() -> frozenset[str]:
    """What the environment variable names now, and what ``kd trust`` remembers."""
    return frozenset({*packages_in_environment(), *remembered_packages()})


@contextmanager
def freeze_trust() -> Iterator[None]:
    """Inside, these count as they are now: what a run sets for its jobs extends no trust."""
    global _named
    outer, _named = _named, read_named_packages()
    try:
        yield
    finally:
        _named = outer


@cache
def trusted_distributions() -> frozenset[str]:
    """Packages that installed distributions name in their entry points. Read once: it opens every one's files."""
    points = importlib.metadata.entry_points(group=TRUST_GROUP)
    return frozenset(point.value.split(":")[0].split(".")[0] for point in points)


def check_target(target: str) -> None:
    """The name may be imported and called.

    Raises:
        UntrustedTargetError: It may not; says how to allow it.
    """
    top = target.split(".")[0]
    if target in ALLOWED_CALLS or top in trusted_packages() or _is_allowed_class(target):
        return
    raise UntrustedTargetError(
        f"_target_ {target!r} is not on the allowlist: if {top!r} is your own package, set {TRUST_VARIABLE}={top} or, once "
        f"for all, kd trust add {top}"
    )


def _is_allowed_class(name: str) -> bool:
    return any(name == allowed or (allowed.endswith(".") and name.startswith(allowed)) for allowed in ALLOWED_CLASSES)


def locate(target: str) -> Any:
    """The object that an allowed name stands for.

    Raises:
        UntrustedTargetError: The name leads, through an attribute, to something that is not allowed.
        ConfigError: There is no such object.
    """
    check_target(target)
    try:
        found = _resolve(target)
    except KDError:
        raise
    except (ImportError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"_target_ {target!r} cannot be found: {str(error).splitlines()[0]}{missing_beside(error)}"
        ) from error
    if target in ALLOWED_CALLS or target in ALLOWED_CLASSES:
        return found
    # Where it is defined counts, too: a module's attributes include all that it imports.
    home = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', '')}"
    if target.split(".")[0] in trusted_packages():
        if home.split(".")[0] not in trusted_packages():
            raise UntrustedTargetError(
                f"_target_ {target!r} is {home}, which is not your package's own: wrap it in a function of yours"
            )
    elif not (inspect.isclass(found) or home.startswith(f"kd_lightning.{SCHEMES}.")) or not _is_allowed_class(home):
        raise UntrustedTargetError(f"_target_ {target!r} is {home}, which is no class on the allowlist")
    return found


def _resolve(target: str) -> Any:
    """Import and walk a dotted name, never through a module that another one imported."""
    parts = target.split(".")
    found: Any = importlib.import_module(parts[0])
    for end in range(2, len(parts) + 1):
        name, part = ".".join(parts[:end]), parts[end - 1]
        unseen = inspect.ismodule(found) and not hasattr(found, part)
        found = importlib.import_module(name) if unseen else getattr(found, part)
        if inspect.ismodule(found) and found.__name__ != name:
            raise UntrustedTargetError(f"_target_ {target!r} leads through {name} to the module {found.__name__}")
    return found


def target_nodes(node: Any, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node with a ``_target_`` in nested plain settings, with its path."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield where, node
        for key, value in node.items():
            yield from target_nodes(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from target_nodes(value, f"{where}[{i}]")


# -- building ---------------------------------------------------------------------------------------------------------


def build(node: Any) -> Any:
    """The object that plain settings describe; plain values come back as they are.

    Names are checked before the first one is imported, and nothing is interpolated: what is built is what was checked.

    Raises:
        UntrustedTargetError: A ``_target_`` in it is not allowed.
        ConfigError: Its constructor refuses the arguments.
        KDError: As raised by the constructor itself.
    """
    _check_targets(node)
    return _construct(node) if isinstance(node, Mapping) and "_target_" in node else node


def _construct(node: Any) -> Any:
    if isinstance(node, list):
        return [_construct(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    if "_target_" not in node:
        return {key: _construct(value) for key, value in node.items()}
    target = locate(_target_name(node))
    make = _construct if node.get("_recursive_", True) else copy.deepcopy
    unwanted = DIRECTIVES | (DESCRIPTIVE - set(inspect.signature(target).parameters))
    positional = [make(value) for value in node.get("_args_", ())]
    named = {key: make(value) for key, value in node.items() if key not in unwanted}
    if node.get("_partial_"):
        return functools.partial(target, *positional, **named)
    try:
        return target(*positional, **named)
    except KDError:
        raise
    except Exception as error:
        raise ConfigError(f"{node['_target_']}: {(str(error) or type(error).__name__).splitlines()[0]}") from error


DIRECTIVES = frozenset({"_target_", "_args_", "_partial_", "_recursive_", "_convert_"})
"""Say how an object is made; everything is made of plain values, so ``_convert_`` changes nothing."""
DESCRIPTIVE = frozenset({"name"})
"""Keys beside ``_target_`` that are not arguments, where the constructor has no such argument."""


def _check_targets(settings: Any) -> None:
    """All names are allowed. Every name is checked before the first one is imported."""
    nodes = list(target_nodes(settings))
    for where, node in nodes:
        check_target(_target_name(node))
        if node.get(REFUSED_ARGUMENT):
            raise UntrustedTargetError(
                f"{where}.{REFUSED_ARGUMENT} would run code that comes with the weights: remove it"
            )
    for _, node in nodes:
        locate(_target_name(node))


def _target_name(node: Mapping[str, Any]) -> str:
    target = node["_target_"]
    if not isinstance(target, str):
        raise ConfigError(f"_target_ is {target!r}: a dotted name is expected")
    return target


def check_arguments(settings: Mapping[str, Any]) -> None:
    """Each described object has a constructor that takes the arguments given, of the types it says.

    Raises:
        UntrustedTargetError: A ``_target_`` is not allowed.
        ConfigError: Names the setting, and the nearest argument that exists.
    """
    _check_targets(settings)
    for where, node in target_nodes(settings):
        _check_node(where, node)


def _check_node(where: str, node: Mapping[str, Any]) -> None:
    target = locate(_target_name(node))
    parameters = inspect.signature(target).parameters
    given = [key for key in node if not (key.startswith("_") and key.endswith("_"))]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in given:
        if key not in parameters and not takes_any and key not in DESCRIPTIVE:
            raise ConfigError(
                f"{where}.{key}: {node['_target_']} has no argument {key!r}{did_you_mean(key, parameters)}"
            )
    required = {n for n, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    missing = sorted(required - set(given))
    if missing and not node.get("_partial_"):
        raise ConfigError(f"{where}: {node['_target_']} needs {', '.join(missing)}: set {where}.{missing[0]}=...")
    hints = type_hints(target)
    for key in given:
        if key in hints and not _fits(node[key], hints[key]):
            raise ConfigError(f"{where}.{key}={node[key]!r}: {_type_name(hints[key])} is expected")


SIMPLE = (bool, int, float, str, type(None))


def type_hints(target: Any) -> dict[str, Any]:
    """Argument -> what an object's constructor says of it; empty where that cannot be found out."""
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except Exception:  # hints of foreign code may name what cannot be resolved; then they are not checked
        return {}


def options_of(hint: Any) -> tuple[Any, ...]:
    """The members of a union; else the type itself."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    options = options_of(hint)
    if not all(option in SIMPLE for option in options):
        # Most of these are the constructor's to judge; but no text stands for a number or a tensor.
        texts = [option for option in options if not inspect.isclass(option) or issubclass(option, (str, os.PathLike))]
        return not isinstance(value, str) or bool(texts) or float not in options
    if isinstance(value, bool):
        return bool in options
    if isinstance(value, int):
        return int in options or float in options
    return any(isinstance(value, option) for option in options)


def _type_name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint)) if inspect.isclass(hint) else str(hint)


# -- settings ---------------------------------------------------------------------------------------------------------


def plain(config: DictConfig) -> dict[str, Any]:
    """The composed configuration as plain, resolved data.

    Raises:
        ConfigError: Something is missing or an interpolation leads nowhere.
    """
    for missing in _unset(OmegaConf.to_container(config, resolve=False)):
        raise ConfigError(f"{missing} is not set: give it a value with {missing}=...")
    try:
        settings = resolve(config)
    except SettingsTooLargeError as error:
        raise ConfigError(one_line(error)) from error
    except InterpolationKeyError as error:
        raise ConfigError(
            f"{error.full_key}: {one_line(error)}: choose data, task and models that fit together"
        ) from error
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    assert isinstance(settings, dict)
    return typing.cast("dict[str, Any]", settings)


def _unset(node: Any, where: str = "") -> Iterator[str]:
    """Paths of the values that a file leaves to the user, as ``???``."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _unset(value, f"{where}.{key}" if where else str(key))
    elif node == "???":
        yield where


def yaml_text(settings: Any) -> str:
    """Plain settings as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(settings))
