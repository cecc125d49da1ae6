"""Which job of a sweep may do which stage: each stage is done once, however many jobs ask for it. No process, no file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ask:
    """A job wants to do a stage.

    Attributes:
        stage: Its name and key.
        left: Optimizer steps of the job from this stage on: the length of its chain.
        beside: Stages that it needs as well and that do not need this one: others may do them meanwhile.
    """

    stage: str
    left: int
    beside: tuple[Ask, ...] = ()


@dataclass(frozen=True)
class Over:
    """A job has done the stage that it was let into.

    Attributes:
        error: What went wrong; empty = nothing.
    """

    error: str = ""


@dataclass(frozen=True)
class Answer:
    """What a job is told.

    Attributes:
        go: It may do the stage.
        error: Why nobody can.
    """

    go: bool = False
    error: str = ""


LATER = Answer()
"""The job makes room and is started again once the stage is done by another."""

POSTPONED = 75
"""Exit code of a job that makes room and is started again; as sysexits.h has it for what is to be tried again."""

DONE_STAGES = "stages.txt"
"""In a job's folder: the stages that were done for it, by whichever process."""


class StageQueue:
    """The stages that are being done, and those that have failed."""

    def __init__(self) -> None:
        self._at: dict[str, str] = {}
        self._failed: dict[str, str] = {}

    def answer(self, claimant: str, ask: Ask) -> Answer | None:
        """What who asks is told; None = another one is at the stage.

        Args:
            claimant: A job, or a process that does one stage for it.
            ask: What it wants.
        """
        if error := self._failed.get(ask.stage):
            return Answer(error=error)
        if self._at.setdefault(ask.stage, claimant) != claimant:
            return None
        return Answer(go=True)

    def is_free(self, ask: Ask) -> bool:
        """A job that asks would be answered."""
        return ask.stage in self._failed or ask.stage not in self._at

    def end(self, claimant: str, over: Over) -> list[str]:
        """The stage at hand is over; it, if there is one."""
        stages = [stage for stage, by in self._at.items() if by == claimant]
        for stage in stages:
            del self._at[stage]
            if over.error:
                self._failed[stage] = f"{over.error} (in job {claimant})"
        return stages
