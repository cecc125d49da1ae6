"""Shell completion: Hydra completes overrides; the verb before them is taken off first."""

from __future__ import annotations

import os

from kd_lightning.launch import run

VERBS = ("run", "ls", "cp", "env")
LINE, POINT = "COMP_LINE", "COMP_POINT"


def complete(arguments: list[str]) -> int:
    """Answer the shell: verbs for the first word, then Hydra's completion of overrides for ``run``."""
    line = os.environ.get(LINE, "")
    command, _, rest = line.partition(" ")
    verb, space, overrides = rest.lstrip().partition(" ")
    if not space:
        print("\n".join(word for word in VERBS if word.startswith(verb)))
        return 0
    if verb != "run":
        return 0
    os.environ[LINE] = f"{command} {overrides}"
    os.environ[POINT] = str(len(os.environ[LINE]))
    return run(arguments)
