"""The tasks known by name (GLUE, SICK, SNIPS, ATIS and CoNLL-2003), and how to read them from the hub."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lilliput.errors import InputError
from lilliput.tasks.tables import Source, Table

_GLUE = "nyu-mll/glue"
_INFERENCE = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class Known:
    """A known task: its properties, wherever its examples come from, and its data set on the hub."""

    kind: str
    metrics: tuple[str, ...]
    """The metrics that its authors use, the deciding one first."""
    data_set: str
    config: str | None = None
    dev: str | None = "validation"
    """The split for scoring; None to hold out a part of train."""
    revision: str | None = None
    pairs: bool = False
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their numbers; empty if labels are names."""
    tags: tuple[str, ...] = ()
    """The same for tags."""
    positive: str | None = None
    """The class that F1 is computed for."""


def _glue(name: str, classes: tuple[str, ...], pairs: bool = True, **others: Any) -> Known:
    return replace(
        Known("classification", ("accuracy",), _GLUE, name, pairs=pairs, classes=classes), **others
    )


KNOWN = {
    "cola": _glue("cola", ("unacceptable", "acceptable"), False, metrics=("matthews",)),
    "sst2": _glue("sst2", ("negative", "positive"), False),
    "mrpc": _glue(
        "mrpc", ("not_equivalent", "equivalent"), metrics=("f1", "accuracy"), positive="equivalent"
    ),
    "stsb": _glue("stsb", (), kind="regression", metrics=("pearson", "spearman")),
    "qqp": _glue("qqp", ("not_duplicate", "duplicate"), metrics=("f1", "accuracy"), positive="duplicate"),
    "mnli": _glue("mnli", _INFERENCE, dev="validation_matched"),
    "qnli": _glue("qnli", ("entailment", "not_entailment")),
    "rte": _glue("rte", ("entailment", "not_entailment")),
    "wnli": _glue("wnli", ("not_entailment", "entailment")),
    # The hub's own conversion to parquet: the repository has a script, and scripts are not run.
    "sick": Known(
        "classification",
        ("accuracy",),
        "RobZamp/sick",
        revision="refs/convert/parquet",
        pairs=True,
        classes=_INFERENCE,
    ),
    "snips": Known(
        "joint",
        ("frame_accuracy", "intent_accuracy", "slot_f1"),
        "bkonkle/snips-joint-intent",
        dev=None,  # the repository has only train and test
    ),
    "atis": Known("joint", ("frame_accuracy", "intent_accuracy", "slot_f1"), "tuetschek/atis", dev=None),
    "conll2003": Known(
        "tagging",
        ("f1", "precision", "recall"),
        "lhoestq/conll2003",
        tags=("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"),
    ),
}
"""The known tasks by name."""


def find_data_set(known: Known, split: str) -> Source:
    """Returns one split of a known task on the hub, with the hub's class names instead of numbers."""
    import datasets

    name = ":".join(part for part in (known.data_set, known.config, split) if part)
    try:
        data_set = datasets.load_dataset(known.data_set, known.config, split=split, revision=known.revision)
    except Exception as error:  # the library raises many kinds, also bare Exception
        raise InputError(
            f"data set {name} cannot be read ({' '.join(str(error).split())}); check the network, or give "
            "files with --train and --dev"
        ) from error

    def read(columns: Sequence[str]) -> Table:
        values = data_set.select_columns(list(columns))[:]
        table = Table(f"data set {name}", values, range(1, len(data_set) + 1), "row")
        for column in columns:
            feature = data_set.features[column]
            inner = feature.feature if isinstance(feature, datasets.List) else feature
            if isinstance(inner, datasets.ClassLabel):
                table = table.named(column, inner.names)
        return table

    return Source(f"data set {name}", data_set.column_names, read)


def numbers_named(table: Table, known: Known, label: str | None, tags: str | None) -> Table:
    """Returns the table of a known task with names of classes and tags instead of numbers."""
    for column, names in ((label, known.classes), (tags, known.tags)):
        if column is not None and names:
            table = table.named(column, names)
    return table


def without_empty(table: Table, columns: Sequence[str]) -> tuple[Table, str | None]:
    """Returns the rows that have a text in all columns, and a warning if others were left out.

    For data sets from the hub: some have rows without text, which the user cannot repair.
    """
    kept = [row for row in range(len(table)) if all(_has_text(table.columns[name][row]) for name in columns)]
    if len(kept) == len(table):
        return table, None
    first = next(row for row, other in enumerate([*kept, -1]) if row != other)
    return table.only(kept), (
        f"{len(table) - len(kept):,} rows of {table.name} were left out because they have no text, "
        f"the first is {table.where(first)}"
    )


def _has_text(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else bool(value)
