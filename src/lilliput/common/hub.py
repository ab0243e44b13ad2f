"""Where a checkpoint's files are: in a folder here, or in the copy that the hub's cache keeps of them."""

from pathlib import Path

from lilliput.common.files import parse_json
from lilliput.errors import ModelError, first_line


def checkpoint_folder(name: str, *patterns: str) -> Path:
    """Returns the folder with a checkpoint's files, fetched from the hub unless `name` is a folder here.

    Args:
        name: Folder or hub name.
        patterns: Names of the files that are wanted of the hub, where * stands for anything; those that the
            checkpoint does not have are left out.

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
    from huggingface_hub import snapshot_download  # here, as most checkpoints are folders

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except Exception as error:  # the hub's failures are of many kinds
        raise ModelError(
            f"'{name}' is not a folder here, and nothing of that name came from the hub "
            f"({first_line(error)}); name the folder of a checkpoint, or check the name and the network"
        ) from error


def hub_revision(folder: Path) -> str | None:
    """Returns the revision that a folder of the hub's cache holds; None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else None


def read_settings(path: Path, most_bytes: int = 1 << 22) -> dict[str, object]:
    """Returns the JSON object in a file of a checkpoint, or an empty one where there is no such file.

    Raises ModelError when it cannot be read or holds something else.
    """
    try:
        if not path.is_file():
            return {}
        if (size := path.stat().st_size) > most_bytes:
            raise ModelError(
                f"{path} has {size:,} bytes, where at most {most_bytes:,} make sense; fetch it again"
            )
        found = parse_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}); fetch it again") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} is damaged (it is no JSON object); fetch it again")
    return found
