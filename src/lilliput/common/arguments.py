"""What users pass to public functions: strings, paths or objects, checked where they come in."""

import functools
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec, TypeVar

from lilliput.errors import ConfigError, shown

PathLike = str | os.PathLike[str]
"""A path as a string or an object; `RunDir` is one too."""
Texts = PathLike | Iterable[PathLike]
"""One file, folder, glob or hub data set, or several."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def wrong_type(argument: str, expected: str, value: object) -> ConfigError:
    """Returns the error for an argument of a wrong type: names it, what was expected and what came.

    >>> raise wrong_type("corpus", "a path", 3)
    Traceback (most recent call last):
    lilliput.errors.ConfigError: `corpus` must be a path, found 3, which is of type int
    """
    return ConfigError(
        f"`{argument}` must be {expected}, found {shown(value)}, which is of type {type(value).__name__}"
    )


def text_of(argument: str, value: object, expected: str = "a string or a path") -> str:
    """Returns the text of a string or path, such as a hub name; raises ConfigError for all else."""
    found = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(found, str):
        raise wrong_type(argument, expected, value)
    return found


def path_of(argument: str, value: object, expected: str = "a string or a path") -> Path:
    """Returns a path; raises ConfigError for what is none."""
    return Path(text_of(argument, value, expected))


def texts_of(argument: str, value: object) -> tuple[str, ...]:
    """Returns one or several strings or paths as strings; raises ConfigError for all else.

    >>> texts_of("corpus", "text.txt"), texts_of("corpus", [Path("a.txt"), "b.txt"])
    (('text.txt',), ('a.txt', 'b.txt'))
    """
    expected = "a string, a path or a list of these"
    if isinstance(value, str | os.PathLike):
        return (text_of(argument, value, expected),)
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise wrong_type(argument, expected, value)
    return tuple(text_of(f"{argument}[{place}]", each) for place, each in enumerate(value))


def renamed(**names: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Returns a decorator: old keyword arguments (old name = new name) still work, with a warning."""

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def call(*given: _P.args, **named: _P.kwargs) -> _R:
            for old in names.keys() & named.keys():
                warnings.warn(
                    f"{function.__name__}({old}=...) is now {function.__name__}({names[old]}=...); the "
                    "old name goes with the next release",
                    DeprecationWarning,
                    stacklevel=2,
                )
                named[names[old]] = named.pop(old)
            return function(*given, **named)

        return call

    return decorate
