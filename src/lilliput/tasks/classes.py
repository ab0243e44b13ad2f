"""How good answers are of each class by itself, of classes, tags and spans alike.

Precision, recall and F1 of what is never said, or is never right, are 0.
"""

from collections import Counter
from dataclasses import dataclass

from lilliput.tasks.kinds import KINDS
from lilliput.tasks.task import Labels, Task

OUTSIDE = "O"
"""The tag of words that belong to nothing; spans that the other side has not stand for it."""


@dataclass(frozen=True)
class ClassScore:
    """How good answers are of one class."""

    precision: float
    """Share of what was said to be of it that is."""
    recall: float
    """Share of what is of it that was said to be."""
    f1: float
    """Their harmonic mean."""
    support: int
    """How often it is right."""


def of_classes(task: Task, gold: Labels, said: Labels) -> dict[str, ClassScore]:
    """Returns the scores of each class (joint: of each intent), tag or kind of span but O, by name.

    Classes come in the task's order, and those that neither occur nor are said are left out. Scores to be
    predicted have no classes.
    """
    pairs = KINDS[task.kind].taken_for(task, gold, said)
    there, told, right = Counter[str](), Counter[str](), Counter[str]()
    for (is_, was), count in pairs.items():
        there[is_] += count
        told[was] += count
        right[is_] += count * (is_ == was)
    known = task.classes or sorted(there.keys() | told.keys())
    names = (name for name in known if there[name] + told[name] and (task.classes or name != OUTSIDE))
    return {name: _score(right[name], told[name], there[name]) for name in names}


def _score(right: int, told: int, there: int) -> ClassScore:
    return ClassScore(
        precision=right / told if told else 0.0,
        recall=right / there if there else 0.0,
        f1=2 * right / (told + there),
        support=there,
    )
