"""The kind of task in which a text has any number of classes, also none."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lilliput.errors import InputError
from lilliput.inference.kinds import NO_CLASS
from lilliput.tasks.kind import Counts, Floats, Kind
from lilliput.tasks.lists import list_in
from lilliput.tasks.tables import Table, is_missing
from lilliput.tasks.task import Labels, Task
from lilliput.text.unpacking import SPACES

BETWEEN = "|"
"""What separates the classes of a text in a string."""


class Multilabel(Kind):
    """Any number of classes for a text or a pair of texts.

    Metrics: `micro_f1`, `macro_f1` (the mean over classes), `exact_match` (all classes of a text right).
    """

    name, has_label, has_tags, has_classes = "multilabel", True, False, True
    other_names: ClassVar[Mapping[str, str]] = {"accuracy": "exact_match", "f1": "micro_f1"}

    def metric_names(self, tags: Sequence[str]) -> tuple[str, ...]:
        return "micro_f1", "macro_f1", "exact_match"

    def classes_in(self, table: Table, column: str, *, mixed: bool) -> tuple[tuple[str, ...], list[str]]:
        found = {name for row in range(len(table)) for name in classes_at(table, row, column)}
        if not found:
            raise InputError(
                f"no text of {table.name} has a class in column '{column}', so there is nothing to learn; "
                "name another column with --label"
            )
        are_numbers = all(name.isascii() and name.isdigit() for name in found)
        return tuple(sorted(found, key=int if are_numbers else None)), []

    def names_at(self, table: Table, row: int, column: str) -> list[Any]:
        return list(classes_at(table, row, column))

    def labels_in(self, task: Task, table: Table, column: str) -> Labels:
        index_of = {name: index for index, name in enumerate(task.classes)}
        rows = []
        for row in range(len(table)):
            names = classes_at(table, row, column)
            if unknown := [name for name in names if name not in index_of]:
                raise InputError(
                    f"{table.where(row)} has the class {unknown[0]!r}, unknown to task '{task.name}', so it "
                    "cannot be learnt; correct it, or leave it out"
                )
            rows.append(tuple(sorted({index_of[name] for name in names})))
        return Labels(several=tuple(rows))

    def named(self, task: Task, labels: Labels, index: int) -> dict[str, Any]:
        return {"labels": [task.classes[one] for one in labels.several[index]]}

    def unnamed(self, task: Task, said: Iterable[Mapping[str, Any]]) -> Labels:
        index_of = {name: index for index, name in enumerate(task.classes)}
        return Labels(several=tuple(tuple(sorted(index_of[name] for name in one["labels"])) for one in said))

    def summary(self, task: Task, labels: Labels) -> dict[str, str | Counter[str]]:
        counts = Counter(task.classes[one] for row in labels.several for one in row)
        without = sum(not row for row in labels.several)
        mean = counts.total() / max(len(labels.several), 1)
        return {"classes": counts, "of a text": f"{mean:.3g} classes on average, {without:,} texts have none"}

    def label_shape(self, task: Task) -> tuple[int, ...]:
        return (len(task.classes),)

    def array(self, task: Task, labels: Labels) -> npt.NDArray[np.float64]:
        """Returns 1 for the classes that each text has, and 0 for the others [N, C]."""
        found = np.zeros((len(labels.several), len(task.classes)))
        for row, classes in enumerate(labels.several):
            found[row, list(classes)] = 1
        return found

    def labels(self, task: Task, scores: Floats, offsets: npt.NDArray[np.int64]) -> Labels:
        """Returns the classes whose probability is at least a half."""
        return Labels(several=tuple(tuple(np.flatnonzero(row >= 0).tolist()) for row in scores))

    def metrics(self, task: Task, gold: Labels, said: Labels) -> dict[str, float]:
        counts = {what: Counter[int]() for what in ("right", "there", "said")}
        pairs = list(zip(map(set, gold.several), map(set, said.several), strict=True))
        for a, b in pairs:
            counts["right"].update(a & b)
            counts["there"].update(a)
            counts["said"].update(b)
        occur = sorted({*counts["there"], *counts["said"]})
        total = counts["there"].total() + counts["said"].total()
        each = [2 * counts["right"][one] / (counts["there"][one] + counts["said"][one]) for one in occur]
        return {
            "micro_f1": 2 * counts["right"].total() / total if total else 0.0,
            "macro_f1": sum(each) / len(each) if each else 0.0,
            "exact_match": sum(a == b for a, b in pairs) / len(pairs),
        }

    def taken_for(self, task: Task, gold: Labels, said: Labels) -> Counts:
        """Counts classes that were found, missed (taken for none) or said without being there."""
        found: Counts = Counter()
        for a, b in zip(map(set, gold.several), map(set, said.several), strict=True):
            found.update((task.classes[one], task.classes[one]) for one in a & b)
            found.update((task.classes[one], NO_CLASS) for one in a - b)
            found.update((NO_CLASS, task.classes[one]) for one in b - a)
        return found

    def said(self, answer: Any) -> dict[str, Any]:
        return {"labels": list(answer.labels)}

    def targets(self, task: Task, labels: Labels) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = 2 * self.array(task, labels) - 1  # the sign says it, as of scores
        return found


def classes_at(table: Table, row: int, column: str) -> list[str]:
    """Returns the classes of a row: of a list, of a list written as text, or of names with | between them.

    Raises InputError where there are none, which is not the same as an empty list or an empty text.
    """
    value = table.columns[column][row]
    if is_missing(value):
        raise InputError(
            f"{table.where(row)} has no labels in column '{column}'; write an empty list if the text has no "
            f"class, or leave the {table.unit} out"
        )
    items = value if isinstance(value, list) else list_in(value) if isinstance(value, str) else None
    if items is None:
        items = [part for part in str(value).split(BETWEEN) if part.strip()]
    names = []
    for item in items:
        if isinstance(item, bool) or not isinstance(item, (str, int)) or not str(item).strip():
            raise InputError(
                f"{table.where(row)} has {item!r} among the labels in column '{column}', expected are names "
                "of classes"
            )
        names.append(str(item).strip(SPACES))
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(
            f"{table.where(row)} has the class {twice[0]!r} twice in column '{column}'; name each once, and "
            "where 0 and 1 say which classes a text has, give each class a column of its own"
        )
    return names
