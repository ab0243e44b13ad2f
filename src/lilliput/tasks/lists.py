"""Parses lists that are written as text, as pandas writes them to a .csv."""

import ast
import re
import warnings
from typing import Any

from lilliput.common.files import parse_json
from lilliput.errors import InputError
from lilliput.tasks.columns import Columns
from lilliput.tasks.tables import Table
from lilliput.text.unpacking import SPACES

_LONGEST = 1 << 20
"""The most characters of a list in Python's notation, as its parser takes hundreds of bytes for each."""
_NO_COMMA = re.compile(r"""['"]\s+['"]""")
"""The gap between the items of a printed numpy array, which Python would join into one string."""


def list_in(text: str) -> list[Any] | None:
    """Returns the list in a text in the notation of JSON or Python; None if it is not one.

    >>> list_in("['a', 'b']"), list_in('["a"]'), list_in("[sic]"), list_in("['a' 'b']")
    (['a', 'b'], ['a'], None, None)
    """
    if not _is_like(text):
        return None
    found: Any = None
    try:
        found = parse_json(text.strip(SPACES))
    except ValueError:
        if len(text) > _LONGEST or _NO_COMMA.search(text):
            return None
        try:
            with warnings.catch_warnings(action="ignore"):  # of odd backslashes
                found = ast.literal_eval(text.strip(SPACES))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    return found if isinstance(found, list) else None


def with_lists(table: Table, columns: Columns) -> tuple[Table, list[str]]:
    """Returns a table with parsed lists in columns whose values are all lists as text.

    Also returns warnings that say so. Raises InputError if words or tags look like lists and are not.
    """
    notes = []
    for column in (columns.text, columns.pair, columns.tags, columns.label):
        values = table.columns[column] if column is not None else ()
        if column is None or not all(isinstance(value, str) and _is_like(value) for value in values):
            continue
        lists = [list_in(value) for value in values]
        may_be_numbers = column in (columns.tags, columns.label)
        wrong = [row for row, items in enumerate(lists) if not _are_words(items, may_be_numbers)]
        if not wrong:
            table = table.with_column(column, lists)
            notes.append(f"column '{column}' of {table.name} has lists written as text; it is read as lists")
        elif columns.tags is not None:
            raise InputError(
                f"{table.where(wrong[0])} has {values[wrong[0]][:60]!r} in column '{column}', which looks "
                "like a list but is neither one of JSON nor of Python; separate words and tags by spaces, or "
                "write lists to a .jsonl"
            )
    return table, notes


def _is_like(text: str) -> bool:
    text = text.strip(SPACES)
    return text.startswith("[") and text.endswith("]")


def _are_words(items: list[Any] | None, may_be_numbers: bool) -> bool:
    return items is not None and all(
        isinstance(item, (str, int) if may_be_numbers else str) for item in items
    )
