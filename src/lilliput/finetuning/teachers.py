"""Finds what teaches a task: a folder that lilliput fine-tuned, a run of such, or any other checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lilliput.common.files import digest_folder
from lilliput.common.folders import MANIFEST
from lilliput.common.hub import checkpoint_folder
from lilliput.common.stage_dir import StageDir
from lilliput.errors import ConfigError, ModelError, StorageError
from lilliput.finetuning.columns import Named, require_used
from lilliput.finetuning.encoded import task_tokenizer
from lilliput.finetuning.model import is_of_text, load_task, load_task_model
from lilliput.finetuning.teacher import OpenTeacher, TaskTeacher
from lilliput.models.any_classifier import ClassifierCheckpoint, find_classifier
from lilliput.models.any_sentence_encoder import find_sentence_encoder
from lilliput.models.pretrained import load_config, longest_input
from lilliput.models.sentence_modules import MODULES, has_modules
from lilliput.pieces.bert_tokenizer import special_pieces
from lilliput.run import FINETUNE_AGAIN, RunDir
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.task import TaskData


def find_teacher(
    name: str,
    task: str | None,
    named: Mapping[str, str] | None = None,
    *,
    taught: bool = False,
    is_two_tower: bool = False,
) -> TaskTeacher:
    """Returns what a name stands for as a teacher.

    That is a folder that lilliput fine-tuned, a run that holds one for the task, or else a checkpoint of
    transformers with a head for texts or words, in a folder or on the hub. Where vectors are learnt it may be
    a sentence encoder too, or a run whose student is one.

    Args:
        name: Folder or hub name.
        task: The name of the task, where it has one.
        named: For names of its columns or spans those that the task has.
        taught: Whether the teacher says what the task is; of a run its only model then is one, too.
        is_two_tower: Whether the task compares vectors of texts that are read apart.

    Raises:
        StorageError: If there is none.
        ModelError: If it cannot teach a task.
    """
    run = RunDir(Path(name))
    folder = Path(name) if task is None else run.finetuned(task)
    if taught and (task is None or not folder.is_dir()) and run.finetuned_models():
        folder = _only(run)
    folder = folder if folder.is_dir() else Path(name)
    if any((folder / file).is_file() for file in ("task.json", MANIFEST)):
        return _finetuned(folder, named or {})
    if is_two_tower and (encoder := _sentence_encoder_of(name)) is not None:
        return _sentence_encoder(encoder)
    if not folder.is_dir() and (folder.exists() or _is_path(name)):
        raise _none(name, task)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise _none(name, task)
    try:
        found = find_classifier(name)
    except ModelError as error:
        if Path(name).is_dir() or "could be downloaded" not in str(error):
            raise
        raise _none(name, task, f" ({error})") from error
    return _checkpoint(found, named or {})


def _sentence_encoder_of(name: str) -> str | None:
    """Returns the sentence encoder that a run, a folder or a hub name stands for; None where it is none."""
    student = RunDir(Path(name)).student
    if has_modules(student):
        return str(student)
    if Path(name).exists() or _is_path(name):
        return name if has_modules(Path(name)) else None
    try:
        return name if has_modules(checkpoint_folder(name, MODULES)) else None
    except ModelError:
        return None


def _is_path(name: str) -> bool:
    """Whether a name that is no folder cannot be one on the hub either."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def _none(name: str, task: str | None, why: str = "") -> StorageError:
    return StorageError(
        f"there is no teacher fine-tuned for '{task or 'a task'}' in {name}{why}; make one first: lilliput "
        f"finetune {name} --task {task or 'TASK'} --out runs/teacher, and give --teacher runs/teacher, or "
        "give a fine-tuned checkpoint of transformers"
    )


def _only(run: RunDir) -> Path:
    """Returns the only fine-tuned model of a run."""
    folders = run.finetuned_models()
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise ConfigError(f"{run.path} holds models of several tasks ({names}); name the folder of one")
    return folders[0]


def _finetuned(folder: Path, named: Named) -> TaskTeacher:
    """Returns a teacher that lilliput fine-tuned."""
    StageDir(folder, {}).require_whole(FINETUNE_AGAIN)
    task = load_task(folder)
    if KINDS[task.kind].is_two_tower:
        return _sentence_encoder(str(folder))
    if task.tags and not is_of_text(folder):
        raise ModelError(
            f"the teacher in {folder} was fine-tuned by an earlier version of lilliput, which taught no tags "
            "for ' and hare in o'hare; fine-tune it again with --overwrite"
        )
    config = load_config(str(folder))

    def opened() -> OpenTeacher:
        model, _ = load_task_model(folder)
        tokenizer, columns = task_tokenizer(str(folder)), len(config.id2label or ())
        return OpenTeacher(
            model, tokenizer, special_pieces(tokenizer).pad, "right", True, columns, config.hidden_size
        )

    return TaskTeacher(
        str(folder),
        digest_folder(folder),
        task.kind,
        longest_input(config),
        opened,
        task.tags,
        task.classes,
        named,
        task,
    )


def _sentence_encoder(name: str) -> TaskTeacher:
    """Returns a sentence encoder as a teacher of the cosines of pairs."""
    found = find_sentence_encoder(name)

    def opened() -> OpenTeacher:
        own = found.tokenizer()
        return OpenTeacher(
            found.load(), own.tokenizer, own.pad, own.side, False, 1, 0, found.modules.prompt()
        )

    return TaskTeacher(name, found.digest, "similarity", found.positions, opened)


def _checkpoint(found: ClassifierCheckpoint, named: Named) -> TaskTeacher:
    """Returns any checkpoint of transformers as a teacher."""
    name, columns, kind = found.name, found.columns, found.task_kind()
    folder = Path(name)
    digest = digest_folder(folder) if folder.is_dir() else f"{name}@{found.config._commit_hash}"

    def opened() -> OpenTeacher:
        own, width = found.tokenizer(), found.config.hidden_size
        return OpenTeacher(found.load(), own.tokenizer, own.pad, own.side, own.has_types, len(columns), width)

    return TaskTeacher(
        name,
        digest,
        kind,
        found.positions,
        opened,
        columns if kind == "tagging" else (),
        columns if KINDS[kind].has_classes else (),
        named,
    )


def find_teachers(names: Sequence[str], data: TaskData, named: Mapping[str, str]) -> tuple[TaskTeacher, ...]:
    """Returns the teachers of a task, which all can teach it.

    Args:
        names: Folders, runs or hub names.
        data: The task; without labels to be scored on it is what the teachers say.
        named: For names of their columns or spans those that the task has.

    Raises:
        StorageError: If there is no such teacher.
        ModelError: If one cannot teach the task.
        ConfigError: If none has a name that `named` gives another.
    """
    task = data.task
    taught = data.dev.labels is None
    is_two_tower = KINDS[task.kind].is_two_tower
    found = tuple(
        find_teacher(name, task.name, named, taught=taught, is_two_tower=is_two_tower) for name in names
    )
    if found:
        require_used(named, {teacher.name: teacher.names for teacher in found})
    for teacher in found:
        teacher.require(task)
    return found
