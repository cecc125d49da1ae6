"""Where a configuration may have something written: below the run folder or the outputs folder.

Loggers, callbacks and profilers take folders and file names; a file of the working folder's ``./conf`` may set them, and some
overwrite what is there (``CSVLogger``), or send environment variables to the server that they are given (MLflow's
password). Elsewhere they write only where the command line says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from kd_lightning.errors import ConfigError
from kd_lightning.safety.inside import LinkError, check_inside

WRITERS = ("logger", "callbacks", "trainer")
PLACE = re.compile(r"(^|_)(dir|dirpath|path|file|uri|location|folder|host|base_url)$")
"""Names of arguments that say where something is written or sent."""
NAMED_PLACES = frozenset({"filename", "name", "version", "prefix", "sub_dir"})
"""Arguments of loggers that become parts of a path."""
LIBRARIES = ("pytorch_lightning", "kd_lightning")
OWN_FOLDERS = ("runs", "sweeps", "store", "studies")


def check_outputs(outputs: str, *folders: str) -> None:
    """The outputs folder, and those in it, are folders or not there yet. Asked before Hydra makes the run's.

    Args:
        outputs: The setting.
        folders: Of the run and the sweep; those that the user has put elsewhere are the user's own.

    Raises:
        LinkError: One is a link, which somebody else may have made: everything would be written to where it leads.
    """
    root = Path(os.path.abspath(outputs))
    if root.is_symlink():
        raise LinkError(
            f"outputs={outputs} is a link to {os.readlink(root)}: if that is where results belong, set outputs={root.resolve()}"
        )
    own = [root / name for name in OWN_FOLDERS]
    for place in (*own, *map(Path, map(os.path.abspath, folders))):
        if place.is_relative_to(root):
            check_inside(root, place)


def check_places(settings: Mapping[str, Any], folder: Path, overrides: Collection[str]) -> None:
    """All that the configuration has written lies in the run folder or the outputs folder, or the user has said otherwise.

    Args:
        settings: The resolved settings.
        folder: The run's.
        overrides: The job's words of the command line.

    Raises:
        ConfigError: Something would be written, or sent, elsewhere.
    """
    typed = {word.lstrip("+").partition("=")[0] for word in overrides}
    roots = [Path(os.path.abspath(root)) for root in (folder, settings["outputs"])]
    for writer in WRITERS:
        for name, value in place_settings(settings.get(writer), writer):
            if name not in typed and not lies_in_roots(
                value, roots, whole=PLACE.search(name.rpartition(".")[2]) is not None
            ):
                raise ConfigError(
                    f"{name}={value} is outside the run folder and outputs={settings['outputs']}: if you want that, say it on "
                    f"the command line: {name}={value}"
                )


def place_settings(node: Any, where: str) -> Iterator[tuple[str, str]]:
    """Each text in nested settings that says where something is written, with its dotted name.

    What a package of the user's own takes is not looked at: it is trusted, and may mean a file to read.
    """
    if isinstance(node, Mapping):
        if str(node.get("_target_", LIBRARIES[0])).split(".")[0] not in LIBRARIES:
            return
        for key, value in node.items():
            if isinstance(value, str) and (PLACE.search(str(key)) or key in NAMED_PLACES):
                yield f"{where}.{key}", value
            else:
                yield from place_settings(value, f"{where}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from place_settings(value, f"{where}.{number}")


def lies_in_roots(text: str, roots: Collection[Path], whole: bool) -> bool:
    """The place lies in one of the folders.

    Args:
        text: A path, a ``sqlite:///`` or ``file:`` URL, or a part of a path.
        roots: The folders.
        whole: It is a path of its own; else it is put below another one.
    """
    if not whole:
        return ".." not in Path(text).parts and not os.path.isabs(text)
    if "://" in text and not text.startswith(("sqlite:///", "file:///")):
        return False
    path = Path(os.path.abspath(re.sub(r"^(sqlite:///|file://)", "", text).partition("?")[0]))
    for root in roots:
        try:
            return bool(check_inside(root, path))
        except LinkError:
            continue
    return False
