"""How the command line ends: what comes from outside is a sentence, what is a fault leaves a report."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lilliput.common import ending
from lilliput.common.ending import FAULT, INTERRUPTED, REFUSED, ended, outside
from lilliput.errors import InputError, Interrupted, PeerFailed, bounded, printable

ODD = "[/b]\x1b[31m\udcff\n\u2028é"
SHOWN = r"[/b]\u001b[31m\udcff\n\u2028é"
Ended = Callable[..., subprocess.CompletedProcess[str]]


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("a.txt is empty"), REFUSED, "lilliput: a.txt is empty\n"),
        (InputError(ODD), REFUSED, f"lilliput: {SHOWN}\n"),
        (Interrupted("stopped"), INTERRUPTED, "lilliput: stopped\n"),
        (KeyboardInterrupt(), INTERRUPTED, "lilliput: interrupted; .*same command again"),
        (SystemExit(), 0, "^$"),
        (SystemExit(2), 2, "^$"),
        (SystemExit("no"), REFUSED, "lilliput: no\n"),
        (
            PermissionError(13, "Permission denied", "a.txt"),
            REFUSED,
            "a.txt: .*; change its perm",
        ),
        (PermissionError(13, "Permission denied", b"\xff"), REFUSED, r"\\udcff: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device", "a"), REFUSED, "a: No space left.*; make room"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "a"),
            REFUSED,
            "choose a shorter",
        ),
        (OSError(errno.EROFS, "Read-only file system", "a"), REFUSED, "choose a folder on a disk"),
        (
            OSError(errno.EIO, "Input/output error"),
            REFUSED,
            "the system says: Input/output error",
        ),
        (OSError(errno.EMFILE, "Too many open files", "a"), REFUSED, "allow more open files"),
        (OSError(errno.EPIPE, "Broken pipe"), REFUSED, "Broken pipe; run the same command again"),
        (OSError("the hub is away"), REFUSED, "the hub is away; run the same command again"),
        (MemoryError(), REFUSED, "memory ran out; .*fewer --workers"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), REFUSED, "memory ran out"),
        (RecursionError("maximum"), REFUSED, "nested too deeply"),
        ("\udcff".encode, REFUSED, "a name or text is not Unicode"),
        (lambda: Path("a\0b").stat(), REFUSED, "a name of a file holds a null character"),
        (ImportError("libcuda.so", name="torch"), REFUSED, "a package cannot be loaded"),
    ],
    ids=lambda value: (
        type(value).__name__ if callable(value) or isinstance(value, Exception) else repr(value)
    ),
)
def test_what_comes_from_outside_is_a_sentence(
    capfd: pytest.CaptureFixture[str], error: Any, code: int, said: str
) -> None:
    assert ended(raising(error) if isinstance(error, BaseException) else error) == code
    err = capfd.readouterr().err
    assert said in err or re.search(said if code else "", err)
    assert err.count("\n") == (1 if code not in (0, 2) else 0)


def test_success_is_zero() -> None:
    assert ended(lambda: None) == 0
    assert ended(lambda: 3) == 3


def test_what_all_processes_raise_the_first_alone_says(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lilliput.common.ending.time.sleep", lambda seconds: None)
    monkeypatch.setenv("RANK", "1")
    assert ended(raising(PeerFailed("process 0 failed"))) == REFUSED
    assert capfd.readouterr().err == ""
    assert ended(raising(InputError("mine"))) == REFUSED
    assert capfd.readouterr().err == "lilliput, process 1: mine\n"


def test_a_fault_is_said_with_a_report_that_only_its_owner_reads(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ended(raising(KeyError(ODD))) == FAULT
    said = capfd.readouterr().err
    assert "Traceback" not in said
    (report,) = tmp_path.iterdir()
    start = "lilliput: this is a fault of lilliput: KeyError: "
    assert said.startswith(start)
    assert re.search(rf"\(lilliput \S+, Python \S+\); please report this line .*{report.name}", said)
    assert report.stat().st_mode & 0o777 == 0o600
    assert "Traceback" in report.read_text()
    assert 'raise error\nKeyError: "[/b]' in report.read_text().replace("'", '"')


def test_a_report_goes_elsewhere_where_the_folder_takes_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    path = ending._written("what happened")
    assert path is not None
    assert path.parent == tmp_path
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(gone))
    assert ending._written("what happened") is None


@given(st.text(st.characters(), max_size=20))
def test_what_is_printable_stays_on_its_line_and_can_be_encoded(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search("[\x00-\x1f\x7f-\x9f]", shown)
    assert shown.encode().decode() == shown
    assert printable(shown) == shown


@given(st.one_of(st.integers(), st.floats(), st.text(), st.none(), st.binary(), st.lists(st.integers())))
def test_a_bounded_number_is_a_number_within_bounds(value: Any) -> None:
    if type(value) is int and 1 <= value <= 9:
        assert bounded("it", value, 1, 9) == value
    else:
        with pytest.raises(InputError, match="it must be a whole number from 1 to 9, found"):
            bounded("it", value, 1, 9)


ERRORS = [OSError, MemoryError, ValueError, KeyError, RuntimeError, UnicodeError, RecursionError, ImportError]


@given(st.sampled_from(ERRORS), st.lists(st.one_of(st.text(), st.integers(), st.none()), max_size=5))
def test_of_any_error_there_is_a_sentence_or_none(kind: type[Exception], arguments: list[Any]) -> None:
    sentence = outside(kind(*arguments))
    assert sentence is None or sentence
    assert (kind in (ValueError, KeyError)) <= (sentence is None or "null" in sentence)


# In a process of its own


@pytest.fixture
def shell(tmp_path: Path) -> Ended:
    """Runs a line of shell in which LILLIPUT stands for the command."""

    def call(line: str) -> subprocess.CompletedProcess[str]:
        line = line.replace("LILLIPUT", f"{sys.executable} -m lilliput")
        done = subprocess.run(
            ["bash", "-c", line],
            capture_output=True,
            check=False,
            cwd=tmp_path,
            encoding="utf-8",
            errors="surrogateescape",
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        assert "Traceback" not in done.stderr
        assert "fault of lilliput" not in done.stderr
        return done

    return call


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (
            "LILLIPUT recipes > /dev/full",
            REFUSED,
            "cannot be written: No space left on device",
        ),
        ("LILLIPUT recipes >&-", REFUSED, "standard output cannot be written: Bad file descriptor"),
        ("LILLIPUT recipes >&- 2>&- <&-", REFUSED, ""),
        ("LILLIPUT recipes tiny | head -n 1; exit ${PIPESTATUS[0]}", 0, ""),
        (r"LILLIPUT recipes $'[/b]\x1b\xff'", REFUSED, r"no recipe is called '[/b]\u001b\udcff'"),
        (r"PYTHONIOENCODING=ascii LC_ALL=C LILLIPUT recipes é", REFUSED, "no recipe is called '\\xe9'"),
        ("LILLIPUT recipes .toml", REFUSED, "no recipe is called '.toml'"),
        ("mkdir a.toml; LILLIPUT recipes a.toml", REFUSED, "a.toml cannot be read: Is a directory"),
        (f"LILLIPUT recipes {'x' * 300}.toml", REFUSED, "cannot be read: File name too long"),
        ("WORLD_SIZE=many LILLIPUT recipes > /dev/null", 0, ""),
    ],
)
def test_the_command_line_ends_in_a_sentence(shell: Ended, line: str, code: int, said: str) -> None:
    done = shell(line)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == bool(said)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_a_file_without_permission_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("name = 'x'")
    (tmp_path / "mine.toml").chmod(0o600)
    tmp_path.chmod(0o755)
    program = (
        "import os, sys; from lilliput.common.ending import ended; from lilliput.recipes import find_recipe; "
        f"os.setuid(65534); sys.exit(ended(lambda: find_recipe({str(tmp_path / 'mine.toml')!r})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == REFUSED
    assert re.fullmatch(r"lilliput: .*mine.toml.*[Pp]ermission.*\n", done.stderr)
