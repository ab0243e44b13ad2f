"""The dev examples on which two fine-tuned models differ, for a person to read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lilliput.common.files import writing
from lilliput.finetuning.results import is_same
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.metrics import is_agreement
from lilliput.tasks.task import Task, spelled

Lines = Sequence[dict[str, Any]]
"""A model's predictions, as `finetune` writes them: `text`, perhaps `pair`, `gold` and `predicted`."""


def write_differences(path: Path, task: Task, model: tuple[str, Lines], teacher: tuple[str, Lines]) -> None:
    """Writes what a model and its teacher say where they differ, where the model is wrong first.

    Of predicted scores the pairs that lie furthest apart are written.

    Args:
        path: The Markdown file to write.
        task: What both predict.
        model: Name and predictions.
        teacher: Name and predictions, of the same examples.
    """
    name, teacher_name = model[0], teacher[0]
    same = [is_same(mine, theirs) for mine, theirs in zip(model[1], teacher[1], strict=True)]
    pairs = KINDS[task.kind].differing(model[1], teacher[1], same)
    parts = [f"# {task.name}: {len(pairs):,} examples where {name} and {teacher_name} differ\n"]
    for mine, theirs in pairs:
        texts = [mine["text"], *([mine["pair"]] if "pair" in mine else [])]
        true = () if is_agreement(task) else (("true", mine, "gold"),)  # else the teacher's answer is
        said = (*true, (teacher_name, theirs, "predicted"), (name, mine, "predicted"))
        parts.append(
            f"- {' | '.join(spelled(text) for text in texts)}\n"
            + "".join(f"  - {who}: {label_in(line, of)}\n" for who, line, of in said)
        )
    with writing(path) as file:
        file.write("\n".join(parts).encode(errors="backslashreplace"))


def label_in(line: dict[str, Any], of: str) -> str:
    """Returns what stands in a line under `gold` or `predicted`; of tags the words that have one."""
    parts, said = [], line[of]
    if "label" in said:
        parts.append(said["label"] if isinstance(said["label"], str) else f"{said['label']:.2f}")
    if "labels" in said:
        parts.append(", ".join(said["labels"]) or "no class")
    if "tags" in said:
        words = line["text"]
        if "words" in line:
            words = [spelled(tuple(line["text"]))[start:end] for start, end in line["words"]]
        tagged = zip(words, said["tags"], strict=True)
        parts.append(", ".join(f"{word}/{tag}" for word, tag in tagged if tag != "O") or "no tags")
    return "; ".join(parts)
