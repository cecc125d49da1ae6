"""Nothing more can be written: the disk is full, files may not grow, nobody may write."""

from __future__ import annotations

import contextlib
import ctypes
import random
import resource
import shutil
import signal
import struct
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from kd_lightning.errors import KDError
from kd_lightning.store import TEMPORARY
from scripts.faults.processes import (
    FORK,
    PATIENCE,
    TEMPERATURES,
    WORDS,
    Outcome,
    command,
    difference,
    end,
    finish,
    last_line,
    made,
    start,
)
from scripts.faults.sweeps import sweeps_in
from scripts.faults.writers import SOURCE, WRITERS, Writer, text
from tests.training.test_resume import stored

ROOM = 16 * 1024
"""Bytes that a full disk still takes, and the largest file under a limit."""
CAPABILITIES_VERSION_3 = 0x20080522
FAULTS = ("ENOSPC", "RLIMIT_FSIZE", "EACCES")


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of 24 MB on the folder; False where this is not allowed."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, room: int) -> None:
    """Leave so many bytes of the folder's file system."""
    with (folder / "ballast").open("wb") as file, contextlib.suppress(OSError):
        while (free := shutil.disk_usage(folder).free) > room:
            file.write(b"\0" * max(1, min(free - room, 1 << 20)))
            file.flush()


def forbid(folder: Path) -> None:
    """Nobody may write here."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


def under(fault: str, room: int = ROOM) -> None:
    """From here on this process is limited, unless the disk is full."""
    if fault == "RLIMIT_FSIZE":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    if fault == "EACCES":
        obey_permissions()


def obey_permissions() -> None:
    """Give up root's right to write where nobody may; others never had it."""
    header, none = struct.pack("Ii", CAPABILITIES_VERSION_3, 0), bytes(24)
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


def try_to_write(fault: str, writer: Writer, folder: Path, channel: Connection) -> None:
    """Write the new content under a fault, and tell what was raised: its class' name, whether it is ours, its text."""
    under(fault)
    try:
        writer.write(folder, True)
    except Exception as error:
        channel.send((type(error).__name__, isinstance(error, KDError), str(error)))
    else:
        channel.send(("nothing", False, ""))


def contents(folder: Path) -> dict[str, bytes]:
    """Files under final names."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(TEMPORARY)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def cell(fault: str, writer: Writer, base: Path, sweep: Path) -> tuple[bool, list[str]]:
    """One writer under one fault; whether it struck, and what is wrong."""
    folder, ours_and_theirs = made(base / "place"), FORK.Pipe(duplex=False)
    for new, name in SOURCE.items():
        (base / name).write_text(text(new))
    shutil.copytree(sweep, base / "sweep")
    old_and_new = made(base / "both")
    for place, news in ((folder, [False]), (old_and_new, [False, True])):
        for new in news:
            finish(base.parent / "log", writer.write, place, new)
    before, after = contents(folder), contents(old_and_new)
    shutil.rmtree(old_and_new)
    if fault == "EACCES":
        forbid(folder)
    if fault == "ENOSPC":
        fill(base, ROOM)
    ours, theirs = ours_and_theirs
    child = start(base.parent / "log", try_to_write, fault, writer, folder, theirs)
    theirs.close()
    name, typed, words = ours.recv() if ours.poll(PATIENCE) else ("hangs", False, "")
    end(child)
    problems = [] if typed else [f"{name}: {words[:200]}"]
    problems += [] if str(folder) in words else [f"no path in: {words[:200]}"]
    now = contents(folder)
    problems += [f"{lost} is gone" for lost in before.keys() - now.keys()]
    kept = {path: {before.get(path), after.get(path)} for path in now}
    torn = [path for path, content in now.items() if content not in kept[path]]
    problems += [f"{path} is torn" for path in torn if not whole_lines(path, content_of=now, old=before)]
    return name != "nothing" and before != after, problems


def whole_lines(path: str, content_of: dict[str, bytes], old: dict[str, bytes]) -> bool:
    """An appended log keeps all it had; its torn end is cut off when the training is resumed."""
    return path == "metrics.csv" and content_of[path].startswith(old[path])


def limited_command(fault: str, room: int, outputs: Path) -> None:
    """``kd run`` under a fault."""
    under(fault, room)
    command(*WORDS, f"outputs={outputs}")


def strangled(fault: str, room: int, base: Path, whole: dict[str, bytes]) -> tuple[bool, list[str]]:
    """A whole run that runs into the fault somewhere, and the same command when it is over."""
    outputs = made(base / "out")
    log = base.parent / f"log-{uuid.uuid4().hex[:6]}"  # on another file system
    log.touch(0o666)
    log.chmod(0o666)
    if fault == "EACCES":
        forbid(base)
        if room % 2:  # the run's folder can be made, its stages cannot
            (outputs / "store").mkdir()
            outputs.chmod(0o777)
            (outputs / "store").chmod(0o555)
    if fault == "ENOSPC":
        fill(base, room)
    code = finish(log, limited_command, fault, room, outputs)
    said = last_line(log)
    struck = code != 0
    problems = [f"{fault} {room}: exit code {code}: {said}"] if struck and code != 2 else []
    if struck and (str(outputs) not in said or "CheckpointWriteError" not in said):
        problems.append(f"{fault} {room}: {said}")
    for path in (base, *base.rglob("*")):
        path.chmod(0o755)
    (base / "ballast").unlink(missing_ok=True)
    again = finish(log, command, *WORDS, f"outputs={outputs}")
    problems += [f"{fault} {room}: again: {again}: {last_line(log)}"] if again else difference(stored(outputs), whole)
    return struck, problems


def disk(rng: random.Random, n: int, folder: Path) -> Outcome:
    """Every writer under every fault, and whole runs that meet one somewhere."""
    folder.chmod(0o755)
    outcome = Outcome()
    assert finish(folder / "log-whole", command, *WORDS, f"outputs={folder}/whole") == 0
    whole = stored(folder / "whole")
    assert finish(folder / "log-sweep", command, "-m", *WORDS, TEMPERATURES, f"outputs={folder}/whole") == 0
    (sweep,) = sweeps_in(folder / "whole")
    tasks: list[tuple[str, Any]] = [(fault, writer) for fault in FAULTS for writer in WRITERS]
    tasks += [(fault, rng.randrange(1_000, 800_000)) for fault in FAULTS for _ in range(10 if fault != "EACCES" else 2)]
    tasks = tasks if n >= len(tasks) else rng.sample(tasks, n)
    left_out = 0
    for number, (fault, what) in enumerate(tasks):
        base = made(folder / str(number))
        with small_disk(base) if fault == "ENOSPC" else contextlib.nullcontext(True) as possible:
            if not possible:
                left_out += 1
                continue
            base.chmod(0o755)
            if isinstance(what, Writer):
                struck, problems = cell(fault, what, base, sweep)
                outcome.add(struck, problems, f"{what.name} under {fault}")
            else:
                struck, problems = strangled(fault, what + (number % 2 != what % 2), base, whole)
                outcome.add(struck, problems, "kd run")
        shutil.rmtree(base, ignore_errors=True)
    outcome.note = f"{len(WRITERS)} writers x {len(FAULTS)} faults, and whole runs"
    if left_out:
        outcome.note += f"; {left_out} with a full disk not possible here: mount is not allowed"
    return outcome
