"""Sample texts for estimates: a small part of the user's text, with its share of it, or a made-up text."""

import json
import random
import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pyarrow.parquet import ParquetFile
from tokenizers import Tokenizer

from lilliput.common.files import writing
from lilliput.errors import InputError
from lilliput.pieces.bert_tokenizer import plain_tokenizer
from lilliput.pieces.family import TeacherTokenizer
from lilliput.pieces.tokenizer_file import CONTINUING, SPECIAL
from lilliput.text.formats import documents_of
from lilliput.text.sources import DataSet, find_sources
from lilliput.text.unpacking import kind_of, reading

_SOURCES = 8
"""The most files that are sampled, evenly spaced."""
_MADE_UP_WORDS = 400_000
_POWER, _LENGTHENED, _MARKED, _LAST = 1.1, 0.1, 0.12, 0.025
"""The exponent of Zipf's law, and three shares: words with a continuing piece, words with a full stop, and
full stops that end a document. With these, BERT's vocabulary needs 1.09 pieces per word and a student's of
4,928 pieces 1.39; on Wikipedia they need 1.10 and 1.36."""


def sample_text(names: Sequence[str], text_column: str, size: int, out: Path) -> float:
    """Writes about `size` bytes of documents to `out`, as JSON lines, and returns their share of the text.

    The share is estimated from how much of each stored file the documents take.

    Args:
        names: Files, folders and patterns, as `sources.find_sources` takes them.
        text_column: The column of tables that holds the text.
        size: Bytes of text wanted; a smaller text is taken whole.
        out: A file ending in .jsonl.

    Raises:
        InputError: If a source cannot be read, or is a data set, whose size is unknown.
    """
    files = []
    for source in find_sources(names):
        if isinstance(source, DataSet):
            raise InputError(
                f"the size of {source} is not known before it is read; give the number of its words instead"
            )
        files.append(source)
    chosen = files[:: -(-len(files) // _SOURCES)]
    taken = estimated = 0.0
    with writing(out) as written:
        for path in chosen:
            with reading(path):
                documents, share = _beginning(path, text_column, size // len(chosen))
            found = sum(map(len, documents))
            taken, estimated = taken + found, estimated + found / share
            written.writelines(json.dumps({"text": text.decode()}).encode() + b"\n" for text in documents)
    if not taken:  # an empty text, which is refused when it is read
        return 1.0
    stored, looked_into = (sum(path.stat().st_size for path in paths) for paths in (files, chosen))
    return taken / estimated * looked_into / stored


def _beginning(path: Path, column: str, size: int) -> tuple[list[bytes], float]:
    """Returns documents of about `size` bytes from the beginning of a file, and their share of it."""
    documents: list[bytes] = []
    taken = position = 0
    with path.open("rb") as file:
        for document in documents_of(path, file, column):
            if taken >= size and kind_of(path) == ".parquet":
                return documents, len(documents) / ParquetFile(path).metadata.num_rows
            # The file has just been read further: all documents so far come from before that position.
            if taken >= size and file.tell() != position:
                return documents, position / path.stat().st_size
            position = file.tell()
            documents.append(document)
            taken += len(document)
    return documents, 1.0


def made_up_sample(teacher: TeacherTokenizer, folder: Path) -> Path:
    """Writes a text of made-up sentences from a tokenizer's words into a folder, and returns its path."""
    path = folder / "made_up.txt"
    with writing(path) as file:
        file.write(made_up_text(teacher, _MADE_UP_WORDS).encode())
    return path


def stand_in_tokenizer(size: int) -> Tokenizer:
    """Returns a BERT tokenizer of `size` made-up pieces, for a teacher with a shape but no vocabulary.

    Most are words of two to four syllables. A vocabulary of 4,928 pieces then needs 1.33 pieces per word; on
    the English Wikipedia it needs 1.36.
    """
    drawn = random.Random(0)
    syllables = [consonant + vowel for consonant in "bcdfghklmnprstvwz" for vowel in "aeiou"]
    pieces = dict.fromkeys([*SPECIAL, *string.ascii_lowercase, *string.digits, *string.punctuation])
    pieces |= dict.fromkeys(f"{CONTINUING}{part}" for part in (*string.ascii_lowercase, *syllables))
    while len(pieces) < size:
        pieces["".join(drawn.choices(syllables, k=drawn.randint(2, 4)))] = None
    ids = {piece: index for index, piece in enumerate(pieces)}
    return plain_tokenizer(ids)


def made_up_text(teacher: TeacherTokenizer, words: int) -> str:
    """Returns documents of `words` words from the teacher's vocabulary, with frequencies by Zipf's law.

    Assumes that the vocabulary is sorted by frequency, as BERT's is.
    """
    spelt = teacher.surfaces()
    first = [text[1:] for text in spelt if text.startswith(" ")]
    wholes = np.array([word for word in first if word.isascii() and word.isalpha() and word[1:]], object)
    endings = np.array([text for text in spelt if text.isalpha()], object)
    random = np.random.default_rng(0)
    weights = (np.arange(len(wholes)) + 2.7) ** -_POWER
    drawn = random.choice(wholes, words, p=weights / weights.sum())
    lengthened = np.flatnonzero(random.random(words) < _LENGTHENED)
    drawn[lengthened] += random.choice(endings, len(lengthened))
    ends = np.flatnonzero(random.random(words) < _MARKED)
    drawn[ends] += "."
    last = ends[random.random(len(ends)) < _LAST]
    drawn[last] += "\n\n"
    return str(" ".join(drawn.tolist()))
