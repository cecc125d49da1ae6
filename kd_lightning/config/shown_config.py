"""What ``kd run --cfg``, ``--info`` and ``--help`` print of settings and files: without secrets and control characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from omegaconf import Container, DictConfig, ListConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.safety.redaction import HIDDEN, PRIVATE, is_secret, redact_override, without_secrets
from kd_lightning.safety.terminal import escape_unprintable


@contextmanager
def compose_without_secrets(arguments: Sequence[str]) -> Iterator[None]:
    """Inside, what Hydra composes only to print it holds no secrets, and nothing that a terminal obeys is printed.

    Args:
        arguments: Of ``kd run``.
    """
    asked = None
    with suppress(SystemExit), redirect_stderr(StringIO()):  # words that make no sense are Hydra's to refuse
        asked, _ = get_args_parser().parse_known_args(arguments)
    if asked is None or not (asked.cfg or asked.info or asked.help or asked.shell_completion):
        yield
        return
    compose = Hydra.compose_config

    def compose_to_show(*args: Any, **given: Any) -> DictConfig:
        config = compose(*args, **given)
        with flag_override(config, ["readonly", "struct"], [False, False]):
            if asked.resolve:  # first: what an environment variable holds is not seen in its name
                resolve_known(config)
            hide_secrets(config, private=False)
        return config

    # Hydra 1.3 has no hook between composing and printing; `tests/safety/test_secrets.py` fails if the method goes.
    Hydra.compose_config = compose_to_show  # type: ignore[method-assign]
    shown = StringIO()
    try:
        with redirect_stdout(shown):
            yield
    finally:
        Hydra.compose_config = compose  # type: ignore[method-assign]
        print(escape_unprintable(shown.getvalue(), lines=True), end="")


def resolve_known(config: DictConfig) -> None:
    """Resolve what can be; of the rest, Hydra's own error follows, where it matters."""
    for key in config:
        with suppress(OmegaConfBaseException):
            value = config[key]
            if isinstance(value, Container):
                OmegaConf.resolve(value)
            else:
                config[key] = value


def hide_secrets(node: Container, private: bool) -> None:
    """Replace the secrets in a node of a configuration, interpolations under secret names too."""
    keys: Any = range(len(node)) if isinstance(node, ListConfig) else list(node)
    for key in keys:
        child: Any = node._get_node(key)
        if isinstance(child, Container) and not child._is_none() and not child._is_missing():
            if not child._is_interpolation():
                hide_secrets(child, private or key in PRIVATE)
            continue
        value = child._value() if child is not None else None
        if is_secret(key, value, private) if isinstance(key, str) else private and isinstance(value, str):
            node[key] = HIDDEN
        elif isinstance(value, str):
            shown = redact_override(value) if isinstance(key, int) else without_secrets(value)
            if shown != value:
                node[key] = shown
