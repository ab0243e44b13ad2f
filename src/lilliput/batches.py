"""Stage 3: word ids and the lexicon -> batches, each a pure function of (seed, step).

A row is a stretch of the corpus that fits into a model's input under either segmentation. Its words are
segmented, masked and laid out for teacher and student at once, by gathers over the whole batch, so both read
the same words with the same words masked, and where they segment a word alike their positions are aligned by
construction. Every piece of a masked word becomes [MASK]. To keep a tenth of them and make another tenth
random (Devlin et al. 2019) was measured and costs quality, as Wettig et al. 2023 found too.

Shape letters: B rows, L length, W words of all rows, P pieces of all rows, N predicted pieces.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lilliput.config import BatchConfig
from lilliput.corpus import END, FIRST_WORD, START
from lilliput.errors import InputError
from lilliput.lexicon import Lexicon
from lilliput.rows import Ints, Rows


@dataclass(frozen=True)
class Reading:
    """What one model reads and what it has to predict."""

    pieces: Tensor
    """Piece ids [B, L]; the teacher's are joint ids (see `models.teacher`)."""
    padding: Tensor | None
    """True where a piece is padding [B, L]; None where nothing is."""
    positions: Tensor
    """Where pieces are predicted: indices into B * L, ascending [N]."""
    targets: Tensor
    """What stands there in truth, in the ids of `pieces` [N]."""
    words: Tensor
    """To which word of the batch each predicted piece belongs [N]."""

    def to(self, device: torch.device) -> "Reading":
        """Returns the reading on another device."""
        return Reading(
            pieces=self.pieces.to(device),
            padding=None if self.padding is None else self.padding.to(device),
            positions=self.positions.to(device),
            targets=self.targets.to(device),
            words=self.words.to(device),
        )


@dataclass(frozen=True)
class Batch:
    """One step's words as teacher and student read them."""

    teacher: Reading
    """Each word in the teacher's segmentation or, with the probability of mixing, in the student's."""
    student: Reading
    """Every word in the student's segmentation."""
    aligned: Tensor
    """Which of the student's predicted pieces the teacher reads alike [N]; their order is the order of the
    student-vocabulary pieces among the teacher's predicted pieces."""
    words: int
    """Running words read, specials not counted."""
    masked_characters: int
    """Characters of the masked words."""

    def to(self, device: torch.device) -> "Batch":
        """Returns the batch on another device."""
        return dataclasses.replace(
            self,
            teacher=self.teacher.to(device),
            student=self.student.to(device),
            aligned=self.aligned.to(device),
        )


