"""Finds a checkpoint's files: in a local folder, or in the cache of the Hugging Face hub."""

from pathlib import Path

from lilliput.common.files import parse_json
from lilliput.errors import ModelError, first_line

_MOST_BYTES = 1 << 22
"""Of a file of settings."""


def checkpoint_folder(name: str, *patterns: str) -> Path:
    """Returns the folder with a checkpoint's files, downloaded from the hub unless `name` is a local folder.

    Args:
        name: Folder or hub name.
        patterns: Names of the files to download from the hub, where * stands for anything; files that the
            checkpoint lacks are left out.

    Raises:
        ModelError: If there is neither a folder nor a checkpoint of that name.
    """
    folder = Path(name)
    try:
        if folder.is_dir():
            return folder
        if folder.exists():
            raise ModelError(f"{folder} is a file; name the folder of a checkpoint, or one on the hub")
    except OSError as error:
        raise ModelError(f"{folder} cannot be read: {error.strerror or error}") from error
    from huggingface_hub import snapshot_download  # here, as most checkpoints are local folders

    try:
        return Path(snapshot_download(name, allow_patterns=[*patterns, "README.md"]))
    except Exception as error:  # the hub raises many kinds
        raise ModelError(
            f"'{name}' is not a folder here, and no checkpoint of that name could be downloaded from the hub "
            f"({first_line(error)}); name the folder of a checkpoint, or check the name and the network"
        ) from error


def hub_revision(folder: Path) -> str | None:
    """Returns the revision of a folder in the hub's cache; None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else None


def read_settings(path: Path, most_bytes: int = _MOST_BYTES) -> dict[str, object]:
    """Returns the JSON object in a file of a checkpoint, or an empty one if there is no such file.

    Raises ModelError if it cannot be read or holds something else.
    """
    found = read_value(path, most_bytes, missing={})
    if not isinstance(found, dict):
        raise ModelError(f"{path} is damaged (it is not a JSON object); fetch it again")
    return found


def read_value(path: Path, most_bytes: int = _MOST_BYTES, missing: object = None) -> object:
    """Returns what a JSON file of a checkpoint holds, or `missing` if there is no such file.

    Raises ModelError if it cannot be read.
    """
    try:
        if not path.is_file():
            return missing
        if (size := path.stat().st_size) > most_bytes:
            raise ModelError(
                f"{path} has {size:,} bytes, where at most {most_bytes:,} are plausible; fetch it again"
            )
        value: object = parse_json(path.read_bytes())
        return value
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}); fetch it again") from error
