"""`lilliput run`: a text a line on standard input -> its answer, a line, on standard output, as it comes.

What stands here starts without the rest of the command line, whose libraries take longer to import than a
bundle takes to answer.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lilliput.errors import InputError, LilliputError
from lilliput.inference.answers import Answer, Classification, Encoding, Filling, Score, Tagging
from lilliput.inference.bundle import Bundle, load
from lilliput.inference.texts import CHARACTERS, WINDOW_TEXTS, Text

_CHUNK_BYTES = 1 << 16
_COMPLAINTS = 10
"""Sentences of one kind about lines; of more than these there is only the number."""


def run(folder: Path, top: int | None, as_json: bool) -> int:
    """Answers standard input; returns the exit code, which is 1 where the bundle or a line was refused."""
    try:
        return 0 if answer_lines(folder, top, as_json) else 1
    except LilliputError as error:
        print(f"lilliput: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # as with `| head`: nobody reads on, which is no fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def answer_lines(folder: Path, top: int | None, as_json: bool) -> bool:
    """Answers every line of standard input; returns whether all had an answer.

    A line that cannot be answered has an empty line for an answer, or an object with its error, and a
    sentence on standard error, and the next one is read. Memory is bounded, however long lines and input are.
    """
    bundle = load(folder)
    longest = 4 * CHARACTERS * bundle.config.positions  # bytes of the characters that are read at most
    cut = f"was cut: the model reads {bundle.config.positions:,} pieces at most"
    read, complaints = 0, {"have no answer": 0, "were cut": 0}
    for lines in _lines(sys.stdin.buffer, longest + 4):
        answers = _answers(bundle, lines, longest, top)
        for number, answer in enumerate(answers, start=read + 1):
            if isinstance(answer, InputError):
                _complain(number, str(answer), complaints, "have no answer")
            elif answer.cut:
                _complain(number, cut, complaints, "were cut")
        read += len(answers)
        out = "".join(f"{as_text(answer, top, as_json)}\n" for answer in answers)
        sys.stdout.buffer.write(out.encode())
        sys.stdout.buffer.flush()
    for what, count in complaints.items():
        if count > _COMPLAINTS:
            print(f"lilliput: {count:,} lines of {read:,} {what}", file=sys.stderr)
    return not complaints["have no answer"]


def _lines(file: BinaryIO, longest: int) -> Iterator[list[bytes]]:
    """Yields the whole lines that have come, without their ends; of each at most `longest` bytes."""
    begun = b""
    while chunk := os.read(file.fileno(), _CHUNK_BYTES):
        *whole, begun = (begun + chunk).split(b"\n")
        begun = begun[:longest]
        for start in range(0, len(whole), WINDOW_TEXTS):
            yield [line[:longest] for line in whole[start : start + WINDOW_TEXTS]]
    if begun:
        yield [begun]


def _answers(bundle: Bundle, lines: list[bytes], longest: int, top: int | None) -> list[Answer | InputError]:
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
        print(f"lilliput: line {number:,} {sentence}", file=sys.stderr, flush=True)


def as_text(answer: Answer | InputError, top: int | None, as_json: bool) -> str:
    """Returns an answer as one line, without its end."""
    if as_json:
        return json.dumps(_values(answer, top), ensure_ascii=False)
    return "" if isinstance(answer, InputError) else _plain(answer, top)


def _values(answer: Answer | InputError, top: int | None) -> dict[str, Any]:
    """Returns an answer as JSON values."""
    if isinstance(answer, InputError):
        return {"error": f"the line {answer}"}
    if isinstance(answer, Encoding):
        return {"vector": answer.vector.tolist(), "cut": answer.cut}
    values = answer._asdict()
    if isinstance(answer, Classification):
        values["probabilities"] = dict(_best(answer, top or len(answer.probabilities)))
    if isinstance(answer, Tagging):
        whole = answer.classification
        values["words"] = [word._asdict() for word in answer.words]
        values["slots"] = [slot._asdict() for slot in answer.slots]
        values["classification"] = whole and _values(whole, top)
    if isinstance(answer, Filling):
        values["guesses"] = [[guess._asdict() for guess in mask] for mask in answer.guesses]
    return values


def _plain(answer: Answer, top: int | None) -> str:
    match answer:
        case Classification():
            fields = [f"{name}\t{share:.4f}" for name, share in _best(answer, top or 1)]
        case Score(value):
            fields = [f"{value:.4f}"]
        case Tagging():
            fields = [_plain(answer.classification, top)] if answer.classification else []
            fields += [f"{slot.name}={slot.text}" for slot in answer.slots]
        case Filling(guesses):
            fields = ["\t".join(f"{one.piece} {one.probability:.4f}" for one in mask) for mask in guesses]
        case Encoding(vector):
            fields = [" ".join(f"{value:.6g}" for value in vector)]
    return "\t".join(fields)


def _best(answer: Classification, top: int) -> list[tuple[str, float]]:
    return sorted(answer.probabilities.items(), key=lambda item: -item[1])[:top]
