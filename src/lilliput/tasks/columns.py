"""Finds the columns of texts, labels and tags in a table: as the user names them, or by usual names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lilliput.errors import InputError
from lilliput.tasks.conll import is_word_lines
from lilliput.tasks.kind import Kind
from lilliput.tasks.tables import Source
from lilliput.text.tables import like_data, listed, nearest_of

PAIRS = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("sentence_a", "sentence_b"),
    ("sentence_1", "sentence_2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
)
"""Usual names of two columns of texts, as in GLUE and SICK."""
ANSWERS = (
    ("query", "answer"),
    ("question", "answer"),
    ("query", "passage"),
    ("query", "positive"),
    ("anchor", "positive"),
    *PAIRS,
)
"""The same of queries and their right answers."""
NEGATIVES = (("negative", "hard_negative"),)
TEXTS = (
    ("text",),
    ("sentence",),
    (
        *(
            "sentence1",
            "premise",
            "question",
            "question1",
            "sentence_a",
            "input",
            "content",
            "body",
            "review",
        ),
        *("utterance", "utt", "tweet", "comment", "message", "query", "document", "passage", "post", "email"),
        *("review_text", "tweet_text", "comment_text", "full_text", "review_body", "post", "text1", "text_a"),
    ),
    ("title", "headline"),
)
"""Usual names of a column of texts. The first group counts that a table has a name of; where it has two of
them, the user is asked."""
WORDS = (("tokens", "words"),)
TAGS = (
    ("tags", "ner_tags", "slots"),
    ("pos_tags", "upos", "upos_tags", "bio_tags", "iob_tags"),
)
SEVERAL = "labels"
"""Usual name of a column with a tag for each word, or with several classes of a text."""
LABELS = (
    ("label",),
    (
        *("gold_label", "intent", "class", "category", "score", "stars", "star", "rating", "y", "target"),
        *("sentiment", "emotion", "topic", "polarity", "label_text", "similarity_score", SEVERAL),
    ),
)
_LISTED = 12

_Groups = Sequence[Sequence[str]]


class Named(Protocol):
    """Something with a name whose columns are known."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def names(self) -> Sequence[str]:
        """Its columns."""


@dataclass(frozen=True)
class Columns:
    """Names of columns; None for a column that does not exist, or that the user did not name."""

    text: str | None = None
    pair: str | None = None
    label: str | None = None
    tags: str | None = None
    negative: str | None = None

    def __str__(self) -> str:
        return ", ".join(f"{role} from '{column}'" for role, column in vars(self).items() if column)

    @property
    def names(self) -> list[str]:
        """The columns that are not None."""
        return [name for name in vars(self).values() if name is not None]


def recognise(table: Source, named: Columns, kind: Kind | None = None) -> Columns:
    """Returns the named columns, and for the others those with a usual name, ignoring case.

    If the text is named and no pair, there is no pair; if the kind of the task is named, columns that it does
    not use are left out. Raises InputError if no text, or neither labels nor tags, can be found.
    """
    check_columns(table, named)
    if kind is not None:
        for column, what, fits in (
            (named.label, "--label", kind.has_label),
            (named.tags, "--tags", kind.has_tags),
            (named.negative, "--negative", kind.implied is not None),
        ):
            if column is not None and not fits:
                raise InputError(f"a {kind.name} task has no {what}; leave it out, or name another --kind")
    if named.negative is not None and kind is None:
        raise InputError("--negative names wrong answers to queries; add --kind retrieval, or leave it out")
    tags = named.tags
    if tags is None and (kind is None or kind.has_tags):
        taken = [named.text, named.label]
        tags = _first(table, TAGS, "--tags", taken) or _tags_called_labels(table, taken)
    if tags is not None and named.pair is not None:
        raise InputError(
            f"column '{named.pair}' was named as --pair, but column '{tags}' of {table.name} has tags, which "
            "belong to the words of one text; leave out --pair, or give the column of tags another name"
        )
    if kind is not None and kind.is_two_tower:
        return _towers(table, named, kind)
    text, pair = named.text, named.pair
    if text is None and pair is None and tags is None:
        text, pair = _both(table, PAIRS)
    usual = (*WORDS, *TEXTS) if tags else (*TEXTS, *WORDS)
    text = text or _first(table, usual, "--text", [pair, named.label, tags])
    if text is None:
        raise _unknown(table, "the text", "--text", usual)
    may_have = kind is None or kind.has_label
    label = named.label or (usual_label(table, [text, pair, tags]) if may_have else None)
    if tags is None and kind is not None and kind.has_tags:
        raise _unknown(table, "tags", "--tags", TAGS)
    if label is None and kind is not None and kind.has_label:
        raise _unknown(table, "a label", "--label", LABELS)
    if label is None and tags is None:
        raise _unknown(table, "a label or tags", "--label or --tags", (*LABELS, *TAGS))
    return Columns(text, pair, label, tags)


