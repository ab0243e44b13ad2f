"""The log of a stage's metrics, which a resumed stage continues."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilliput.common.files import not_written, parse_json, writing
from lilliput.common.settings import require
from lilliput.common.stored import intact, require_fields


@dataclass(frozen=True)
class MetricsLog:
    """A file with one JSON object per line; grows by appending, and is cut back to a step on resume."""

    path: Path
    """The file."""

    def append(self, values: Mapping[str, Any]) -> None:
        """Adds one line."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dict(values)) + "\n")
        except OSError as error:
            raise not_written(self.path, error) from error

    def read(self) -> list[dict[str, Any]]:
        """Returns all whole lines, without a last line that a kill cut short.

        Raises StorageError if a line is damaged.
        """
        if not self.path.exists():
            return []
        with intact(self.path, f"remove {self.path}, which is only a log, to go on without it"):
            *lines, _ = self.path.read_text(encoding="utf-8").split("\n")
            found = [parse_json(line) for line in lines]
            for number, line in enumerate(found, start=1):
                require_fields({"step": int}, line, f"line {number:,}")
                numbers = all(isinstance(value, int | float) for value in line.values())
                require(numbers, f"line {number:,} has a value that is not a number")
        return found

    def rewind(self, step: int) -> None:
        """Removes all lines after `step`, which a resumed run logs again."""
        kept = [line for line in self.read() if line["step"] <= step]
        with writing(self.path) as file:
            file.write("".join(json.dumps(line) + "\n" for line in kept).encode())
