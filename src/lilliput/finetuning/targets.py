"""What a fine-tuned teacher says of examples: read once and kept on disk for all seeds and runs after."""

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from accelerate import Accelerator

from lilliput.common.files import (
    digest_file,
    digest_value,
    read_json,
    sync,
    write_json,
    writing,
)
from lilliput.common.folders import clear_leftovers, damage, is_record
from lilliput.common.locks import beside, locked
from lilliput.common.progress import bar, console
from lilliput.common.stored import stored_array
from lilliput.finetuning.encoded import Encoded, encode_again
from lilliput.finetuning.fit import predict_rest
from lilliput.finetuning.reader import encode_apart
from lilliput.finetuning.sets import Floats, States
from lilliput.finetuning.teacher import TaskTeacher
from lilliput.tasks.task import Examples, Task


def teacher_targets(
    teacher: TaskTeacher, examples: Examples, encoded: Encoded, task: Task, cache: Path, *, states: bool
) -> tuple[Floats, States | None]:
    """Returns a teacher's scores of all slots [K, T] and, if asked for, its states of all words [W, D].

    Columns are in the teacher's own order. What is in the cache from an earlier call is read from there, and
    where that was interrupted, only the rest is read by the teacher. Where it cut a text off, rows are NaN.

    Args:
        teacher: What reads.
        examples: What it reads; labels do not matter.
        encoded: The same examples as the student reads them, whose slots and words are meant.
        task: Says what is predicted of each.
        cache: Folder of what teachers said.
        states: Whether the states are wanted too.
    """
    said = {
        "teacher": teacher.digest,
        "examples": dataclasses.replace(examples, labels=None).values(),
        "words": hashlib.sha256(encoded.spans.tobytes() + encoded.words.offsets.tobytes()).hexdigest(),
        "slots": encoded.slots.lengths.tolist() if task.tags else [],
    }
    place = cache / digest_value(said)
    wanted = [place / "scores.npy", *([place / "states.npy"] if states else [])]
    if any(map(_fault, wanted)):
        with locked(beside(place), place, wait=True):
            clear_leftovers(place)
            if any(map(_fault, wanted)):  # else by a process that held the lock before
                _read(teacher, examples, encoded, task, wanted)
    found = [
        stored_array(path, dtype, (None, None), f"remove {place}: its texts are read again", mode="c")
        for path, dtype in zip(wanted, ("<f4", "<f2"), strict=False)
    ]
    return found[0], found[1] if states else None


def _read(
    teacher: TaskTeacher, examples: Examples, encoded: Encoded, task: Task, wanted: Sequence[Path]
) -> None:
    """Lets a teacher read examples, and writes its scores and, if there is a second path, its states."""
    found = teacher.open()
    found.model.to(Accelerator().device)
    rest = task, found.tokenizer, teacher.positions
    if found.prompt is not None:
        own = encode_apart(examples, *rest, prompt=found.prompt, pad=found.pad, side=found.side)
    else:
        own = encode_again(
            examples, encoded, *rest, pad=found.pad, side=found.side, has_types=found.has_types
        )
    if own.cut:
        console.print(
            f"{own.cut:,} of {len(own):,} texts are longer than the {teacher.positions:,} positions of the "
            f"teacher {teacher.name}; what is behind was cut off for it",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    shapes = (len(own.slots.values), found.columns), (len(own.words.values), found.width)
    kinds = zip(wanted, shapes, ("<f4", "<f2"), strict=False)
    begun = [_begun(path, shape, dtype) for path, shape, dtype in kinds]
    with bar("The teacher reads texts, once", len(own)) as progress:
        predict_rest(found.model, own, *begun, progress=progress)
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
