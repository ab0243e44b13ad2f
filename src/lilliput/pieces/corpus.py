"""Text -> a corpus in the words of a teacher's tokenizer."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from lilliput.pieces.family import TeacherTokenizer
from lilliput.pieces.teacher_tokenizer import teachers
from lilliput.text.corpus import Corpus, is_written, write_corpus


def build_corpus(
    sources: Sequence[str],
    tokenizer: Tokenizer | TeacherTokenizer,
    out: Path,
    *,
    text_column: str = "text",
    workers: int | None = None,
    ray: str | None = None,
    overwrite: bool = False,
) -> Corpus:
    """Returns the corpus of some sources, built in `out` unless it is there, as `text.write_corpus` does.

    Args:
        sources: Files, folders, patterns and data sets.
        tokenizer: The teacher's; of a BERT's only its words matter, not its pieces.
        out: The directory.
        text_column: The column of tables and data sets that holds the text.
        workers: Processes that split text; None stands for one per core.
        ray: Where the processes run, as `write_corpus` takes it; None stands for this machine without Ray.
        overwrite: Whether a corpus made from anything else is replaced.
    """
    return write_corpus(
        sources,
        teachers(tokenizer).rules(),
        out,
        text_column=text_column,
        workers=workers,
        ray=ray,
        overwrite=overwrite,
    )


def is_built(
    sources: Sequence[str], tokenizer: Tokenizer | TeacherTokenizer, out: Path, text_column: str
) -> bool:
    """Returns whether `out` holds the finished corpus of some sources; writes nothing."""
    return is_written(sources, teachers(tokenizer).rules(), out, text_column)
