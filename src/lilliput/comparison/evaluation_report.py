"""What a bundle's answers to a labelled file come to, as values and tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group

from lilliput.common.sheet import Sheet
from lilliput.tasks.calibration import Calibration
from lilliput.tasks.classes import ClassScore
from lilliput.tasks.metrics import of_all
from lilliput.tasks.task import Task

_WORST, _CLASSES, _CHARACTERS = 10, 12, 60
"""Wrong answers, classes of a confusion, and characters of a text that a terminal shows."""


@dataclass(frozen=True)
class Prediction:
    """A bundle's answer to one example."""

    text: str
    pair: str | None
    """The second text, where there are two."""
    label: str | float | None
    """What is right: a class or a score; None where there are only tags."""
    answer: str | float | None
    """What the bundle says."""
    probability: float | None
    """That of its answer, and of a text with tags that of the least probable one; None of a score."""
    probabilities: Mapping[str, float]
    """The probability of each class; none where there are no classes."""
    words: tuple[str, ...] = ()
    """The words that have tags."""
    tags: tuple[str, ...] = ()
    """Their right tags."""
    said_tags: tuple[str, ...] = ()
    """What the bundle says of them."""
    cut: bool = False
    """Whether only the beginning of the text was read."""

    @property
    def is_right(self) -> bool:
        """Whether all of the answer is right."""
        return (self.label, self.tags) == (self.answer, self.said_tags)

    def values(self) -> dict[str, Any]:
        """Returns what there is of it, as JSON values."""
        found: dict[str, Any] = {"text": self.text}
        found |= {"pair": self.pair} if self.pair is not None else {}
        found |= {"label": self.label, "answer": self.answer} if self.label is not None else {}
        found |= {"probability": self.probability} if self.probability is not None else {}
        found |= {"probabilities": dict(self.probabilities)} if self.probabilities else {}
        if self.words or self.label is None:
            found |= {"words": list(self.words), "tags": list(self.tags), "answer_tags": list(self.said_tags)}
        return found | {"cut": self.cut}


@dataclass(frozen=True)
class Evaluation:
    """How good a bundle is on a labelled file."""

    bundle: Path
    origin: str
    """The file, and its columns."""
    task: Task
    """What was asked."""
    scores: dict[str, float]
    """Its metrics."""
    classes: dict[str, ClassScore]
    """How good it is of each class, tag or kind of span; none where scores are asked."""
    confusion: dict[str, dict[str, int]]
    """How often each class was taken for each, by the class that is right."""
    calibration: Calibration | None
    """How far the probabilities of classes can be believed; None where there are no classes."""
    predictions: tuple[Prediction, ...]
    """Its answers, in the order of the file."""

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.1%}" for name, value in of_all(self.scores).items())
        return f"<Evaluation of {self.bundle} on {len(self.predictions):,} examples: {scores}>"

    def worst(self, count: int = _WORST) -> list[Prediction]:
        """Returns wrong answers, the surest first; of scores those that are furthest off."""
        if self.task.classes or self.task.tags:
            wrong = [one for one in self.predictions if not one.is_right]
            return sorted(wrong, key=lambda one: -(one.probability or 0.0))[:count]
        return sorted(self.predictions, key=lambda one: -_distance(one))[:count]


def render(found: Evaluation) -> Group:
    """Returns the tables for the terminal."""
    parts: list[str | Sheet] = [f"{len(found.predictions):,} examples of {found.origin}", _scores(found)]
    parts += [_classes(found)] if found.classes else []
    parts += [_confusion(found)] if found.confusion else []
    parts += [_reliability(found.calibration)] if found.calibration else []
    parts += [_worst(found)] if found.worst(1) else []
    return Group(*parts)


def _scores(found: Evaluation) -> Sheet:
    rows = [(name, f"{value:.1%}") for name, value in of_all(found.scores).items()]
    if found.calibration:
        rows.append(("expected calibration error", f"{found.calibration.error:.1%}"))
    if cut := sum(one.cut for one in found.predictions):
        rows.append(("texts that were cut", f"{cut:,}"))
    return Sheet(("metric", "value"), rows)


def _classes(found: Evaluation) -> Sheet:
    rows = [
        (name, f"{one.precision:.1%}", f"{one.recall:.1%}", f"{one.f1:.1%}", f"{one.support:,}")
        for name, one in found.classes.items()
    ]
    return Sheet(("class", "precision", "recall", "F1", "support"), rows)


def _confusion(found: Evaluation) -> Sheet:
    """Returns the confusion as a table or, where it has many classes, the most frequent mistakes."""
    there = {*found.confusion, *(name for row in found.confusion.values() for name in row)}
    known = found.task.classes
    names = [name for name in known if name in there] + sorted(there - {*known})
    if len(names) <= _CLASSES:
        rows = [
            (name, *(f"{found.confusion.get(name, {}).get(other, 0):,}" for other in names)) for name in names
        ]
        return Sheet(("right, then said", *names), rows)
    every = ((count, is_, was) for is_, row in found.confusion.items() for was, count in row.items())
    most = sorted((one for one in every if one[1] != one[2]), reverse=True)[:_CLASSES]
    return Sheet(("right", "said", "times"), [(is_, was, f"{count:,}") for count, is_, was in most], left=2)


def _reliability(found: Calibration) -> Sheet:
    rows = [
        (
            f"{one.least:.0%} to {one.most:.0%}",
            f"{one.answers:,}",
            f"{one.probability:.1%}",
            f"{one.right:.1%}",
        )
        for one in found.bins
    ]
    return Sheet(("probability", "answers", "they say", "are right"), rows)


def _worst(found: Evaluation) -> Sheet:
    is_scored = not (found.task.classes or found.task.tags)
    rows = [
        (
            _short(one.text if one.pair is None else f"{one.text} | {one.pair}"),
            _said(one.label, one.words, one.tags),
            _said(one.answer, one.words, one.said_tags),
            f"{_distance(one):.2f}" if is_scored else f"{one.probability or 0:.1%}",
        )
        for one in found.worst()
    ]
    title = "furthest off" if is_scored else "wrong, and surest of it"
    last = "off by" if is_scored else "probability"
    return Sheet(("text", "right", "said", last), rows, left=3, title=title)


def _said(label: str | float | None, words: tuple[str, ...], tags: tuple[str, ...]) -> str:
    """Returns a label, and words with a tag other than O, as text."""
    parts = [] if label is None else [label if isinstance(label, str) else f"{label:.2f}"]
    if words:
        tagged = (f"{word}/{tag}" for word, tag in zip(words, tags, strict=True) if tag != "O")
        parts.append(_short(", ".join(tagged) or "no tags"))
    return "; ".join(parts)


def _distance(one: Prediction) -> float:
    """Returns how far a score is from the right one."""
    if isinstance(one.label, float) and isinstance(one.answer, float):
        return abs(one.label - one.answer)
    return 0.0


def _short(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 3]}..."
