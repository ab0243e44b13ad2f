"""Converts the tags of data sets to those that models learn: O, B-x and I-x, or plain ones (NOUN).

IOB1, BIOES, BILOU and BMES become B-x and I-x when a data set is read, by the rules of `inference.tags`.
"""

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from lilliput.errors import InputError
from lilliput.inference.tags import FAMILIES, Notation, with_inner
from lilliput.tasks.tables import Table, is_missing
from lilliput.tasks.task import Examples, Labels, Task, TaskData
from lilliput.text.unpacking import SPACES, words_in

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?", re.ASCII)
_ALIKE = (
    re.compile(r"(?P<letter>[bieslumw])([-_:./|].+)?", re.IGNORECASE | re.DOTALL),
    re.compile(r".+[-_:./|](?P<letter>[bieslumw])", re.IGNORECASE | re.DOTALL),
)
"""Tags that are probably meant as a letter with a name but written differently: B, b-PER, B_PER and PER-B."""
_EXPECTED = (
    "expected names alone, as in NOUN VERB, or else O and tags of a letter and a name: B-PER for the first "
    "word of a span and I-PER for the others, or the same in IOB1, BIOES, BILOU or BMES"
)
_AS_LEARNT = ("IOB2", "plain")
"""Notations that models learn unchanged."""
_LISTED = 5
"""The most tags named in a message."""


@dataclass(frozen=True)
class TagReading:
    """The notation of the tags of a data set."""

    column: str
    """The column of the tags."""
    tags: frozenset[str]
    """All tags that occur."""
    name: str
    """The name of the notation."""

    @property
    def is_turned(self) -> bool:
        """Whether the tags are converted when they are read."""
        return self.name not in _AS_LEARNT

    def __str__(self) -> str:
        return f"tags in {self.name} read as B- and I-" if self.is_turned else ""

    def read(self, table: Table) -> Table:
        """Returns a table with lists of tags, B-x and I-x or plain ones, in the column.

        The table is that of the data set, or a dev set, which may use fewer or other letters.
        """
        rows = list(_rows(table, self.column))
        tags = self.tags.union(*rows)
        notation, name = Notation.of(tags), self.name
        if name == "IOB2" and (tags == self.tags or notation.letters != "BI"):
            name = _name(rows, tags, notation)
        if name not in _AS_LEARNT:
            rows = [notation.bio(row) for row in rows]
        return replace(table, columns={**table.columns, self.column: rows})


def tag_reading(table: Table, column: str) -> TagReading:
    """Returns the notation of the tags of a column; raises InputError if it is not clear."""
    rows = list(_rows(table, column))
    tags = {tag for row in rows for tag in row}
    notation = Notation.of(tags)
    if odd := sorted(_odd(tags, notation)):
        row = next(number for number, found in enumerate(rows) if set(found).intersection(odd))
        word = next(place for place, tag in enumerate(rows[row]) if tag in odd)
        raise InputError(
            f"{table.where(row, word)} has the tag {rows[row][word]!r} in column '{column}', and "
            f"{_listed(odd)} {'do' if odd[1:] else 'does'} not fit together with "
            f"{_listed(sorted(tags - {*odd, 'O'})) or 'O'}; {_EXPECTED}; write all tags in one of these ways"
        )
    return TagReading(column, frozenset(tags), _name(rows, tags, notation))


def tags_in(table: Table, column: str) -> tuple[str, ...]:
    """Returns the tags that occur, O first, the others sorted."""
    return ("O", *sorted({tag for row in _rows(table, column) for tag in row} - {"O"}))


def in_bio(data: TaskData) -> TaskData:
    """Returns a task with only O, B-x, I-x and plain tags, and its labels in these.

    There is an I-x for each B-x, even if no span has two words: one word may be split into several (o'hare).
    """

    def turned(part: Examples) -> Examples:
        return replace(part, labels=bio_labels(data.task, part.labels))

    test = None if data.test is None else turned(data.test)
    return replace(data, task=bio_task(data.task), train=turned(data.train), dev=turned(data.dev), test=test)


