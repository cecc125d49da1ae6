"""``kd ls``, ``kd cp``, ``kd env``: look at configuration and machine without importing torch."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path

from kd_lightning.cli.loss_table import loss_rows
from kd_lightning.config.conf_files import conf_dir, list_groups, read_purpose
from kd_lightning.config.old_words import RENAMED
from kd_lightning.errors import KDError, did_you_mean
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.safety.versions import list_versions


def list_configs(arguments: list[str]) -> int:
    """Groups and choices, each with the first comment line of its file; losses, asked for alone, with their formulas."""
    found = list_groups()
    if arguments and arguments[0] not in found:
        now = RENAMED.get(arguments[0])
        hint = f": it is now kd ls {now}" if now in found else did_you_mean(arguments[0], found)
        raise KDError(f"no group {arguments[0]!r}{hint}")
    for group in arguments[:1] or found:
        print(escape_unprintable(group))
        width = max(len(name) for name in found[group])
        more = {row.name: row for row in loss_rows(found[group])} if arguments and group == "loss" else {}
        for name, path in found[group].items():
            print(escape_unprintable(f"  {name:<{width}}  {read_purpose(path)}"))
            if name in more and more[name].formula:
                row = more[name]
                print(escape_unprintable(f"      {row.formula}\n      {row.reference}", lines=True))
                print(f"      taps: {'yes' if row.taps else 'no'}, chunked: {'yes' if row.chunked else 'no'}")
    return 0


def copy_configs(arguments: list[str]) -> int:
    """Copy configuration files (``model/lstm_lm`` or ``config``) to the same place below ``./conf``."""
    if not arguments:
        raise KDError("name a file, for example: kd cp model/lstm_lm")
    known = [path.relative_to(conf_dir()).with_suffix("").as_posix() for path in conf_dir().rglob("*.yaml")]
    for name in arguments:
        name = name.removesuffix(".yaml")
        if name not in known:
            raise KDError(f"no file {name!r}{did_you_mean(name, known)}")
        target = Path("conf") / f"{name}.yaml"
        create_config_file(target, (conf_dir() / f"{name}.yaml").read_bytes())
        print(target)
    return 0


def create_config_file(target: Path, content: bytes, force: bool = False) -> None:
    """Write a new file below ``./conf``, never through a link.

    Args:
        target: ``conf/GROUP/NAME.yaml``.
        content: All of it.
        force: Replace a file that is there.

    Raises:
        KDError: It is there already, or its folder is a link that leads out of the working folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(Path.cwd()):
        raise KDError(
            f"{target.parent} is a link to {target.parent.resolve()}, outside of this folder: copy there yourself"
        )
    if force:
        target.unlink(missing_ok=True)  # of a link, the link itself
    try:
        with target.open("xb") as file:  # never through a link that lies there
            file.write(content)
    except FileExistsError as error:
        raise KDError(f"{target} is there already: remove it first") from error


def print_environment(arguments: list[str]) -> int:
    """Versions and machine."""
    print(f"python {platform.python_version()} on {platform.platform()}, {os.cpu_count()} CPUs")
    for name, version in list_versions().items():
        print(f"{name} {version or 'not installed'}")
    print(f"configuration {conf_dir()}")
    return 0


CONFIG_FILES_HELP = {
    "ls": "kd ls [GROUP]     configuration groups and choices, with what each is for; of GROUP alone, in detail\n",
    "cp": "kd cp FILE [...]  copy configuration files, as model/lstm_lm or config, to ./conf, where your edits win\n",
    "env": "kd env            versions and machine, for bug reports\n",
}
CONFIG_FILES_VERBS: dict[str, Callable[[list[str]], int]] = {
    "ls": list_configs,
    "cp": copy_configs,
    "env": print_environment,
}


def run_config_files_verb(verb: str, words: list[str]) -> int:
    """One of the verbs above; the exit code."""
    if any(word in ("-h", "--help") for word in words):
        print(CONFIG_FILES_HELP[verb], end="")
        return 0
    return CONFIG_FILES_VERBS[verb](words)
