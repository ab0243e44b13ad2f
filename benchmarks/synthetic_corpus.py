"""A text of the benchmark's own, so that nothing but a teacher is needed."""

from pathlib import Path

from tokenizers import Tokenizer

from lilliput.common.files import writing
from lilliput.common.folders import not_ours
from lilliput.config import LexiconConfig
from lilliput.pieces.corpus import build_corpus
from lilliput.pieces.lexicon import build_lexicon
from lilliput.pieces.teacher_tokenizer import teachers
from lilliput.planning.samples import made_up_text
from lilliput.run import RunDir

_WORDS = 400_000


def build_synthetic_corpus(teacher: Tokenizer, lexicon: LexiconConfig, out: Path) -> RunDir:
    """Returns a run with a corpus and a lexicon of a made-up text, built in `out` unless they are there.

    Raises InputError where the teacher's words are too few for a lexicon of that size.
    """
    run = RunDir(out)
    text = out / "text.txt"
    content = made_up_text(teachers(teacher), _WORDS).encode()
    if text.exists() and not run.corpus.exists() and text.read_bytes() != content:
        raise not_ours(out, [text.name])
    with writing(text) as file:
        file.write(content)
    corpus = build_corpus([str(text)], teacher, run.corpus, workers=1, overwrite=True)
    build_lexicon(corpus, teacher, lexicon, run.lexicon, overwrite=True)
    return run