def bio_task(task: Task) -> Task:
    """Returns a task with the tags of `in_bio`; tags that need no conversion keep their index."""
    if not task.tags:
        return task
    return replace(task, tags=with_inner([tag for name in task.tags for tag in bio_tags(task, [name])]))


def bio_labels(task: Task, labels: Labels | None) -> Labels | None:
    """Returns the labels of a task as labels of its `bio_task`."""
    if labels is None or not labels.tags:
        return labels
    index_of = {tag: index for index, tag in enumerate(bio_task(task).tags)}
    names = (bio_tags(task, [task.tags[tag] for tag in row]) for row in labels.tags)
    return replace(labels, tags=tuple(tuple(index_of[tag] for tag in row) for row in names))


def bio_tags(task: Task, tags: Sequence[str]) -> list[str]:
    """Returns tags of a text, such as those that a model predicts, as tags of the task's `bio_task`."""
    notation = Notation.of(task.tags)
    return notation.bio(tags) if {*notation.letters} - {*"BI"} else list(tags)


def tag_row(table: Table, row: int, column: str) -> list[Any]:
    """Returns the tags of a row, unchanged."""
    value = table.columns[column][row]
    if is_missing(value):
        raise InputError(f"{table.where(row)} has no tags in column '{column}'; add them or leave it out")
    return value if isinstance(value, list) else words_in(str(value))


def _rows(table: Table, column: str) -> Iterator[list[str]]:
    """Yields the tags of all rows; raises InputError at the first that is not a name."""
    for row in range(len(table)):
        tags = tag_row(table, row, column)
        for index, tag in enumerate(tags):
            if not isinstance(tag, str) or not tag.strip() or _NUMBER.fullmatch(tag.strip(SPACES)):
                raise InputError(
                    f"{table.where(row, index)} has the tag {tag!r} in column '{column}', but tags are "
                    f"names; {_EXPECTED}; write names instead of numbers"
                )
        yield [tag.strip(SPACES) for tag in tags]


def _odd(tags: set[str], notation: Notation) -> set[str]:
    """Returns the tags that do not fit the notation of the others; none if the notation is clear."""
    others = tags - {"O"}
    if notation.is_plain:
        return others if _looks_lettered(others - {"o"}) else set()
    if plain := {tag for tag in others if not notation.parts(tag)[0]}:
        return min(plain, others - plain, key=len)
    families = [
        {tag for tag in others if notation.parts(tag)[0] in (*letters,)} for letters in FAMILIES.values()
    ]
    return min(families, key=len) if all(families) else set()


def _looks_lettered(tags: set[str]) -> bool:
    """Whether plain tags are probably meant as letters with names."""
    for alike in _ALIKE:
        found = [alike.fullmatch(tag) for tag in tags]
        letters = {match["letter"].lower() for match in found if match}
        if all(found) and letters & {"b", "i"}:
            return True
    return False


def _name(rows: Sequence[Sequence[str]], tags: Set[str], notation: Notation) -> str:
    """Returns the name of a notation."""
    if notation.is_plain:
        return "plain"
    letters = {notation.parts(tag)[0] for tag in tags}
    for name, family in FAMILIES.items():
        if letters & {*family}:
            return "BMES" if letters & {*"MW"} else name
    begins = {notation.parts(row[first])[0] for row in rows for _, first, _ in notation.spans(row)}
    starts_alone = any(
        row[first].startswith("B-") and (not first or row[first - 1][2:] != row[first][2:])
        for row in rows
        for _, first, _ in notation.spans(row)
    )
    return "IOB1" if "I" in begins and not starts_alone else "IOB2"


def _listed(tags: Sequence[str]) -> str:
    shown = tags[:_LISTED]
    more = f" and {len(tags) - _LISTED} more" if len(tags) > _LISTED else ""
    return f"{', '.join(map(repr, shown))}{more}"
