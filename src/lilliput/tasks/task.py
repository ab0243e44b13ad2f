"""A task and its examples, the same for every kind and every source."""

import dataclasses
from dataclasses import dataclass
from typing import Any

Words = tuple[str, ...]
"""A text whose words have tags, as these words; every other text is a string."""


def spelled(text: str | Words) -> str:
    """Returns a text as one string."""
    return text if isinstance(text, str) else " ".join(text)


def plain(text: str) -> str:
    """Returns a text without what does not count when texts are compared: capitals and spacing."""
    return " ".join(text.split()).casefold()


@dataclass(frozen=True)
class Task:
    """What is predicted, and by what it is scored."""

    name: str
    """The name under which it is kept and reported."""
    kind: str
    """What is predicted of a text: the name of one of `kinds.KINDS`."""
    pairs: bool = False
    """Whether it is predicted of two texts together."""
    classes: tuple[str, ...] = ()
    """Names of the classes, of which a text has one, or any number; empty for regression and tagging."""
    tags: tuple[str, ...] = ()
    """Names of the tags, of which a word has one (O, B-x, I-x); empty for classification and regression."""
    metric: str = "accuracy"
    """The metric that decides, one of those that its kind has."""
    positive: str | None = None
    """The class whose F1 is `f1`; None for the mean over all classes."""


@dataclass(frozen=True)
class Labels:
    """What stands in a set, or what a model says, of each of its examples."""

    values: tuple[float, ...] = ()
    """For each example the index of its class, or its score; empty for tagging."""
    tags: tuple[tuple[int, ...], ...] = ()
    """For each example the index of each word's tag; empty for classification and regression."""
    several: tuple[tuple[int, ...], ...] = ()
    """For each example the indices of its classes, in order; empty where a text has one class, or no
    task has classes."""

    @property
    def are_none(self) -> bool:
        """Whether nothing is known of any example."""
        return not (self.values or self.tags or self.several)


@dataclass(frozen=True)
class Examples:
    """Texts or pairs of texts, with labels where these are known."""

    texts: tuple[str | Words, ...]
    """The first text of each example."""
    pairs: tuple[str, ...] = ()
    """The second text of each example; empty where there is none."""
    labels: Labels | None = None
    """What is to be predicted; None where nobody knows it."""
    negatives: tuple[str, ...] = ()
    """Of each example a text that is a wrong answer to the first; empty where there is none."""

    def __len__(self) -> int:
        return len(self.texts)

    def values(self) -> dict[str, Any]:
        """Returns them as JSON values, whose digest is that of versions that knew less."""
        found = dataclasses.asdict(self)
        if self.labels is not None and not self.labels.several:
            del found["labels"]["several"]
        return found if self.negatives else {key: found[key] for key in ("texts", "pairs", "labels")}


@dataclass(frozen=True)
class TaskData:
    """A task with the examples to learn from and those to be scored on."""

    task: Task
    train: Examples
    dev: Examples
    origin: str = ""
    """What was read, and in which columns."""
    warnings: tuple[str, ...] = ()
    """What its user should know before anything is learnt from it, each a sentence."""
    test: Examples | None = None
    """Examples that score the finished model once; nothing is chosen by them."""

    def __repr__(self) -> str:
        task = self.task
        told = f"{task.kind}{' of pairs' * task.pairs}"
        told += f", {len(task.classes)} classes" if task.classes else ""
        told += f", {len(task.tags)} tags" if task.tags else ""
        sizes = f"{len(self.train):,} examples to learn from, {len(self.dev):,} to be scored on"
        return f"<TaskData {task.name}: {told}; {sizes}>"
