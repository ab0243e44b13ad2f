"""How large a student's vocabulary should be: fertility, coverage and bytes of several sizes, and a plot.

A small vocabulary saves embeddings but cuts words into more pieces, and every piece costs time in every
layer. The table puts both side by side, before anything is trained.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from lilliput.common.charts import new_figure, save_figure, tidy
from lilliput.common.files import write_json
from lilliput.common.folders import MANIFEST, read_manifest
from lilliput.common.sheet import Sheet
from lilliput.common.stage_dir import StageDir
from lilliput.common.stored import stored
from lilliput.config import MOST_PIECES, MOST_WIDTH
from lilliput.errors import ConfigError, bounded
from lilliput.pieces.family import TeacherTokenizer
from lilliput.pieces.lexicon import learn_student
from lilliput.pieces.report import LexiconReport, measure
from lilliput.pieces.teacher_tokenizer import teachers
from lilliput.text.corpus import FIRST_WORD, Corpus


@dataclass(frozen=True)
class VocabularyReport(LexiconReport):
    """What one size of vocabulary costs and saves."""

    width: int
    """Width of the student's embeddings."""
    parameters: int
    """Parameters of the student's piece embeddings; as many bytes in int8, scales left out."""
    teacher_parameters: int
    """Parameters of embeddings as narrow over the teacher's vocabulary."""
    fp32_bytes: int
    """Bytes of the student's piece embeddings in fp32."""
    int8_bytes: int
    """Bytes of the student's piece embeddings in int8, scales left out."""
    relative_length: float
    """Length of a text in student pieces over its length in teacher pieces."""


def vocabulary(
    corpus: Corpus,
    teacher: Tokenizer | TeacherTokenizer,
    sizes: Sequence[int],
    out: Path,
    width: int = 120,
    *,
    overwrite: bool = False,
) -> tuple[VocabularyReport, ...]:
    """Returns one report per size, smallest first, and writes vocabulary.json, .svg and .png into `out`.

    Args:
        corpus: Gives the words and their counts.
        teacher: The teacher's tokenizer, against which everything is measured.
        sizes: Pieces of each vocabulary to learn, special ones included.
        out: Folder to write; finished from the same, it is only read.
        width: Width of the student's embeddings.
        overwrite: Whether a folder made from anything else is replaced.

    Raises:
        ConfigError: If there are no sizes, or a size or the width is not positive.
        InputError: If the text is too small for one of the sizes, or a size too small for its characters.
        StorageError: If `out` was made from anything else or cannot be written.
    """
    if not sizes:
        raise ConfigError("no sizes of a vocabulary were given; give one or more, such as 1000")
    ordered = sorted({bounded("a vocabulary's size", size, 1, MOST_PIECES) for size in sizes})
    width = bounded("width", width, 1, MOST_WIDTH)
    teacher = teachers(teacher)
    digest = read_manifest(corpus.path / MANIFEST)["digest"]
    stage = StageDir(out, {"corpus": digest, "teacher": teacher.digest(), "sizes": ordered, "width": width})
    if not stage.is_finished(overwrite):
        with stage.locked():
            if not stage.is_finished(overwrite):  # by a process that held the lock before
                reports = _learn_all(corpus, teacher, ordered, width)
                stage.begin()
                write_json(out / "vocabulary.json", [dataclasses.asdict(report) for report in reports])
                plot(reports, out)
                stage.finish({"sizes": len(reports)})
    found: tuple[VocabularyReport, ...] = stored(tuple[VocabularyReport, ...], out / "vocabulary.json")
    stage.require_whole("remove its folder to make it again")
    return found


def render(reports: Sequence[VocabularyReport]) -> Sheet:
    """Returns the reports of one text as a table, a line per size and one for the teacher."""
    first = reports[0]
    headings = ("pieces", "pieces/word", "length", "no [UNK]", "shared", "parameters", "fp32 kB", "int8 kB")
    rows = [
        (
            f"{report.student_size:,}",
            f"{report.student_fertility:.3f}",
            f"x{report.relative_length:.2f}",
            f"{report.student_coverage:.2%}",
            f"{report.overlap:.1%}",
            f"{report.parameters:,}",
            f"{report.fp32_bytes / 1e3:,.0f}",
            f"{report.int8_bytes / 1e3:,.0f}",
        )
        for report in reports
    ]
    teacher = (
        f"teacher {first.teacher_size:,}",
        f"{first.teacher_fertility:.3f}",
        "x1.00",
        f"{first.teacher_coverage:.2%}",
        "100.0%",
        f"{first.teacher_parameters:,}",
        f"{4 * first.teacher_parameters / 1e3:,.0f}",
        f"{first.teacher_parameters / 1e3:,.0f}",
    )
    return Sheet(
        headings,
        [*rows, teacher],
        left=0,
        title=f"Vocabularies for {first.words:,} words, embeddings {first.width} wide",
        caption="pieces/word and no [UNK]: over running words; embeddings: weights alone",
        last_apart=True,
    )


def plot(reports: Sequence[VocabularyReport], out: Path) -> None:
    """Writes vocabulary.svg and vocabulary.png: pieces per word, and bytes of the embeddings, against size.

    Equal reports give an equal SVG.
    """
    sizes = [report.student_size for report in reports]
    first = reports[0]
    figure = new_figure(9, 3.8)
    fertility, size = figure.subplots(1, 2)
    fertility.plot(sizes, [report.student_fertility for report in reports], "o-", label="student")
    label = f"teacher, {first.teacher_size:,} pieces"
    fertility.axhline(first.teacher_fertility, color="C1", linestyle="--", label=label)
    fertility.set(ylabel="pieces per word", title="Length of a text", ylim=(1, None))
    size.plot(sizes, [report.fp32_bytes / 1e6 for report in reports], "o-", label="fp32")
    size.plot(sizes, [report.int8_bytes / 1e6 for report in reports], "s-", color="C2", label="int8")
    size.set(ylabel="megabytes", title=f"Piece embeddings, {first.width} wide", ylim=(0, None))
    for axes in (fertility, size):
        axes.set(xlabel="pieces in the student's vocabulary", xlim=(0, None))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.legend(frameon=False)
    tidy((fertility, size))
    save_figure(figure, out, "vocabulary")


def _learn_all(
    corpus: Corpus, teacher: TeacherTokenizer, sizes: Sequence[int], width: int
) -> tuple[VocabularyReport, ...]:
    words, counts = corpus.word_types()[FIRST_WORD:], corpus.counts[FIRST_WORD:]
    teacher_table = teacher.pieces(words)
    reports = []
    for size in sizes:
        student = learn_student(words, counts, size, teacher, cased=False)
        report = measure(
            words, counts, teacher_table, teacher, teacher.student_pieces(words, student), student
        )
        parameters, teacher_parameters = report.embedding_parameters(width)
        reports.append(
            VocabularyReport(
                **dataclasses.asdict(report),
                width=width,
                parameters=parameters,
                teacher_parameters=teacher_parameters,
                fp32_bytes=4 * parameters,
                int8_bytes=parameters,
                relative_length=report.student_fertility / report.teacher_fertility,
            )
        )
    return tuple(reports)
