"""What a comparison of runs found, as values and tables."""

from dataclasses import dataclass

from lilliput.common.sheet import Sheet
from lilliput.tasks.metrics import of_all

_HEADINGS = (
    "run",
    "task",
    "metric",
    "score",
    "others",
    "kept",
    "agrees",
    "parameters",
    "weights",
    "folder",
    "ms",
)
_ON_TERMINAL = ("run", "task", "metric", "score", "kept", "folder", "ms")
"""Columns that stand side by side in 80 characters."""


@dataclass(frozen=True)
class Entry:
    """One run's model of one task."""

    run: str
    """The run's name."""
    task: str
    """The task's name."""
    metric: str
    """The metric that decides."""
    scores: dict[str, tuple[float, float]]
    """Mean and standard deviation over seeds of every metric on the dev set."""
    seeds: int
    """Seeds that these are of."""
    retention: float | None
    """The deciding metric in that of the teacher; None without one."""
    agreement: float | None
    """Share of the dev examples on which it says what the teacher says or, where scores are predicted, the
    correlation of both; None without a teacher."""
    parameters: int
    """Parameters, head included."""
    weight_bytes: int
    """Bytes of the weights' file."""
    folder_bytes: int
    """Bytes of everything that loading it needs, tokenizer included."""
    milliseconds: float
    """Time for one text of median length, tokenised before, at one thread: median."""
    confusion: dict[str, dict[str, int]]
    """How often each class was taken for each, by the class that is true; empty for regression."""


@dataclass(frozen=True)
class Comparison:
    """Models of several runs beside each other."""

    teacher: str | None
    """Name of the run that the others are compared with."""
    entries: tuple[Entry, ...]
    """Run by run, task by task."""

    def retention(self, run: str) -> float | None:
        """Returns the mean retention of a run over its tasks."""
        found = [
            entry.retention for entry in self.entries if entry.run == run and entry.retention is not None
        ]
        return sum(found) / len(found) if found else None

    def __repr__(self) -> str:
        lines = ["<Comparison:"]
        for entry in self.entries:
            score = _score(*entry.scores[entry.metric], entry.seeds)
            kept = "" if entry.retention is None else f", keeps {entry.retention:.1%} of {self.teacher}"
            lines.append(f"{entry.run}, {entry.task}: {entry.metric} {score}{kept}")
        return "\n  ".join(lines) + ">"


def markdown(found: Comparison) -> str:
    """Returns the comparison as Markdown: a table, and the confusions."""
    lines = [table(found).markdown()]
    lines += ["", "Mean and standard deviation over seeds, on dev; ms at one thread.", ""]
    for run in dict.fromkeys(entry.run for entry in found.entries):
        if run != found.teacher and (kept := found.retention(run)) is not None:
            lines.append(f"- {run} keeps {kept:.1%} of {found.teacher} on average")
    for entry in found.entries:
        if entry.confusion:
            lines += ["", f"## {entry.run}, {entry.task}: true classes down, predicted ones across", ""]
            lines.append(_confusion(entry.confusion).markdown())
    return "\n".join(lines) + "\n"


def table(found: Comparison) -> Sheet:
    """Returns the comparison as a table with all columns."""
    return Sheet(_HEADINGS, [_cells(entry) for entry in found.entries], left=2)


def _confusion(counts: dict[str, dict[str, int]]) -> Sheet:
    names = list(dict.fromkeys([*counts, *(name for row in counts.values() for name in row)]))
    rows = [(name, *(str(row.get(other, 0)) for other in names)) for name, row in counts.items()]
    return Sheet(("", *names), rows)


def render(found: Comparison) -> Sheet:
    """Returns the comparison as a table for the terminal, of those columns that fit there."""
    places = [_HEADINGS.index(heading) for heading in _ON_TERMINAL]
    rows = [[cells[place] for place in places] for cells in map(_cells, found.entries)]
    return Sheet(_ON_TERMINAL, rows, left=3, compact=True)


def _cells(entry: Entry) -> list[str]:
    """Returns what stands under `_HEADINGS`."""
    scores = {name: _score(*pair, entry.seeds) for name, pair in of_all(entry.scores).items()}
    others = ", ".join(f"{name} {value}" for name, value in scores.items() if name != entry.metric)
    return [
        *(entry.run, entry.task, entry.metric, scores[entry.metric], others),
        *("" if value is None else f"{value:.1%}" for value in (entry.retention, entry.agreement)),
        *(f"{count:,}" for count in (entry.parameters, entry.weight_bytes, entry.folder_bytes)),
        f"{entry.milliseconds:.2f}",
    ]


def _score(mean: float, deviation: float, seeds: int) -> str:
    return f"{mean * 100:.1f}" + (f" ± {deviation * 100:.1f}" if seeds > 1 else "")