class BatchSource:
    """Makes the batches of one stage or evaluation; batch `step` depends on nothing but its arguments."""

    def __init__(
        self,
        rows: Rows,
        lexicon: Lexicon,
        config: BatchConfig,
        seed: tuple[int, ...],
    ) -> None:
        """Prepares to make batches.

        Args:
            rows: Where the words stand.
            lexicon: How they are segmented.
            config: Rows per batch, masking and mixing.
            seed: Numbers that together seed everything random.
        """
        if not len(rows):
            raise InputError("the text holds no row to read; give more text")
        self.rows, self.config, self._seed = rows, config, seed
        self._own_size = lexicon.teacher_size
        self._unknown = np.asarray(lexicon.unknown)
        self._characters = np.asarray(lexicon.characters)
        teacher, student = lexicon.teacher, lexicon.student
        # One table of joint pieces, the teacher's first: a mixed segmentation is then one gather.
        shifted = student.pieces.astype(np.int64) + self._own_size
        self._joint_pieces = np.concatenate([teacher.pieces.astype(np.int64), shifted])
        self._starts = np.stack([teacher.offsets[:-1], student.offsets[:-1] + len(teacher.pieces)])
        self._lengths = np.stack([teacher.lengths, student.lengths]).astype(np.int64)
        self._mask = np.array([lexicon.teacher_special.mask, lexicon.student_special.mask + self._own_size])
        self._pad = (lexicon.teacher_special.pad, lexicon.student_special.pad)
        self._order: tuple[int, Ints] = (-1, np.empty(0, np.int64))
        self._key = np.random.SeedSequence(seed).generate_state(1, np.uint64)

    def batch(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        """Returns part `part` of batch `step`, its rows spread evenly over `parts`, one each or more."""
        start, end = (self.config.rows * edge // parts for edge in (part, part + 1))
        first = step * self.config.rows + start
        words, row, place = self._words(first, end - start)
        identity = ((first + row) << 24) + (place << 8)
        masked = (
            (words >= FIRST_WORD) & ~self._unknown[words] & (self._uniform(identity) < self.config.masked)
        )
        in_student = self._uniform(identity + 1) < self.config.mixing
        teacher = self._read(words, row, in_student.astype(np.int64), masked)
        student = self._read(words, row, np.ones(len(words), np.int64), masked)
        return Batch(
            teacher=self._tensors(teacher, self._pad[0], 0),
            student=self._tensors(student, self._pad[1], self._own_size),
            aligned=torch.from_numpy(in_student[student.word[student.predicted]]),
            words=int((words >= FIRST_WORD).sum()),
            masked_characters=int(self._characters[words[masked]].sum()),
        )

    def __iter__(self) -> Iterator[Batch]:
        """Yields batches that pass once over all rows, the last one filled up from the beginning."""
        for step in range(-(-len(self.rows) // self.config.rows)):
            yield self.batch(step)

    def _uniform(self, identity: Ints) -> npt.NDArray[np.float64]:
        """Returns a number in [0, 1) for each identity, always the same (SplitMix64, Steele et al. 2014).

        A word's draws hang on its row's number and its place there and on nothing else, so a batch is the
        same however it is split into parts.
        """
        x = (identity.astype(np.uint64) + self._key) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * np.float64(2.0**-53)

    def _words(self, first: int, count: int) -> tuple[Ints, Ints, Ints]:
        """Returns the word ids of rows, one after the other, the row of each and its place there [W]."""
        spans = []
        for index in self._shuffled(first, count):
            stream = self.rows.shards[self.rows.shard[index]]
            spans.append(stream[self.rows.start[index] : self.rows.end[index]])
        lengths = np.array([len(span) for span in spans]) + 2
        ends = np.cumsum(lengths)
        words = np.empty(ends[-1], np.int64)
        inside = np.ones(len(words), np.bool_)
        words[ends - lengths], words[ends - 1] = START, END
        inside[ends - lengths], inside[ends - 1] = False, False
        words[inside] = np.concatenate(spans)
        place = np.arange(len(words)) - np.repeat(ends - lengths, lengths)
        return words, np.repeat(np.arange(count), lengths), place

    def _shuffled(self, first: int, count: int) -> Ints:
        """Returns rows `first` to `first + count` of an endless sequence of shuffled passes over all rows."""
        found = np.empty(count, np.int64)
        for offset in range(count):
            turn, place = divmod(first + offset, len(self.rows))
            if self._order[0] != turn:
                self._order = (turn, np.random.default_rng([turn, *self._seed]).permutation(len(self.rows)))
            found[offset] = self._order[1][place]
        return found

    def _read(self, words: Ints, row: Ints, table: Ints, masked: npt.NDArray[np.bool_]) -> "_Pieces":
        """Segments words [W] by the table chosen for each (0 teacher, 1 student) and masks them."""
        lengths = self._lengths[table, words]
        ends = np.cumsum(lengths)
        word = np.repeat(np.arange(len(words)), lengths)
        place = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
        truth = self._joint_pieces[self._starts[table, words][word] + place]
        predicted = masked[word]
        shown = np.where(predicted, self._mask[table][word], truth)
        return _Pieces(shown, truth, predicted, word, row[word])

    def _tensors(self, read: "_Pieces", pad: int, shift: int) -> Reading:
        """Lays pieces out in rows; `shift` is taken off their joint ids."""
        counts = np.bincount(read.row)
        ends = np.cumsum(counts)
        length = int(counts.max())
        place = read.row * length + np.arange(len(read.row)) - np.repeat(ends - counts, counts)
        pieces = np.full(len(counts) * length, pad, np.int64)
        pieces[place] = read.shown - shift
        padding = None
        if counts.min() < length:
            padding = torch.from_numpy(np.arange(length) >= counts[:, None])
        return Reading(
            pieces=torch.from_numpy(pieces.reshape(len(counts), length)),
            padding=padding,
            positions=torch.from_numpy(place[read.predicted]),
            targets=torch.from_numpy(read.truth[read.predicted] - shift),
            words=torch.from_numpy(read.word[read.predicted]),
        )


@dataclass(frozen=True)
class _Pieces:
    """All rows' pieces one after the other [P], in joint ids."""

    shown: Ints
    truth: Ints
    predicted: npt.NDArray[np.bool_]
    word: Ints
    row: Ints
