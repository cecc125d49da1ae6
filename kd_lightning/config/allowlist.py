"""Which names a configuration may have built: ours, some libraries', and those of packages that the user trusts."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from kd_lightning.errors import ConfigError, KDError, UntrustedTargetError, did_you_mean
from kd_lightning.safety.trust import (
    TRUST_VARIABLE,
    explain_missing_neighbor,
    list_packages_in_environment,
    list_remembered_packages,
)

TRUST_GROUP = "kd_lightning.trust"

SCHEMES = "experiment.schemes"


OWN_LAYERS = (
    *("losses", "models", "data", "tasks", "teachers", "training.callbacks", "training.schedules"),
    "training.compression",
    "training.distributed.strategies",
    "experiment.tracking.mlflow_curves",
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


def register_package(package: str) -> None:
    """Trust a top-level package: configurations may build its classes and call its functions."""
    _registered.add(package)


def list_trusted_packages() -> list[str]:
    """The user's trusted packages: from ``register_package``, the environment variable, ``kd trust`` and entry points; never a
    config."""
    named = read_named_packages() if _named is None else _named
    return sorted(_registered | named | list_trusted_distributions())


def read_named_packages() -> frozenset[str]:
    """What the environment variable names now, and what ``kd trust`` remembers."""
    return frozenset({*list_packages_in_environment(), *list_remembered_packages()})


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
def list_trusted_distributions() -> frozenset[str]:
    """Packages that installed distributions name in their entry points. Read once: it opens every one's files."""
    points = importlib.metadata.entry_points(group=TRUST_GROUP)
    return frozenset(point.value.split(":")[0].split(".")[0] for point in points)


def check_target(target: str) -> None:
    """The name may be imported and called.

    Raises:
        UntrustedTargetError: It may not; says how to allow it.
    """
    top = target.split(".")[0]
    if target in ALLOWED_CALLS or top in list_trusted_packages() or _is_allowed_class(target):
        return
    if top == "kd_lightning":
        raise UntrustedTargetError(
            f"_target_ {target!r} is not on the allowlist: nothing of that name may be built (losses are below "
            "kd_lightning.losses, networks below kd_lightning.models; kd cp GROUP/NAME copies a file of ours that names one)"
        )
    raise UntrustedTargetError(
        f"_target_ {target!r} is not on the allowlist: if {top!r} is your own package, set {TRUST_VARIABLE}={top} or, once "
        f"for all, kd trust add {top}"
    )


def _is_allowed_class(name: str) -> bool:
    return any(name == allowed or (allowed.endswith(".") and name.startswith(allowed)) for allowed in ALLOWED_CLASSES)


def locate_target(target: str) -> Any:
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
            f"_target_ {target!r} cannot be found: {str(error).splitlines()[0]}{explain_missing_neighbor(error)}"
            f"{suggest_target(target)}"
        ) from error
    if target in ALLOWED_CALLS or target in ALLOWED_CLASSES:
        return found
    # Where it is defined counts, too: a module's attributes include all that it imports.
    home = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', '')}"
    if target.split(".")[0] in list_trusted_packages():
        if home.split(".")[0] not in list_trusted_packages():
            raise UntrustedTargetError(
                f"_target_ {target!r} is {home}, which is not your package's own: wrap it in a function of yours"
            )
    elif not (inspect.isclass(found) or home.startswith(f"kd_lightning.{SCHEMES}.")) or not _is_allowed_class(home):
        raise UntrustedTargetError(f"_target_ {target!r} is {home}, which is no class on the allowlist")
    return found


def suggest_target(target: str) -> str:
    """The nearest name in the module that a target names, if that module has been imported."""
    module, _, name = target.rpartition(".")
    return did_you_mean(name, vars(sys.modules[module])) if module in sys.modules else ""


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
