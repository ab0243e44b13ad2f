"""`lilliput run --input --out`: a table or a file of lines -> the same with answers, in bounded memory."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lilliput.common.ending import REFUSED, say
from lilliput.common.files import writing
from lilliput.common.progress import bar
from lilliput.inference.answered import Complaints, answered
from lilliput.inference.bundle import Bundle, load
from lilliput.inference.kinds import KINDS
from lilliput.inference.lines import checked_top, write_lines
from lilliput.inference.table_in import LINES, Table, Window, check_columns, open_table
from lilliput.inference.table_out import Answers, check_output, open_output

Find = Callable[[Table, bool], Sequence[str]]
"""A table, and whether two texts are read together -> the columns of the texts."""

_Add = Callable[[Window, Answers], None]


def run(
    folder: Path,
    source: Path | None,
    columns: Sequence[str],
    out: Path | None,
    *,
    find: Find,
    top: int | None,
    as_json: bool,
) -> int:
    """Answers the rows of a table; returns the exit code, which is 1 where a text was refused.

    Rows keep their order. One whose text is missing or refused has empty cells for an answer. The file
    appears whole or not at all.

    Args:
        folder: The bundle.
        source: The table, or a file of lines; None for lines of standard input.
        columns: The column of the texts, or the two of pairs; empty for those that `find` says.
        out: Where columns and answers go; None for answers on standard output, a line each.
        find: Knows usual names of columns.
        top: How many classes or pieces are named; None for the kind's own number.
        as_json: Whether an answer on standard output is an object.

    Raises:
        InputError: If the table cannot be read, or `out` cannot hold the answers.
        BundleError: If the bundle cannot be opened, or makes no vectors where these are wanted.
        StorageError: If `out` cannot be written.
    """
    bundle, top = load(folder), checked_top(top)
    table = open_table(source, pairs=bundle.config.pairs)
    if not columns:
        columns = table.names if table.kind == LINES else find(table, bundle.config.pairs)
        if table.kind != LINES:
            say(f"reads {' and '.join(map(repr, columns))} of {table.name}; --column names another")
    check_columns(table, columns, pairs=bundle.config.pairs)
    if out is None:
        kind = KINDS[bundle.config.kind]
        return _answered(bundle, table, columns, top, lambda _, found: write_lines(kind, found, top, as_json))
    check_output(out, table, bundle, top)
    with writing(out) as file:
        output = open_output(out, file, table, bundle, top)
        code = _answered(bundle, table, columns, top, output.add, name=f"answering {table.name}")
        output.end()
    return code


def _answered(
    bundle: Bundle, table: Table, columns: Sequence[str], top: int | None, add: _Add, name: str = ""
) -> int:
    """Answers all rows, with a progress bar where it has a name; returns the exit code."""
    complaints, rows = Complaints(bundle, table.unit), 0
    with _progress(name, table.total) as update:
        for window in table.windows(columns):
            answers = answered(bundle, window.given, top)
            complaints.look(window.given, answers)
            add(window, answers)
            rows += len(answers)
            update(window.done, f"{rows:,} {table.unit}s")
    return 0 if complaints.end() else REFUSED


@contextlib.contextmanager
def _progress(name: str, total: int | None) -> Iterator[Callable[[float, str], None]]:
    """Yields what shows how far the work is, or does nothing where it has no name."""
    if not name:
        yield lambda done, note: None
        return
    with bar(name, total, counted=False) as shown:
        yield shown.update
