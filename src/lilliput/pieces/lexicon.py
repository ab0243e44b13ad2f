"""Word counts -> the student's vocabulary, and every word in teacher's and student's pieces.

A word is segmented here once and for all. Batches are gathers from the two ragged tables, so nothing is
tokenised while models train.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lilliput.common.arguments import PathLike, path_of
from lilliput.common.files import writing
from lilliput.common.folders import MANIFEST, read_manifest
from lilliput.common.ragged import Ragged
from lilliput.common.stage_dir import StageDir
from lilliput.common.stored import stored_array
from lilliput.config import LexiconConfig
from lilliput.errors import StorageError
from lilliput.pieces.bert_tokenizer import (
    digest_tokenizer,
    save_tokenizer,
    special_pieces,
    vocabulary_size,
)
from lilliput.pieces.family import SAVED, TeacherTokenizer
from lilliput.pieces.report import LexiconReport, measure
from lilliput.pieces.segmentation import unknown_words
from lilliput.pieces.teacher_tokenizer import saved_tokenizer, teachers
from lilliput.pieces.tokenizer_file import SpecialPieces
from lilliput.pieces.wordpiece import learn_vocabulary
from lilliput.text.corpus import FIRST_WORD, Corpus

_AGAIN = "remove the lexicon's folder and build it again"


@dataclass(frozen=True)
class Lexicon:
    """Every word with its teacher pieces and its student pieces, memory-mapped; the index is the word id."""

    path: Path
    """The folder it lies in."""
    teacher: Ragged
    """Each word's pieces of the teacher's vocabulary, int32."""
    student: Ragged
    """Each word's pieces of the student's vocabulary, int32."""
    characters: npt.NDArray[np.int32]
    """Code points of each word, [types]; 0 for the two ids that are no words."""
    unknown: npt.NDArray[np.bool_]
    """Words with [UNK] under either vocabulary, [types]."""
    teacher_special: SpecialPieces
    """The teacher's pieces that are not text."""
    student_special: SpecialPieces
    """The student's pieces that are not text."""
    report: LexiconReport
    """Figures of this vocabulary on this corpus, the vocabularies' sizes among them."""

    def __repr__(self) -> str:
        sizes = f"{self.student_size:,} pieces of the student, {self.teacher_size:,} of the teacher"
        return f"<Lexicon {self.path}: {self.report.types:,} words, {sizes}>"

    @property
    def teacher_size(self) -> int:
        """Pieces in the teacher's vocabulary."""
        return self.report.teacher_size

    @property
    def student_size(self) -> int:
        """Pieces in the student's vocabulary."""
        return self.report.student_size

    @property
    def tokenizer_folder(self) -> Path:
        """The student's tokenizer, as transformers reads it."""
        return self.path / "tokenizer"

    def student_tokenizer(self) -> Tokenizer:
        """Loads the student's tokenizer."""
        return _read_tokenizer(self.tokenizer_folder / "tokenizer.json")

    def teacher_tokenizer(self) -> TeacherTokenizer:
        """Loads the teacher's tokenizer."""
        return saved_tokenizer(self.path, _AGAIN)

    @classmethod
    def open(cls, path: PathLike) -> "Lexicon":
        """Opens a finished lexicon; raises StorageError when a file is missing, cut short or does not fit."""
        path = path_of("path", path)
        if not (path / "manifest.json").exists():
            raise StorageError(f"{path} holds no finished lexicon; build it with `lilliput build-lexicon`")
        report: LexiconReport = StageDir(path, {}).read(LexiconReport)
        types = report.types + FIRST_WORD
        tables = []
        for name in ("teacher", "student"):
            offsets = _map(path / f"{name}_offsets.npy", "int64", types + 1)
            tables.append(Ragged(_map(path / f"{name}_pieces.npy", "int32", int(offsets[-1])), offsets))
        lexicon = cls(
            path=path,
            teacher=tables[0],
            student=tables[1],
            characters=_map(path / "characters.npy", "int32", types),
            unknown=_map(path / "unknown.npy", "bool", types),
            teacher_special=_teacher_special(path, report.teacher_size),
            student_special=_special(path / "tokenizer" / "tokenizer.json", report.student_size),
            report=report,
        )
        StageDir(path, {}).require_whole(_AGAIN)
        return lexicon


def build_lexicon(
    corpus: Corpus,
    teacher: Tokenizer | TeacherTokenizer,
    config: LexiconConfig,
    out: Path,
    *,
    overwrite: bool = False,
) -> Lexicon:
    """Returns the lexicon of `corpus`, learnt or taken, segmented, saved in `out` and opened from there.

    A lexicon already finished from the same corpus, teacher and config is opened as it is.

    Args:
        corpus: Gives the words and their counts.
        teacher: The teacher's tokenizer.
        config: Size of the vocabulary, or a tokenizer to take instead.
        out: Folder to write.
        overwrite: Whether a lexicon made from anything else is replaced.

    Raises:
        InputError: If the text is too small for that many pieces or they are too few for its characters.
        ModelError: If the tokenizer to take cuts texts into other words than the teacher's.
        StorageError: If `out` was made from anything else or cannot be written.
    """
    teacher = teachers(teacher)
    stage, given = _stage(corpus, teacher, config, out)
    if not stage.is_finished(overwrite):
        with stage.locked():
            if not stage.is_finished(overwrite):  # by a process that held the lock before
                _build(stage, corpus, teacher, config, given)
    return Lexicon.open(out)


