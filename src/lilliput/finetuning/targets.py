"""What a fine-tuned teacher says of examples: read once and kept on disk for all seeds and runs after."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from accelerate import Accelerator

from lilliput.common.files import (
    digest_file,
    digest_folder,
    digest_value,
    read_json,
    sync,
    write_json,
    writing,
)
from lilliput.common.folders import clear_leftovers, damage, is_record
from lilliput.common.locks import beside, locked
from lilliput.common.progress import bar, console
from lilliput.common.stage_dir import StageDir
from lilliput.common.stored import stored_array
from lilliput.errors import ModelError, StorageError
from lilliput.finetuning.encoded import encode, task_tokenizer
from lilliput.finetuning.fit import predict_rest
from lilliput.finetuning.model import is_of_text, load_task, load_task_model
from lilliput.finetuning.sets import Floats, States
from lilliput.models.blocks import classifier_of
from lilliput.models.pretrained import longest_input
from lilliput.run import FINETUNE_AGAIN, RunDir
from lilliput.tasks.task import Examples, Task


def find_teacher(name: str, task: Task) -> Path:
    """Returns the folder of a teacher fine-tuned for a task: that folder itself, or a run that holds it.

    The order of its classes and tags does not matter: `teacher_targets` puts them into that of the task.

    Raises:
        StorageError: If there is none.
        ModelError: If it was fine-tuned for another task, or for tags of given words alone.
    """
    in_run = RunDir(Path(name)).finetuned(task.name)
    folder = in_run if in_run.is_dir() else Path(name)
    if not folder.is_dir():
        raise StorageError(
            f"there is no teacher fine-tuned for '{task.name}' in {name}; make one first: lilliput finetune "
            f"{name} --task {task.name} --out runs/teacher, and give --teacher runs/teacher"
        )
    StageDir(folder, {}).require_whole(FINETUNE_AGAIN)
    found = load_task(folder)
    if task.tags and found.tags and not is_of_text(folder):
        raise ModelError(
            f"the teacher in {folder} was fine-tuned by an earlier version of lilliput, which taught no tags "
            "for ' and hare in o'hare; fine-tune it again with --overwrite"
        )
    for what in ("kind", "pairs", "classes", "tags"):
        theirs, ours = getattr(found, what), getattr(task, what)
        if theirs != ours and not (what in ("classes", "tags") and sorted(theirs) == sorted(ours)):
            raise ModelError(
                f"the teacher in {folder} was fine-tuned for another task ('{found.name}', {what} "
                f"{theirs!r}) than '{task.name}' ({what} {ours!r}); give one fine-tuned on the same data"
            )
    return folder


def in_order(scores: Floats, folder: Path, task: Task) -> Floats:
    """Returns a teacher's scores [K, C] with columns in the order of a task's tags and classes."""
    theirs = load_task(folder)
    columns = [theirs.tags.index(name) for name in task.tags]
    columns += [len(theirs.tags) + theirs.classes.index(name) for name in task.classes]
    return scores if columns in ([], [*range(len(columns))]) else scores[:, columns]


def teacher_targets(
    folder: Path, examples: Examples, cache: Path, *, states: bool
) -> tuple[Floats, States | None]:
    """Returns a teacher's scores of all slots [K, C] and, if asked for, its states of all words [W, T].

    What is in the cache from an earlier call is read from there, and where that was interrupted, only the
    rest is read by the teacher. Where the teacher cut a text off, rows are NaN.

    Args:
        folder: The fine-tuned teacher.
        examples: What it reads; labels do not matter.
        cache: Folder of what teachers said.
        states: Whether the states are wanted too.
    """
    said: dict[str, Any] = {"examples": dataclasses.asdict(dataclasses.replace(examples, labels=None))}
    if examples.texts and not isinstance(examples.texts[0], str):
        said["words"] = "of the text"  # it once was read at given words alone
    place = cache / digest_value({"teacher": digest_folder(folder), **said})
    wanted = [place / "scores.npy", *([place / "states.npy"] if states else [])]
    if any(map(_fault, wanted)):
        with locked(beside(place), place, wait=True):
            clear_leftovers(place)
            if any(map(_fault, wanted)):  # else by a process that held the lock before
                _read(folder, examples, wanted)
    found = [
        stored_array(path, dtype, (None, None), f"remove {place}: its texts are read again", mode="c")
        for path, dtype in zip(wanted, ("<f4", "<f2"), strict=False)
    ]
    return found[0], found[1] if states else None


def _read(folder: Path, examples: Examples, wanted: Sequence[Path]) -> None:
    """Lets a teacher read examples, and writes its scores and, if there is a second path, its states."""
    model, task = load_task_model(folder)
    model.to(Accelerator().device)
    encoded = encode(examples, task, task_tokenizer(str(folder)), longest_input(model.config))
    of_slots = len(encoded.slots.values), classifier_of(model).out_features
    of_words = len(encoded.words.values), model.config.hidden_size
    kinds = zip(wanted, (of_slots, of_words), ("<f4", "<f2"), strict=False)
    begun = [_begun(path, shape, dtype) for path, shape, dtype in kinds]
    with bar("The teacher reads texts, once", len(encoded)) as progress:
        predict_rest(model, encoded, *begun, progress=progress)
    for path, array in zip(wanted, begun, strict=True):
        _finish(path, array)


def _finish(path: Path, array: npt.NDArray[Any]) -> None:
    """Puts an array in its place when it is on disk, and its bytes and digest are recorded."""
    partial = _partial(path)
    assert isinstance(array, np.memmap)
    array.flush()
    sync(partial)
    entry = {"bytes": partial.stat().st_size, "digest": digest_file(partial)}
    write_json(_record(path), {path.name: entry})
    partial.replace(path)
    sync(path.parent)


def _fault(path: Path) -> str | None:
    """Returns what is wrong with a finished array, or None; an older version recorded nothing of it."""
    if not path.exists():
        return f"{path} is missing"
    if not _record(path).exists():
        return None
    files = read_json(_record(path))
    return damage(path.parent, files) if is_record(files) else f"{_record(path)} was altered"


def _begun(path: Path, shape: tuple[int, int], dtype: str) -> npt.NDArray[Any]:
    """Opens an array on disk as an earlier call left it, or makes one of NaN.

    Its disk space is reserved at once, so that a full disk is noticed before the teacher reads.
    """
    partial = _partial(path)
    if not _fits(partial, shape, dtype):
        if path.exists() and (fault := _fault(path)) is not None:
            console.print(f"{fault}; texts are read again", highlight=False, markup=False, soft_wrap=True)
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        row = np.full(shape[1], np.nan, dtype).tobytes()
        with writing(partial) as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.writelines(itertools.repeat(row, shape[0]))
    return stored_array(partial, dtype, shape, f"remove {partial}: its texts are read again", mode="r+")


def _fits(path: Path, shape: tuple[int, int], dtype: str) -> bool:
    """Returns whether an earlier call has begun an array of that shape, which is whole."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return bool(array.shape == shape and array.dtype == np.dtype(dtype))


def _partial(path: Path) -> Path:
    return path.with_suffix(".partial")


def _record(path: Path) -> Path:
    return path.with_suffix(".json")
