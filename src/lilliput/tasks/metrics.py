"""Labels and predictions -> scores by the metrics of the task's kind, and what was taken for what.

Tags are those of a text's words as a model reads them, where one word of a data set may be several (o'hare):
so scores are of the text as a user types it. Where there are such words, a second set of scores stands beside
them: by the words of the data set, each with the tag of its first word in the text, as in the literature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from lilliput.tasks.formulas import OF_ONE_TAG
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.task import Labels, Task

GIVEN_WORDS = "_given_words"
"""The end of the names of scores by the words of the data set."""

AGREEMENT = "agreement"
"""How the names of scores against a teacher's answers begin."""
_OF_TEXTS = "intent_accuracy"
"""The end of the names of scores that have nothing to do with words."""

_Value = TypeVar("_Value")


def score(
    task: Task, gold: Labels, predicted: Labels, given: Sequence[Sequence[int]] = ()
) -> dict[str, float]:
    """Returns the scores of predictions by name, those that the task's kind has (`kinds`).

    Args:
        task: What is scored.
        gold: What is right.
        predicted: What was said.
        given: For each word of each text the number of the given word that it stands in; without it words
            are those given.
    """
    found = _metrics(task, gold, predicted)
    if all(len(set(row)) == len(row) for row in given):
        return found
    return found | by_given_words(task, first_tags(gold, given), first_tags(predicted, given))


def by_given_words(task: Task, gold: Labels, predicted: Labels) -> dict[str, float]:
    """Returns the scores of predictions for given words, by names that say so."""
    found = of_all(_metrics(task, gold, predicted))
    return {f"{name}{GIVEN_WORDS}": value for name, value in found.items() if not name.endswith(_OF_TEXTS)}


def agreement_metric(name: str) -> str:
    """Returns what a metric is called where what a teacher says counts as right.

    >>> agreement_metric("accuracy"), agreement_metric("f1")
    ('agreement', 'agreement_f1')
    """
    return AGREEMENT if name == "accuracy" else f"{AGREEMENT}_{name}"


def is_agreement(task: Task) -> bool:
    """Whether the scores of a task are its agreement with a teacher, as no label is known."""
    return task.metric.startswith(AGREEMENT)


def _metrics(task: Task, gold: Labels, predicted: Labels) -> dict[str, float]:
    found = KINDS[task.kind].metrics(task, gold, predicted)
    return {agreement_metric(name): value for name, value in found.items()} if is_agreement(task) else found


def of_all(scores: Mapping[str, _Value]) -> dict[str, _Value]:
    """Returns the scores without those of single tags, which are many."""
    return {name: value for name, value in scores.items() if OF_ONE_TAG not in name}


def always_the_same(task: Task, gold: Labels, said: Labels) -> str | None:
    """Returns a warning where a model says the same of all examples that differ; None where it does not.

    Args:
        task: What is predicted.
        gold: What is right.
        said: What the model says.
    """
    count, names = len(said.values or said.tags or said.several), None
    if len(set(said.several)) == 1 < len(set(gold.several)):
        names = ", ".join(task.classes[one] for one in said.several[0]) or "no class"
    if len(set(said.values)) == 1 < len(set(gold.values)):
        names = task.classes[int(said.values[0])] if task.classes else f"{said.values[0]:g}"
    tags, right = ({tag for row in one.tags for tag in row} for one in (said, gold))
    if len(tags) == 1 < len(right):
        names = task.tags[tags.pop()]
    if names is None:
        return None
    return (
        f"the model says {names!r} of all {count:,} dev examples, so it has learnt nothing; try more steps "
        "(--set epochs=30), rare classes that count as much as frequent ones (--set balance=1), another rate "
        "(--search-minutes 5), or more examples"
    )


def first_tags(labels: Labels, given: Sequence[Sequence[int]]) -> Labels:
    """Returns the tags of given words: of each, that of its first word in the text.

    >>> first_tags(Labels(tags=((1, 2, 2, 0),)), [[0, 0, 0, 1]])
    Labels(values=(), tags=((1, 0),), several=())
    """
    return replace(labels, tags=tuple(map(first_of, labels.tags, given)))


def first_of(row: Sequence[_Value], given: Sequence[int]) -> tuple[_Value, ...]:
    """Returns what stands in a row at the first word of each given word."""
    found = dict(zip(reversed(given), reversed(row), strict=True))
    return tuple(found[number] for number in sorted(found))


def confusion(task: Task, gold: Labels, predicted: Labels) -> dict[str, dict[str, int]]:
    """Returns how often each class (joint: intent) was predicted for each, as counts[gold][predicted].

    For tagging these are kinds of spans with the same first and last word, and O where the other side has
    no such span, or plain tags of words. Only what occurs is in it; for regression nothing is.
    """
    counts: dict[str, dict[str, int]] = {}
    for (a, b), count in sorted(KINDS[task.kind].taken_for(task, gold, predicted).items()):
        counts.setdefault(a, {})[b] = count
    return counts
