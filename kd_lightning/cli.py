"""``kd``: the command line. Verbs that do not train import neither torch nor Lightning."""

from __future__ import annotations

import os
import sys

COMPLETION = ("-sc", "--shell-completion")
HELP = """\
kd: knowledge distillation experiments.

  kd run [OVERRIDE ...]   run the whole job; -m sweeps; --help lists groups and settings
  kd status [SWEEP]       how a sweep is doing; --watch follows it
  kd report FOLDER [...]  one page over sweeps and runs, also while they run or after a crash
  kd cache VERB           teacher outputs on disk: ls, verify, prune
  kd ls [GROUP]           configuration groups and choices, with what each is for
  kd cp FILE [...]        copy configuration files to ./conf, where your edits win
  kd env                  versions and machine, for bug reports

kd run                    the default job: LSTM language models on real text, about 3 minutes on 2 cores
kd run experiment=digits  images with few labels
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    try:
        code = answer(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # as in `kd ls | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def answer(words: list[str]) -> int:
    """Do what the words say; the exit code."""
    verb, rest = (words[0], words[1:]) if words else ("--help", [])
    if verb in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if verb == "--version":
        from kd_lightning import __version__

        print(__version__)
        return 0
    if verb in COMPLETION or (verb == "run" and rest and rest[0] in COMPLETION):
        from kd_lightning.completion import complete

        return complete(words if verb in COMPLETION else rest)
    if verb == "run":
        from kd_lightning.collector import at_rest
        from kd_lightning.openmp import limit_spinning

        limit_spinning()
        with at_rest():
            from kd_lightning.launch import run

            return run(rest)
    if verb == "status":
        from kd_lightning.sweeps.status import status

        return status(rest)
    if verb == "report":
        from kd_lightning.reporting import report

        return report(rest)
    if verb == "cache":
        from kd_lightning.cache_admin import cache

        return cache(rest)
    if verb in ("ls", "cp", "env"):
        from kd_lightning import inspection

        return inspection.VERBS[verb](rest)
    from kd_lightning.completion import VERBS
    from kd_lightning.errors import did_you_mean

    print(f"kd: no verb {verb!r}{did_you_mean(verb, VERBS)} (see kd --help)", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
