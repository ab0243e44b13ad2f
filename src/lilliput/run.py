"""Where a run keeps what: its directories, manifests with digests of all inputs, and metrics.

Each stage writes one directory, once. `begun.json` is written first and says from what the directory is being
built; `manifest.json` is written last and makes it finished. A stage found finished from the same inputs is
skipped, a half-built one goes on, and one built from anything else is refused, so that no result is lost or
mixed.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilliput.errors import ConfigError, StorageError
from lilliput.files import digest_value, not_written, parse_json, read_json, write_json, writing
from lilliput.settings import require
from lilliput.stored import as_stored, intact, require_fields

FORMAT = 1
"""Raised whenever the files of a run change their meaning; part of every manifest."""

MANIFEST = "manifest.json"
"""Written last into a stage's directory."""

_RECORDED_PACKAGES = ("lilliput", "torch", "transformers", "tokenizers", "numpy", "accelerate", "datasets")


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

        One made from something else is removed, so call this only when it may be overwritten and the new
        inputs are known to be good. Raises StorageError if there are files that no stage wrote.
        """
        if self.other() is not None:
            self.clear()
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
            self.path.rename(aside)  # a kill must not leave a part of it, without the manifest, in its place
        except OSError as error:
            raise StorageError(
                f"{self.path} cannot be removed: {error.strerror or error}; choose another --out"
            ) from error
        shutil.rmtree(aside, ignore_errors=True)

    def _not_ours(self) -> StorageError:
        return StorageError(
            f"{self.path} holds files that lilliput did not write (no {self.manifest_path.name}, no "
            f"{self.begun_path.name}), so it is left as it is; choose another --out, or move them"
        )

    def finish(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Writes and returns the manifest, which makes the directory finished."""
        manifest = {
            "format": FORMAT,
            "digest": self.digest,
            "made_from": dict(self.made_from),
            "results": dict(results),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": versions(),
        }
        write_json(self.manifest_path, manifest)
        self.begun_path.unlink(missing_ok=True)
        return manifest

    def results(self) -> dict[str, Any]:
        """Returns what the stage reported when it finished."""
        results: dict[str, Any] = read_manifest(self.manifest_path)["results"]
        return results

    def read(self, hint: Any) -> Any:
        """Returns what the stage reported as a value of a type, most often a dataclass."""
        return as_stored(hint, self.results(), self.manifest_path)


def read_manifest(path: Path) -> dict[str, Any]:
    """Returns what a manifest, or a begun.json, records; raises StorageError where it is damaged."""
    found: dict[str, Any] = read_json(path)
    fields = {"digest": str, "made_from": dict[str, Any]}
    with intact(path):
        require_fields(fields | ({"results": dict[str, Any]} if path.name == MANIFEST else {}), found, "it")
    return found


def versions() -> dict[str, str]:
    """Returns the versions and the hardware that a result depends on."""
    found = {"python": platform.python_version(), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    for name in _RECORDED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = {str(index): item for index, item in enumerate(value)}.items()
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Says in a few words what differs between a manifest and what is wanted now."""
    if found.get("format") != FORMAT:
        return f"format {found.get('format')}, this version of lilliput writes {FORMAT}"
    return difference(found["made_from"], wanted)


def difference(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Says in a few words what differs between JSON values that are there and those wanted now."""
    old, new = _flatten(there), _flatten(json.loads(json.dumps(now)))
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    shown = [f"{key}: {old.get(key, 'nothing')} there, {new.get(key, 'nothing')} now" for key in changed[:3]]
    return "; ".join(shown) + (f"; and {len(changed) - 3} more" if len(changed) > 3 else "")


@dataclass(frozen=True)
class RunDir:
    """Every path of one run."""

    path: Path
    """The run's directory, `--out` on the command line."""

    def __post_init__(self) -> None:
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"the name of {self.path} is not Unicode, which not all libraries take; rename the folder, "
                "or choose another one"
            ) from error

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

    def training(self, stage: str) -> Path:
        """The directory of one training stage."""
        return self.path / "training" / stage

    def finetuned(self, task: str) -> Path:
        """The directory of the model fine-tuned for a task: a plain transformers checkpoint."""
        return self.path / "finetuned" / task

    def finetuned_models(self) -> list[Path]:
        """Returns the directories of all finished models that were fine-tuned for tasks."""
        return sorted(path.parent for path in self.path.glob("finetuned/*/manifest.json"))

    @property
    def targets(self) -> Path:
        """The directory of what teachers say of a task's texts."""
        return self.path / "targets"

    def trained_teacher(self) -> Path | None:
        """Returns the directory of the teacher that was trained last, if one was."""
        found = self.path.glob("training/*/teacher")
        return max(found, key=lambda folder: folder.stat().st_mtime, default=None)

    def evaluation(self, digest: str) -> Path:
        """The directory of the `corpus` and `lexicon` of a text to evaluate on."""
        return self.path / "evaluation" / digest

    def held_out(self, part: str) -> Path:
        """The directory of a separate held-out text's `corpus` or `lexicon`."""
        return self.path / "held_out" / part


@dataclass(frozen=True)
class MetricsLog:
    """A file of one JSON object a line, appended to and cut back to a step on resume."""

    path: Path
    """The file."""

    def append(self, values: Mapping[str, Any]) -> None:
        """Adds one line."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dict(values)) + "\n")
        except OSError as error:
            raise not_written(self.path, error) from error

    def read(self) -> list[dict[str, Any]]:
        """Returns all whole lines; a last line cut short by a kill is left out.

        Raises StorageError where a line is damaged.
        """
        if not self.path.exists():
            return []
        with intact(self.path, f"remove {self.path}, which is a log alone, to go on without it"):
            *lines, _ = self.path.read_text(encoding="utf-8").split("\n")
            found = [parse_json(line) for line in lines]
            for number, line in enumerate(found, start=1):
                require_fields({"step": int}, line, f"line {number:,}")
                numbers = all(isinstance(value, int | float) for value in line.values())
                require(numbers, f"line {number:,} holds what is no number")
        return found

    def rewind(self, step: int) -> None:
        """Drops everything logged after `step`, as a resumed run logs it again."""
        kept = [line for line in self.read() if line["step"] <= step]
        with writing(self.path) as file:
            file.write("".join(json.dumps(line) + "\n" for line in kept).encode())
