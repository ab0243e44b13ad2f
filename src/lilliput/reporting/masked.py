"""Words left out of held-out text, with what teacher and student put in their places.

Models are asked once: what they say is kept in the run's `masked_words.json`, with the digest of the student
that said it.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lilliput.common.files import digest_value, read_json, write_json
from lilliput.common.folders import MANIFEST
from lilliput.common.ragged import Ragged
from lilliput.common.stored import as_stored
from lilliput.errors import InputError
from lilliput.models.any_masked_lm import open_masked_lm
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.sentence_modules import has_modules
from lilliput.models.student import load_student
from lilliput.pieces.lexicon import Lexicon
from lilliput.pieces.teacher_tokenizer import BertTokenizer
from lilliput.pieces.tokenizer_file import SpecialPieces
from lilliput.reporting.blocks import Gap, Gaps, Guess, Note, Section, section
from lilliput.reporting.sources import Run
from lilliput.run import RunDir
from lilliput.text.corpus import FIRST_WORD, Corpus
from lilliput.training.data import Data
from lilliput.training.rows import Rows

_FILE = "masked_words.json"
_GAPS, _GUESSES = 10, 3
_AROUND = 12
"""Words shown before and after."""
_LEAST_CHARACTERS = 4
_SAID = (
    "One word at a time is left out of text that was held out of training. It is one piece under both "
    "vocabularies, so that the guesses can be compared. These are examples, no measurement."
)


@dataclass(frozen=True)
class _Model:
    """One that guesses."""

    name: str
    model: PreTrainedModel
    table: Ragged
    """The pieces of each word."""
    special: SpecialPieces
    surfaces: list[str]
    """What each piece spells."""


def of_run(run: Run) -> list[Section]:
    """Returns guesses of a run's models; nothing where its student fills no gaps, or there is no text."""
    place = run.place
    needed = (place.student / "config.json", place.corpus / MANIFEST, place.lexicon / MANIFEST)
    if not all(path.exists() for path in needed) or has_modules(place.student):
        return []
    digest, kept = digest_value(run.summary.get("student_files", {})), place.path / _FILE
    found = _kept(kept, digest) if kept.exists() else None
    if found is None:
        place.require_student()
        found = _asked(place)
        write_json(kept, {"student": digest, "gaps": [dataclasses.asdict(gap) for gap in found]})
    return section("Masked words", Note(_SAID), Gaps(found)) if found else []


def _kept(path: Path, digest: str) -> tuple[Gap, ...] | None:
    """Returns what was said before; None where another student said it."""
    remedy = "remove it, and it is written anew"
    values = as_stored(dict[str, Any], read_json(path, remedy), path, remedy)
    if values.get("student") != digest:
        return None
    gaps = as_stored(tuple[dict[str, Any], ...], values.get("gaps"), path, remedy)
    return tuple(_gap(gap, path, remedy) for gap in gaps)


def _gap(values: dict[str, Any], path: Path, remedy: str) -> Gap:
    """Returns a gap that was written as JSON."""
    said = as_stored(tuple[tuple[Any, ...], ...], values.get("said"), path, remedy)
    texts = {key: as_stored(str, values.get(key), path, remedy) for key in ("before", "word", "after")}
    guesses = tuple(
        (as_stored(str, pair[0], path, remedy), as_stored(tuple[Guess, ...], pair[-1], path, remedy))
        for pair in said
        if pair
    )
    return Gap(**texts, said=guesses)


@torch.no_grad()
def _asked(run: RunDir) -> tuple[Gap, ...]:
    """Returns what the models of a run say now."""
    student = load_student(run.student)
    positions = student.config.max_position_embeddings
    try:
        data = Data.open(run, positions, positions)
    except InputError:  # too little text to hold any out
        return ()
    lexicon, rows = data.held_out_lexicon, data.held_out
    separate = run.held_out("corpus")
    corpus = Corpus.open(separate if separate.exists() else run.corpus)
    models = [_student(student, lexicon)]
    if (trained := run.trained_teacher()) is not None:
        models.insert(0, _teacher(trained, lexicon))
    words, places = corpus.word_types(), _places(rows, lexicon)
    return tuple(_ask(models, ids, place, words, corpus.between) for ids, place in places)


def _student(student: PreTrainedModel, lexicon: Lexicon) -> _Model:
    surfaces = BertTokenizer(lexicon.student_tokenizer()).surfaces()
    return _Model("student", student, lexicon.student, lexicon.student_special, surfaces)


def _teacher(folder: Path, lexicon: Lexicon) -> _Model:
    model, _ = open_masked_lm(str(folder))
    surfaces = lexicon.teacher_tokenizer().surfaces()
    return _Model("teacher", model, lexicon.teacher, lexicon.teacher_special, surfaces)


def _places(rows: Rows, lexicon: Lexicon) -> list[tuple[list[int], int]]:
    """Returns word ids of some rows, evenly spaced, each with the place of a word to leave out."""
    found = []
    step = max(1, len(rows) // _GAPS)
    for row in range(step // 2, len(rows), step):
        stream = rows.shards[int(rows.shard[row])]
        ids = [int(one) for one in stream[int(rows.start[row]) : int(rows.end[row])]]
        fitting = [place for place, word in enumerate(ids) if _fits(word, lexicon)]
        if fitting:
            middle = len(ids) / 2
            found.append((ids, min(fitting, key=lambda place: abs(place - middle))))
    return found[:_GAPS]


def _fits(word: int, lexicon: Lexicon) -> bool:
    """Returns whether a word is one piece under both vocabularies, and long enough to mean something."""
    is_long = word >= FIRST_WORD and int(lexicon.characters[word]) >= _LEAST_CHARACTERS
    is_whole = all(len(table[word]) == 1 for table in (lexicon.teacher, lexicon.student))
    return is_long and is_whole and not bool(lexicon.unknown[word])


def _ask(models: list[_Model], ids: list[int], place: int, words: list[str], between: str) -> Gap:
    def text(some: list[int]) -> str:
        return between.join(words[one] for one in some if one >= FIRST_WORD).strip()

    return Gap(
        before=text(ids[max(0, place - _AROUND) : place]),
        word=words[ids[place]].strip(),
        after=text(ids[place + 1 : place + 1 + _AROUND]),
        said=tuple((one.name, _guesses(one, ids, place)) for one in models),
    )


def _guesses(one: _Model, ids: list[int], place: int) -> tuple[Guess, ...]:
    """Returns the most probable pieces at a word of a row that is left out."""
    parts = [one.table[word].tolist() for word in ids]
    (right,) = parts[place]
    parts[place] = [one.special.mask]
    pieces = [one.special.cls, *(piece for part in parts for piece in part), one.special.sep]
    reader, at = MaskedLM(one.model.train(False)), torch.tensor([pieces.index(one.special.mask)])
    scores: Tensor = reader.scores(reader.read(torch.tensor([pieces]), None, at=at))[0]
    shares, best = scores.softmax(0).topk(_GUESSES)
    return tuple(
        Guess(one.surfaces[piece].strip(), float(share), piece == right)
        for piece, share in zip(best.tolist(), shares.tolist(), strict=True)
    )
