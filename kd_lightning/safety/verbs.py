"""One handler around every verb of ``kd``: whatever a verb raises becomes one line and an exit code.

Exit codes: 0 done; 1 a defect, or something that a verb was asked to check is not well; 2 what the user can mend: a setting, a
file, a full disk; 130 interrupted; 143 terminated.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress

from kd_lightning.errors import DeadProcessError, KDError
from kd_lightning.process.stopping import Terminated, ignore_interrupts, raise_hidden_stop

OK, DEFECT, USER_ERROR, INTERRUPTED_CODE, TERMINATED_CODE = 0, 1, 2, 130, 143
TRACEBACK = "HYDRA_FULL_ERROR"
"""The environment variable that asks for tracebacks: Hydra's name for it, so that there is one."""


def run_verb(verb: str, work: Callable[[], int]) -> int:
    """Do what a verb does; the exit code.

    Args:
        verb: Its name, for messages.
        work: What it does; returns the exit code.
    """
    make_output_tolerant()
    try:
        with raise_hidden_stop():
            code = work()
        sys.stdout.flush()  # a full disk or a closed pipe is noticed here, not when the interpreter ends
    except KeyboardInterrupt:
        code = say_ended("interrupted", INTERRUPTED_CODE)
    except Terminated:
        code = say_ended("terminated", TERMINATED_CODE)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else DEFECT
    except BrokenPipeError as error:
        # As in `kd ls | head`: nobody reads on. A pipe between processes of ours is another matter.
        code = DEFECT if nobody_reads() else say_error(error, verb)
    except Exception as error:
        code = say_error(error, verb)
    silence_broken_output()
    return code


def say_error(error: Exception, verb: str, traceback: bool | None = None) -> int:
    """Print an error in one line; the exit code.

    Args:
        error: What was raised.
        verb: What the user typed.
        traceback: The traceback is wanted, too; None = as the environment says.
    """
    from kd_lightning.safety.error_text import (  # only here: most commands have no errors
        describe_error,
        format_traceback,
        to_one_line,
    )

    if os.environ.get(TRACEBACK) == "1" if traceback is None else traceback:
        print_line(format_traceback(error).rstrip("\n"))
    if type(error) is KDError:
        print_line(f"kd {verb}: {to_one_line(error)}")
    elif isinstance(error, KDError):
        print_line(f"kd: {describe_error(error)}")
    elif isinstance(error, OSError):
        print_line(f"kd {verb}: {describe_os_error(error)}")
    elif isinstance(error, DeadProcessError):
        print_line(f"kd: {describe_error(error)}")
        return DEFECT
    else:
        print_line(f"kd: {describe_error(error)} ({TRACEBACK}=1 before the command shows where)")
        return DEFECT
    return USER_ERROR


def describe_os_error(error: OSError) -> str:
    """What the system refused, and of which file."""
    from kd_lightning.safety.error_text import to_one_line

    if error.strerror is None:
        return to_one_line(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename is not None else ""
    return to_one_line(OSError(f"{where}{error.strerror}"))


def say_ended(word: str, code: int) -> int:
    """A command that was asked to end before it had begun anything; the exit code."""
    with ignore_interrupts():
        print_line(word)
    return code


def print_line(text: str) -> None:
    """A line for the user; where even that cannot be written, the exit code has to do."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def make_output_tolerant() -> None:
    """A closed output takes everything; one that lacks a character shows it escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def nobody_reads() -> bool:
    """The reader of our output has gone."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError):
        return False


def silence_broken_output() -> None:
    """What cannot be written is dropped, or the interpreter would complain of it in its own words at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
