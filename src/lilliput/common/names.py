"""Checks names that become folders: each must be valid on every system."""

import re

from lilliput.errors import InputError

_LONGEST = 100
"""Bytes; file systems allow 255, and file names add more to it."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names of devices on Windows."""


def folder_name(name: str, what: str, remedy: str) -> str:
    """Returns the name if it is valid for one folder on every system; raises InputError if not.

    Args:
        name: The name, from a user, a file name or a file.
        what: What the name is for, as the start of a sentence, such as "a task's name".
        remedy: What to do, as the end of a sentence.

    >>> folder_name("sst2", "a task's name", "")
    'sst2'
    >>> folder_name("../x", "a task's name", "give another with --task")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    lilliput.errors.InputError: a task's name becomes a folder name, and '../x' contains '/'; give another...
    """
    if (fault := _fault(name)) is not None:
        shown = name if len(name) <= _LONGEST else f"{name[:20]}..."
        raise InputError(f"{what} becomes a folder name, and {shown!a} {fault}; {remedy}")
    return name


def _fault(name: str) -> str | None:
    """Returns why a name cannot be a folder name, or None."""
    if not name.strip():
        return "is empty"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not Unicode text"
    if size > _LONGEST:
        return f"has {size:,} bytes, more than {_LONGEST}"
    if odd := next((sign for sign in name if sign in '/\\:*?"<>|' or not sign.isprintable()), None):
        return f"contains {odd!a}"
    if name[0] in " ." or name[-1] in " .":
        return "begins or ends with a full stop or a space"
    return "is a device name on Windows" if _RESERVED.fullmatch(name) else None
