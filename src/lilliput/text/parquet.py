"""Reads chosen columns of a Parquet file, a few rows at a time, so that memory stays bounded.

Page headers give the unpacked size and the number of values of each page, so `_rows_at_once` knows before
unpacking how many rows fit into memory together. They do not tell how list items are spread over rows: a file
crafted to have nearly all of them in one row may take some gigabytes.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from lilliput.common.files import parse_json
from lilliput.errors import InputError, first_line
from lilliput.text.pages import pages_of, unpacked_bytes
from lilliput.text.unpacking import LINE_BYTES, too_long

_BATCH_BYTES = 1 << 26
"""The most bytes that rows read together should take when unpacked."""
_BATCH_ROWS = tuple(1024 >> halved for halved in range(11))
_ITEMS = 1 << 22
"""The most list items that are read together."""
_THRIFT_BYTES = 1 << 26
_THRIFT_ITEMS = 1 << 20


def parquet_columns(path: Path, file: BinaryIO) -> list[str]:
    """Returns the names of a file's columns in order; raises InputError if it is not a Parquet file."""
    names: list[str] = _opened(path, file).schema_arrow.names
    return names


def parquet_classes(path: Path, file: BinaryIO) -> dict[str, list[str]]:
    """Returns the class names of columns that hold class numbers, as the `datasets` library stores them."""
    noted = (_opened(path, file).schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = parse_json(noted)["info"]["features"]
        found = {column: _class_names(feature) for column, feature in features.items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}
    return {column: names for column, names in found.items() if names}


def _class_names(feature: Any) -> list[str]:
    """Returns the class names of a feature, or of a list's items."""
    if isinstance(feature, list):
        feature = {"feature": feature[0] if feature else {}}
    inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
    names = inner.get("names") if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def parquet_schema(path: Path, file: BinaryIO) -> Any:
    """Returns a file's columns as Arrow has them."""
    return _opened(path, file).schema_arrow


def parquet_count(path: Path, file: BinaryIO) -> int:
    """Returns the number of a file's rows."""
    rows: int = _opened(path, file).metadata.num_rows
    return rows


def parquet_rows(path: Path, file: BinaryIO, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yields the number of each row, from 1, and its values in some columns; each of these exists once.

    Other columns are not read. Raises InputError if something cannot be read or is too long.
    """
    for before, batch in parquet_batches(path, file, columns):
        values = [parquet_values(path, batch.column(name), name, before) for name in columns]
        yield from enumerate(zip(*values, strict=True), start=before + 1)


def parquet_batches(path: Path, file: BinaryIO, columns: Sequence[str]) -> Iterator[tuple[int, Any]]:
    """Yields how many rows came before, and the next few in some columns, as Arrow has them.

    Each of the columns exists once; others are not read. Raises InputError if something cannot be read.
    """
    table = _opened(path, file)
    number = 0
    for group in range(table.num_row_groups):
        rows = _rows_at_once(path, table.metadata, group, columns)
        batches = table.iter_batches(rows, [group], columns=list(columns), use_threads=False)
        parts = itertools.chain.from_iterable(map(_parts, batches))
        while True:
            with _whole(path, number):
                batch = next(parts, None)
            if batch is None:
                break
            yield number, batch
            number += batch.num_rows


@contextlib.contextmanager
def _whole(path: Path, number: int) -> Iterator[None]:
    """Raises InputError where a file is damaged after a row."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputError(
            f"{path} is not a whole parquet file (after row {number:,}: {first_line(error)}); fetch it again "
            "or leave it out"
        ) from error


def _opened(path: Path, file: BinaryIO) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(
            file,
            pre_buffer=False,
            buffer_size=1 << 20,
            thrift_string_size_limit=_THRIFT_BYTES,
            thrift_container_size_limit=_THRIFT_ITEMS,
        )
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputError(
            f"{path} is not a whole parquet file ({first_line(error)}); fetch it again or leave it out"
        ) from error


def _parts(batch: Any) -> Iterator[Any]:
    """Yields a batch in parts of few bytes, as Python values take additional memory."""
    rows = max(1, batch.num_rows * (_BATCH_BYTES >> 2) // max(1, batch.nbytes))
    return (batch.slice(begin, rows) for begin in range(0, batch.num_rows, rows))


def parquet_values(path: Path, column: Any, name: str, before: int) -> list[Any]:
    """Returns the values of a column of some rows as Python values, decimal numbers as float.

    Args:
        path: The file.
        column: The rows' values.
        name: What the column is called.
        before: How many rows came before.

    Raises:
        InputError: If they cannot be read, or one is too long.
    """
    import pyarrow

    kind = column.type
    if pyarrow.types.is_nested(kind) and _items(column) > _ITEMS:
        raise too_long(f"row {before + 1:,} of {path}, or a later one of {len(column):,} read together,")
    with _whole(path, before):
        column = column.cast(pyarrow.float64()) if pyarrow.types.is_decimal(kind) else column
        try:
            values: list[Any] = column.to_pylist()
        except UnicodeDecodeError:
            raise
        except (ValueError, OverflowError, TypeError, ArithmeticError) as error:  # such as a date after 9999
            raise InputError(
                f"column '{name}' of {path} holds {kind}, which cannot be read as text or a label (after row "
                f"{before:,}: {first_line(error)}); name another column"
            ) from error
    for number, value in enumerate(values, start=before + 1):
        if isinstance(value, (str, bytes)) and len(value) > LINE_BYTES:
            raise too_long(f"row {number:,} of {path}")
    return values


def _items(column: Any) -> int:
    """Returns the number of values in the lists of a column."""
    import pyarrow

    if isinstance(column, pyarrow.StructArray):
        return sum(map(_items, column.flatten()))
    if isinstance(column, pyarrow.MapArray):
        return len(column.keys) + _items(column.items)
    return _items(column.flatten()) if hasattr(column, "flatten") and column.type.num_fields else len(column)


def _rows_at_once(path: Path, metadata: Any, group: int, columns: Sequence[str]) -> int:
    """Returns how many rows of a group can be read together; raises InputError if not even one can."""
    about = metadata.row_group(group)
    prefixes = tuple(f"{name}." for name in columns)
    rows = _BATCH_ROWS[0]
    with path.open("rb") as file:
        for place in range(about.num_columns):
            chunk = about.column(place)
            if not f"{chunk.path_in_schema}.".startswith(prefixes):
                continue
            per_row = -(-chunk.num_values // max(1, about.num_rows))
            if per_row > _ITEMS:
                raise too_long(f"a row of {path}, whose lists have {per_row:,} items on average,")
            pages = list(pages_of(path, file, chunk))
            # Two neighbouring large pages may be read together: each is in memory whole in any case.
            largest = max((page.unpacked for page in pages if not page.repeats), default=0)
            most = max(_BATCH_BYTES, min(2 * largest, 4 * _BATCH_BYTES))
            fits = (count for count in _BATCH_ROWS if unpacked_bytes(pages, count * per_row) <= most)
            rows = min(rows, next(fits, 1))
    return rows
