"""What a kind of task decides without torch: its labels and slots, its metrics, what of them is shown.

`kinds` has one class for each kind. The two other halves of a kind are its head in `finetuning.heads` and its
answers in `inference.kinds`. A new kind is one class in each of the three, under the same name.

Shape letters: N examples, K slots, C columns of the head.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lilliput.tasks.tables import Table
from lilliput.tasks.task import Labels, Task

Floats = npt.NDArray[np.floating[Any]]
Counts = Counter[tuple[str, str]]
Lines = Sequence[Mapping[str, Any]]
"""A model's predictions, as `finetune` writes them: `text`, perhaps `pair`, `gold` and `predicted`."""


class Kind(ABC):
    """What is predicted of a text."""

    name: ClassVar[str]
    """What `Task.kind` and `--kind` call it."""
    has_label: ClassVar[bool]
    """Whether a text has a label of its own: a class or a score."""
    has_tags: ClassVar[bool]
    """Whether each word of a text has a tag. The text is then given as its words, and has no pair."""
    has_classes: ClassVar[bool] = False
    """Whether the label of a text is one of some classes, or several of them."""
    may_be_unsure: ClassVar[bool] = False
    """Whether a text has one class, which may be left open where it is not probable enough."""
    is_two_tower: ClassVar[bool] = False
    """Whether each text of a pair is read alone, and the vectors of both are compared."""
    implied: ClassVar[float | None] = None
    """The label of every example, where a table needs no column of them."""

    other_names: ClassVar[Mapping[str, str]] = {}
    """For other names that users may give metrics those that they have here."""

    @property
    def runs_as(self) -> str:
        """The kind of a bundle's answers, one of `inference.kinds.KINDS`."""
        return self.name

    @property
    def taught_by(self) -> tuple[str, ...]:
        """The kinds of models that can teach it."""
        return (self.name,)

    # Labels of a table

    @abstractmethod
    def metric_names(self, tags: Sequence[str]) -> tuple[str, ...]:
        """Returns the names of its metrics, first the one that decides where a user names none."""

    def classes_in(self, table: Table, column: str, *, mixed: bool) -> tuple[tuple[str, ...], list[str]]:
        """Returns the classes that a column of labels has, and warnings; no classes where labels are none.

        Args:
            table: The examples.
            column: Holds the labels.
            mixed: Whether numbers may stand among names.
        """
        return (), []

    def names_at(self, table: Table, row: int, column: str) -> list[Any]:
        """Returns the labels of a row as the table has them, one or, of some kinds, several."""
        return [table.columns[column][row]]

    def values_in(self, task: Task, table: Table, column: str) -> list[float]:
        """Returns the label of each row as a number; raises InputError at the first that cannot be one."""
        raise NotImplementedError

    def labels_in(self, task: Task, table: Table, column: str) -> Labels:
        """Returns the labels of all rows; raises InputError at the first that cannot be one."""
        return Labels(tuple(self.values_in(task, table, column)))

    # Labels by name

    def label(self, task: Task, value: float) -> str | float:
        """Returns a label as people write it."""
        return value

    def value(self, task: Task, label: Any) -> float:
        """Returns a label as a number, the reverse of `label`; raises ValueError where there is no such."""
        number: float = label
        return number

    def named(self, task: Task, labels: Labels, index: int) -> dict[str, Any]:
        """Returns the labels of one example by name: its `label` (a class or a score), its `tags`."""
        found: dict[str, Any] = {}
        if self.has_label:
            found["label"] = self.label(task, labels.values[index])
        if self.has_tags:
            found["tags"] = [task.tags[tag] for tag in labels.tags[index]]
        return found

    def unnamed(self, task: Task, said: Iterable[Mapping[str, Any]]) -> Labels:
        """Returns the labels of examples that `named` gives one by one."""
        index_of = {name: index for index, name in enumerate(task.tags)}
        every = list(said)
        return Labels(
            tuple(self.value(task, one["label"]) for one in every if "label" in one),
            tuple(tuple(index_of[tag] for tag in one["tags"]) for one in every if "tags" in one),
        )

    @abstractmethod
    def summary(self, task: Task, labels: Labels) -> dict[str, str | Counter[str]]:
        """Returns what the labels of a set are, under headings: in words, or how often each occurs."""

    # Slots: `finetuning.encoded` says what they are

    def slots(self, words: list[int]) -> list[int]:
        """Returns the pieces at which something is predicted of a text, given its words' first pieces."""
        return ([0] if self.has_label else []) + (words if self.has_tags else [])

    def label_shape(self, task: Task) -> tuple[int, ...]:
        """Returns the shape of the label of a slot: that of one number, unless it has several."""
        return ()

    @abstractmethod
    def array(self, task: Task, labels: Labels) -> npt.NDArray[np.float64]:
        """Returns the label of every slot: a column of the head, or a score [K], or as `label_shape` says."""

    @abstractmethod
    def labels(self, task: Task, scores: Floats, offsets: npt.NDArray[np.int64]) -> Labels:
        """Returns what the scores of all slots say.

        Args:
            task: What is predicted.
            scores: A row for each slot, NaN where it was cut off [K, C].
            offsets: Where the slots of each example begin, and where those of the last one end [N + 1].
        """

    def class_scores(self, task: Task, scores: Floats, offsets: npt.NDArray[np.int64]) -> Floats:
        """Returns the scores of the classes of each example, where the kind may be unsure [N, classes].

        The arguments are those of `labels`.
        """
        raise NotImplementedError

    def compared(self, vectors: Floats, groups: npt.NDArray[np.int64] | None) -> Labels:
        """Returns what the vectors of pairs say, where the kind is two-tower.

        Args:
            vectors: Of both texts of each pair, each of length 1 [N, 2, E].
            groups: Pairs of one number have a text in common, directly or by others (`retrieval.groups`) [N];
                None where pairs are not each other's wrong answers.
        """
        raise NotImplementedError

    # Metrics

    @abstractmethod
    def metrics(self, task: Task, gold: Labels, said: Labels) -> dict[str, float]:
        """Returns the scores of predictions by name."""

    @abstractmethod
    def taken_for(self, task: Task, gold: Labels, said: Labels) -> Counts:
        """Returns how often each (class that is right, class that was said) occurs."""

    def agreement(self, ours: Lines, theirs: Lines, same: Sequence[bool]) -> float:
        """Returns how far two models agree.

        Args:
            ours: The predictions of one.
            theirs: Those of the other for the same examples.
            same: Whether both say the same of each example.
        """
        return sum(same) / len(same)

    def differing(self, ours: Lines, theirs: Lines, same: Sequence[bool]) -> list[tuple[Any, Any]]:
        """Returns the predictions in which two models differ, in pairs, as a person should read them."""
        every = zip(ours, theirs, same, strict=True)
        pairs = [(mine, other) for mine, other, is_same in every if not is_same]
        return sorted(pairs, key=lambda pair: bool(pair[0]["predicted"] == pair[0]["gold"]))

    # Answers of bundles and of models that know no task

    def said(self, answer: Any) -> dict[str, Any]:
        """Returns the label in an answer of a bundle as `named` has it, without tags."""
        return {}

    def of_texts(self, task: Task) -> Task | None:
        """Returns the part of a task that is about whole texts; None where there is none."""
        return task

    def targets(self, task: Task, labels: Labels) -> npt.NDArray[np.float64]:
        """Returns what a linear model of whole texts is fitted to, in the columns of the head [N, C]."""
        return np.array(labels.values)[:, None]
