"""What a student's vocabulary means for a text, in figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lilliput.common.ragged import Ragged
from lilliput.pieces.bert_tokenizer import special_pieces, vocabulary_size
from lilliput.pieces.family import TeacherTokenizer
from lilliput.pieces.scripts import hardly_read
from lilliput.pieces.segmentation import unknown_words


@dataclass(frozen=True)
class LexiconReport:
    """What a student's vocabulary means for a text; shares lie in [0, 1] and weigh words by their counts."""

    teacher_size: int
    """Pieces in the teacher's vocabulary."""
    student_size: int
    """Pieces in the student's vocabulary."""
    words: int
    """Running words measured."""
    types: int
    """Different words measured."""
    teacher_fertility: float
    """Teacher pieces per running word."""
    student_fertility: float
    """Student pieces per running word."""
    overlap: float
    """Share of the student's pieces that the teacher has too."""
    teacher_coverage: float
    """Share of the running words that the teacher reads without [UNK]."""
    student_coverage: float
    """Share of the running words that the student reads without [UNK]."""
    alike: float
    """Share of the running words that both cut into the same pieces, without [UNK]."""
    hardly_read: dict[str, float] = field(default_factory=dict, kw_only=True)
    """Scripts of which the student reads less than nine words in ten without [UNK], with that share, of those
    that make up a thousandth of the running words."""

    def embedding_parameters(self, width: int) -> tuple[int, int]:
        """Returns the parameters of a table of `width` over the student's and over the teacher's vocabulary.

        A parameter takes 4 bytes as fp32, 1 byte as int8.
        """
        return self.student_size * width, self.teacher_size * width

    def describe(self, width: int) -> str:
        """Returns the report as a few lines of text, for a student of `width`."""
        student, teacher = self.embedding_parameters(width)
        return (
            f"{self.words:,} words of {self.types:,} types\n"
            f"vocabulary   {self.student_size:,} pieces, teacher {self.teacher_size:,}; "
            f"{self.overlap:.1%} of the student's are the teacher's too\n"
            f"fertility    {self.student_fertility:.3f} pieces per word, "
            f"teacher {self.teacher_fertility:.3f}\n"
            f"coverage     {self.student_coverage:.3%} of the words without [UNK], "
            f"teacher {self.teacher_coverage:.3%}\n"
            f"alike        {self.alike:.1%} of the words are cut into the same pieces\n"
            + "".join(
                f"hardly read  {script}: {share:.1%} of its words without [UNK]; raise lexicon.size\n"
                for script, share in self.hardly_read.items()
            )
            + f"embeddings   {student:,} parameters at width {width}, {teacher:,} with the teacher's pieces: "
            f"saves {(teacher - student) * 4 / 1e6:.2f} MB fp32, {(teacher - student) / 1e6:.2f} MB int8"
        )


def measure(
    words: Sequence[str],
    counts: npt.NDArray[np.int64],
    teacher_table: Ragged,
    teacher: TeacherTokenizer,
    student_table: Ragged,
    student: Tokenizer,
) -> LexiconReport:
    """Returns what a vocabulary means for words and their counts, from their segmentations."""
    own, translated = teacher.classes(student)
    ids = np.fromiter(student.get_vocab().values(), np.int64)
    readable_teacher = ~unknown_words(teacher_table, teacher.special.unk)
    readable_student = ~unknown_words(student_table, special_pieces(student).unk)
    candidates = (teacher_table.lengths == student_table.lengths) & readable_teacher & readable_student
    theirs, ours = (table.take(np.flatnonzero(candidates)) for table in (teacher_table, student_table))
    same = np.logical_and.reduceat(own[theirs.values] == translated[ours.values], ours.offsets[:-1])
    total = counts.sum()
    return LexiconReport(
        teacher_size=teacher.size,
        student_size=vocabulary_size(student),
        words=int(total),
        types=len(counts),
        teacher_fertility=float(counts @ teacher_table.lengths / total),
        student_fertility=float(counts @ student_table.lengths / total),
        overlap=int(np.sum(translated[ids] >= 0)) / len(ids),
        teacher_coverage=float(counts[readable_teacher].sum() / total),
        student_coverage=float(counts[readable_student].sum() / total),
        alike=float(counts[candidates] @ same / total),
        hardly_read=hardly_read(words, counts, readable_student),
    )
