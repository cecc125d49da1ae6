"""A job's side of ``stage_queue``: before it does a stage it asks the process that leads the sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from kd_lightning.errors import NonFiniteLossError, Postponed, StageFailedError
from kd_lightning.safety.error_text import describe_error
from kd_lightning.safety.inside import check_appendable
from kd_lightning.sweeps.stage_queue import LATER, Answer, Ask, Over

AT_ONCE = 0.05
"""Seconds in which an answer comes if the stage is free."""


class StageClaims:
    """A job that does no stage that another job of its sweep is doing.

    Args:
        leader: To and from the process that leads the sweep.
        done: File of the job's in which the stages stand that were done for it, by whichever process.
    """

    def __init__(self, leader: Connection, done: Path) -> None:
        self.leader = leader
        self.done = done

    @contextmanager
    def claim(
        self, stage: str, left: int, waiting: Callable[[], None], beside: Sequence[tuple[str, int]] = ()
    ) -> Iterator[None]:
        """See ``Claims``.

        Raises:
            Postponed: It is asked to make room.
            StageFailedError: Its loss was not finite in another job.
        """
        answer = self._ask(Ask(stage, left, tuple(Ask(*each) for each in beside)), waiting)
        if answer == LATER:
            raise Postponed(f"another job of the sweep does {stage}; this one makes room and is started again")
        if answer.error:
            raise StageFailedError(f"{stage.partition('/')[0]}: {answer.error}")
        try:
            yield
        except NonFiniteLossError as error:
            # A property of the stage. All else may be the job's own: its logger, its memory.
            self._tell(Over(describe_error(error)))
            raise
        except Exception:
            self._tell(Over())
            raise
        self._tell(Over())

    def note_done(self, stage: str) -> None:
        """See ``Claims``."""
        with suppress(OSError), check_appendable(self.done.parent, self.done).open("a", encoding="utf-8") as file:
            file.write(f"{stage}\n")

    def _ask(self, ask: Ask, waiting: Callable[[], None]) -> Answer:
        try:
            self.leader.send(ask)
            if not self.leader.poll(AT_ONCE):
                waiting()
            answer = self.leader.recv()
        except (EOFError, OSError):  # nobody leads any more: this process is about to be asked to end, and saves then
            return Answer(go=True)
        assert isinstance(answer, Answer)
        return answer

    def _tell(self, over: Over) -> None:
        with suppress(OSError):
            self.leader.send(over)
