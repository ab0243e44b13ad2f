"""The student's vocabulary: how large it is, what it shares with the teacher's, and words cut by both."""

from collections.abc import Sequence

import numpy as np

from lilliput.common.folders import MANIFEST
from lilliput.common.sheet import Sheet
from lilliput.common.stage_dir import StageDir
from lilliput.pieces.family import TeacherTokenizer
from lilliput.pieces.lexicon import Lexicon
from lilliput.pieces.report import LexiconReport
from lilliput.pieces.teacher_tokenizer import BertTokenizer
from lilliput.reporting.blocks import Cut, Cuts, Facts, Grid, Note, Section, section
from lilliput.run import RunDir
from lilliput.text.corpus import FIRST_WORD, Corpus

_WORDS = 14
"""Words shown."""
_MOST_FREQUENT = 50_000
"""Words among which they are looked for."""
_LEAST_CHARACTERS = 4


def of_run(run: RunDir) -> list[Section]:
    """Returns what is known of a run's vocabulary."""
    if not (run.lexicon / MANIFEST).exists():
        return []
    found: LexiconReport = StageDir(run.lexicon, {}).read(LexiconReport)
    rows = [
        ("pieces", f"{found.teacher_size:,}", f"{found.student_size:,}"),
        ("pieces per word (fertility)", f"{found.teacher_fertility:.3f}", f"{found.student_fertility:.3f}"),
        (
            "words read without an unknown piece",
            f"{found.teacher_coverage:.2%}",
            f"{found.student_coverage:.2%}",
        ),
    ]
    shared = round(found.overlap * found.student_size)
    facts = [
        ("shared pieces", f"{shared:,} of the student's {found.student_size:,} ({found.overlap:.1%})"),
        ("cut alike", f"{found.alike:.1%} of {found.words:,} running words"),
    ]
    facts += [(f"hardly read: {script}", f"{share:.1%}") for script, share in found.hardly_read.items()]
    cuts = _cuts(run)
    said = "Words of the corpus that both cut differently, frequent ones first; each box is a piece."
    return section(
        "Vocabulary",
        Grid(Sheet(("", "teacher", "student"), rows)),
        Facts(tuple(facts)),
        Note(said) if cuts else None,
        cuts,
    )


def _cuts(run: RunDir) -> Cuts | None:
    """Returns words that teacher and student cut differently; None without the corpus or where none are."""
    if not (run.corpus / MANIFEST).exists():
        return None
    corpus, lexicon = Corpus.open(run.corpus), Lexicon.open(run.lexicon)
    words, counts = corpus.word_types(), corpus.counts
    some = np.arange(FIRST_WORD, min(len(words), _MOST_FREQUENT))
    some = some[~lexicon.unknown[some] & (lexicon.characters[some] >= _LEAST_CHARACTERS)]
    tables = (table.take(some).rows() for table in (lexicon.teacher, lexicon.student))
    tokenizers = lexicon.teacher_tokenizer(), BertTokenizer(lexicon.student_tokenizer())
    spelt = [_spelt(table, one) for table, one in zip(tables, tokenizers, strict=True)]
    found = [
        Cut(words[index].strip(), int(counts[index]), tuple(pieces))
        for index, *pieces in zip(some.tolist(), *spelt, strict=True)
        if pieces[0] != pieces[1] and words[index].strip().isalpha()
    ]
    if not found:
        return None
    # Evenly over the logarithm of the rank, so that frequent and rare words are among them.
    places = np.unique(np.geomspace(1, len(found), _WORDS).astype(int) - 1)
    return Cuts(("teacher", "student"), tuple(found[place] for place in places))


def _spelt(rows: Sequence[Sequence[int]], tokenizer: TeacherTokenizer) -> list[tuple[str, ...]]:
    """Returns what the pieces of each word spell, without those that spell nothing."""
    ids = {piece for row in rows for piece in row}
    names = ((piece, tokenizer.tokenizer.id_to_token(piece) or "") for piece in ids)
    surfaces = {piece: tokenizer.surface(name).strip() for piece, name in names}
    return [tuple(filter(None, (surfaces[piece] for piece in row))) for row in rows]