def text_columns(table: Named, pairs: bool) -> tuple[str, ...]:
    """Returns the column of a table that holds its texts by a usual name, or the two that hold pairs.

    The only column of a table holds its texts, whatever it is called. Raises InputError where none is known.
    """
    if not pairs and len(table.names) == 1:
        return (table.names[0],)
    found = _both(table, PAIRS, "--column") if pairs else (_first(table, TEXTS, "--column"),)
    known = tuple(name for name in found if name is not None)
    if known:
        return known
    usual = [" and ".join(names) for names in PAIRS] if pairs else [name for group in TEXTS for name in group]
    raise InputError(
        f"no column of {table.name} is known to hold {'pairs of texts' if pairs else 'texts'}: it has "
        f"{listed(table.names)}, usual names are {', '.join(usual)}; name "
        f"{'two with --column FIRST SECOND' if pairs else 'one with --column'}{like_data(table.names)}"
    )


def _both(table: Named, pairs: Sequence[tuple[str, str]], option: str = "") -> tuple[str | None, str | None]:
    """Returns the first two columns of a table with usual names; None for both where there are none."""
    for first, second in pairs:
        found = _first(table, [[first]], option or "--text"), _first(table, [[second]], option or "--pair")
        if None not in found:
            return found
    return None, None


def _towers(table: Source, named: Columns, kind: Kind) -> Columns:
    """Returns the columns for a two-tower model: of two texts and a score, or of queries and answers."""
    usual = ANSWERS if kind.implied is not None else PAIRS
    text, pair = (named.text, named.pair) if named.text or named.pair else _both(table, usual)
    if text is None or pair is None:
        two, option = "two texts" if text is pair is None else "the other text", "--text and --pair"
        raise _unknown(table, two, option, [[" and ".join(names) for names in usual]])
    if kind.implied is not None:
        return Columns(text, pair, negative=named.negative or _first(table, NEGATIVES, "--negative"))
    label = named.label or usual_label(table)
    if label is None:
        raise _unknown(table, "a score of both texts", "--label", LABELS)
    return Columns(text, pair, label)


def usual_label(table: Source, taken: Sequence[str | None] = ()) -> str | None:
    """Returns the column that is used as the label if the user names none, none of those that are taken."""
    return _first(table, LABELS, "--label", taken)


def check_columns(table: Source, columns: Columns) -> None:
    """Raises InputError if a table lacks one of the columns."""
    for name in columns.names:
        if name not in table.names:
            raise InputError(
                f"{table.name} has no column '{name}' but {_listed(table)}; train and dev need columns with "
                f"the same names; {nearest_of(name, table.names)}"
            )


def _tags_called_labels(table: Source, taken: Sequence[str | None]) -> str | None:
    """Returns the column `labels` if there is also a column of words, so that it may hold their tags."""
    return _first(table, [[SEVERAL]], "--tags", taken) if _first(table, WORDS, "--text") else None


def _first(table: Named, groups: _Groups, option: str, taken: Sequence[str | None] = ()) -> str | None:
    """Returns the column whose name is in the first group that has one of a table's.

    Capitals do not count, and a space or hyphen in a name is as _. Raises InputError where several columns
    are in that group.

    Args:
        table: Has the columns.
        groups: Usual names.
        option: By which a user names the column.
        taken: Columns that are something else.
    """
    plain = {name: re.sub(r"[\s-]+", "_", name.strip().lower()) for name in table.names if name not in taken}
    for group in groups:
        found = [name for name in plain if plain[name] in group]
        if len(found) > 1:
            raise InputError(
                f"{table.name} has the columns {' and '.join(map(repr, found))}, and either could be meant; "
                f"name one with {option}"
            )
        if found:
            return found[0]
    return None


def _listed(table: Source) -> str:
    return listed([f"'{name}'" for name in table.names])


def _unknown(table: Source, what: str, option: str, usual: _Groups) -> InputError:
    if is_word_lines(table.names):
        return InputError(
            f"{table.name} begins like a file with one word and its tag per line, not with column names; "
            "give it a name that ends in .conll, or write a first line with the column names"
        )
    names = [name for group in usual for name in group]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return InputError(
        f"no column of {table.name} is known to hold {what}: it has {_listed(table)}, usual names are "
        f"{', '.join(names[:_LISTED])}{more}; name it with {option}, or write a first line with the column "
        f"names{like_data(table.names)}"
    )
