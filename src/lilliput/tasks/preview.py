"""What a person should see of a task before anything is learnt from it."""

from collections import Counter

from rich.table import Table
from rich.text import Text

from lilliput.tasks.kinds import KINDS
from lilliput.tasks.task import Examples, Task, TaskData, Words

_EXAMPLES = 3
_CLASSES = 12
"""Classes shown; of more the most frequent."""
_CHARACTERS = 160


def preview(data: TaskData) -> Table:
    """Returns a table for the terminal: the task, its sizes, how often each class occurs, and examples.

    Nothing in a text is taken for a command to the terminal.
    """
    task, table = data.task, Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def row(name: str, value: str, style: str = "") -> None:
        table.add_row(name, Text(_printable(value), style=style))

    row("task", f"{task.name}: {task.kind}{' of pairs' if task.pairs else ''}, scored by {task.metric}")
    row("read", data.origin)
    row("examples", f"{len(data.train):,} to learn from, {len(data.dev):,} to be scored on")
    assert data.train.labels is not None
    for name, labels in KINDS[task.kind].summary(task, data.train.labels).items():
        row(name, labels if isinstance(labels, str) else _listed(labels))
    row("longest text", f"{max(map(_words, [*data.train.texts, *data.train.pairs])):,} words")
    for index in range(min(_EXAMPLES, len(data.train))):
        row("" if index else "for example", _shown(task, data.train, index))
    for warning in data.warnings:
        row("warning", warning, "yellow")
    return table


def _listed(counts: Counter[str]) -> str:
    total = counts.total()
    shown = [f"{name} {count:,} ({count / total:.1%})" for name, count in counts.most_common(_CLASSES)]
    more = f", and {len(counts) - _CLASSES} more" if len(counts) > _CLASSES else ""
    return f"{len(counts)}: {', '.join(shown)}{more}"


def _shown(task: Task, examples: Examples, index: int) -> str:
    assert examples.labels is not None
    text, said = examples.texts[index], KINDS[task.kind].named(task, examples.labels, index)
    if "tags" in said:
        tagged = zip(text, said["tags"], strict=True)
        shown = " ".join(word if tag == "O" else f"{word}/{tag}" for word, tag in tagged)
    else:
        shown = _cut(str(text))
    if examples.pairs:
        shown += f" | {_cut(examples.pairs[index])}"
    if "labels" in said:
        return f"{shown} -> {', '.join(said['labels']) or 'no class'}"
    if "label" not in said:
        return shown
    return f"{shown} -> {said['label'] if isinstance(said['label'], str) else format(said['label'], 'g')}"


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}..."


def _words(text: str | Words) -> int:
    return len(text.split()) if isinstance(text, str) else len(text)


def _printable(text: str) -> str:
    """Returns a text without what would steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
