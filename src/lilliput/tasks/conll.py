"""Reads files with one word per line (CoNLL and similar), and finds their columns of words and tags."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lilliput.errors import InputError
from lilliput.text.unpacking import lines_of, reading, words_in

ENDINGS = (".conll", ".conllu", ".bio", ".iob")
"""Endings of files with one word per line, columns separated by tabs or else spaces, and blank lines between
sentences."""
_CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_NAMED = "# global.columns ="
_INDEX = re.compile(r"\d+", re.ASCII)
_NO_WORD = re.compile(r"\d+[-.]\d+", re.ASCII)
"""The index of several words written as one, or of a word that is not written."""
_SPAN_TAG = re.compile(r"O|[BIESLU]-.+", re.DOTALL)
_FIELD_BYTES = 64

_Sentence = list[list[str]]


@dataclass(frozen=True)
class WordLines:
    """Sentences as lines of fields, and the columns that hold words and tags."""

    name: str
    sentences: Sequence[_Sentence]
    numbers: Sequence[Sequence[int]]
    """The line number of each word, by sentence."""
    words: int
    """The column of words, from 0."""
    tags: int
    width: int
    named: Sequence[str]
    """Names of the columns, if the file or its format has them."""
    note: str
    warnings: tuple[str, ...] = ()
    """Warnings about the chosen columns."""
    problem: str = ""
    """Why the chosen columns cannot be learnt from; empty if they can."""

    @property
    def names(self) -> list[str]:
        """Names of columns that a user can give: words, tags, numbers from 1, and the file's own names."""
        return ["words", "tags", *map(str, range(1, self.width + 1)), *self.named]

    def column(self, name: str) -> list[list[str]]:
        """Returns the values of a column, by sentence."""
        if self.problem and name == "words":
            raise InputError(self.problem)
        places = [self.words, self.tags, *range(self.width), *range(self.width)]
        place = places[self.names.index(name)]
        return [[fields[place] for fields in sentence] for sentence in self.sentences]


def read_words(path: Path, most: int) -> WordLines:
    """Returns the sentences of a file; raises InputError if it cannot be read.

    Lines that begin with # before a sentence are comments, unless they are words with a tag. A first column
    that counts the words is not taken for words. In the ten columns of CoNLL-U, the second has the words and
    the fourth the tags. Otherwise the last column has the tags, unless it is a second layer, as in GermEval.

    Args:
        path: The file.
        most: The most bytes that its columns may take in memory.
    """
    lines: list[tuple[int, str]] = []
    taken = 0
    with reading(path), path.open("rb") as file:
        for number, line in enumerate(lines_of(path, file), start=1):
            lines.append((number, line.decode().strip("\r")))
            taken += len(line) + _FIELD_BYTES * (2 + len(_fields(lines[-1][1])))
            if taken > most:
                raise InputError(
                    f"up to line {number:,} {path} takes more than {most >> 30} GB of memory, the limit for "
                    "labelled examples; name a file with fewer of them"
                )
    named = next((words_in(line[len(_NAMED) :].lower()) for _, line in lines if line.startswith(_NAMED)), [])
    sentences = list(_sentences(path, lines))
    if not sentences:
        raise InputError(
            f"{path} holds no examples; expected one word per line with its tag in the last column"
        )
    return _recognised(path, sentences, named)


def _fields(line: str) -> list[str]:
    """Returns the fields of a line, separated by tabs or else by spaces."""
    return [field.strip(" ") for field in line.split("\t")] if "\t" in line else words_in(line)


def _sentences(path: Path, lines: Sequence[tuple[int, str]]) -> Iterator[list[tuple[int, list[str]]]]:
    """Yields sentences as the numbers and fields of their lines."""
    width = len(next((fields for _, line in lines if (fields := _fields(line)) and line[0] != "#"), ""))
    tags = {fields[-1] for _, line in lines if (fields := _fields(line)) and line[0] != "#"}
    sentence: list[tuple[int, list[str]]] = []
    for number, line in lines:
        fields = _fields(line)
        if not any(fields) or fields[0] == "-DOCSTART-":
            if sentence:
                yield sentence
            sentence = []
        elif sentence or not _is_comment(line, fields, width, tags):
            if len(fields) != width or width < 2:
                raise InputError(
                    f"line {number:,} of {path} has {len(fields)} columns, expected "
                    f"{width if width > 1 else 'at least 2'}: a word, its tag last, and blank lines between "
                    "sentences"
                )
            sentence.append((number, fields))
    if sentence:
        yield sentence


