"""One process at a time: who holds a lock is named, who died holds nothing, and nothing is left behind."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from lilliput.common.locks import beside, locked
from lilliput.common.progress import console
from lilliput.errors import StorageError

HOLDER = """
import sys, time
from pathlib import Path
from lilliput.common.locks import locked
with locked(Path(sys.argv[1]), Path("the run")):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(place: Path) -> "subprocess.Popen[str]":
    """Starts a process that holds a lock until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(place)]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "held\n"
    return started


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    place = tmp_path / "run" / ".lock"
    with hold(place) as other:
        sentence = rf"the run is in use by process {other.pid} on \S+ since \S+ \S+ UTC \(.*\); wait until"
        with pytest.raises(StorageError, match=sentence), locked(place, Path("the run")):
            pytest.fail("two hold it")
        other.communicate("")
    assert not place.parent.exists(), "nothing is left, not even the folder"


def test_who_was_killed_keeps_nobody_out(tmp_path: Path) -> None:
    place = tmp_path / ".lock"
    with hold(place) as other:
        other.kill()
    assert place.exists()
    with locked(place, tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_waits_gets_it_after_the_holder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / ".lock"
    with hold(place) as other:
        threading.Timer(0.3, other.stdin.close).start()  # type: ignore[union-attr]
        with console.capture() as said, locked(place, Path("the cache"), wait=True):
            assert other.wait() == 0
        assert f"waiting for process {other.pid}" in said.get()
    assert list(tmp_path.iterdir()) == []


def test_who_holds_it_may_ask_again_but_another_thread_not(tmp_path: Path) -> None:
    place, found = tmp_path / ".lock", list[str]()

    def ask() -> None:
        try:
            with locked(place, tmp_path):
                found.append("held")
        except StorageError as error:
            found.append(str(error))

    with locked(place, tmp_path):
        ask()
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert found[0] == "held"
    assert f"in use by process {os.getpid()}" in found[1]


def test_a_holder_that_is_not_recorded_is_another_process(tmp_path: Path) -> None:
    place = tmp_path / ".lock"
    place.with_suffix(".holder").write_text("[]")
    with (
        FileLock(place),
        pytest.raises(StorageError, match="in use by another process"),
        locked(place, tmp_path),
    ):
        pytest.fail("two hold it")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with console.capture() as said, locked(tmp_path / ".lock", Path("x")):
        pass
    assert "the disk of x has no locks" in said.get()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot be written"), locked(tmp_path / "a" / ".lock", tmp_path):
        pass


def test_the_lock_of_a_folder_stands_beside_it(tmp_path: Path) -> None:
    assert beside(tmp_path / "a" / "..") == tmp_path.parent / f".{tmp_path.name}.lock"
