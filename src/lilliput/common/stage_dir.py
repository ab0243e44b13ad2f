"""The directory of a stage, with a manifest of its inputs, so that a run resumes where it was interrupted.

Each stage writes one directory, once. `begun.json` is written first and names the inputs; `manifest.json` is
written last and marks the directory as finished. With the same inputs, a finished stage is skipped and a
half-built one continues. A directory built from other inputs is refused, so that no result is lost or mixed.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
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
"""Increased whenever the files of a run change their meaning; part of every manifest."""

_PASSING = ("checkpoints", "parts", "seeds")
"""Folders that a stage needs only while it is built; removed when it is finished."""


@dataclass(frozen=True)
class StageDir:
    """A directory that one stage writes once, with a manifest of its inputs."""

    path: Path
    """The directory."""
    made_from: Mapping[str, Any]
    """Settings and input digests (JSON values) that determine its content."""

    @property
    def manifest_path(self) -> Path:
        """The file written last, with the stage's inputs and results."""
        return self.path / MANIFEST

    @property
    def begun_path(self) -> Path:
        """The file written first, with the stage's inputs."""
        return self.path / "begun.json"

    @property
    def digest(self) -> str:
        """The digest of everything that determines the content."""
        return digest_value({"format": FORMAT, "made_from": self.made_from})

    def is_finished(self, overwrite: bool = False) -> bool:
        """Whether the directory is finished and made from the same inputs.

        Raises StorageError, which says what differs, if the inputs are others, unless `overwrite` is set.
        """
        other = self.other()
        if other is not None and not overwrite:
            raise StorageError(
                f"{self.path} was made from something else ({_difference(other, self.made_from)}); "
                "choose another --out to keep it, or add --overwrite to build it again"
            )
        return other is None and self.manifest_path.exists()

    def is_whole(self, overwrite: bool = False) -> bool:
        """Whether the directory is finished, made from the same inputs, and has its files unchanged."""
        return self.is_finished(overwrite) and self.damage() is None

    def make(self, build: Callable[[], Mapping[str, Any]], overwrite: bool = False) -> "StageDir":
        """Lets `build` write the directory and return its results, unless it is there; returns itself."""
        if not self.is_whole(overwrite):
            with self.locked():
                if not self.is_whole(overwrite):  # by a process that held the lock before
                    self.begin()
                    self.finish(build())
        return self

    def files(self) -> Files | None:
        """Returns the record of a finished stage's files; None if an older version wrote it."""
        return recorded(self.manifest_path)

    def damage(self, below: str = "") -> str | None:
        """Returns what is wrong with the files of a finished stage, or of a folder below it, or None."""
        chosen = files_below(self.path, below) if below else self.files()
        return damage(self.path, chosen or {})

    def require_whole(self, remedy: str, below: str = "") -> None:
        """Raises StorageError with a remedy if the files of a finished stage were altered."""
        if self.manifest_path.exists() and (fault := self.damage(below)) is not None:
            raise StorageError(f"{fault}; {remedy}")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from writing the directory while the block runs."""
        with locked(beside(self.path), self.path):
            yield

    def other(self) -> dict[str, Any] | None:
        """Returns the manifest, or begun.json, of a directory made from other inputs; None for the same."""
        for path in (self.manifest_path, self.begun_path):
            if path.exists():
                found = read_manifest(path)
                if found["digest"] != self.digest:
                    return found
        return None

    def begin(self) -> None:
        """Creates the directory, or resumes one that was begun from the same inputs.

        Removes a directory that is damaged or made from other inputs, so call this only if it may be
        overwritten and the new inputs are known to be good. Call it under the lock: it also removes what
        killed processes left. Raises StorageError if there are files that no stage wrote.
        """
        clear_removed(self.path)
        if self.other() is not None:
            self.clear()
        elif self.manifest_path.exists():
            console.print(f"{self.damage()}; building again", highlight=False, markup=False, soft_wrap=True)
            self.clear()
        clear_leftovers(self.path)
        if not self.begun_path.exists():
            if any(item.is_file() and not item.name.startswith(".") for item in self.path.rglob("*")):
                raise self._not_ours()  # a later overwrite would remove them
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
            self.path.rename(aside)  # so that a kill leaves no part of it, without the manifest, at this path
        except OSError as error:
            raise StorageError(
                f"{self.path} cannot be removed: {error.strerror or error}; choose another --out"
            ) from error
        shutil.rmtree(aside, ignore_errors=True)

    def _strangers(self) -> list[str]:
        """Returns the names of files that were added to a finished directory."""
        files = self.files() if self.manifest_path.exists() else None
        if files is None:
            return []
        found = strangers(self.path, {*files, self.manifest_path.name, self.begun_path.name})
        return [name for name in found if name.partition("/")[0] not in _PASSING]

    def _not_ours(self) -> StorageError:
        return StorageError(
            f"{self.path} holds files that lilliput did not write (no {self.manifest_path.name}, no "
            f"{self.begun_path.name}), so nothing in it was changed; choose another --out, or move them"
        )

    def finish(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Writes and returns the manifest, which marks the directory as finished.

        Flushes all files to disk first, and records their bytes and digests in the manifest.
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
        """Returns files and folders needed only for building that remain, as after a kill in `finish`."""
        paths = (self.begun_path, *(self.path / name for name in _PASSING))
        return [path for path in paths if path.exists()]

    def tidy(self) -> None:
        """Removes files and folders that only building the directory needed."""
        for path in self.leftovers():
            remove(path)

    def results(self) -> dict[str, Any]:
        """Returns the results that the stage recorded when it finished."""
        results: dict[str, Any] = read_manifest(self.manifest_path)["results"]
        return results

    def read(self, hint: Any) -> Any:
        """Returns the recorded results as a value of a type, usually a dataclass."""
        return as_stored(hint, self.results(), self.manifest_path)


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Returns a short text on how a manifest differs from the wanted inputs."""
    if found.get("format") != FORMAT:
        return f"format {found.get('format')}, this version of lilliput writes {FORMAT}"
    return difference(found["made_from"], wanted)
