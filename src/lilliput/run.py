"""Every path of a run, and the finished student in its place."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilliput.common.arguments import path_of
from lilliput.common.files import parse_json, read_json
from lilliput.common.folders import (
    content,
    damage,
    files_below,
    is_record,
    not_ours,
    read_manifest,
    record,
    replacing,
    strangers,
)
from lilliput.common.locks import locked
from lilliput.common.names import folder_name
from lilliput.common.stage_dir import StageDir
from lilliput.common.stored import intact, require_fields
from lilliput.config import Recipe
from lilliput.errors import ConfigError, StorageError

TRAIN_AGAIN = (
    "run the same `lilliput compress` again, or `lilliput train` for that stage: it then makes the stage anew"
)
"""What helps against damage of a training stage."""
FINETUNE_AGAIN = "run the same `lilliput finetune` again: it then makes the model anew"
"""What helps against damage of a fine-tuned model."""
STUDENT_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
    "2_Dense/model.safetensors",
)
"""What a student's folder holds; the last six that of a sentence encoder."""


@dataclass(frozen=True)
class RunDir(os.PathLike[str]):
    """Every path of one run; a path itself, so that functions take a run or its folder's name."""

    path: Path
    """The run's directory, `--out` on the command line."""

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        parts = {"corpus": self.corpus, "lexicon": self.lexicon, "student": self.student}
        there = [name for name, path in parts.items() if path.is_dir()]
        there += [f"fine-tuned {folder.name}" for folder in self.finetuned_models()]
        return f"<RunDir {self.path}: {', '.join(there) or 'nothing yet'}>"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from building and training in the run while the block runs."""
        with locked(self.path / ".lock", self.path):
            yield

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", path_of("run", self.path, "the path of a run, or a RunDir"))
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

    def sentences(self, part: str) -> Path:
        """The directory of what a teacher said of texts: of those to "train" on, or of those "held_out"."""
        return self.path / "sentences" / part

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
        files = summary_there(self.summary).get("student_files")
        if is_record(files) and (fault := damage(self.student, files)) is not None:
            raise StorageError(
                f"no student could be loaded from {self.student}: {fault}; run the same `lilliput compress` "
                "again, which puts it in its place anew"
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
        found = sorted(self.path.glob("training/[!.]*/teacher"))
        stages = [folder.parent for folder in found if _is_finished(folder.parent)]
        begun_with = {_began_with(stage) for stage in stages}
        last = [stage for stage in stages if content(stage, "teacher") not in begun_with]
        if len(last) > 1 and self.summary.exists():  # some are of another recipe
            names = [stage["name"] for stage in read_summary(self.summary)["recipe"]["stages"]]
            of_recipe = [stage for stage in last if stage.name in names]
            last = sorted(of_recipe, key=lambda stage: names.index(stage.name))[-1:]
        if len(last) > 1:
            raise StorageError(
                f"{self.path} holds trained teachers of which none began with the other "
                f"({', '.join(stage.name for stage in last)}); remove the folders of those not meant"
            )
        if last and (fault := damage(last[0], files_below(last[0], "teacher"))) is not None:
            raise StorageError(f"{fault}; {TRAIN_AGAIN}")
        return last[0] / "teacher" if last else None

    def evaluation(self, digest: str) -> Path:
        """The directory of the `corpus` and `lexicon` of a text to evaluate on."""
        return self.path / "evaluation" / digest

    def held_out(self, part: str) -> Path:
        """The directory of a separate held-out text's `corpus` or `lexicon`."""
        return self.path / "held_out" / part


def read_summary(path: Path) -> dict[str, Any]:
    """Returns what stands in the summary of a run; raises StorageError where it is damaged."""
    remedy = "run `lilliput compress` again with the same arguments to write it anew"
    fields = {"teacher": str, "recipe": dict[str, Any], "teacher_parameters": int, "words": int}
    found: dict[str, Any] = read_json(path, remedy)
    with intact(path, remedy):
        require_fields(fields, found, "it")
        require_fields({"name": str, "stages": tuple[dict[str, Any], ...]}, found["recipe"], "its recipe")
    return found


def _is_finished(stage: Path) -> bool:
    """Returns whether a stage is finished, or its folder was put there by hand."""
    return (stage / "manifest.json").exists() or not (stage / "begun.json").exists()


def _began_with(stage: Path) -> str | None:
    """Returns what identifies the teacher that a finished stage began with, if one was trained before."""
    manifest = stage / "manifest.json"
    if not manifest.exists():
        return None
    found: str | None = read_manifest(manifest)["made_from"].get("earlier_teacher")
    return found


def summary_there(path: Path) -> dict[str, Any]:
    """Returns what a run recorded of itself; nothing where that is missing or damaged."""
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_summary(path: Path) -> bool:
    """Returns whether a file is there and is the summary of a run."""
    return summary_there(path).keys() >= {"recipe", "teacher", "student_parameters", "stages"}


def check_ours(run: RunDir) -> None:
    """Raises StorageError where what a run puts into its folder would replace files of somebody else."""
    is_run = (run.corpus / "manifest.json").exists() or (run.corpus / "begun.json").exists()
    if run.summary.exists() and not is_run and not is_summary(run.summary):  # else it is ours, and damaged
        raise not_ours(run.path, [run.summary.name])
    if run.student.exists() and (others := strangers(run.student, _ours(run))):
        raise not_ours(run.student, others)


def _ours(run: RunDir) -> list[str]:
    """Returns the names of files that a run put, or began to put, into its student's folder."""
    if run.summary.exists():
        return list(STUDENT_FILES)
    # Without a summary the run ended while it copied, or somebody else wrote the folder.
    trained = list(run.path.glob("training/*/student"))
    return [
        name
        for name in STUDENT_FILES
        if any(_begins(run.student / name, folder / name) for folder in trained)
    ]


def _begins(path: Path, whole: Path) -> bool:
    """Returns whether a file is a copy of another one, or the beginning of one."""
    return path.is_file() and whole.is_file() and whole.read_bytes().startswith(path.read_bytes())


def has_student(run: RunDir, recipe: Recipe) -> bool:
    """Returns whether the run's student is that of its last stage, bit by bit, whatever is beside it."""
    if not run.student.is_dir():
        return False
    trained, found = record(_trained(run, recipe)), record(run.student)
    return bool(trained) and all(found.get(name) == entry for name, entry in trained.items())


def place_student(run: RunDir, recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Copies the student of the last stage to its place, unless it is there; returns what its files are.

    Raises StorageError where that stage is damaged, or the disk does not take the copy; a student that was
    there before then stays.
    """
    trained = _trained(run, recipe)
    if has_student(run, recipe):
        return record(trained)
    check_ours(run)
    try:
        with replacing(run.student) as folder:
            StageDir(trained.parent, {}).require_whole(TRAIN_AGAIN, trained.name)
            shutil.copytree(trained, folder, dirs_exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the student cannot be copied to {run.student}: {error}; make room, then run the same command "
            "again"
        ) from error
    return record(trained)


def _trained(run: RunDir, recipe: Recipe) -> Path:
    """Returns the folder of the student of the last stage that trains one."""
    return run.training([one.name for one in recipe.stages if one.objectives.trains_student][-1]) / "student"
