"""Rows of a table -> what is to be predicted of them, and examples with labels as indices."""

from collections.abc import Sequence
from dataclasses import replace

from lilliput.errors import InputError
from lilliput.tasks.columns import Columns
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.labels import unknown
from lilliput.tasks.tables import Table, is_missing
from lilliput.tasks.tagged import tag_row
from lilliput.tasks.task import Examples, Labels, Task, Words
from lilliput.text.formats import encoded
from lilliput.text.unpacking import words_in


def examples_of(task: Task, table: Table, columns: Columns) -> Examples:
    """Returns the rows as examples of a task; raises InputError at the first that cannot be one.

    Where there are tags a text is its words, which white space separates where it is not a list.
    """
    assert columns.text is not None
    labels = Labels()
    tags: list[tuple[int, ...]] = []
    texts: list[str | Words] = _texts(table, columns.text)
    kind = KINDS[task.kind]
    if kind.has_tags:
        assert columns.tags is not None
        texts = [_words(table, row, columns.text) for row in range(len(table))]
        tags = _tag_indices(task, table, columns.tags, texts)
    if kind.has_label:
        assert columns.label is not None
        labels = kind.labels_in(task, table, columns.label)
    elif kind.implied is not None:
        labels = Labels((kind.implied,) * len(table))
    pairs, negatives = (_texts(table, name) if name else [] for name in (columns.pair, columns.negative))
    labels = replace(labels, tags=tuple(tags))
    return Examples(tuple(texts), tuple(map(str, pairs)), labels, tuple(map(str, negatives)))


def _texts(table: Table, column: str) -> list[str | Words]:
    """Returns the texts of a column; words are joined by spaces."""
    texts: list[str | Words] = []
    for row, value in enumerate(table.columns[column]):
        is_words = isinstance(value, list) and all(isinstance(word, (str, int, float)) for word in value)
        text = " ".join(map(str, value)) if is_words else value
        if is_missing(text) or (isinstance(text, str) and not text.strip()):
            raise InputError(
                f"{table.where(row)} has an empty text in column '{column}'; write one or leave the "
                f"{table.unit} out"
            )
        if not isinstance(text, str):
            raise InputError(
                f"{table.where(row)} has a value of type {type(text).__name__} in column '{column}', "
                "expected is text; put it in quotes or name another column"
            )
        texts.append(text if text.isascii() else encoded(text, table.name, column).decode())
    return texts


def _words(table: Table, row: int, column: str) -> tuple[str, ...]:
    """Returns the words of a row, to which its tags belong."""
    value = table.columns[column][row]
    words = value if isinstance(value, list) else words_in(str(value))
    for index, word in enumerate(words):
        if not isinstance(word, str) or not word.strip():
            raise InputError(
                f"word {index + 1} in column '{column}' is {word!r} ({table.where(row, index)}), expected is "
                "text; leave the word and its tag out"
            )
    return tuple(encoded(word, table.name, column).decode() for word in words)


def _tag_indices(
    task: Task, table: Table, column: str, texts: Sequence[str | Words]
) -> list[tuple[int, ...]]:
    index_of = {tag: index for index, tag in enumerate(task.tags)}
    rows = []
    for row, words in enumerate(texts):
        tags = tag_row(table, row, column)
        if len(tags) != len(words):
            raise InputError(
                f"{table.where(row)} has {len(words)} words but {len(tags)} tags in column '{column}'; "
                "expected is one tag for each word (in .csv and .tsv, spaces separate both); if the column "
                "holds something else, give it another name"
            )
        for index, tag in enumerate(tags):
            if tag not in index_of:
                raise unknown(task, "tag", tag, table.where(row, index), task.tags)
        rows.append(tuple(index_of[tag] for tag in tags))
    return rows
