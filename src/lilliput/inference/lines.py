"""`lilliput run`: a text a line on standard input -> its answer, a line, on standard output, as it comes.

What stands here starts without the rest of the command line, whose libraries take longer to import than a
bundle takes to answer.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from lilliput.common.ending import REFUSED, printing
from lilliput.errors import InputError, LilliputError, bounded, printable
from lilliput.inference.answered import Complaints, Given, answered
from lilliput.inference.answers import Answer
from lilliput.inference.bundle import TOP_AT_MOST, load
from lilliput.inference.kinds import KINDS, Kind
from lilliput.inference.texts import CHARACTERS, WINDOW_TEXTS, is_missing

_CHUNK_BYTES = 1 << 16


def run(folder: Path, top: int | None, as_json: bool) -> int:
    """Answers every line of standard input; returns the exit code, which is 1 where a line was refused.

    A line that cannot be answered has an empty line for an answer, or an object with its error, and a
    sentence on standard error, and the next one is read. So has an empty line, which is no error: it is
    counted at the end. Memory is bounded, however long lines and input are.

    Args:
        folder: The bundle.
        top: How many classes or pieces are named; None for the kind's own number.
        as_json: Whether an answer is an object.
    """
    bundle, top = load(folder), checked_top(top)
    longest = 4 * CHARACTERS * bundle.config.positions  # bytes of the characters that are read at most
    complaints = Complaints(bundle, "line")
    for lines in _lines(sys.stdin.buffer, longest + 4):
        given = [_text(line.removesuffix(b"\r"), longest, bundle.config.pairs) for line in lines]
        answers = answered(bundle, given, top)
        complaints.look(given, answers)
        write_lines(KINDS[bundle.config.kind], answers, top, as_json)
    return 0 if complaints.end() else REFUSED


def run_texts(folder: Path, texts: Sequence[str], top: int | None, as_json: bool) -> int:
    """Answers the text of the command line, or the two of a pair; raises InputError where it cannot."""
    bundle, top = load(folder), checked_top(top)
    if len(texts) != (wanted := 2 if bundle.config.pairs else 1):
        raise InputError(
            f"this bundle reads {'two texts together' if wanted == 2 else 'one text'}, found {len(texts)} "
            "beside its name; put each in quotes, and give many by --input or on standard input"
        )
    given: Given = (texts[0], texts[1]) if bundle.config.pairs else texts[0]
    if is_missing(given):
        raise InputError("the text is empty; write one")
    (answer,) = answered(bundle, [given], top)
    if isinstance(answer, LilliputError):
        answer.args = (f"the text {answer}",)
        raise answer
    Complaints(bundle, "text").look([given], [answer])
    write_lines(KINDS[bundle.config.kind], [answer], top, as_json)
    return 0


def checked_top(top: int | None) -> int | None:
    """Returns how many classes or pieces are named; raises ConfigError where that is out of bounds."""
    return None if top is None else bounded("--top", top, 1, TOP_AT_MOST)


def write_lines(
    kind: Kind,
    answers: Sequence[Answer | LilliputError],
    top: int | None,
    as_json: bool,
    file: BinaryIO | None = None,
) -> None:
    """Writes a line for each answer to standard output, or into a file."""
    out = "".join(f"{as_text(kind, answer, top, as_json)}\n" for answer in answers)
    if file is not None:
        file.write(out.encode())
        return
    with printing():
        sys.stdout.buffer.write(out.encode())
        sys.stdout.buffer.flush()


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


def _text(line: bytes, longest: int, pairs: bool) -> Given:
    if len(line) > longest:  # cut anywhere, perhaps within a character; there is more of it than is read
        line = line[:longest].decode(errors="ignore").encode()
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return InputError(
            f"is not UTF-8 (byte {error.start + 1:,} is 0x{line[error.start]:02x}); convert the input, for "
            "instance with iconv"
        )
    return pair_of(text) if pairs else text


def pair_of(line: str) -> Given:
    """Returns the two texts of a line, or why there are none; None for a line that is empty."""
    parts = line.split("\t")
    if not line.strip():
        return None
    if len(parts) != 2:
        return InputError(f"has {len(parts)} columns; this bundle reads pairs, two texts with a tab between")
    return parts[0], parts[1]


def as_text(kind: Kind, answer: Answer | LilliputError, top: int | None, as_json: bool) -> str:
    """Returns an answer as one line, without its end, in which nothing steers a terminal."""
    is_error = isinstance(answer, LilliputError)
    if as_json:
        values = {"error": f"the line {answer}"} if is_error else kind.values(answer, top)
        return printable(json.dumps(values, ensure_ascii=False, allow_nan=False))
    return "" if is_error else "\t".join(kind.fields(answer, top))
