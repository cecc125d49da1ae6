"""``kd.run``: what ``kd run`` does, inside a program or a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from torch import nn

from kd_lightning.config.instantiate import build_node
from kd_lightning.deploy.trained_model import load_trained_model
from kd_lightning.errors import ConfigError
from kd_lightning.python.caller_state import keep_caller_state
from kd_lightning.python.findings import Findings
from kd_lightning.results.report.run.run_files import read_results
from kd_lightning.results.sweep_folder import RESULTS_FILE
from kd_lightning.sweeps.launch import SWEEPS_ARE_COMMANDS, compose_and_run_here


class Result(Findings):
    """A finished run.

    Args:
        folder: The run's.

    Attributes:
        folder: The run's: report, records, weights.

    Raises:
        KDError: The folder holds no finished run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(read_results(folder / RESULTS_FILE))
        self.folder = folder

    @cached_property
    def student(self) -> nn.Module:
        """The distilled network with its weights, in evaluation mode, on the CPU."""
        with keep_caller_state():
            return load_trained_model(self.folder, build_node).network


def run(*overrides: str | Iterable[str]) -> Result:
    """Do what ``kd run OVERRIDES`` does, in this process: same settings, checks, store and run folder.

    Stages that are stored are reused, whoever has made them. Where the run is interrupted, by Ctrl-C or a crash, the same call
    goes on from the last resume point. Lines and bars are printed as by the command; ``progress=false`` leaves bars out. A
    process does one run at a time.

    Args:
        overrides: Words as on the command line, one by one or in lists: ``"experiment=digits", "temperature=2"``.

    Raises:
        ConfigError: A setting makes no sense, or several jobs are asked for.
        KDError: As the command would print it.

    Example:
        >>> import tempfile
        >>> import kd_lightning as kd
        >>> place = tempfile.TemporaryDirectory()
        >>> words = ["experiment=digits", "debug=fast_dev_run", f"outputs={place.name}"]
        >>> result = kd.run(words, "temperature=2")  # doctest: +ELLIPSIS
        split data ...
        >>> list(result.metrics), "accuracy" in result.metrics["distilled"]
        (['teacher', 'baseline', 'pretrained', 'distilled'], True)
        >>> result.student.training, (result.folder / "report.html").is_file()
        (False, True)
        >>> place.cleanup()
    """
    words = [str(word) for given in overrides for word in ([given] if isinstance(given, str) else given)]
    for word in words:
        if word in ("-m", "--multirun"):
            raise ConfigError(f"kd.run does one run, and {word} asks for several: {SWEEPS_ARE_COMMANDS}")
        if word.startswith("-"):
            raise ConfigError(
                f"kd.run takes settings, as temperature=2, and {word!r} is a flag of the command: leave it out"
            )
    with keep_caller_state():
        return Result(compose_and_run_here(words))
