"""What a fine-tuned teacher says of examples: read once and kept on disk for all seeds and runs after."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from accelerate import Accelerator

from lilliput.errors import ModelError, StorageError
from lilliput.files import digest_folder, digest_value, writing
from lilliput.finetuning.encoded import encode, task_tokenizer
from lilliput.finetuning.fit import Floats, States, predict
from lilliput.models.task_model import load_task, load_task_model
from lilliput.progress import bar
from lilliput.run import RunDir
from lilliput.tasks.task import Examples, Task


def find_teacher(name: str, task: Task) -> Path:
    """Returns the folder of a teacher fine-tuned for a task: that folder itself, or a run that holds it.

    Raises:
        StorageError: If there is none.
        ModelError: If it was fine-tuned for another task.
    """
    in_run = RunDir(Path(name)).finetuned(task.name)
    folder = in_run if in_run.is_dir() else Path(name)
    if not folder.is_dir():
        raise StorageError(
            f"there is no teacher fine-tuned for '{task.name}' in {name}; make one first: lilliput finetune "
            f"{name} --task {task.name} --out runs/teacher, and give --teacher runs/teacher"
        )
    found = load_task(folder)
    for what in ("kind", "pairs", "classes", "tags"):
        theirs, ours = getattr(found, what), getattr(task, what)
        if theirs != ours:
            raise ModelError(
                f"the teacher in {folder} was fine-tuned for another task ('{found.name}', {what} "
                f"{theirs!r}) than '{task.name}' ({what} {ours!r}); give one fine-tuned on the same data"
            )
    return folder


def teacher_targets(
    folder: Path, examples: Examples, cache: Path, *, states: bool
) -> tuple[Floats, States | None]:
    """Returns a teacher's scores of all slots [K, C] and, if asked for, its states of all words [W, T].

    What is in the cache from an earlier call is read from there. Where the teacher cut a text off, rows are
    not numbers.

    Args:
        folder: The fine-tuned teacher.
        examples: What it reads; labels do not matter.
        cache: Folder of what teachers said.
        states: Whether the states are wanted too.
    """
    said = dataclasses.asdict(dataclasses.replace(examples, labels=None))
    place = cache / digest_value({"teacher": digest_folder(folder), "examples": said})
    wanted = [place / "scores.npy", *([place / "states.npy"] if states else [])]
    if not all(path.exists() for path in wanted):
        model, task = load_task_model(folder)
        model.to(Accelerator().device)
        encoded = encode(examples, task, task_tokenizer(str(folder)), model.config.max_position_embeddings)
        with bar("The teacher reads texts, once", len(encoded)) as progress:
            scores, words = predict(model, encoded, states=states, progress=progress)
        arrays: list[npt.NDArray[Any]] = [scores, *([] if words is None else [words])]
        for path, array in zip(wanted, arrays, strict=True):
            with writing(path) as file:
                np.save(file, array, allow_pickle=False)
    found = [np.load(path, mmap_mode="c", allow_pickle=False) for path in wanted]
    return found[0], found[1] if states else None
