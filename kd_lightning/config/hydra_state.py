"""Hydra keeps its state in the process: what we make of it inside somebody else's program is taken back."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from omegaconf.basecontainer import BaseContainer

GUARDED = (
    (ConfigLoaderImpl, "load_configuration"),
    (ConfigLoaderImpl, "_load_single_config"),
    (CachingConfigRepository, "load_config"),
)
"""What ``guard_hydra`` puts others in the place of."""


@contextmanager
def isolate_hydra() -> Iterator[None]:
    """Inside, Hydra is at nobody's work and ours to change; afterwards it is the caller's again, at work or not.

    Its instances, its resolvers and the methods that ``guard_hydra`` replaces come back, the same objects as before.
    """
    Plugins.instance()  # found once for all calls, not anew in each
    instances, resolvers = Singleton._instances, BaseContainer._resolvers
    methods = [getattr(owner, name) for owner, name in GUARDED]
    Singleton._instances = {kind: copy.deepcopy(instance) for kind, instance in instances.items()}
    BaseContainer._resolvers = dict(resolvers)
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        Singleton._instances, BaseContainer._resolvers = instances, resolvers
        for (owner, name), method in zip(GUARDED, methods, strict=True):
            setattr(owner, name, method)
