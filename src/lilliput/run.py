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

from lilliput.errors import StorageError
from lilliput.files import digest_value, not_written, read_json, write_json
from lilliput.folders import (
    Files,
    clear_leftovers,
    clear_removed,
    damage,
    not_ours,
    record,
    recorded,
    remove,
    strangers,
    sync_all,
)
from lilliput.locks import beside, locked
from lilliput.metrics_log import MetricsLog
from lilliput.names import folder_name
from lilliput.progress import console
from lilliput.provenance import difference, versions

__all__ = ["FORMAT", "MetricsLog", "RunDir", "StageDir"]

FORMAT = 1
"""Raised whenever the files of a run change their meaning; part of every manifest."""

TRAIN_AGAIN = (
    "run the same `lilliput compress` again, or `lilliput train` for that stage: it then makes the stage anew"
)
"""What helps against damage of a training stage."""
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
        return self.path / "manifest.json"

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

    def damage(self, below: str = "", *, digests: bool = True) -> str | None:
        """Returns what is wrong with what a finished stage saved, as the beginning of a sentence, or None.

        Args:
            below: A folder of the stage, if the files in it alone are meant.
            digests: Whether bytes are compared too, or sizes alone.
        """
        files, start = self.files() or {}, f"{below}/" if below else ""
        chosen = {name: entry for name, entry in files.items() if name.startswith(start)}
        return damage(self.path, chosen, digests=digests)

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
                found: dict[str, Any] = read_json(path)
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
        self.begun_path.unlink(missing_ok=True)
        for name in _PASSING:
            remove(self.path / name)
        return manifest

    def results(self) -> dict[str, Any]:
        """Returns what the stage reported when it finished."""
        results: dict[str, Any] = read_json(self.manifest_path)["results"]
        return results

    def of(self, below: str) -> str:
        """Returns what identifies the content of one folder of a finished stage.

        That is the digest of its files; by an older version, which did not record them, that of the stage's
        inputs.
        """
        files = self.files()
        if files is None:
            digest: str = read_json(self.manifest_path)["digest"]
            return digest
        return digest_value(
            {name: entry["digest"] for name, entry in files.items() if name.startswith(f"{below}/")}
        )


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Says in a few words what differs between a manifest and what is wanted now."""
    if found.get("format") != FORMAT:
        return f"format {found.get('format')}, this version of lilliput writes {FORMAT}"
    return difference(found["made_from"], wanted)


@dataclass(frozen=True)
class RunDir:
    """Every path of one run."""

    path: Path
    """The run's directory, `--out` on the command line."""

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from building and training in the run while the block runs."""
        with locked(self.path / ".lock", self.path):
            yield

    @property
    def corpus(self) -> Path:
        """The directory of the text to train on."""
        return self.path / "corpus"

    @property
    def lexicon(self) -> Path:
        """The directory of the student's vocabulary and all segmentations."""
        return self.path / "lexicon"

    @property
    def vocabulary(self) -> Path:
        """The directory of the comparison of vocabularies' sizes."""
        return self.path / "vocabulary"

    @property
    def estimate(self) -> Path:
        """The directory of what the training was expected to take before it began."""
        return self.path / "estimate"

    @property
    def summary(self) -> Path:
        """What the run did as JSON."""
        return self.path / "summary.json"

    @property
    def student(self) -> Path:
        """The finished student: a plain transformers checkpoint with its tokenizer."""
        return self.path / "student"

    def require_student(self) -> None:
        """Raises StorageError where the finished student is not what was put there."""
        if not self.summary.exists():
            return
        summary = read_json(self.summary)
        files = summary.get("student_files") if isinstance(summary, dict) else None
        if files and (fault := damage(self.student, files)) is not None:
            raise StorageError(
                f"{fault}; run the same `lilliput compress` again, which puts it in its place anew"
            )

    def training(self, stage: str) -> Path:
        """The directory of one training stage."""
        name = folder_name(stage, "a stage's name", "give it another one in the recipe")
        return self.path / "training" / name

    def finetuned(self, task: str) -> Path:
        """The directory of the model fine-tuned for a task: a plain transformers checkpoint."""
        return self.path / "finetuned" / folder_name(task, "a task's name", "give it another one with --task")

    def finetuned_models(self) -> list[Path]:
        """Returns the directories of all finished models that were fine-tuned for tasks."""
        found = (path.parent for path in self.path.glob("finetuned/*/manifest.json"))
        return sorted(folder for folder in found if not folder.name.startswith("."))

    @property
    def targets(self) -> Path:
        """The directory of what teachers say of a task's texts."""
        return self.path / "targets"

    def trained_teacher(self) -> Path | None:
        """Returns the directory of the teacher that was trained last, if one was.

        That is the one of a finished stage with which no other such stage began. Raises StorageError where
        there are several, or where it is not what was saved.
        """
        stages = [
            StageDir(folder.parent, {})
            for folder in sorted(self.path.glob("training/[!.]*/teacher"))
            if not (folder.parent / "begun.json").exists()
        ]
        made_from = {
            stage.path: read_json(stage.manifest_path)["made_from"] if stage.manifest_path.exists() else {}
            for stage in stages
        }
        begun_with = {inputs.get("earlier_teacher") for inputs in made_from.values()}
        last = [
            stage for stage in stages if not made_from[stage.path] or stage.of("teacher") not in begun_with
        ]
        if len(last) > 1 and self.summary.exists():  # some are of another recipe
            names = [stage["name"] for stage in read_json(self.summary)["recipe"]["stages"]]
            last = sorted(
                (stage for stage in last if stage.path.name in names),
                key=lambda stage: names.index(stage.path.name),
            )[-1:]
        if len(last) > 1:
            raise StorageError(
                f"{self.path} holds trained teachers of which none began with the other "
                f"({', '.join(stage.path.name for stage in last)}); remove the folders of those not meant"
            )
        for stage in last:
            stage.require_whole(TRAIN_AGAIN, "teacher")
        return last[0].path / "teacher" if last else None

    def evaluation(self, digest: str) -> Path:
        """The directory of the `corpus` and `lexicon` of a text to evaluate on."""
        return self.path / "evaluation" / digest

    def held_out(self, part: str) -> Path:
        """The directory of a separate held-out text's `corpus` or `lexicon`."""
        return self.path / "held_out" / part
