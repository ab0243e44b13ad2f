"""How a command ends: with success, with an error in one sentence, or with a report of a fault of lilliput.

Failures outside lilliput (disk, permissions, memory, names) become a sentence here, unless the code that met
them already raised a better one.
"""

import contextlib
import errno
import io
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lilliput.errors import Interrupted, LilliputError, StorageError, first_line, printable

REFUSED, FAULT, INTERRUPTED = 1, 70, 130
"""Exit codes; 0 is success, and 2 a command line that cannot be parsed."""

_KEPT = "finished parts are kept"
_REMEDIES = {
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "change its permissions, or choose another place",
    errno.ENOSPC: f"make room, then run the same command again: {_KEPT}",
    errno.EDQUOT: f"make room, then run the same command again: {_KEPT}",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "name a file in it",
    errno.ENOTDIR: "a part of this path is a file; name another one",
    errno.ENOENT: "check the name",
    errno.ELOOP: "its links form a loop; name the file itself",
    errno.EMFILE: f"allow more open files (ulimit -n 8192), then run the same command again: {_KEPT}",
    errno.ENFILE: f"close other programs, then run the same command again: {_KEPT}",
    errno.EROFS: "choose a folder on a disk that can be written",
    errno.EIO: f"check the disk or the network, then run the same command again: {_KEPT}",
    errno.ENOMEM: f"free memory, then run the same command again: {_KEPT}",
    errno.EAGAIN: f"close other programs, then run the same command again: {_KEPT}",
}
_NO_MEMORY = (
    "memory ran out; close other programs, or ask for less: fewer --workers, fewer batch.rows, more "
    f"batch.accumulation; {_KEPT}"
)
_RED, _YELLOW = 31, 33
_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")


def ended(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit code; prints errors on standard error.

    Returns FAULT for an exception that is no LilliputError, no interruption and no failure from outside, and
    writes its traceback into a file.
    """
    _open_closed()
    try:
        code = command() or 0
        with printing():
            sys.stdout.flush()
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        code = _told(error)
    return code


def _told(error: BaseException) -> int:
    """Prints what went wrong and returns the exit code."""
    code, sentence = REFUSED, outside(error)
    if isinstance(error, SystemExit):
        code, sentence = (REFUSED, error.code) if isinstance(error.code, str) else (error.code or 0, "")
    elif isinstance(error, KeyboardInterrupt):
        code = INTERRUPTED
        sentence = "interrupted; finished parts are kept, run the same command again to go on"
    elif isinstance(error, LilliputError):
        code, sentence = INTERRUPTED if isinstance(error, Interrupted) else REFUSED, str(error)
        if error.shared and os.environ.get("RANK", "0") != "0":
            time.sleep(1)  # lets the main process print it: launchers stop all processes when one ends
            sentence = ""
    elif isinstance(error, BrokenPipeError) and _nobody_reads():  # as with `| head`: not an error
        code, sentence = 0, ""
        _drop_output()
    elif sentence is None:
        code, sentence = FAULT, _reported(error)
    if sentence:
        say(sentence, _YELLOW if code == INTERRUPTED else _RED)
    return code


def say(sentence: str, colour: int | None = None) -> None:
    """Prints a sentence on standard error, on one line, with control characters escaped."""
    rank = os.environ.get("RANK", "0")
    line = printable(f"lilliput: {sentence}" if rank == "0" else f"lilliput, process {rank}: {sentence}")
    with contextlib.suppress(OSError, ValueError):  # standard error is gone
        if colour and sys.stderr.isatty() and "NO_COLOR" not in os.environ:
            line = f"\x1b[{colour}m{line}\x1b[0m"
        print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Raises StorageError if standard output cannot be written in the block."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        raise StorageError(
            f"standard output cannot be written: {error.strerror or error}; send it elsewhere, then run the "
            f"same command again: {_KEPT}"
        ) from error


def outside(error: BaseException) -> str | None:
    """Returns the sentence for a failure from outside lilliput; None for any other error.

    >>> outside(PermissionError(13, "Permission denied", "a.txt"))
    'a.txt: Permission denied; change its permissions, or choose another place'
    """
    said, sentence = first_line(error), None
    match error:
        case OSError():
            sentence = _of_system(error)
        case UnicodeError():
            sentence = f"a name or text is not Unicode ({said}); rename it, or convert the text to UTF-8"
        case RecursionError():
            sentence = "the input is nested too deeply to be read; flatten it"
        case ImportError() if not (error.name or "").startswith("lilliput"):
            sentence = f"a package cannot be loaded ({said}); install it again"
        case ValueError() if "embedded null" in said:
            sentence = "a file name contains a null character; remove it"
        case MemoryError():
            sentence = _NO_MEMORY
        case RuntimeError() if any(words in str(error).lower() for words in _OF_MEMORY):
            sentence = _NO_MEMORY
    return sentence


def _of_system(error: OSError) -> str:
    names = (error.filename, error.filename2)
    where = " and ".join(os.fsdecode(name) for name in names if isinstance(name, str | bytes))
    said = error.strerror or first_line(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, f"run the same command again: {_KEPT}")
    return f"{where}: {said}; {remedy}" if where else f"the system says: {said}; {remedy}"


def _reported(error: BaseException) -> str:
    """Returns the sentence for a fault of lilliput, after writing its traceback into a file."""
    import importlib.metadata
    import platform
    import traceback

    said = f"{type(error).__name__}: {first_line(error)}".rstrip(": ")
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        said += f" (lilliput {importlib.metadata.version('lilliput')}, Python {platform.python_version()})"
    trace = "".join(traceback.format_exception(error))
    path = _written(f"{said}\n{platform.platform()}\n{sys.argv}\n\n{trace}")
    if path is None:
        sys.stderr.write(trace)
    where = f"{path}, which holds the command and the traceback" if path else "the traceback above"
    return f"this is a fault of lilliput: {said}; please report this line to its authors, with {where}"


def _written(report: str) -> Path | None:
    """Writes a report into a new file that only its owner can read; returns its path, None if that fails."""
    import tempfile

    name = time.strftime(f"lilliput-fault-%Y%m%d-%H%M%S-{os.getpid()}-{time.monotonic_ns() % 10**6:06d}.txt")
    for folder in (Path(), Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(report)
            return folder / name
    return None


def _open_closed() -> None:
    """Replaces closed standard streams (`>&-`) by ones that refuse, so no other file gets their descriptors.

    Also makes names that are not Unicode printable.
    """
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest free descriptor
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nobody_reads() -> bool:
    """Whether standard output is a pipe without a reader."""
    if sys.platform == "win32":  # which has no poll
        return False
    with contextlib.suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(events & select.POLLERR for _, events in poll.poll(0))
    return False


def _drop_output() -> None:
    """Discards buffered output, which Python would otherwise complain about on exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
