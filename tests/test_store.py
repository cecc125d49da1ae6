"""Entries, atomic publishing, locks across processes, damage."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.errors import CheckpointWriteError, ConfigError
from kd_lightning.safety.inside import LinkError
from kd_lightning.store import TEMPORARY, Entry, Store, content_key, file_digest, publish, publish_json
from tests.support import disk
from tests.support.processes import wait_until

FORK = multiprocessing.get_context("fork")


def finished(tmp_path: Path) -> Entry:
    entry = Store(tmp_path).entry("teacher", "abc")
    with entry.lock(lambda: None):
        publish(entry.path("weights"), b"x" * 1000)
        publish_json(entry.path("result.json"), {"val": 1.0})
        publish(entry.path("scratch"), b"")
        entry.finish(["weights", "result.json"])
    return entry


def test_keys_depend_on_content_and_not_on_order() -> None:
    assert content_key({"a": [1, {"b": 2.0}], "c": None}) == content_key({"c": None, "a": [1, {"b": 2.0}]})
    assert content_key({"a": 1}) != content_key({"a": 2})
    assert content_key({"a": 1}) != content_key({"a": 1.5})
    with pytest.raises(TypeError):
        content_key({"a": object()})


def test_an_entry_is_whole_only_after_finish_which_tidies_up(tmp_path: Path) -> None:
    entry = Store(tmp_path).entry("teacher", "abc")
    assert entry.problem() == ""
    entry = finished(tmp_path)
    assert entry.problem() is None
    assert sorted(path.name for path in entry.folder.iterdir()) == ["result.json", "status.json", "weights"]
    assert entry.read_json("result.json") == {"val": 1.0}


@pytest.mark.parametrize("where", range(0, 1000, 97))
def test_any_flipped_bit_is_found(tmp_path: Path, where: int) -> None:
    entry = finished(tmp_path)
    content = bytearray(entry.path("weights").read_bytes())
    content[where] ^= 1 << (where % 8)
    entry.path("weights").write_bytes(content)
    assert entry.problem() == "weights is damaged"


def test_truncated_emptied_and_missing_files_are_found(tmp_path: Path) -> None:
    entry = finished(tmp_path)
    for content in (b"x" * 999, b""):
        entry.path("weights").write_bytes(content)
        assert entry.problem() == "weights is damaged"
    entry.path("weights").unlink()
    assert entry.problem() == "weights is missing"
    entry.status_path.write_text("{")
    assert entry.problem() == "status.json cannot be read"
    entry.clear()
    assert entry.problem() == ""
    assert list(entry.folder.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a\\b", "a\0b"])
def test_names_stay_inside_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        Store(tmp_path).entry("teacher", name)
    with pytest.raises(ConfigError):
        Store(tmp_path).entry(name, "key")


def test_a_full_disk_is_a_named_error_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    publish(path, b"old")

    def in_child() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        publish(path, b"y" * 50)  # positive control: below the limit it can be written
        try:
            publish(path, b"z" * 200)
        except CheckpointWriteError as error:
            os._exit(0 if "bytes free" in str(error) and str(path) in str(error) else 3)
        os._exit(4)

    child = FORK.Process(target=in_child)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert path.read_bytes() == b"y" * 50
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_content_is_on_the_disk_before_the_name_is_and_the_name_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    replace = os.replace

    def fsync(handle: int) -> None:
        done.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))))

    def replaced(draft: Path, path: Path) -> None:
        done.append(("replace", path.name))
        replace(draft, path)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replaced)
    publish(tmp_path / "name", b"x")
    assert done == [("fsync", f"{TEMPORARY}{os.getpid()}-name"), ("replace", "name"), ("fsync", tmp_path.name)]


def test_a_missing_folder_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointWriteError, match="nowhere"):
        publish(tmp_path / "nowhere" / "file", b"")


def rewrite(path: Path) -> None:
    os.fsync = disk.waited_for  # a draft that waits for the disk is there for longer
    for i in range(10**9):
        publish(path, bytes([i % 251]) * 200_000)


def test_thirty_kills_leave_a_whole_file_each_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    publish(path, b"\0" * 200_000)
    drafts = 0
    for i in range(30):
        before = path.stat().st_mtime_ns
        child = FORK.Process(target=rewrite, args=(path,))
        child.start()
        wait_until(lambda before=before: path.stat().st_mtime_ns != before, child.is_alive)
        time.sleep(0.0017 * i)
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        content = path.read_bytes()
        assert len(content) == 200_000
        assert len(set(content)) == 1
        drafts += len(list(tmp_path.glob(f"{TEMPORARY}*")))
    assert drafts > 0, "positive control: some kill struck while a draft was being written"


def make_once(root: Path, log: Path) -> None:
    entry = Store(root).entry("teacher", "abc")
    with entry.lock(lambda: None):
        if entry.problem() is not None:
            with log.open("a") as file:
                file.write("made\n")
            time.sleep(0.2)
            publish(entry.path("weights"), b"w")
            entry.finish(["weights"])


def test_eight_processes_make_an_entry_once(tmp_path: Path) -> None:
    children = [FORK.Process(target=make_once, args=(tmp_path, tmp_path / "log")) for _ in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 8
    assert (tmp_path / "log").read_text() == "made\n"


def test_who_waits_touches_nothing_of_the_holder_s(tmp_path: Path) -> None:
    """Else the folder that the holder clears may be made, or be gone, under the other's hands (1 of 50 rounds)."""
    entry = Store(tmp_path).entry("teacher", "abc")
    seen: list[bool] = []
    with ThreadPoolExecutor() as pool, entry.lock(lambda: None):
        entry.folder.rmdir()
        looked = threading.Event()

        def waiting() -> None:
            seen.append(entry.folder.exists())
            looked.set()

        def other() -> bool:
            with Store(tmp_path).entry("teacher", "abc").lock(waiting):
                return entry.folder.is_dir()

        answer = pool.submit(other)
        assert looked.wait(10)
        lock_is_ours = not answer.done()
        entry.folder.mkdir()
    assert seen == [False]
    assert lock_is_ours
    assert answer.result(10)


