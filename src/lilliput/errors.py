"""The errors that lilliput raises on purpose, in one tree, so that callers can catch them all.

    LilliputError
    ├── InputError       a file, text, data set or user setting that cannot be used
    │   └── ConfigError  a recipe or an option with an invalid name or value
    ├── ModelError       a checkpoint that cannot serve as teacher, student or tokenizer
    ├── StorageError     a file of lilliput is missing, cut short, altered or cannot be written
    ├── BundleError      a bundle is incomplete, of another version, or cannot do what is asked
    ├── HubError         a repository on the hub cannot be read or written, or the hub not reached
    ├── ExtraError       a package that only parts of lilliput need is not installed
    ├── TrainingError    training cannot go on (a loss that is NaN or infinite)
    ├── LaunchError      the processes of a launch differ, or one does not answer or has ended
    ├── PeerFailed       another process of the launch failed and has said why
    └── Interrupted      a signal stopped the run after its state was saved

A message is a sentence: what was wrong, where, what was expected, what to do. The command line prints it
without a traceback.
"""

import contextlib
import operator
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

_STEERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that end a line, control a terminal, change the direction of writing or are not Unicode."""
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


class LilliputError(Exception):
    """Any error that lilliput raises on purpose, with a sentence for the user."""

    shared = False
    """Whether all processes of a launch raise it, so that one of them prints it."""


class InputError(LilliputError):
    """A file, text, data set or setting from the user that cannot be used."""


class ConfigError(InputError):
    """A recipe or an option with an unknown name, a wrong type or an impossible value."""


class ModelError(LilliputError):
    """A checkpoint that cannot serve as a teacher, a student or a tokenizer."""


class StorageError(LilliputError):
    """A file of lilliput is missing, cut short, altered or cannot be written."""


class BundleError(LilliputError):
    """A bundle that is incomplete, not readable by this version, or made for another purpose than asked."""


class HubError(LilliputError):
    """A repository on the hub that cannot be read or written, or a hub that cannot be reached."""


class ExtraError(LilliputError):
    """A package that only parts of lilliput need is not installed."""


class TrainingError(LilliputError):
    """Training cannot go on."""

    shared = True


class LaunchError(LilliputError):
    """The processes of a launch differ, or one of them does not answer or has ended."""


class PeerFailed(LilliputError):
    """Another process of the launch failed and has said why."""

    shared = True


class Interrupted(LilliputError):
    """A signal asked the run to stop; its state is saved and the same command goes on from there."""

    shared = True


@contextlib.contextmanager
def extra_named() -> Iterator[None]:
    """Raises an ExtraError that says how to install a package if it is missing in the block."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "lilliput") or package in sys.stdlib_module_names:
            raise
        raise ExtraError(
            f"this needs the package {package}, which is not installed; lilliput alone only runs bundles, "
            "making them needs: pip install 'lilliput[train]'"
        ) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the end of a message about an unknown name: the closest known one, or all of them.

    >>> nearest("widht", ["width", "heads"])
    "did you mean 'width'?"
    >>> nearest("x", ["width", "heads"])
    'known: heads, width'
    """
    import difflib  # here, as running a bundle must start fast

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, which may have many lines."""
    return str(error).partition("\n")[0]


def printable(text: str) -> str:
    r"""Returns a text on one line, with control characters escaped as in JSON, such as \u001b.

    >>> print(printable("a\tname\x1b[2J"))
    a\tname\u001b[2J
    """
    return _STEERS.sub(lambda found: _SHORT.get(found[0], f"\\u{ord(found[0]):04x}"), text)


def shown(value: Any) -> str:
    """Returns a value for a message, shortened to fit into a sentence.

    >>> shown([[1, 2, 3], "x" * 100])
    "[[1, 2, 3], 'xxxxxxxxxxxx...xxxxxxxxxxxxx']"
    """
    import reprlib

    try:
        return reprlib.repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits
        return f"a {type(value).__name__} too large to be shown"


def bounded(name: str, value: Any, least: float, most: float, *excluded: float) -> Any:
    """Returns a number within both bounds: as an int if both are ints, else as a float.

    Raises ConfigError for a number out of bounds, NaN or any other value. Accepts numbers of NumPy and torch.
    A bound itself may be excluded.

    >>> bounded("--top", 3, 1, 1000)
    3
    """
    whole = isinstance(least, int) and isinstance(most, int)
    try:
        found = None if isinstance(value, bool | str) else operator.index(value) if whole else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        found = None
    if found is None or not least <= found <= most or found in excluded:
        left, right = "(" if least in excluded else "[", ")" if most in excluded else "]"
        interval = f"must lie in {left}{least:,.9g}, {most:,.9g}{right}"
        wanted = f"must be a whole number from {least:,} to {most:,}" if whole else interval
        raise ConfigError(f"{name} {wanted}, found {shown(value)}")
    return found
