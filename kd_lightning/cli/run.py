"""``kd run``: Hydra composes, the job runs, errors become one line and an exit code.

Exit codes are those of ``verbs.py``; 1 also where a job of a sweep failed. The same command goes on from the last resume point.
"""

from __future__ import annotations

from kd_lightning.errors import KDError
from kd_lightning.process.stopping import Terminated, ignore_interrupts, raise_hidden_stop, raise_on_sigterm
from kd_lightning.results.sweep_folder import DONE, FAILED, INTERRUPTED, PREEMPTED
from kd_lightning.results.sweep_records import end_sweep
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.safety.verbs import DEFECT, INTERRUPTED_CODE, OK, TERMINATED_CODE, print_line, say_error
from kd_lightning.sweeps.hydra_callback import SweepWatch
from kd_lightning.sweeps.launch import compose_and_run_job

PLAN = "--plan"
"""The flag that shows what a command would do, and does nothing."""


def run_run_verb(arguments: list[str]) -> int:
    """``kd run ARGUMENTS``; returns the exit code."""
    if PLAN in arguments:
        from kd_lightning.cli.plan import show_plan

        return show_plan([word for word in arguments if word != PLAN])
    try:
        with raise_on_sigterm(second_ends=True), raise_hidden_stop():
            code = compose_and_run_job(put_multirun_first(arguments))
            return max(code, conclude_sweep(DONE if code == OK else FAILED))
    except KeyboardInterrupt:
        return report_stop(INTERRUPTED, "interrupted", INTERRUPTED_CODE)
    except Terminated:
        return report_stop(PREEMPTED, "terminated", TERMINATED_CODE)


def put_multirun_first(arguments: list[str]) -> list[str]:
    """``-m`` may stand anywhere; argparse takes no setting behind a flag when there are settings in front of it.

    Example:
        >>> put_multirun_first(["experiment=digits", "-m", "seed=0,1"])
        ['-m', 'experiment=digits', 'seed=0,1']
    """
    return sorted(arguments, key=lambda word: word not in ("-m", "--multirun"))


def report_stop(state: str, word: str, code: int) -> int:
    """The end of a command that was asked to end; the exit code. A second Ctrl-C does not disturb it."""
    with ignore_interrupts():
        try:
            conclude_sweep(state)
        except (KDError, OSError) as error:  # as on a full disk: what the jobs have saved is there all the same
            say_error(error, "run")
        print_line(f"{word}; the same command goes on from the last resume point")
    return code


def conclude_sweep(state: str) -> int:
    """The end of this process's sweep, if it led one: table, report; the exit code."""
    folder = SweepWatch.folder
    if folder is None or not folder.is_dir():
        return OK
    if state != DONE and not any(folder.glob("*/")):  # no job has begun: what was wrong is said already
        if state == FAILED:
            SweepWatch.withdraw()
        else:
            end_sweep(folder, state)
            SweepWatch.over()
        return OK
    # Only here: the statistics behind them take longer to import than all the rest of this file.
    from kd_lightning.results.report.sweep.report import write_sweep_report
    from kd_lightning.sweeps.summary import print_sweep_summary

    if state != DONE:  # first: of a sweep that is over, jobs that have not begun are none
        end_sweep(folder, state)
    lost = print_sweep_summary(folder)
    if state == DONE:
        end_sweep(folder, FAILED if lost else DONE)
    print(escape_unprintable(f"report: {write_sweep_report([folder], folder)}"))
    print(escape_unprintable(str(folder)))
    SweepWatch.over()  # not before: who is interrupted in here concludes once more
    return DEFECT if lost else OK
