"""Predictions as a file: .csv, .jsonl or .parquet, by its ending."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lilliput.common.files import as_json, writing
from lilliput.comparison.evaluation_report import Prediction
from lilliput.errors import ConfigError

ENDINGS = (".csv", ".jsonl", ".parquet")


def check_ending(path: Path) -> None:
    """Raises ConfigError where a file has no ending that says what it is."""
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(
            f"predictions cannot be written to {path}: its ending must be one of {', '.join(ENDINGS)}"
        )


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Writes a line or row for each prediction.

    In .jsonl and .parquet probabilities, words and tags are objects and lists. In .csv each class has a
    column of its own, `probability of NAME`, and words and tags stand with spaces between them.

    Raises:
        ConfigError: If the ending is another one.
        StorageError: If the file cannot be written.
    """
    check_ending(path)
    write = {".csv": _as_csv, ".jsonl": _as_lines, ".parquet": _as_parquet}[path.suffix.lower()]
    with writing(path) as file:
        file.write(write([one.values() for one in predictions]))


def _as_lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(as_json(row) + b"\n" for row in rows)


def _as_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    flat = [_flat(row) for row in rows]
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, list(dict.fromkeys(name for row in flat for name in row)))
    writer.writeheader()
    writer.writerows(flat)
    return written.getvalue().encode(errors="backslashreplace")


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= {f"probability of {key}": share for key, share in value.items()}
        else:
            found[name] = " ".join(value) if isinstance(value, list) else value
    return found


def _as_parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    written = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), written)
    return written.getvalue()
