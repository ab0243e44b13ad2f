"""How good a bundle's own answers are on labelled examples of its task, as a user types them."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilliput.finetuning.words import TextWord, text_labels, text_words
from lilliput.inference.bundle import Bundle
from lilliput.inference.vectors import unit
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.metrics import by_given_words, first_of, first_tags, score
from lilliput.tasks.retrieval import groups
from lilliput.tasks.tagged import bio_labels, bio_tags, bio_task
from lilliput.tasks.task import Examples, Labels, Task, spelled


@dataclass(frozen=True)
class Compared:
    """What is right of examples, and what a bundle says of them."""

    task: Task
    """The task, with the tags that labels count."""
    gold: Labels
    said: Labels
    scores: dict[str, float]
    """Its metrics."""
    words: tuple[tuple[TextWord, ...], ...] = ()
    """The words of each text, which have the tags; none where there are no tags."""


def scores_of(opened: Bundle, task: Task, examples: Examples) -> dict[str, float]:
    """Returns the metrics of a bundle's answers to labelled examples of its task, as a user types them."""
    if KINDS[task.kind].is_two_tower:
        texts = [spelled(text) for text in examples.texts]
        return two_tower_scores(task, examples, opened.encode([*texts, *examples.pairs]))
    return compared(opened, task, examples, opened.stream(texts_of(task, examples))).scores


def texts_of(task: Task, examples: Examples) -> Iterable[Any]:
    """Returns the texts of examples as a bundle reads them, pairs as tuples."""
    texts = [spelled(text) for text in examples.texts]
    return zip(texts, examples.pairs, strict=True) if task.pairs else texts


def compared(opened: Bundle, task: Task, examples: Examples, answers: Iterable[Any]) -> Compared:
    """Returns what is right of examples beside what a bundle says of them.

    Args:
        opened: The bundle.
        task: The task of the examples.
        examples: With labels.
        answers: The bundle's answer to each.
    """
    assert examples.labels is not None
    kind = KINDS[task.kind]
    if not kind.has_tags:
        labels = kind.unnamed(task, map(kind.said, answers))
        return Compared(task, examples.labels, labels, score(task, examples.labels, labels))
    words = text_words(examples.texts, load_tokenizer(str(opened.folder)), opened.config.positions)
    given = [[word.given for word in row] for row in words]
    found = [(kind.said(one), _tags(one, row)) for one, row in zip(answers, words, strict=True)]
    learnt, of_given_words = bio_task(task), bio_labels(task, examples.labels)
    assert of_given_words is not None

    def said(rows: Iterable[Sequence[str]]) -> Labels:
        own = dataclasses.replace(task, tags=opened.config.tags)
        named = ({**one, "tags": bio_tags(own, row)} for (one, _), row in zip(found, rows, strict=True))
        return kind.unnamed(learnt, named)

    gold, of_text = text_labels(learnt, of_given_words, given), said(row for _, row in found)
    scores = score(learnt, gold, of_text, given)
    of_given = by_given_words(
        learnt, first_tags(gold, given), said(map(first_of, (row for _, row in found), given))
    )
    scores |= {name: value for name, value in of_given.items() if name in scores}
    return Compared(learnt, gold, of_text, scores, tuple(map(tuple, words)))


def two_tower_scores(task: Task, examples: Examples, vectors: NDArray[Any]) -> dict[str, float]:
    """Returns the metrics of vectors of labelled pairs, where a task compares these.

    Args:
        task: Of a kind that reads the texts of a pair apart.
        examples: The pairs.
        vectors: Of all first texts, and then of all second ones [2 N, E].
    """
    assert examples.labels is not None
    both = np.stack(np.split(unit(vectors), 2), axis=1)
    return score(task, examples.labels, KINDS[task.kind].compared(both, groups(examples)))


def _tags(answer: Any, words: Sequence[TextWord]) -> list[str]:
    """Returns the tag of each word of a text; those that were cut off are outside."""
    by_start = {word.start: word.tag for word in answer.words}
    return [by_start.get(word.start, "O") for word in words]
