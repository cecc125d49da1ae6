"""Shell completion: Hydra completes overrides; the verb before them, and groups placed with ``@``, are ours."""

from __future__ import annotations

import os
from collections.abc import Iterator

from kd_lightning.safety.terminal import escape_unprintable

COMPLETED_VERBS = (
    *(
        "init",
        "run",
        "status",
        "predict",
        "eval",
        "export",
        "bench",
        "report",
        "noise",
        "cache",
        "trust",
        "ls",
        "cp",
        "env",
    ),
)
VERBS_OF = {"cache": ("ls", "verify", "prune"), "trust": ("add", "ls", "remove")}
LINE, POINT = "COMP_LINE", "COMP_POINT"


def run_completion(arguments: list[str]) -> int:
    """Answer the shell (``query=``), or print what makes it ask us (``install=``, ``uninstall=``)."""
    if not any(word.startswith("query=") for word in arguments):
        return print_completion_script(arguments)
    line = os.environ.get(LINE, "")
    command, _, rest = line.partition(" ")
    verb, space, overrides = rest.lstrip().partition(" ")
    if not space:
        print("\n".join(word for word in COMPLETED_VERBS if word.startswith(verb)))
        return 0
    if verb == "ls":
        from kd_lightning.config.conf_files import list_groups

        print("\n".join(escape_unprintable(group) for group in list_groups() if group.startswith(overrides.strip())))
    if verb in VERBS_OF and " " not in overrides.lstrip():
        print("\n".join(word for word in VERBS_OF[verb] if word.startswith(overrides.strip())))
    if verb != "run":
        return 0
    word = overrides.split(" ")[-1]
    print("\n".join(map(escape_unprintable, complete_placed_groups(word))))
    if "@" in word:  # Hydra knows no answer
        return 0
    os.environ[LINE] = f"{command} {overrides}"
    os.environ[POINT] = str(len(os.environ[LINE]))
    return hydra_answers(arguments)


def print_completion_script(arguments: list[str]) -> int:
    """Hydra's script for the shell."""
    code = hydra_answers(arguments)
    if "install=bash" in arguments:
        print("COMP_WORDBREAKS=${COMP_WORDBREAKS//@}")  # or bash would take scheduler@annealing for two words
    return code


def complete_placed_groups(word: str) -> Iterator[str]:
    """``group@place=`` or ``group@place=choice`` for what the word begins."""
    from omegaconf import OmegaConf

    from kd_lightning.config.conf_files import conf_dir, list_groups
    from kd_lightning.config.shorthands import ROLES

    name, equals, start = word.partition("=")
    defaults = OmegaConf.to_container(OmegaConf.load(conf_dir() / "config.yaml").defaults)
    assert isinstance(defaults, list)
    placed = {
        key: key.partition("@")[0] for entry in defaults if isinstance(entry, dict) for key in entry if "@" in key
    }
    for place, group in {**placed, **dict.fromkeys(ROLES, "model")}.items():
        if not equals and place.startswith(word):
            yield f"{place}="
        if equals and place == name:
            choices = list_groups()[group]
            yield from (f"{place}={choice}" for choice in choices if choice.startswith(start))


def hydra_answers(arguments: list[str]) -> int:
    """Let Hydra answer."""
    from kd_lightning.cli.run import run_run_verb

    return run_run_verb(arguments)
