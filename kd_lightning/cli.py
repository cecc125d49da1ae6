"""``kd``: the command line. Verbs that do not train import neither torch nor Lightning."""

from __future__ import annotations

import sys

HELP = """\
kd: knowledge distillation experiments.

  kd run [OVERRIDE ...]   run the whole job; -m sweeps; --help lists groups and settings
  kd ls [GROUP]           configuration groups and choices, with what each is for
  kd cp FILE [...]        copy configuration files to ./conf, where your edits win
  kd env                  versions and machine, for bug reports

kd run                    the default job: LSTM language models on real text, about 3 minutes on 2 cores
kd run experiment=digits  images with few labels
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    verb, rest = (words[0], words[1:]) if words else ("--help", [])
    if verb in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if verb == "--version":
        from kd_lightning import __version__

        print(__version__)
        return 0
    if verb == "run":
        from kd_lightning.launch import run

        return run(rest)
    if verb in ("-sc", "--shell-completion"):  # how the shell function that Hydra installs asks
        from kd_lightning.completion import complete

        return complete([verb, *rest])
    if verb in ("ls", "cp", "env"):
        from kd_lightning import inspection

        return inspection.VERBS[verb](rest)
    from kd_lightning.errors import did_you_mean

    print(f"kd: no verb {verb!r}{did_you_mean(verb, ('run', 'ls', 'cp', 'env'))} (see kd --help)", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