def _is_comment(line: str, fields: Sequence[str], width: int, tags: set[str]) -> bool:
    """Whether a line before a sentence is a comment rather than a word that begins with #."""
    return line.startswith("#") and not (len(fields) == width and fields[-1] in tags)


def _recognised(
    path: Path, sentences: Sequence[list[tuple[int, list[str]]]], named: Sequence[str]
) -> WordLines:
    width = len(sentences[0][0][1])
    counts = _counts_words([fields[0] for _, fields in sentence] for sentence in sentences)
    if counts:
        parts = ([line for line in sentence if not _NO_WORD.fullmatch(line[1][0])] for sentence in sentences)
        sentences = [sentence for sentence in parts if sentence]
    if counts and width == len(_CONLLU) and not named:
        named = _CONLLU
    named = named if len(named) == width else ()
    columns = [[fields for _, fields in sentence] for sentence in sentences]
    words = named.index("form") if "form" in named else int(counts)
    tags, warnings = _tag_column(path, columns, counts, named)
    problem = "" if counts and width > 2 else _problem(path, columns, words, width, counts)
    numbers = [[number for number, _ in sentence] for sentence in sentences]
    note = f"words in column {words + 1} of {width}, tags in column {tags + 1}"
    note += "; column 1 counts the words" if counts else ""
    return WordLines(str(path), columns, numbers, words, tags, width, named, note, warnings, problem)


def _counts_words(first: Iterable[Sequence[str]]) -> bool:
    """Whether a column counts the words of every sentence, given its values."""
    longest, begins = 0, set()
    for column in first:
        written = [field for field in column if not _NO_WORD.fullmatch(field)]
        if not all(_INDEX.fullmatch(field) and len(field) < 10 for field in written):
            return False
        numbers = list(map(int, written))
        if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            return False
        longest = max(longest, len(numbers))
        begins.update(numbers[:1])
    return longest > 1 or begins in ({0}, {1})


def _tag_column(
    path: Path, columns: Sequence[_Sentence], counts: bool, named: Sequence[str]
) -> tuple[int, tuple[str, ...]]:
    """Returns the column of tags, and a warning if another might be meant."""
    if "upos" in named:
        return named.index("upos"), ()
    width = len(columns[0][0])
    layers = all(
        _SPAN_TAG.fullmatch(field) for sentence in columns for line in sentence for field in line[2:]
    )
    if counts and width == 4 and layers:
        return 2, (
            f"{path} has tags in columns 3 and 4; column 3, the outer tags in GermEval, is used: name the "
            "other with --tags 4",
        )
    return width - 1, ()


def _problem(path: Path, columns: Sequence[_Sentence], words: int, width: int, counts: bool) -> str:
    """Returns why a column cannot hold words: it counts them, or never changes; an empty text if it can."""
    if counts:
        return (
            f"column 1 of {path} counts the words of each sentence, so its {width} columns lack words or "
            "tags; expected a word and its tag on each line"
        )
    several = [sentence for sentence in columns if len(sentence) > 1]
    same = all(len({line[words] for line in sentence}) == 1 for sentence in several)
    if width < 3 or len(several) < 2 or not same:
        return ""
    return (
        f"column {words + 1} of {path} has the same value in all lines of a sentence "
        f"('{several[0][0][words]}'), so it holds no words; name the columns by number: --text 2 --tags 4"
    )


def is_word_lines(names: Sequence[str]) -> bool:
    """Whether the header of a table looks like a file with one word and its tag per line."""
    return len(names) > 1 and (names[0].startswith("#") or bool(_SPAN_TAG.fullmatch(names[-1])))
