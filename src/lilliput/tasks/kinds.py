"""The kinds of tasks: one class for each, with what it decides without torch (`kind`)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput.common.settings import require
from lilliput.errors import shown
from lilliput.inference.tags import Notation
from lilliput.tasks import labels as of_tables
from lilliput.tasks.formulas import classification, correlations, plain_tags, span_pairs, spans, tag_pairs
from lilliput.tasks.kind import Counts, Floats, Kind, Lines
from lilliput.tasks.multilabel import Multilabel
from lilliput.tasks.retrieval import Retrieval
from lilliput.tasks.tables import Table
from lilliput.tasks.task import Labels, Task

_SCORES_SHOWN = 100
"""Examples shown where scores are predicted, which nearly always differ."""


class Classification(Kind):
    """A class for a text or a pair of texts. Metrics: `accuracy`, `f1`, `matthews`."""

    name, has_label, has_tags, has_classes = "classification", True, False, True
    may_be_unsure = True

    other_names = MappingProxyType({"macro_f1": "f1"})

    def metric_names(self, tags: Sequence[str]) -> tuple[str, ...]:
        return "accuracy", "f1", "matthews"

    def classes_in(self, table: Table, column: str, *, mixed: bool) -> tuple[tuple[str, ...], list[str]]:
        classes = of_tables.classes_in(table, column, mixed=mixed)
        doubt = of_tables.missing_looking(table, column)
        return classes, [doubt] if doubt else []

    def values_in(self, task: Task, table: Table, column: str) -> list[float]:
        return of_tables.class_indices(task, table, column)

    def label(self, task: Task, value: float) -> str:
        return task.classes[int(value)]

    def value(self, task: Task, label: Any) -> float:
        return task.classes.index(label)

    def summary(self, task: Task, labels: Labels) -> dict[str, str | Counter[str]]:
        return {"classes": Counter(task.classes[int(value)] for value in labels.values)}

    def array(self, task: Task, labels: Labels) -> npt.NDArray[np.float64]:
        return np.asarray(labels.values, np.float64)

    def labels(self, task: Task, scores: Floats, offsets: npt.NDArray[np.int64]) -> Labels:
        return Labels(values=tuple(scores.argmax(1).tolist()))

    def class_scores(self, task: Task, scores: Floats, offsets: npt.NDArray[np.int64]) -> Floats:
        return scores

    def metrics(self, task: Task, gold: Labels, said: Labels) -> dict[str, float]:
        return classification(task, gold.values, said.values)

    def taken_for(self, task: Task, gold: Labels, said: Labels) -> Counts:
        both = zip(gold.values, said.values, strict=True)
        return Counter((task.classes[int(a)], task.classes[int(b)]) for a, b in both)

    def said(self, answer: Any) -> dict[str, Any]:
        return {"label": next(iter(answer.best(1)))}  # scored like the model, also where it is unsure

    def targets(self, task: Task, labels: Labels) -> npt.NDArray[np.float64]:
        columns: npt.NDArray[np.float64] = np.eye(len(task.classes))[np.array(labels.values).astype(int)]
        return columns


class Regression(Kind):
    """A score for a text or a pair of texts. Metrics: `pearson`, `spearman`."""

    name, has_label, has_tags = "regression", True, False

    def metric_names(self, tags: Sequence[str]) -> tuple[str, ...]:
        return "pearson", "spearman"

    def values_in(self, task: Task, table: Table, column: str) -> list[float]:
        return of_tables.scores(table, column)

    def summary(self, task: Task, labels: Labels) -> dict[str, str | Counter[str]]:
        values = labels.values
        mean = sum(values) / len(values)
        return {"scores": f"{min(values):g} to {max(values):g}, on average {mean:.3g}"}

    def array(self, task: Task, labels: Labels) -> npt.NDArray[np.float64]:
        return np.asarray(labels.values, np.float64)

    def labels(self, task: Task, scores: Floats, offsets: npt.NDArray[np.int64]) -> Labels:
        return Labels(values=tuple(scores[:, 0].astype(np.float64).tolist()))

    def metrics(self, task: Task, gold: Labels, said: Labels) -> dict[str, float]:
        return correlations(gold.values, said.values)

    def taken_for(self, task: Task, gold: Labels, said: Labels) -> Counts:
        return Counter()

    def agreement(self, ours: Lines, theirs: Lines, same: Sequence[bool]) -> float:
        """Returns the correlation of the scores of both."""
        from scipy.stats import pearsonr

        values = ([line["predicted"]["label"] for line in lines] for lines in (ours, theirs))
        return float(pearsonr(*values).statistic)

    def differing(self, ours: Lines, theirs: Lines, same: Sequence[bool]) -> list[tuple[Any, Any]]:
        """Returns the pairs of predictions that lie furthest apart."""
        pairs = list(zip(ours, theirs, strict=True))
        pairs.sort(key=lambda pair: -abs(pair[0]["predicted"]["label"] - pair[1]["predicted"]["label"]))
        return pairs[:_SCORES_SHOWN]

    def said(self, answer: Any) -> dict[str, Any]:
        return {"label": answer.value}


class Similarity(Regression):
    """A score for a pair of texts, as the cosine of their vectors. Metrics: `spearman`, `pearson`."""

    name, is_two_tower = "similarity", True

    @property
    def runs_as(self) -> str:
        return "encode"

    @property
    def taught_by(self) -> tuple[str, ...]:
        """The kinds of models that can teach it: cross-encoders too."""
        return (self.name, "regression")

    def metric_names(self, tags: Sequence[str]) -> tuple[str, ...]:
        return "spearman", "pearson"

    def compared(self, vectors: Floats, groups: npt.NDArray[np.int64] | None) -> Labels:
        return Labels(values=tuple(vectors.astype(np.float64).prod(1).sum(1).tolist()))


class Tagging(Kind):
    """A tag for each word.

    Metrics: `f1`, `precision` and `recall` of spans. Plain tags (NOUN) make no spans: they have `accuracy`,
    `f1` (the mean over tags) and the F1 of each tag.
    """

    name, has_label, has_tags = "tagging", False, True

    def metric_names(self, tags: Sequence[str]) -> tuple[str, ...]:
        return ("accuracy", "f1") if Notation.of(tags).is_plain else ("f1", "precision", "recall")

    def summary(self, task: Task, labels: Labels) -> dict[str, str | Counter[str]]:
        notation = Notation.of(task.tags)
        names = [notation.parts(tag)[1] for tag in task.tags]
        return {"tags of words": Counter(names[tag] for tags in labels.tags for tag in tags)}

    def array(self, task: Task, labels: Labels) -> npt.NDArray[np.float64]:
        return np.concatenate([np.asarray(row, np.float64) for row in labels.tags])

    def labels(self, task: Task, scores: Floats, offsets: npt.NDArray[np.int64]) -> Labels:
        """Returns what scores say; a word that was cut off has the tag O."""
        tags = np.nan_to_num(scores, nan=-np.inf).argmax(1)
        if "O" in task.tags:
            tags[np.isnan(scores).all(1)] = task.tags.index("O")
        return Labels(tags=tuple(tuple(row.tolist()) for row in np.split(tags, offsets[1:-1])))

    def metrics(self, task: Task, gold: Labels, said: Labels) -> dict[str, float]:
        return (plain_tags if Notation.of(task.tags).is_plain else spans)(task, gold, said)

    def taken_for(self, task: Task, gold: Labels, said: Labels) -> Counts:
        if Notation.of(task.tags).is_plain:
            return Counter((task.tags[a], task.tags[b]) for a, b in tag_pairs(gold, said))
        return span_pairs(task, gold, said)

    def of_texts(self, task: Task) -> None:
        return None


class Joint(Kind):
    """A class for the text (its intent) and a tag for each word (its slots).

    Metrics: `frame_accuracy` (class and all tags right), `intent_accuracy` and `slot_f1`; of plain tags
    `tag_accuracy`, `tag_f1` and the F1 of each tag.
    """

    name, has_label, has_tags, has_classes = "joint", True, True, True
    may_be_unsure = True
    _of_text, _of_words = Classification(), Tagging()

    def metric_names(self, tags: Sequence[str]) -> tuple[str, ...]:
        of_tags = ("tag_accuracy", "tag_f1") if Notation.of(tags).is_plain else ("slot_f1",)
        return "frame_accuracy", "intent_accuracy", *of_tags

    def classes_in(self, table: Table, column: str, *, mixed: bool) -> tuple[tuple[str, ...], list[str]]:
        return self._of_text.classes_in(table, column, mixed=mixed)

    def values_in(self, task: Task, table: Table, column: str) -> list[float]:
        return self._of_text.values_in(task, table, column)

    def label(self, task: Task, value: float) -> str:
        return self._of_text.label(task, value)

    def value(self, task: Task, label: Any) -> float:
        return self._of_text.value(task, label)

    def summary(self, task: Task, labels: Labels) -> dict[str, str | Counter[str]]:
        return self._of_text.summary(task, labels) | self._of_words.summary(task, labels)

    def array(self, task: Task, labels: Labels) -> npt.NDArray[np.float64]:
        """Returns the class and the tags of each text; the columns of the classes come after the tags'."""
        both = zip(labels.tags, self._of_text.array(task, labels), strict=True)
        rows = [np.insert(np.asarray(row, np.float64), 0, value + len(task.tags)) for row, value in both]
        return np.concatenate(rows)

    def labels(self, task: Task, scores: Floats, offsets: npt.NDArray[np.int64]) -> Labels:
        tags = self._of_words.labels(task, scores[:, : len(task.tags)], offsets).tags
        classes = self.class_scores(task, scores, offsets).argmax(1)
        return Labels(tuple(classes.tolist()), tuple(row[1:] for row in tags))

    def class_scores(self, task: Task, scores: Floats, offsets: npt.NDArray[np.int64]) -> Floats:
        return scores[offsets[:-1], len(task.tags) :]

    def metrics(self, task: Task, gold: Labels, said: Labels) -> dict[str, float]:
        tags = self._of_words.metrics(task, gold, said)
        intents = [a == b for a, b in zip(gold.values, said.values, strict=True)]
        right = [a == b for a, b in zip(gold.tags, said.tags, strict=True)]
        frames = [a and b for a, b in zip(intents, right, strict=True)]
        of_texts = {
            "frame_accuracy": sum(frames) / len(frames),
            "intent_accuracy": sum(intents) / len(intents),
        }
        if not Notation.of(task.tags).is_plain:
            return of_texts | {"slot_f1": tags["f1"]}
        named = {"accuracy": "tag_accuracy", "f1": "tag_f1"}
        return of_texts | {named.get(name, name): value for name, value in tags.items()}

    def taken_for(self, task: Task, gold: Labels, said: Labels) -> Counts:
        return self._of_text.taken_for(task, gold, said)

    def said(self, answer: Any) -> dict[str, Any]:
        return self._of_text.said(answer.classification)

    def of_texts(self, task: Task) -> Task:
        return replace(task, kind=self._of_text.name, tags=())

    def targets(self, task: Task, labels: Labels) -> npt.NDArray[np.float64]:
        return self._of_text.targets(task, labels)


_EVERY = (Classification(), Multilabel(), Regression(), Similarity(), Retrieval(), Tagging(), Joint())
KINDS: dict[str, Kind] = {kind.name: kind for kind in _EVERY}
"""The kinds by their names."""


def require_known(task: Task) -> None:
    """Raises ConfigError where the kind of a task, which was read from a file, is not known."""
    require(task.kind in KINDS, f"'kind' must be one of {', '.join(KINDS)}, found {shown(task.kind)}")