def is_built(corpus: Corpus, teacher: Tokenizer | TeacherTokenizer, config: LexiconConfig, out: Path) -> bool:
    """Returns whether `out` holds the finished lexicon of a corpus; writes nothing."""
    return _stage(corpus, teachers(teacher), config, out)[0].is_whole(overwrite=True)


def _stage(
    corpus: Corpus, teacher: TeacherTokenizer, config: LexiconConfig, out: Path
) -> tuple[StageDir, Tokenizer | None]:
    """Returns the folder of a lexicon with what determines it, and the tokenizer that is to be taken."""
    given = None if config.tokenizer is None else teacher.given(config.tokenizer)
    made_from = {
        "corpus": read_manifest(corpus.path / MANIFEST)["digest"],
        "teacher": teacher.digest(),
        # The place of a given tokenizer may change, its content may not.
        "vocabulary": config.size if given is None else digest_tokenizer(given),
    }
    if given is None and config.cased:
        made_from["cased"] = True
    return StageDir(out, made_from), given


def _build(
    stage: StageDir,
    corpus: Corpus,
    teacher: TeacherTokenizer,
    config: LexiconConfig,
    given: Tokenizer | None,
) -> None:
    """Writes a lexicon."""
    words, counts = corpus.word_types()[FIRST_WORD:], corpus.counts[FIRST_WORD:]
    student = given or learn_student(words, counts, config.size, teacher, config.cased)
    stage.begin()  # only now, so that a size that is refused takes nothing away and leaves nothing behind
    stage.finish(dataclasses.asdict(_write(stage.path, words, counts, teacher, student)))


def learn_student(
    words: Sequence[str], counts: npt.NDArray[np.int64], size: int, teacher: TeacherTokenizer, cased: bool
) -> Tokenizer:
    """Returns a student's tokenizer of `size` pieces, learnt from words of a teacher's and their counts."""
    base = teacher.base(cased)
    return learn_vocabulary(*teacher.student_words(words, counts, base), size, base)


def _write(
    out: Path,
    words: Sequence[str],
    counts: npt.NDArray[np.int64],
    teacher: TeacherTokenizer,
    student: Tokenizer,
) -> LexiconReport:
    """Writes every file of a lexicon but its manifest, and returns the results for that."""
    specials = {"teacher": teacher.special, "student": special_pieces(student)}
    tables = {"teacher": teacher.pieces(words), "student": teacher.student_pieces(words, student)}
    unknown = np.logical_or(*(unknown_words(tables[name], specials[name].unk) for name in tables))
    characters = np.fromiter(map(len, words), np.int32, len(words))
    blank = np.zeros(FIRST_WORD)
    arrays: dict[str, npt.NDArray[Any]] = {
        "characters": np.concatenate([blank.astype(np.int32), characters]),
        "unknown": np.concatenate([blank.astype(np.bool_), unknown]),
    }
    for name, table in tables.items():
        special = specials[name]
        arrays[f"{name}_offsets"] = np.concatenate([np.arange(FIRST_WORD), table.offsets + FIRST_WORD])
        arrays[f"{name}_pieces"] = np.concatenate(
            [np.array([special.sep, special.cls], np.int32), table.values]
        )
    for name, array in arrays.items():
        with writing(out / f"{name}.npy") as file:
            np.save(file, array)
    save_tokenizer(student, out / "tokenizer")
    teacher.save(out)
    return measure(words, counts, tables["teacher"], teacher, tables["student"], student)


def _map(path: Path, kind: str, length: int) -> npt.NDArray[Any]:
    """Maps a one-dimensional array from disk; raises StorageError when it is not what the lexicon needs."""
    return stored_array(path, kind, (length,), _AGAIN)


def _read_tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise StorageError(f"{path} is missing or damaged ({error}); {_AGAIN}") from error


def _teacher_special(folder: Path, size: int) -> SpecialPieces:
    """Returns the special pieces of the teacher of a lexicon, whose vocabulary must have `size` pieces."""
    teacher = saved_tokenizer(folder, _AGAIN)
    _check_size(folder / SAVED, teacher.size, size)
    return teacher.special


def _special(path: Path, size: int) -> SpecialPieces:
    """Returns the special pieces of a tokenizer of the lexicon, whose vocabulary must have `size` pieces."""
    tokenizer = _read_tokenizer(path)
    _check_size(path, vocabulary_size(tokenizer), size)
    return special_pieces(tokenizer)


def _check_size(path: Path, found: int, size: int) -> None:
    if found != size:
        raise StorageError(f"{path} has {found} pieces where the lexicon needs {size}; {_AGAIN}")
