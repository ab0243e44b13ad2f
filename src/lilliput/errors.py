"""Everything lilliput raises on purpose, in one tree.

    LilliputError
    ├── InputError       a file, text, data set or user setting that cannot be used
    │   └── ConfigError  a recipe or an option that is not what it must be
    ├── ModelError       a checkpoint that cannot serve as teacher, student or tokenizer
    ├── StorageError     what lilliput wrote earlier is missing, cut short, altered or cannot be written
    ├── BundleError      a bundle that is not whole, not of this version, or cannot do what is asked
    ├── ExtraError       a package that only some of lilliput needs is not installed
    ├── TrainingError    training cannot go on (a loss that is not finite)
    ├── LaunchError      the processes of a launch differ, or one does not come along or has ended
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
"""What ends a line, steers a terminal, turns the direction of writing or is no Unicode."""
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


class LilliputError(Exception):
    """Anything lilliput refuses, with a sentence for its user."""

    shared = False
    """Whether all processes of a launch raise it, so that it is enough when one says it."""


class InputError(LilliputError):
    """A file, text, data set or setting from the user that cannot be used."""


class ConfigError(InputError):
    """A recipe or an option with an unknown name, a wrong type or an impossible value."""


class ModelError(LilliputError):
    """A checkpoint that cannot serve as a teacher, a student or a tokenizer."""


class StorageError(LilliputError):
    """Something lilliput wrote is missing, cut short or altered, or cannot be written."""


class BundleError(LilliputError):
    """A bundle that is not whole, not readable by this version, or made for something else than is asked."""


class ExtraError(LilliputError):
    """A package that only a part of lilliput needs is not installed."""


class TrainingError(LilliputError):
    """Training cannot go on."""

    shared = True


class LaunchError(LilliputError):
    """The processes of a launch differ, or one of them does not come along or has ended."""


class PeerFailed(LilliputError):
    """Another process of the launch failed and has said why."""

    shared = True


class Interrupted(LilliputError):
    """A signal asked the run to stop; its state is saved and the same command goes on from there."""

    shared = True


@contextlib.contextmanager
def extra_named() -> Iterator[None]:
    """Turns a package's absence into an ExtraError that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "lilliput") or package in sys.stdlib_module_names:
            raise
        raise ExtraError(
            f"this takes the package {package}, which is not installed; lilliput alone only runs bundles, "
            "what makes them comes with: pip install 'lilliput[train]'"
        ) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the end of a message about an unknown name: the closest known one, or all of them.

    >>> nearest("widht", ["width", "heads"])
    "did you mean 'width'?"
    >>> nearest("x", ["width", "heads"])
    'known: heads, width'
    """
    import difflib  # here, as what runs a bundle must start at once

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"


def first_line(error: BaseException) -> str:
    """Returns the first line of what a library says of an error, which may be many."""
    return str(error).partition("\n")[0]


def printable(text: str) -> str:
    r"""Returns a text that stays on its line: what would steer a terminal is written as in JSON, as \u001b.

    >>> print(printable("a\tname\x1b[2J"))
    a\tname\u001b[2J
    """
    return _STEERS.sub(lambda found: _SHORT.get(found[0], f"\\u{ord(found[0]):04x}"), text)


def shown(value: Any) -> str:
    """Returns a value for a message: not more of it than fits into a sentence.

    >>> shown([[1, 2, 3], "x" * 100])
    "[[1, 2, 3], 'xxxxxxxxxxxx...xxxxxxxxxxxxx']"
    """
    import reprlib

    try:
        return reprlib.repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits
        return f"a {type(value).__name__} too large to be shown"


def bounded(name: str, value: Any, least: float, most: float, *excluded: float) -> Any:
    """Returns a number that lies within both bounds, as an int where these are and else as a float.

    Raises ConfigError for any other number, also NaN, and for what is none. Numbers of NumPy and torch serve.
    A bound may be excluded itself.

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