def hold(root: Path, ready: Any) -> None:
    with Store(root).entry("teacher", "abc").lock(lambda: None):
        ready.set()
        time.sleep(600)


def test_a_dead_owners_lock_is_taken_over(tmp_path: Path) -> None:
    ready = FORK.Event()
    owner = FORK.Process(target=hold, args=(tmp_path, ready))
    owner.start()
    ready.wait()
    entry = Store(tmp_path).entry("teacher", "abc")
    publish(entry.path(f"{TEMPORARY}1-weights"), b"torn")
    waited: list[bool] = []

    def waiting() -> None:
        waited.append(True)
        os.kill(owner.pid or 0, signal.SIGKILL)

    with entry.lock(waiting):
        assert waited == [True]
        assert not list(entry.folder.glob(f"{TEMPORARY}*")), "what the dead owner left half-written is gone"
    owner.join()


def test_an_entry_that_is_a_link_is_neither_emptied_nor_written(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "deep").mkdir(parents=True)
    (precious / "deep" / "thesis").write_text("years")
    (tmp_path / "store" / "teacher").mkdir(parents=True)
    entry = Store(tmp_path / "store").entry("teacher", "abc")
    entry.folder.symlink_to(precious)
    for deed in (lambda: entry.finish([]), entry.clear, lambda: entry.lock(print).__enter__()):
        with pytest.raises(LinkError, match="outputs=FOLDER"):
            deed()
    assert [path.name for path in precious.rglob("*")] == ["deep", "thesis"]


@pytest.mark.parametrize("what", ["lock", "stage", "file", "status.json", "temporary", "folder inside"])
def test_links_in_the_store_lead_nowhere(what: str, tmp_path: Path) -> None:
    """Each would have something of the user's truncated, emptied, or taken for a result."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("years")
    entry = Store(tmp_path / "store").entry("teacher", "abc")
    entry.clear()
    publish(entry.path("weights"), b"numbers")
    entry.finish(["weights"])
    assert entry.problem() is None
    if what == "lock":
        entry.lock_path.symlink_to(precious / "thesis")
        with pytest.raises(LinkError), entry.lock(print):
            pass
    elif what == "stage":
        entry.folder.parent.rename(tmp_path / "moved")
        entry.folder.parent.symlink_to(tmp_path / "moved")
        with pytest.raises(LinkError), entry.lock(print):
            pass
    elif what in ("file", "status.json"):
        path = entry.path("weights" if what == "file" else what)
        path.rename(precious / "copy")
        path.symlink_to(precious / "copy")
        assert entry.problem() == ("weights is missing" if what == "file" else "status.json cannot be read")
    else:
        place = entry.path(f"{TEMPORARY}{os.getpid()}-weights" if what == "temporary" else "more")
        place.symlink_to(precious / "thesis" if what == "temporary" else precious)
        publish(entry.path("weights"), b"numbers")
        entry.finish(["weights"])
        assert not place.is_symlink()
    assert (precious / "thesis").read_text() == "years"


def test_a_status_names_files_of_its_own_folder_and_is_a_file(tmp_path: Path) -> None:
    entry = finished(tmp_path)
    status = json.loads(entry.status_path.read_text())
    del status["seal"]
    (entry.folder.parent / "beside").write_bytes(b"x")
    status["files"] = {"../beside": file_digest(entry.folder.parent / "beside")}
    publish_json(entry.status_path, {**status, "seal": entry.seal(status)})
    assert entry.problem() == "../beside is missing"
    publish(entry.status_path, "[" * 100_000)
    assert entry.problem() == "status.json cannot be read"
    entry.status_path.unlink()
    os.mkfifo(entry.status_path)
    assert entry.problem() == "status.json cannot be read", "and nobody waits for a pipe"
