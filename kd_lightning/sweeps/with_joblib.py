"""The jobs of a sweep in joblib's worker processes.

joblib gives up all its workers when one is killed. So what was under way then is done again, each job by itself: it goes
on from its resume point, and if the workers die again it is known whose fault that was.
"""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import suppress
from pathlib import Path

from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from omegaconf import DictConfig

from kd_lightning.sweeps.crew import TICK, close, ended, processes, send
from kd_lightning.sweeps.folder import FAILED, KILLED, UNDER_WAY, read_job
from kd_lightning.sweeps.live import SweepDisplay
from kd_lightning.sweeps.worker import GRACE, Order, begin, work


def run_with_joblib(config: DictConfig, orders: list[Order], workers: int) -> None:
    """Do the orders, with a display.

    Args:
        config: The sweep's composed configuration.
        orders: The jobs.
        workers: Jobs at once.
    """
    with SweepDisplay(Path(str(config.hydra.sweep.dir)), bars=bool(config.progress)) as display:
        try:
            left = orders
            while left := attempt(left, workers, display):
                under_way = [order for order in left if Path(order.folder).is_dir()]
                for order in under_way:
                    if attempt([order], 1, display):
                        close(order, KILLED, "its process was killed (out of memory?), twice")
                left = [order for order in left if order not in under_way]
                if not under_way:
                    raise RuntimeError("joblib's workers die before they begin a job; try hydra/launcher=process")
        except BaseException as error:
            end_all(orders, signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
            get_reusable_executor().shutdown(wait=True, kill_workers=True)
            raise


def end_all(orders: list[Order], number: int) -> None:
    """Pass a signal on to the jobs at work, and give them time to save and end."""
    deadline = time.monotonic() + GRACE
    for order in orders:
        if at_work(order):
            send(read_job(Path(order.folder)).record.get("pid"), number)
    with suppress(KeyboardInterrupt):  # somebody asks a second time: no more grace
        while time.monotonic() < deadline and any(at_work(order) for order in orders):
            time.sleep(0.1)


def at_work(order: Order) -> bool:
    """The job has begun and not ended."""
    job = read_job(Path(order.folder))
    return bool(job.record) and job.state in UNDER_WAY


def attempt(orders: list[Order], workers: int, display: SweepDisplay) -> list[Order]:
    """Do the orders; those without an end when a worker's death ended the attempt."""
    # joblib's executor and not ``Parallel``, which kills its workers before an exception gets here: they could not save.
    executor = get_reusable_executor(workers, processes(), initializer=begin, initargs=(dict(os.environ),))
    calls = [executor.submit(work, order) for order in orders]
    while not all(call.done() for call in calls):
        wait([call for call in calls if not call.done()], timeout=TICK, return_when=FIRST_COMPLETED)
        display.refresh()
    if any(isinstance(call.exception(), TerminatedWorkerError) for call in calls):
        executor.shutdown(wait=True, kill_workers=True)
        return [order for order in orders if not ended(order)]
    for order, call in zip(orders, calls, strict=True):
        close(order, FAILED, f"it ended without a word of its own: {call.exception()}")
    return []
