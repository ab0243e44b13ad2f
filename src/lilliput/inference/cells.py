"""Values as the fields of a .csv, as JSON and as Arrow have them."""

import json
import math
from collections.abc import Iterable, Sequence
from datetime import date, time
from typing import Any


def answer_types(width: int) -> dict[str, Any]:
    """Returns what the columns of answers hold, as Arrow names it; vectors have `width` numbers."""
    import pyarrow as pa

    text, number, place = pa.string(), pa.float64(), pa.int32()
    slot = {"name": text, "text": text, "start": place, "end": place, "probability": number}
    return {
        "label": text,
        "labels": pa.list_(text),
        "probability": number,
        "probabilities": pa.map_(text, number),
        "value": number,
        "slots": pa.list_(pa.struct(list(slot.items()))),
        "guesses": pa.list_(pa.list_(pa.struct([("piece", text), ("probability", number)]))),
        "vector": pa.list_(pa.float32(), width),
        "cut": pa.bool_(),
        "unknown": number,
    }


def common_types(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[tuple[str, Any]]:
    """Returns columns with the type that all of their values have, or else text, which then is JSON."""
    import pyarrow as pa

    found: list[set[type]] = [set() for _ in names]
    for row in rows:
        for kinds, value in zip(found, row, strict=True):
            kinds.add(dict if isinstance(value, int) and abs(value) >= 1 << 63 else type(value))
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    every: list[tuple[str, Any]] = []
    for name, kinds in zip(names, found, strict=True):
        there = kinds - {type(None)}
        only = float if there == {int, float} else next(iter(there)) if len(there) == 1 else str
        every.append((name, types.get(only, pa.string())))
    return every


def arrow_value(value: Any, kind: Any) -> Any:
    """Returns a value as a column of an Arrow type takes it."""
    import pyarrow as pa

    if pa.types.is_string(kind):
        text = field(value) if value is not None else None
        return text if text is None else text.encode(errors="backslashreplace").decode()
    return list(value.items()) if isinstance(value, dict) and pa.types.is_map(kind) else value


def field(value: Any) -> str:
    """Returns a value as a field: text as it is, None as nothing, and all else as JSON."""
    found = plain(value)
    if found is None:
        return ""
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def plain(value: Any) -> Any:
    """Returns a value as JSON has it: None for NaN, dates as ISO 8601 writes them.

    >>> plain({"a": [float("nan"), date(2026, 11, 28)]})
    {'a': [None, '2026-11-28']}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, date | time):
        return value.isoformat()
    return value if isinstance(value, str | int | float | None) else str(value)
