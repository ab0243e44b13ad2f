"""The student of a run in its place, RUN/student: only over what is ours, and only when it is whole."""

import shutil
from pathlib import Path
from typing import Any

from lilliput.common.folders import not_ours, record, replacing, strangers
from lilliput.common.stage_dir import StageDir
from lilliput.config import Recipe
from lilliput.errors import StorageError
from lilliput.run import TRAIN_AGAIN, RunDir
from lilliput.summary import is_summary

_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
"""What a student's folder holds."""


def check_ours(run: RunDir) -> None:
    """Raises StorageError where what a run will put into its folder would replace files of somebody else."""
    is_run = (run.corpus / "manifest.json").exists() or (run.corpus / "begun.json").exists()
    if run.summary.exists() and not is_run and not is_summary(run.summary):  # else it is ours, and damaged
        raise not_ours(run.path, [run.summary.name])
    if run.student.exists() and (others := strangers(run.student, _ours(run))):
        raise not_ours(run.student, others)


def _ours(run: RunDir) -> list[str]:
    """Returns the names of files that a run put, or began to put, into its student's folder."""
    if run.summary.exists():
        return list(_FILES)
    # Without a summary the run ended while it copied, or somebody else wrote the folder.
    trained = list(run.path.glob("training/*/student"))
    return [name for name in _FILES if any(_begins(run.student / name, folder / name) for folder in trained)]


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
