"""One run, from settings to a folder with results and a report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kd_lightning.errors import Postponed
from kd_lightning.experiment.claims import Claims
from kd_lightning.experiment.collect_results import results_of
from kd_lightning.experiment.console import TerminalBoard
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.pending import Steps, run_alone
from kd_lightning.experiment.run_folder import describe_environment, link_models
from kd_lightning.experiment.run_summary import print_summary, suggest_next
from kd_lightning.experiment.tracking.track import track_job
from kd_lightning.process.allocator import keep_freed_memory
from kd_lightning.results.report.run.run_report import write_report
from kd_lightning.results.sweep_folder import PROGRESS_FILE, settings_digest
from kd_lightning.results.sweep_records import ProgressFile
from kd_lightning.safety.error_text import describe_error
from kd_lightning.safety.inside import check_appendable
from kd_lightning.safety.redaction import redact_settings
from kd_lightning.store import publish, publish_json
from kd_lightning.tasks.base import ReadsTexts


def execute(*job: Any, **more: Any) -> dict[str, Any]:
    """``execution`` of a run that is alone in its process."""
    return run_alone(execution(*job, **more))


def execution(
    settings: dict[str, Any],
    build: Callable[[Any], Any],
    packages: Sequence[str],
    folder: Path,
    config_text: Callable[[Any], str],
    overrides: Sequence[str],
    command: str,
    sweep: str | None = None,
    claims: Claims | None = None,
    made: dict[Hashable, Any] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Steps[dict[str, Any]]:
    """Run the job and write its folder.

    Args:
        settings: As for ``Experiment``.
        build: As for ``Experiment``.
        packages: As for ``Experiment``.
        folder: The run's folder; made if needed.
        config_text: Settings -> YAML.
        overrides: What the user changed.
        command: What repeats the run.
        sweep: Name of the sweep that the run belongs to, if any.
        claims: As for ``Experiment``.
        made: As for ``Experiment``.
        clock: Seconds of the job's own.

    Returns:
        The content of ``results.json``.
    """
    keep_freed_memory()
    folder.mkdir(parents=True, exist_ok=True)
    publish(folder / "config.yaml", config_text(redact_settings(settings)))
    publish(folder / "overrides.txt", "".join(f"{line}\n" for line in overrides))
    publish_json(folder / "environment.json", describe_environment())
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    started = clock()
    with run_log(folder / "run.log") as log:
        with track_job(settings, build, folder, overrides, sweep) as tracked:
            progress = ProgressFile(folder / PROGRESS_FILE)
            with TerminalBoard(bars=settings["progress"], log=log, progress=progress) as board:
                experiment = Experiment(tracked.settings, build, packages, board, sweep or folder.name, claims, made)
                board.expect(experiment.lines)
                found = yield from experiment.steps()
            results = results_of(experiment, found, command)
            link_models(folder, experiment, found.comparison)
            owner = {"settings": settings_digest(overrides)}  # no other job can take them for its own
            publish_json(folder / "results.json", {**results, "wall_seconds": round(clock() - started, 1), **owner})
            report = write_report(folder)
            refused = tracked.finish(results)
        print_summary(board, results)
        for sentence in refused:
            board.say(sentence)
        if sweep is None:
            task, dataset = experiment.builder.task, experiment.builder.dataset
            board.say(suggest_next(folder, settings, isinstance(task, ReadsTexts), dataset.reads_images))
        board.say(f"report: {report}")
        board.say(str(folder))
    return results


@contextmanager
def run_log(path: Path) -> Iterator[logging.Logger]:
    """A logger that writes into one file and nowhere else, and notes what ended the run."""
    log = logging.getLogger(f"kd_lightning.run.{path}")
    log.propagate = False
    log.setLevel(logging.INFO)
    handler = logging.FileHandler(check_appendable(path.parent, path), encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    try:
        yield log
    except Postponed as reason:
        log.info("%s", reason)
        raise
    except BaseException as error:
        log.error("stopped: %s", describe_error(error))
        raise
    finally:
        handler.close()
        log.removeHandler(handler)
