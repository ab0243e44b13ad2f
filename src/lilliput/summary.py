"""What a run did, as a table and in a line for each stage."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from lilliput.common.settings import build
from lilliput.planning.estimate import Estimate, size
from lilliput.run import summary_there

BERT_BASE_PARAMETERS, BERT_BASE_BYTES = 109_500_000, 438_000_000
"""What everyone compares with: BERT_BASE uncased without heads, as float32."""


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    recipe: dict[str, Any]
    """The recipe, as plain values."""
    teacher: str
    """Folder or hub name of the teacher."""
    student_parameters: int
    """Parameters of the student with its tied masked-LM head."""
    student_bytes: int
    """Size of the student's weights on disk."""
    folder_bytes: int
    """Size of everything in the student's folder, tokenizer included."""
    teacher_parameters: int
    """Parameters of the teacher with its tied masked-LM head, its own vocabulary only."""
    teacher_bytes: int
    """Size of the teacher's checkpoint on disk."""
    stages: dict[str, dict[str, Any]]
    """What each training stage reported."""
    words: int
    """Words read in training."""
    training_seconds: float
    """Time all stages took to train, over all interruptions."""
    total_seconds: float
    """Time this call took, everything included."""
    memory_bytes: int
    """Memory of the process of this call at its peak."""
    estimate: dict[str, Any] | None
    """What training was expected to take (`planning.estimate.Estimate`); None where processes share steps."""
    student_files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Bytes and digests of the files in the student's folder."""


def is_summary(path: Path) -> bool:
    """Returns whether a file is there and is the summary of a run."""
    return summary_there(path).keys() >= {"recipe", "teacher", "student_parameters", "stages"}


def stage_line(name: str, results: dict[str, Any]) -> str:
    """Returns one line on a finished stage."""
    qualities = [
        f"{model} {_change(results, f'{model}/bits_per_character', '.3f')} bits per character, "
        f"{_change(results, f'{model}/accuracy', '.1%')} right"
        for model in ("teacher", "student")
        if {f"{model}/accuracy", f"{model}/bits_per_character"} <= results["after"].keys()
    ]
    return (
        f"{name}: {results['words']:,} words in {results['seconds'] / 60:.1f} minutes; {'; '.join(qualities)}"
    )


def _change(results: Mapping[str, Any], key: str, form: str) -> str:
    """Returns a quality before and after a stage; of a stage whose beginning is not known, only after it."""
    known = [results[when][key] for when in ("before", "after") if key in results[when]]
    return " -> ".join(f"{value:{form}}" for value in known)


def render(summary: Summary) -> Table:
    """Returns the summary as a table for the terminal."""
    table = Table(
        title=f"{summary.teacher.rstrip('/').split('/')[-1]} compressed by recipe '{summary.recipe['name']}'"
    )
    for column in ("", "student", "teacher", "BERT_BASE"):
        table.add_column(column, justify="right" if column else "left")
    ours, theirs = summary.student_parameters, summary.teacher_parameters
    table.add_row("parameters", f"{ours:,}", f"{theirs:,}", f"{BERT_BASE_PARAMETERS:,}")
    table.add_row("  smaller", "", f"{theirs / ours:.1f}x", f"{BERT_BASE_PARAMETERS / ours:.1f}x")
    sizes = (summary.student_bytes, summary.teacher_bytes, BERT_BASE_BYTES)
    table.add_row("weights, file bytes", *(f"{size:,}" for size in sizes))
    table.add_row("  smaller", "", *(f"{size / summary.student_bytes:.1f}x" for size in sizes[1:]))
    table.add_row("with tokenizer, bytes", f"{summary.folder_bytes:,}", "", "")
    for name, key, form in (
        ("bits per character", "bits_per_character", "{:.3f}"),
        ("masked pieces right", "accuracy", "{:.1%}"),
    ):
        for when in ("before", "after"):
            cells = [_extreme(summary, f"{model}/{key}", when) for model in ("student", "teacher")]
            shown = ["-" if value is None else form.format(value) for value in cells]
            table.add_row(f"{name}, {when}", *shown, "")
    table.add_row("words read", f"{summary.words:,}", "", "")
    table.add_row("minutes of training", f"{summary.training_seconds / 60:.1f}", "", "")
    table.add_row("minutes in all, this call", f"{summary.total_seconds / 60:.1f}", "", "")
    table.add_row("memory, this call at its peak", size(summary.memory_bytes), "", "")
    for name, expected, off in _expected(summary):
        table.add_row(f"{name}, expected", f"{expected} ({off:+.0%})", "", "")
    return table


def _expected(summary: Summary) -> Iterator[tuple[str, str, float]]:
    """Yields what the budget left open as it was expected before training, and how far that was off."""
    if summary.estimate is None:
        return
    estimate: Estimate = build(Estimate, summary.estimate, "")
    if summary.recipe["budget"]["words"] is None:
        words = sum(stage.words for stage in estimate.stages)
        yield "words read", f"{words:,}", words / summary.words - 1
    else:
        seconds = sum(stage.seconds for stage in estimate.stages)
        yield "minutes of training", f"{seconds / 60:.1f}", seconds / summary.training_seconds - 1
    memory = estimate.memory_bytes
    yield "memory", size(memory), memory / summary.memory_bytes - 1


def _extreme(summary: Summary, key: str, when: str) -> float | None:
    """Returns a quality before the first or after the last stage that reports it."""
    found = [results[when][key] for results in summary.stages.values() if key in results[when]]
    return (found[0] if when == "before" else found[-1]) if found else None
