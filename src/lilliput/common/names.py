"""Names that become folders: one plain name on every system, or a sentence."""

import re

from lilliput.errors import InputError

_LONGEST = 100
"""Bytes; file systems take 255, and names of files have more around it."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""What Windows takes for a device."""


def folder_name(name: str, what: str, remedy: str) -> str:
    """Returns a name if it can be that of one folder, on any system; raises InputError where it cannot.

    Args:
        name: The name, from a user, a file's name or a file.
        what: What is called so, as the beginning of a sentence, such as "a task's name".
        remedy: What to do, as the end of a sentence.

    >>> folder_name("sst2", "a task's name", "")
    'sst2'
    >>> folder_name("../x", "a task's name", "give another with --task")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    lilliput.errors.InputError: a task's name becomes a folder's, and '../x' holds '/'; give another with...
    """
    if (fault := _fault(name)) is not None:
        shown = name if len(name) <= _LONGEST else f"{name[:20]}..."
        raise InputError(f"{what} becomes a folder's, and {shown!a} {fault}; {remedy}")
    return name


def _fault(name: str) -> str | None:
    """Returns what keeps a name from being a folder's, or None."""
    if not name.strip():
        return "is empty"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not Unicode text"
    if size > _LONGEST:
        return f"has {size:,} bytes, more than {_LONGEST}"
    if odd := next((sign for sign in name if sign in '/\\:*?"<>|' or not sign.isprintable()), None):
        return f"holds {odd!a}"
    if name[0] in " ." or name[-1] in " .":
        return "begins or ends with a full stop or a space"
    return "is a device's name on Windows" if _RESERVED.fullmatch(name) else None
