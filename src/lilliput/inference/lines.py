"""`lilliput run`: a text a line on standard input -> its answer, a line, on standard output, as it comes.

What stands here starts without the rest of the command line, whose libraries take longer to import than a
bundle takes to answer.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lilliput.common.ending import REFUSED, printing, say
from lilliput.errors import InputError, LilliputError, bounded, printable
from lilliput.inference.answers import Answer, Encoding
from lilliput.inference.bundle import TOP_AT_MOST, Bundle, load
from lilliput.inference.kinds import KINDS, Kind
from lilliput.inference.texts import CHARACTERS, WINDOW_TEXTS, Text

_CHUNK_BYTES = 1 << 16
_Put = Callable[[Bundle, Sequence[Answer | LilliputError], Callable[[Any], str]], None]
_COMPLAINTS = 10
"""Sentences of one kind about lines; of more than these there is only the number."""


def run(folder: Path, top: int | None, as_json: bool, npy: Path | None = None) -> int:
    """Answers standard input; returns the exit code, which is 1 where a line was refused.

    Args:
        folder: The bundle.
        top: How many classes or pieces are named; None for the kind's own number.
        as_json: Whether an answer is an object.
        npy: A file for the vectors of all lines, as numpy reads it, in the place of standard output.
    """
    if npy is None:
        return 0 if answer_lines(folder, top, as_json, _to_output) else REFUSED
    from lilliput.common.files import writing

    with writing(npy) as file:
        return 0 if answer_lines(folder, top, as_json, _Rows(file).add) else REFUSED


def answer_lines(folder: Path, top: int | None, as_json: bool, put: _Put) -> bool:
    """Answers every line of standard input; returns whether all had an answer.

    A line that cannot be answered has an empty line for an answer, or an object with its error, and a
    sentence on standard error, and the next one is read. Memory is bounded, however long lines and input are.
    """
    bundle = load(folder)
    kind = KINDS[bundle.config.kind]
    put(bundle, [], str)  # refuses a bundle that does not make what is put there
    top = None if top is None else bounded("--top", top, 1, TOP_AT_MOST)
    longest = 4 * CHARACTERS * bundle.config.positions  # bytes of the characters that are read at most
    cut = f"was cut: the model reads {bundle.config.positions:,} pieces at most"
    read, complaints = 0, {"have no answer": 0, "were cut": 0}
    for lines in _lines(sys.stdin.buffer, longest + 4):
        answers = _answers(bundle, lines, longest, top)
        for number, answer in enumerate(answers, start=read + 1):
            if isinstance(answer, LilliputError):
                _complain(number, str(answer), complaints, "have no answer")
            elif answer.cut:
                _complain(number, cut, complaints, "were cut")
        read += len(answers)
        put(bundle, answers, lambda answer: as_text(kind, answer, top, as_json))
    for what, count in complaints.items():
        if count > _COMPLAINTS:
            say(f"{count:,} lines of {read:,} {what}")
    return not complaints["have no answer"]


def _to_output(
    bundle: Bundle, answers: Sequence[Answer | LilliputError], shown: Callable[[Any], str]
) -> None:
    """Writes a line for each answer to standard output."""
    out = "".join(f"{shown(answer)}\n" for answer in answers)
    with printing():
        sys.stdout.buffer.write(out.encode())
        sys.stdout.buffer.flush()


class _Rows:
    """A file of numpy that takes vectors as they come; its heading always says how many there are."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._count = file, 0

    def add(
        self, bundle: Bundle, answers: Sequence[Answer | LilliputError], shown: Callable[[Any], str]
    ) -> None:
        """Adds a vector for each answer, of NaN where a line has none."""
        rows = np.full((len(answers), bundle.encode([]).shape[1]), np.nan, np.float32)
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, Encoding):
                row[:] = answer.vector
        self._count += len(rows)
        self._file.seek(0)
        shape = (self._count, rows.shape[1])
        heading = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, heading)  # keeps room for a longer number
        self._file.seek(0, os.SEEK_END)
        self._file.write(rows.astype("<f4").tobytes())


def _lines(file: BinaryIO, longest: int) -> Iterator[list[bytes]]:
    """Yields the whole lines that have come, without their ends; of each at most `longest` bytes."""
    begun = b""
    while chunk := _chunk(file):
        *whole, begun = (begun + chunk).split(b"\n")
        begun = begun[:longest]
        for start in range(0, len(whole), WINDOW_TEXTS):
            yield [line[:longest] for line in whole[start : start + WINDOW_TEXTS]]
    if begun:
        yield [begun]


def _chunk(file: BinaryIO) -> bytes:
    try:
        return os.read(file.fileno(), _CHUNK_BYTES)
    except OSError as error:
        raise InputError(
            f"standard input cannot be read: {error.strerror or error}; give it a file of texts, or a pipe"
        ) from error


def _answers(
    bundle: Bundle, lines: list[bytes], longest: int, top: int | None
) -> list[Answer | LilliputError]:
    """Returns the answer to each line, or the error that it has instead."""
    texts = [_text(line.removesuffix(b"\r"), longest, bundle.config.pairs) for line in lines]
    good = [text for text in texts if not isinstance(text, InputError)]
    answers = iter(bundle.answer(good, 5 if top is None else top))
    return [text if isinstance(text, InputError) else next(answers) for text in texts]


def _text(line: bytes, longest: int, pairs: bool) -> Text | InputError:
    if len(line) > longest:  # cut anywhere, perhaps within a character; there is more of it than is read
        line = line[:longest].decode(errors="ignore").encode()
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return InputError(
            f"is not UTF-8 (byte {error.start + 1:,} is 0x{line[error.start]:02x}); convert the input, for "
            "instance with iconv"
        )
    if not pairs:
        return text
    parts = text.split("\t")
    if len(parts) != 2:
        return InputError(f"has {len(parts)} columns; this bundle reads pairs, two texts with a tab between")
    return parts[0], parts[1]


def _complain(number: int, sentence: str, complaints: dict[str, int], what: str) -> None:
    """Says what is the matter with a line, unless that was said of many before."""
    complaints[what] += 1
    if complaints[what] <= _COMPLAINTS:
        say(f"line {number:,} {sentence}")


def as_text(kind: Kind, answer: Answer | LilliputError, top: int | None, as_json: bool) -> str:
    """Returns an answer as one line, without its end, in which nothing steers a terminal."""
    is_error = isinstance(answer, LilliputError)
    if as_json:
        values = {"error": f"the line {answer}"} if is_error else kind.values(answer, top)
        return printable(json.dumps(values, ensure_ascii=False, allow_nan=False))
    return "" if is_error else "\t".join(kind.fields(answer, top))
