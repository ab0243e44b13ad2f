"""What teaches a task: a model that lilliput fine-tuned, or any fine-tuned checkpoint of transformers.

Both are one `TaskTeacher`: names of columns, positions, a digest, and what opens model and tokenizer.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from tokenizers import Tokenizer

from lilliput.common.names import folder_name
from lilliput.common.ragged import Ragged
from lilliput.errors import ConfigError, InputError, ModelError
from lilliput.finetuning.columns import (
    Named,
    in_notation,
    matched,
    own_tags,
    renamed,
    summed,
    tag_columns,
    tag_names,
)
from lilliput.finetuning.heads import HEADS
from lilliput.finetuning.model import TaskModel
from lilliput.finetuning.sets import Floats
from lilliput.models.any_classifier import AnyClassifier
from lilliput.models.any_sentence_encoder import AnySentenceEncoder
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.metrics import agreement_metric
from lilliput.tasks.tagged import bio_task
from lilliput.tasks.task import Task


@dataclass(frozen=True)
class OpenTeacher:
    """A teacher ready to read."""

    model: TaskModel | AnyClassifier | AnySentenceEncoder
    tokenizer: Tokenizer
    pad: int
    """The id that fills rows up."""
    side: Literal["left", "right"]
    """Where it cuts a longer text."""
    has_types: bool
    """Whether it is told which of two texts a piece is of."""
    columns: int
    """Columns of its head."""
    width: int
    """Width of its states."""
    prompt: str | None = None
    """What is put before each text, where it reads those of a pair apart; None where it reads them together.
    """


@dataclass(frozen=True)
class TaskTeacher:
    """A model that teaches a task."""

    name: str
    """Folder or hub name."""
    digest: str
    """Identifies its files."""
    kind: str
    """What it predicts, one of `tasks.kinds.KINDS`."""
    positions: int
    """Pieces that it reads at most, special ones included."""
    open: Callable[[], OpenTeacher] = field(compare=False)
    """Loads it."""
    tags: tuple[str, ...] = ()
    """The names of its first columns, where it predicts tags, in its own notation."""
    classes: tuple[str, ...] = ()
    """The names of its other columns, where it predicts a class."""
    named: Named = field(default_factory=dict)
    """What the user says that its names stand for."""
    task: Task | None = None
    """The task that lilliput fine-tuned it for; None for any other checkpoint."""

    @property
    def names(self) -> list[str]:
        """All names that the user may give others: of columns, and of spans."""
        return [*self.tags, *self.classes, *tag_names(self.tags, {})]

    def require(self, task: Task) -> None:
        """Raises ModelError where it cannot teach a task, ConfigError where no model can."""
        if self.task is not None:
            self._require_same(self.task, task)
        if not KINDS[task.kind].taught_by:
            raise ConfigError(
                f"a task of {task.kind} learns from its own answers, so no model teaches it; leave out the "
                f"teacher {self.name}"
            )
        if self.kind not in KINDS[task.kind].taught_by:
            wanted, has = (f"'{kind}' ({_READS[HEADS[kind].reads]})" for kind in (task.kind, self.kind))
            raise ModelError(
                f"the teacher {self.name} is a model for {has}, and the task '{task.name}' is one of "
                f"{wanted}; take a teacher of the same kind"
            )
        self._columns(task, tell=True)

    def _require_same(self, mine: Task, task: Task) -> None:
        for what in ("kind", "pairs", "classes", "tags"):
            theirs, ours = getattr(mine, what), getattr(task, what)
            is_same = theirs == ours or (what == "kind" and theirs in KINDS[task.kind].taught_by)
            is_same = is_same or (what in ("classes", "tags") and sorted(theirs) == sorted(ours))
            if not is_same and not (self.named and what in ("classes", "tags")):
                raise ModelError(
                    f"the teacher in {self.name} was fine-tuned for another task ('{mine.name}', {what} "
                    f"{theirs!r}) than '{task.name}' ({what} {ours!r}); give one fine-tuned on the same data"
                )

    def _columns(self, task: Task, *, tell: bool = False) -> tuple[list[int], list[str], list[int]]:
        """Returns the task's columns of its tags, its tags as the user names them, and those of classes."""
        columns, turned = (
            tag_columns(self.tags, task, self.named, self.name, tell=tell) if task.tags else ([], [])
        )
        classes = (
            matched(self.classes, task.classes, self.named, self.name, "classes", tell=tell)
            if task.classes
            else []
        )
        return columns, turned, classes

    def in_order(self, scores: Floats, slots: Ragged, task: Task) -> Floats:
        """Returns its scores of all slots [K, T] as those of the columns of a task's head [K, C].

        Where the task learns cosines, a cross-encoder's scores are brought to 0 to 1 by their range.

        Args:
            scores: What it says; NaN where it cut a text off.
            slots: The slots of each text.
            task: A task that it can teach (`require`).
        """
        columns, turned, classes = self._columns(task)
        if KINDS[task.kind].is_two_tower and self.kind != task.kind:
            return _in_unit_range(scores)
        if not columns and not classes:
            return scores
        if self.task is not None and not self.named:  # its tags are the task's
            tags = [task.tags.index(tag) for tag in self.tags]
            every = tags + [len(task.tags) + column for column in classes]
            return summed(scores, every, len(every))
        parts = []
        if columns:
            parts.append(in_notation(scores[:, : len(self.tags)], slots, columns, turned, task))
        if classes:
            parts.append(summed(scores[:, len(self.tags) :], classes, len(task.classes)))
        return np.concatenate(parts, axis=1)

    def taught_task(self, name: str | None) -> Task:
        """Returns the task of saying what this teacher says.

        Args:
            name: The task's name; None for one made of the teacher's.
        """
        if self.task is not None and self.task.pairs:
            raise InputError(
                f"the teacher {self.name} reads pairs of texts, and unlabelled texts are single; give pairs "
                "with labels (--train)"
            )
        classes = tuple(dict.fromkeys(filter(None, renamed(self.classes, self.named))))
        tags: tuple[str, ...] = ()
        if self.tags:
            own = filter(None, own_tags(self.tags, self.named))
            tags = bio_task(Task("", "tagging", tags=tuple(dict.fromkeys(["O", *own])))).tags
        metric = agreement_metric(KINDS[self.kind].metric_names(tags)[0])
        made = name or re.sub(r"[^\w.-]+", "-", Path(self.name).name).strip("-. ")[:60] or "teacher"
        folder_name(made, "a task's name", "name the task with --task")
        return Task(made, self.kind, classes=classes, tags=tags, metric=metric)


def _in_unit_range(scores: Floats) -> Floats:
    """Returns scores from 0, the least of them, to 1, the greatest; NaN stays."""
    if np.isnan(scores).all():
        return scores
    least, greatest = np.nanmin(scores), np.nanmax(scores)
    found: Floats = (scores - least) / (greatest - least or 1.0)
    return found


_READS = {"text": "scores of whole texts", "words": "tags of words", "apart": "vectors of texts"}
