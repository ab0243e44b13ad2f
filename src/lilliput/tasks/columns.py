"""Which columns of a table hold texts, labels and tags: those with usual names, or those named."""

from dataclasses import dataclass

from lilliput.errors import InputError, nearest
from lilliput.tasks.tables import Table

PAIRS = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("sentence_a", "sentence_b"),
)
"""Usual names of two columns of texts, as in GLUE and SICK."""
TEXTS = ("text", "sentence", "sentence1", "premise", "question", "question1", "sentence_a", "input")
WORDS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "slots")
LABELS = ("label", "gold_label", "intent", "class", "category", "score")


@dataclass(frozen=True)
class Columns:
    """Names of columns; None for what is not there or, where a user names them, is not named."""

    text: str | None = None
    pair: str | None = None
    label: str | None = None
    tags: str | None = None

    def __str__(self) -> str:
        named = {"text": self.text, "pair": self.pair, "label": self.label, "tags": self.tags}
        return ", ".join(f"{role} from '{column}'" for role, column in named.items() if column)


def recognise(table: Table, named: Columns) -> Columns:
    """Returns the columns named, and for those not named the ones with a usual name, capitals or not.

    Where the text is named and no pair, there is none. Raises InputError where no text, or neither labels
    nor tags, can be found.
    """
    check_columns(table, named)
    tags = named.tags or _first(table, TAGS)
    if tags is not None and named.pair is not None:
        raise InputError(
            f"column '{named.pair}' was named for a pair, but column '{tags}' of {table.name} has tags, "
            "which belong to the words of one text; leave out --pair, or give the column of tags another name"
        )
    text, pair = named.text, named.pair
    if text is None and pair is None and tags is None:
        both = [(_first(table, (first,)), _first(table, (second,))) for first, second in PAIRS]
        text, pair = next((names for names in both if None not in names), (None, None))
    usual = (*WORDS, *TEXTS) if tags else (*TEXTS, *WORDS)
    text = text or _first(table, [name for name in usual if name != pair])
    if text is None:
        raise _unknown(table, "the text", "--text", usual)
    label = named.label or usual_label(table)
    if label is None and tags is None:
        raise _unknown(table, "a label or tags", "--label or --tags", (*LABELS, *TAGS))
    return Columns(text, pair, label, tags)


def usual_label(table: Table) -> str | None:
    """Returns the column that would be taken for the label if none were named."""
    return _first(table, LABELS)


def check_columns(table: Table, columns: Columns) -> None:
    """Raises InputError where a table lacks one of the columns."""
    for name in (columns.text, columns.pair, columns.label, columns.tags):
        if name is not None and name not in table.columns:
            raise InputError(
                f"{table.name} has no column '{name}' but {_listed(table)}; train and dev need columns of "
                f"the same names; {nearest(name, table.columns)}"
            )


def _first(table: Table, names: tuple[str, ...] | list[str]) -> str | None:
    """Returns the column with the first of the names that is there."""
    lower = {column.lower(): column for column in reversed(list(table.columns))}
    return next((lower[name] for name in names if name in lower), None)


def _listed(table: Table) -> str:
    return ", ".join(f"'{name}'" for name in table.columns) or "none at all"


def _unknown(table: Table, what: str, option: str, usual: tuple[str, ...]) -> InputError:
    return InputError(
        f"no column of {table.name} is known to hold {what}: it has {_listed(table)}, usual names are "
        f"{', '.join(usual)}; name it with {option}, or write a first line with the names of the columns"
    )
