"""Where configuration files are. Imports nothing heavy: ``kd ls`` must be quick."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> Path:
    """The folder of our configuration files: inside the installed package, else the checkout's."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "conf"


def user_conf_dir() -> Path | None:
    """The user's own ``./conf``, if there is one and it is not ours."""
    own = Path.cwd() / "conf"
    return own if own.is_dir() and own.resolve() != conf_dir().resolve() else None


def search_dirs() -> list[Path]:
    """All folders that are searched, first match first."""
    own = user_conf_dir()
    return [*([own] if own else []), conf_dir()]
