"""How long a teacher reads texts, and texts to measure with: a run's own words, made-up answers."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from lilliput.common.ragged import Ints
from lilliput.config import Recipe
from lilliput.models.sentence_modules import SentenceModules
from lilliput.models.shape import EncoderShape
from lilliput.objectives import DIRECTIONS
from lilliput.pieces.lexicon import Lexicon
from lilliput.planning.footprint import TextSize
from lilliput.planning.stopwatch import Stopwatch
from lilliput.text.corpus import Corpus
from lilliput.training.rows import Rows
from lilliput.training.sentences.cut import cut_texts, sentence_ends
from lilliput.training.sentences.reading import CHUNK, Reader, TaughtTexts
from lilliput.training.sentences.taught import HELD_OUT

_ROWS = 400
"""Of the corpus, of which texts are cut to measure with."""
_READ = 256
"""Texts that the teacher reads at most to be timed."""


class MadeUpTexts(TaughtTexts):
    """Texts of a corpus with random answers, none of them on disk; at most as many as one file holds."""

    @classmethod
    def of(cls, rows: Rows, corpus: Corpus, width: int, seed: int) -> Self:
        """Returns texts that are cut of some rows.

        Args:
            rows: The rows of the corpus.
            corpus: The corpus.
            width: Width of the teacher.
            seed: Seeds which rows, and which texts.
        """
        order = np.random.default_rng(seed).permutation(len(rows))[:_ROWS]
        found = cut_texts(rows.take(order), sentence_ends(corpus), CHUNK, (seed,))
        return cls(Path(), found, width, min(width, DIRECTIONS))

    @property
    def words_each(self) -> float:
        """Words of a text, on average."""
        return float((self.rows.end - self.rows.start).mean())

    def longest(self, count: int) -> Self:
        """Returns the texts with the most words alone."""
        order = np.argsort(self.rows.start - self.rows.end, kind="stable")[:count]
        return type(self)(self.path, self.rows.take(order), self.vector_width, self.state_width)

    def vectors(self, chunk: int) -> npt.NDArray[np.float16]:
        """Returns random vectors of the texts, of length 1 [N, E]."""
        found = np.random.default_rng(chunk).standard_normal((len(self), self.vector_width))
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return cast(npt.NDArray[np.float16], found.astype(np.float16))

    def states(self, chunk: int) -> npt.NDArray[np.int8]:
        """Returns random states of the texts' words [W, K]."""
        shape = (int((self.rows.end - self.rows.start).sum()), self.state_width)
        return np.random.default_rng(chunk).integers(-127, 128, shape, np.int8)


@dataclass(frozen=True)
class Reading:
    """How many texts a teacher reads before a stage, and what that takes."""

    texts: int
    """Texts to train on, and held out."""
    seconds: float
    """While it reads."""
    disk_bytes: int
    """What it says of them."""


@dataclass(frozen=True)
class TimedTexts:
    """Texts of a corpus that a teacher has been timed on."""

    texts: MadeUpTexts
    """The texts."""
    rows: Rows
    """All rows of the corpus; texts were cut of some."""
    seconds: float
    """Time that the teacher takes for a text if nobody else has the processor."""

    def expected(self, recipe: Recipe, text: TextSize, stretch: float) -> Reading:
        """Returns what the teacher will read of a whole text.

        Args:
            recipe: Says how many texts are wanted, and what share of the minutes they may take.
            text: How large the whole text is.
            stretch: How many times as long it takes beside the others that have the processor.
        """
        rows, sample, wanted = self.rows, self.texts.rows, recipe.sentences
        words = int((rows.end - rows.start).sum())
        read = min(wanted.count, round(len(sample) * max(len(rows) / _ROWS, 1.0) * text.words / words))
        each = self.seconds * stretch
        if recipe.budget.minutes is not None:
            files = math.ceil(60 * recipe.budget.minutes * wanted.share / each / CHUNK)
            read = min(read, max(files, 1) * CHUNK)
        every = read + min(HELD_OUT, wanted.count)
        bytes_each = 2 * self.texts.vector_width + self.texts.words_each * self.texts.state_width
        return Reading(every, every * each, round(every * bytes_each))


def time_reading(
    texts: MadeUpTexts, rows: Rows, lexicon: Lexicon, model: PreTrainedModel, watch: Stopwatch
) -> TimedTexts:
    """Times how long a teacher reads texts.

    Args:
        texts: The texts.
        rows: All rows of their corpus.
        lexicon: The teacher's pieces of words.
        model: The teacher, or one of its shape.
        watch: Times it.
    """
    positions = EncoderShape.of_config(model.config).positions
    reader = Reader.of(model, SentenceModules(), lexicon, texts.rows, "", positions)
    chosen = np.arange(min(_READ, len(texts)))

    def read(places: Ints) -> None:
        for _ in reader.states(places):
            pass

    watch.time(lambda: read(chosen[: len(chosen) // 8 + 1]), counted=False)
    return TimedTexts(texts, rows, watch.time(lambda: read(chosen)) / len(chosen))
