"""Repositories on the Hugging Face hub: their names, and a sentence for everything that goes wrong there."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from lilliput.errors import ConfigError, HubError, LilliputError, first_line

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w-][\w.-]{0,95}")
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_FULL = ("quota", "storage", "exceed")
"""Words of an answer by which a hub says that there is no room."""


def is_repository(name: str) -> bool:
    """Returns whether a name is one of a repository: owner/name, and no file or folder here.

    >>> is_repository("owner/name"), is_repository("name"), is_repository("./runs/x"), is_repository("a/b/c")
    (True, False, False, False)
    """
    return _NAME.fullmatch(name) is not None and not Path(name).exists()


def require_repository(name: str) -> None:
    """Raises ConfigError where a name cannot be one of a repository."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"'{name}' is no name of a repository on the hub, expected is owner/name of letters, digits, "
            "-, _ and ."
        )


def endpoint() -> str:
    """Returns the address of the hub: HF_ENDPOINT, or that of Hugging Face."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


@contextlib.contextmanager
def hub_errors(name: str, revision: str | None, doing: Literal["read", "written"]) -> Iterator[None]:
    """Raises HubError with a sentence for whatever the hub's client raises in the block.

    Args:
        name: The repository.
        revision: Its revision, if one was named.
        doing: What the block does with it.
    """
    try:
        yield
    except LilliputError:
        raise
    except Exception as error:  # the client raises many kinds, those of two libraries of HTTP among them
        if isinstance(error, OSError) and (error.filename is not None or error.errno in _OF_A_DISK):
            raise
        raise HubError(
            f"'{name}' cannot be {doing} on {endpoint()}: {_why(error, name, revision, doing)}"
        ) from error


def _why(error: Exception, name: str, revision: str | None, doing: str) -> str:
    """Returns what was wrong, and what to do."""
    from huggingface_hub import errors, get_token

    here = "; there is no such folder here either" if doing == "read" else ""
    known = f"this machine has {'a' if get_token() else 'no'} token"
    match error:
        case errors.LocalTokenNotFoundError():
            found = f"there is no token; {_LOG_IN}"
        case errors.GatedRepoError():
            found = f"its owner wants you to accept conditions: open its page, accept them, then {_LOG_IN}"
        case errors.RepositoryNotFoundError():
            found = (
                f"there is no such repository, or it is private and you may not read it ({known}); check the "
                f"name, or {_LOG_IN} with rights to it{here}"
            )
        case errors.RevisionNotFoundError():
            found = f"it has no revision '{revision}'; name a branch, a tag or a commit of it"
        case errors.LocalEntryNotFoundError() | errors.OfflineModeIsEnabled():
            found = (
                "it is not in the cache, or only in part, and the hub cannot be reached; check the network, "
                f"and that HF_HUB_OFFLINE is not set, then try again{here}"
            )
        case _:
            found = _answered(error, name.split("/", maxsplit=1)[0], known)
    return found


def _answered(error: Exception, owner: str, known: str) -> str:
    """Returns what an answer of a hub means by its status; without an answer, that there was none."""
    said, status = first_line(error), getattr(getattr(error, "response", None), "status_code", None)
    answer = f"{error} {getattr(error, 'server_message', '') or ''}".lower()
    if status in (507, 413) or (status == 403 and any(word in answer for word in _FULL)):
        found = f"there is no room ({said}); remove something there, or store more by another plan"
    elif status == 401:
        found = f"the token is missing or not valid ({known}); {_LOG_IN}"
    elif status == 403:
        found = (
            f"you may not write there ({known}); the name belongs to '{owner}', so take a name of your own, "
            "or a token with rights to write in it"
        )
    elif status is not None:
        found = f"it answered {status} ({said}); try again later"
    else:
        found = (
            f"the connection failed ({said or type(error).__name__}); check the network and do the same "
            "again: what was sent whole is kept"
        )
    return found
