"""What a fine-tuning came to: its figures, and what the kept model says of each dev example."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from lilliput.settings import require, valid
from lilliput.stored import intact, stored_lines
from lilliput.tasks.task import Labels, Task

PREDICTIONS = "predictions.jsonl"
"""What the best model says of each dev example, beside what is true."""


@dataclass(frozen=True)
class Finetuned:
    """What a fine-tuning came to."""

    task: Task
    """What it learnt."""
    encoder: str
    """Folder or hub name of the encoder."""
    teacher: str | None
    """Folder of the fine-tuned teacher whose targets it learnt."""
    scores: dict[str, dict[str, float]]
    """Metrics on the dev set for each seed."""
    mean: dict[str, float]
    """Their means."""
    deviation: dict[str, float]
    """Their sample standard deviations, 0 of a single seed."""
    best_seed: str
    """The seed whose model is kept."""
    rate: float
    """Peak learning rate."""
    parameters: int
    """Parameters, head included."""
    weight_bytes: int
    """Bytes of the weights' file."""
    examples: dict[str, int]
    """Examples in `train`, `dev` and, learnt from the teacher alone, `unlabelled`."""
    cut: dict[str, int]
    """Examples longer than the encoder's positions: in `dev`, and in `train`, unlabelled ones included."""
    seconds: float
    """Time that the seeds took together, search and teacher not counted."""
    quantization: str | None = None
    """How weights were rounded in training and for the scores; the saved ones are not."""


def named(task: Task, labels: Labels, index: int) -> dict[str, Any]:
    """Returns the labels of one example by name: its `label` (a class or a score), its `tags`."""
    found: dict[str, Any] = {}
    if labels.values:
        value = labels.values[index]
        found["label"] = task.classes[int(value)] if task.classes else value
    if labels.tags:
        found["tags"] = [task.tags[tag] for tag in labels.tags[index]]
    return found


def read_predictions(folder: Path, task: Task) -> list[dict[str, Any]]:
    """Returns what stands in the predictions of a model that was fine-tuned for a task.

    Raises StorageError where they are missing, damaged, or of another task.
    """
    path, remedy = folder / PREDICTIONS, f"remove {folder} and fine-tune again"
    fields = {"text": Any, "gold": dict[str, Any], "predicted": dict[str, Any]}
    lines = stored_lines(fields | ({"pair": str} if task.pairs else {}), path, remedy)
    with intact(path, remedy):
        require(bool(lines), "it is empty")
        for line in lines:
            valid(str if isinstance(line["text"], str) else tuple[str, ...], line["text"], "text")
        for labels in (labels_named(task, (line[name] for line in lines)) for name in ("gold", "predicted")):
            valid(tuple[float, ...], labels.values, "label")
            require({len(labels.values), len(labels.tags)} <= {0, len(lines)}, "labels are missing")
    return lines


def labels_named(task: Task, said: Iterable[Mapping[str, Any]]) -> Labels:
    """Returns the labels of examples that `named` gives one by one."""
    classes = {name: index for index, name in enumerate(task.classes)}
    tags = {name: index for index, name in enumerate(task.tags)}
    every = list(said)
    return Labels(
        tuple(classes[one["label"]] if classes else one["label"] for one in every if "label" in one),
        tuple(tuple(tags[tag] for tag in one["tags"]) for one in every if "tags" in one),
    )


def render(found: Finetuned) -> Table:
    """Returns the results as a table for the terminal."""
    table = Table(title=f"{found.task.name}: {found.encoder} fine-tuned, seed {found.best_seed} kept")
    for column in ("metric", "mean", "deviation", *(f"seed {seed}" for seed in found.scores)):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, mean in found.mean.items():
        each = [f"{scores[name]:.1%}" for scores in found.scores.values()]
        table.add_row(name, f"{mean:.1%}", f"{found.deviation[name]:.1%}", *each)
    return table
