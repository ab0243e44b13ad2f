"""Where a run keeps what: its directories, manifests with digests of all inputs, and metrics.

Each stage writes one directory, once. `begun.json` is written first and says from what the directory is being
built; `manifest.json` is written last and makes it finished. A stage found finished from the same inputs is
skipped, a half-built one goes on, and one built from anything else is refused, so that no result is lost or
mixed.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilliput.common.files import digest_value, not_written, write_json
from lilliput.common.folders import (
    MANIFEST,
    Files,
    clear_leftovers,
    clear_removed,
    damage,
    files_below,
    not_ours,
    read_manifest,
    record,
    recorded,
    remove,
    strangers,
    sync_all,
)
from lilliput.common.locks import beside, locked
from lilliput.common.progress import console
from lilliput.common.provenance import difference, versions
from lilliput.common.stored import as_stored
from lilliput.errors import StorageError

FORMAT = 1
"""Raised whenever the files of a run change their meaning; part of every manifest."""

_PASSING = ("checkpoints", "parts", "seeds")
"""Folders of a stage that only building it needs; they are removed when it is finished."""


@dataclass(frozen=True)
class StageDir:
    """A directory that one stage writes once, with a manifest of what it was made from."""

    path: Path
    """The directory."""
    made_from: Mapping[str, Any]
    """Settings and input digests (JSON values) that determine its content."""

    @property
    def manifest_path(self) -> Path:
        """Written last; says what the directory was made from and what came of it."""
        return self.path / MANIFEST

    @property
    def begun_path(self) -> Path:
        """Written first; says what the directory is being made from."""
        return self.path / "begun.json"

    @property
    def digest(self) -> str:
        """Digest of everything that determines the content."""
        return digest_value({"format": FORMAT, "made_from": self.made_from})

    def is_finished(self, overwrite: bool = False) -> bool:
        """Whether the directory is finished and made from the same.

        Where it was made from something else, StorageError says what differs, unless that may be overwritten.
        """
        other = self.other()
        if other is not None and not overwrite:
            raise StorageError(
                f"{self.path} was made from something else ({_difference(other, self.made_from)}); "
                "choose another --out to keep it, or add --overwrite to build it again"
            )
        return other is None and self.manifest_path.exists()

    def is_whole(self, overwrite: bool = False) -> bool:
        """Whether the directory is finished, made from the same, and holds what was saved, bit by bit."""
        return self.is_finished(overwrite) and self.damage() is None

    def files(self) -> Files | None:
        """Returns what is recorded of the files of a finished stage; None by an older version."""
        return recorded(self.manifest_path)

    def damage(self, below: str = "") -> str | None:
        """Returns what is wrong with what a finished stage saved, or below a folder of it, or None."""
        chosen = files_below(self.path, below) if below else self.files()
        return damage(self.path, chosen or {})

    def require_whole(self, remedy: str, below: str = "") -> None:
        """Raises StorageError with a remedy where a finished stage does not hold what was saved."""
        if self.manifest_path.exists() and (fault := self.damage(below)) is not None:
            raise StorageError(f"{fault}; {remedy}")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from writing the directory while the block runs."""
        with locked(beside(self.path), self.path):
            yield

    def other(self) -> dict[str, Any] | None:
        """Returns what is recorded of a directory made from something else."""
        for path in (self.manifest_path, self.begun_path):
            if path.exists():
                found = read_manifest(path)
                if found["digest"] != self.digest:
                    return found
        return None

    def begin(self) -> None:
        """Creates the directory, or goes on with one that was begun from the same.

        One made from something else, or damaged since, is removed, so call this only when it may be
        overwritten and the new inputs are known to be good, and under its lock, as what killed processes left
        is removed too. Raises StorageError if there are files that no stage wrote.
        """
        clear_removed(self.path)
        if self.other() is not None:
            self.clear()
        elif self.manifest_path.exists():
            console.print(f"{self.damage()}; it is made anew", highlight=False, markup=False, soft_wrap=True)
            self.clear()
        clear_leftovers(self.path)
        if not self.begun_path.exists():
            if any(item.is_file() and not item.name.startswith(".") for item in self.path.rglob("*")):
                raise self._not_ours()  # overwriting would take them away one day
            write_json(
                self.begun_path, {"format": FORMAT, "digest": self.digest, "made_from": dict(self.made_from)}
            )

    def clear(self) -> None:
        """Removes the directory with everything in it; raises StorageError if no stage wrote it."""
        if not self.path.exists():
            return
        aside = self.path.absolute().with_name(f".{self.path.absolute().name}.{os.getpid()}.removed")
        try:
            if not (self.manifest_path.exists() or self.begun_path.exists()) and any(self.path.iterdir()):
                raise self._not_ours()
            if others := self._strangers():
                raise not_ours(self.path, others)
            self.path.rename(aside)  # a kill must not leave a part of it, without the manifest, in its place
        except OSError as error:
            raise StorageError(
                f"{self.path} cannot be removed: {error.strerror or error}; choose another --out"
            ) from error
        shutil.rmtree(aside, ignore_errors=True)

    def _strangers(self) -> list[str]:
        """Returns the names of files in a finished directory that were not there when it was finished."""
        files = self.files() if self.manifest_path.exists() else None
        if files is None:
            return []
        found = strangers(self.path, {*files, self.manifest_path.name, self.begun_path.name})
        return [name for name in found if name.partition("/")[0] not in _PASSING]

    def _not_ours(self) -> StorageError:
        return StorageError(
            f"{self.path} holds files that lilliput did not write (no {self.manifest_path.name}, no "
            f"{self.begun_path.name}), so it is left as it is; choose another --out, or move them"
        )

    def finish(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Writes and returns the manifest, which makes the directory finished.

        Before that everything is on disk, and the manifest has the bytes and digests of all files.
        """
        try:
            sync_all(self.path, _PASSING)
            names = (*_PASSING, self.manifest_path.name, self.begun_path.name)
            files = record(self.path, names)
        except OSError as error:
            raise not_written(self.path, error) from error
        manifest = {
            "format": FORMAT,
            "digest": self.digest,
            "made_from": dict(self.made_from),
            "results": dict(results),
            "files": files,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": versions(),
        }
        write_json(self.manifest_path, manifest)
        self.tidy()
        return manifest

    def leftovers(self) -> list[Path]:
        """Returns what only building it needed and is there, as it is when a kill came after the manifest."""
        paths = (self.begun_path, *(self.path / name for name in _PASSING))
        return [path for path in paths if path.exists()]

    def tidy(self) -> None:
        """Removes what only building the finished directory needed."""
        for path in self.leftovers():
            remove(path)

    def results(self) -> dict[str, Any]:
        """Returns what the stage reported when it finished."""
        results: dict[str, Any] = read_manifest(self.manifest_path)["results"]
        return results

    def read(self, hint: Any) -> Any:
        """Returns what the stage reported as a value of a type, most often a dataclass."""
        return as_stored(hint, self.results(), self.manifest_path)


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Says in a few words what differs between a manifest and what is wanted now."""
    if found.get("format") != FORMAT:
        return f"format {found.get('format')}, this version of lilliput writes {FORMAT}"
    return difference(found["made_from"], wanted)
