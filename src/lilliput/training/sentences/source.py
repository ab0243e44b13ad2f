"""Texts that a teacher has read -> batches of like length, each a pure function of (seed, step)."""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from lilliput.common.ragged import Ints, Ragged
from lilliput.config import BatchConfig
from lilliput.pieces.lexicon import Lexicon
from lilliput.text.corpus import FIRST_WORD
from lilliput.training.batches import NOTHING, Batch, Reading, Taught
from lilliput.training.layout import Layout, Words, plain
from lilliput.training.sentences.reading import CHUNK, STEP, TaughtTexts

Vectors = npt.NDArray[np.float16]


class SentenceSource:
    """Makes the batches of a stage; a batch has texts of one chunk, of about the same length."""

    def __init__(
        self, texts: TaughtTexts, lexicon: Lexicon, config: BatchConfig, seed: tuple[int, ...]
    ) -> None:
        """Prepares to make batches.

        Args:
            texts: What is read, and what the teacher said of it.
            lexicon: The student's pieces of words.
            config: Texts per batch.
            seed: Numbers that together seed everything random.
        """
        self.texts, self.config, self._seed = texts, config, seed
        self._streams, self._pad = plain(texts.rows.shards), lexicon.student_special.pad
        self._pieces = Ragged(np.asarray(lexicon.student.values), np.asarray(lexicon.student.offsets))
        self._pieces_of_words = self._pieces.lengths
        self._lengths = texts.rows.end - texts.rows.start
        chunks = range(-(-len(texts) // CHUNK))
        self._batches = np.cumsum([0, *(max(1, texts.texts(chunk) // config.rows) for chunk in chunks)])
        self._order: tuple[tuple[int, int], Ints] = ((-1, -1), np.empty(0, np.int64))
        self._open: tuple[int, Ragged, Vectors] = -1, Ragged.of([]), np.empty((0, 0), np.float16)

    def batch(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        """Returns part `part` of batch `step`, its texts spread evenly over `parts`."""
        chunk, chosen = self._chosen(step)
        start, end = (len(chosen) * edge // parts for edge in (part, part + 1))
        return self._read(chunk, chosen[start:end])

    def __iter__(self) -> Iterator[Batch]:
        """Yields batches that pass once over all texts."""
        return map(self.batch, range(int(self._batches[-1])))

    def stream(self, step: int, own: range, parts: int) -> Iterator[list[Batch]]:
        """Yields the parts `own` of all `parts` of each batch, from batch `step` on, without end."""
        for number in itertools.count(step):
            yield [self.batch(number, part, parts) for part in own]

    def _chosen(self, step: int) -> tuple[int, Ints]:
        """Returns the chunk of a batch, and its texts as their places in the chunk."""
        turn, place = divmod(step, int(self._batches[-1]))
        order = np.random.default_rng([turn, *self._seed]).permutation(len(self._batches) - 1)
        counts = np.diff(self._batches)[order]
        which = int(np.searchsorted(np.cumsum(counts), place, side="right"))
        chunk, place = int(order[which]), place - int(counts[:which].sum())
        if self._order[0] != (turn, chunk):
            self._order = (turn, chunk), self._sorted(turn, chunk)
        rows = self.config.rows
        return chunk, self._order[1][place * rows : (place + 1) * rows]

    def _sorted(self, turn: int, chunk: int) -> Ints:
        """Returns the texts of a chunk, batch after batch, without those that fill none."""
        generator = np.random.default_rng([turn, chunk, *self._seed])
        words = Words.of_rows(
            self._streams, self.texts.rows, np.arange(self.texts.texts(chunk)) + chunk * CHUNK
        )
        pieces = np.add.reduceat(self._pieces_of_words[words.ids], words.first)
        order = np.argsort(pieces + generator.random(len(pieces)), kind="stable")  # like ones in random order
        count = len(order) // self.config.rows
        if not count:
            return order
        left = len(order) - count * self.config.rows
        kept = np.delete(order, generator.choice(len(order), left, replace=False))
        return kept.reshape(count, -1)[generator.permutation(count)].reshape(-1)

    def _read(self, chunk: int, chosen: Ints) -> Batch:
        """Returns a batch of texts, given as their places in a chunk."""
        words = Words.of_rows(self._streams, self.texts.rows, chunk * CHUNK + chosen)
        layout = Layout.of(self._pieces, words.ids, words, self._pad, self.config.length)
        places = layout.places[words.ids >= FIRST_WORD]
        states, vectors = self._said(chunk)
        taken = states.take(chosen).values.astype(np.float32) * STEP
        return Batch(
            teacher=NOTHING,
            student=Reading(
                pieces=torch.from_numpy(layout.pieces),
                padding=layout.padding,
                positions=torch.from_numpy(places),
                targets=NOTHING.targets,
                words=NOTHING.words,
            ),
            aligned=NOTHING.pieces.new_empty(0, dtype=torch.bool),
            words=len(places),
            masked_characters=0,
            taught=Taught(torch.from_numpy(vectors[chosen].astype(np.float32)), torch.from_numpy(taken)),
        )

    def _said(self, chunk: int) -> tuple[Ragged, Vectors]:
        """Returns the states of a chunk's words, text by text, and its vectors."""
        if self._open[0] != chunk:
            lengths = self._lengths[chunk * CHUNK : (chunk + 1) * CHUNK]
            states = Ragged(self.texts.states(chunk), np.append(0, np.cumsum(lengths)))
            self._open = chunk, states, self.texts.vectors(chunk)
        return self._open[1:]
