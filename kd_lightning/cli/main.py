"""``kd``: the command line. Verbs that do not train import neither torch nor Lightning."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` has put the working folder first: not even `os` or `__future__` may come from there.
    del sys.path[0]

import os
from collections.abc import Callable
from importlib import import_module

from kd_lightning.errors import KDError, did_you_mean
from kd_lightning.process.import_paths import keep_working_folder_out
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.safety.verbs import USER_ERROR, run_verb

OWN_FILES = ("init", "status", "predict", "eval", "export", "bench", "ledger", "report", "noise", "cache", "trust")
"""Verbs that stand in a file of their name, as ``run_NAME_verb``."""
COMPLETION = ("-sc", "--shell-completion")
MAIN_HELP = """\
kd: knowledge distillation experiments.

  kd init FILE            your own texts: look at a table of texts and labels, and write an experiment for it
  kd run [OVERRIDE ...]   run the whole job; -m sweeps; --plan shows what would be done; --help lists groups and settings
  kd status [FOLDER]      how a sweep or run is doing; --watch follows it
  kd predict RUN INPUT    classes of new rows, from the run's folder alone: kd predict last new.csv > labels.csv
  kd eval RUN [...]       metrics on the run's own test split or, with data.path=FILE, on another file; --min as a check
  kd export RUN --to onnx a folder that runs without us, checked on the whole test split; also int8, torch_export, hf
  kd bench RUN            latency, memory, load time and size of a model, also in 8 bits
  kd ledger RUN           distilling and quantising in one table: each model in 32 and in 8 bits, measured alike
  kd report FOLDER [...]  one page over sweeps and runs, also while they run or after a crash
  kd noise FOLDER [...]   what seeds can show: the smallest gain, and how many seeds a gain needs
  kd cache VERB           teacher outputs on disk: ls, verify, prune
  kd trust VERB           packages of yours that configurations may name: add, ls, remove
  kd ls [GROUP]           configuration groups and choices, with what each is for
  kd cp FILE [...]        copy configuration files to ./conf, where your edits win
  kd env                  versions and machine, for bug reports

kd run                    the default job: LSTM language models on real text, about 3 minutes on 2 cores
kd run experiment=digits  images with few labels
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    keep_working_folder_out()
    words = sys.argv[1:] if arguments is None else arguments
    return run_verb(words[0] if words else "help", lambda: dispatch_verb(words))


def dispatch_verb(words: list[str]) -> int:
    """Do what the words say; the exit code."""
    verb, rest = (words[0], words[1:]) if words else ("--help", [])
    if verb in ("-h", "--help", "help"):
        print(MAIN_HELP, end="")
        return 0
    if verb == "--version":
        from kd_lightning import __version__

        print(__version__)
        return 0
    check_working_folder()
    if verb in COMPLETION or (verb == "run" and rest and rest[0] in COMPLETION):
        from kd_lightning.cli.completion import run_completion

        return run_completion(words if verb in COMPLETION else rest)
    if verb == "run":
        from kd_lightning.process.collector import pause_collection

        with pause_collection():
            from kd_lightning.cli.run import run_run_verb

            return run_run_verb(rest)
    if verb in OWN_FILES:
        work: Callable[[list[str]], int] = getattr(import_module(f"kd_lightning.cli.{verb}"), f"run_{verb}_verb")
        return work(rest)
    if verb in ("ls", "cp", "env"):
        from kd_lightning.cli.config_files import run_config_files_verb

        return run_config_files_verb(verb, rest)
    from kd_lightning.cli.completion import COMPLETED_VERBS

    print(
        escape_unprintable(f"kd: no verb {verb!r}{did_you_mean(verb, COMPLETED_VERBS)} (see kd --help)"),
        file=sys.stderr,
    )
    return USER_ERROR


def check_working_folder() -> None:
    """Everything is looked for from the working folder on.

    Raises:
        KDError: It has been deleted.
    """
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise KDError("the working folder has been deleted: cd to one that exists") from error


if __name__ == "__main__":
    sys.exit(main())
