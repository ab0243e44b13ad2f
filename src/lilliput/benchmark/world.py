"""A text of the benchmark's own, so that nothing but a teacher is needed."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from lilliput.config import LexiconConfig
from lilliput.corpus import build_corpus
from lilliput.files import writing
from lilliput.folders import not_ours
from lilliput.lexicon import build_lexicon
from lilliput.run import RunDir

_WORDS = 400_000
_POWER, _LENGTHENED, _MARKED, _LAST = 1.1, 0.1, 0.12, 0.025
"""Of Zipf's law, and shares: of words with a continuing piece, of words with a full stop, of full stops that
end a document. BERT's vocabulary then needs 1.09 pieces per word and a student's of 4,928 pieces 1.39; for
Wikipedia they need 1.10 and 1.36."""


def build_world(teacher: Tokenizer, lexicon: LexiconConfig, out: Path) -> RunDir:
    """Returns a run with a corpus and a lexicon of a made-up text, built in `out` unless they are there.

    Raises InputError where the teacher's words are too few for a lexicon of that size.
    """
    run = RunDir(out)
    text = out / "text.txt"
    content = made_up_text(teacher, _WORDS).encode()
    if text.exists() and not run.corpus.exists() and text.read_bytes() != content:
        raise not_ours(out, [text.name])
    with writing(text) as file:
        file.write(content)
    corpus = build_corpus([str(text)], teacher, run.corpus, workers=1, overwrite=True)
    build_lexicon(corpus, teacher, lexicon, run.lexicon, overwrite=True)
    return run


def made_up_text(teacher: Tokenizer, words: int) -> str:
    """Returns documents of so many words of the teacher's vocabulary, as frequent as Zipf's law has it.

    Their order there is taken for that of frequency, which in BERT's it is.
    """
    prefix = teacher.model.continuing_subword_prefix
    vocabulary = teacher.get_vocab()
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    wholes = np.array(
        [piece for piece in pieces if piece.isascii() and piece.isalpha() and piece[1:]], dtype=object
    )
    endings = np.array(
        [rest for piece in pieces if (rest := piece.removeprefix(prefix)) != piece and rest.isalpha()],
        dtype=object,
    )
    random = np.random.default_rng(0)
    weights = (np.arange(len(wholes)) + 2.7) ** -_POWER
    drawn = random.choice(wholes, words, p=weights / weights.sum())
    lengthened = np.flatnonzero(random.random(words) < _LENGTHENED)
    drawn[lengthened] += random.choice(endings, len(lengthened))
    ends = np.flatnonzero(random.random(words) < _MARKED)
    drawn[ends] += "."
    last = ends[random.random(len(ends)) < _LAST]
    drawn[last] += "\n\n"
    return str(" ".join(drawn.tolist()))
