"""The user's own unlabelled text -> texts of about the length of a task's."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from lilliput.common.progress import bar
from lilliput.errors import InputError
from lilliput.text.sources import Reader, Source, find_sources
from lilliput.text.unpacking import TABLES, kind_of, words_in

_MOST = 1_000_000
"""Texts that are read, unless fewer are asked for."""
_SENTENCE_END = re.compile(r"(?<=[.!?]) +")


def read_texts(
    sources: Sequence[str | Source], text_column: str = "text", *, limit: int = _MOST, longest: int = 128
) -> tuple[str, ...]:
    """Returns the different texts of some sources, in their order, the first `limit` of them.

    A row of a table or a data set is a text, in plain text a line is: unlike the corpus, whose documents are
    parted by blank lines, unlabelled examples come one to a line. A text with more words than `longest` is
    cut at sentence ends into texts of no more, each as long as may be; a sentence that is longer stays whole.

    Args:
        sources: Files, folders, patterns and data sets, as `sources.find_sources` takes them or gives them.
        text_column: The column of tables and data sets that holds the text.
        limit: Texts wanted; nothing is read once they are there.
        longest: Words, as spaces part them, from which on a text is cut.

    Raises:
        InputError: A source is missing, damaged or not text, or all of them are empty.
    """
    seen: dict[str, None] = {}
    with bar("unlabelled text", limit) as shown:
        given = [[source] if not isinstance(source, str) else find_sources([source]) for source in sources]
        texts = (text for found in given for source in found for text in _texts(source, text_column))
        for text in texts:
            seen.update(dict.fromkeys(islice(_cut(text, longest), limit - len(seen))))
            shown.update(len(seen))
            if len(seen) >= limit:
                break
    if not seen:
        raise InputError("the sources hold no text; name a file with at least one word")
    return tuple(seen)


def _texts(source: Source, column: str) -> Iterator[str]:
    """Yields the texts of a source, without spaces in a row; some may be empty."""
    is_plain = isinstance(source, Path) and kind_of(source) not in TABLES
    for document in Reader([source], column).documents():
        text = document.decode()
        for part in text.split("\n") if is_plain else [text]:
            yield " ".join(words_in(part))


def _cut(text: str, longest: int) -> Iterator[str]:
    """Yields a text in stretches of whole sentences, of at most `longest` words if no sentence has more."""
    stretch: list[str] = []
    size = 0
    for sentence in _SENTENCE_END.split(text):
        words = sentence.count(" ") + 1
        if stretch and size + words > longest:
            yield " ".join(stretch)
            stretch, size = [], 0
        stretch.append(sentence)
        size += words
    if text:
        yield " ".join(stretch)
