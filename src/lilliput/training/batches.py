"""Word ids and the lexicon -> batches, each a pure function of (seed, step).

A row is a stretch of the corpus that fits into a model's input under either segmentation. Its words are
segmented, masked and laid out for teacher and student at once, by gathers over the whole batch, so both read
the same words with the same words masked, and where they segment a word alike their positions are aligned by
construction. Every piece of a masked word becomes [MASK]. To keep a tenth of them and make another tenth
random (Devlin et al. 2019) was measured and costs quality, as Wettig et al. 2023 found too.

Shape letters: B rows, L length, W words of all rows, P pieces of all rows, N predicted pieces.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lilliput.common.ragged import Ints, Ragged, ranges
from lilliput.config import BatchConfig
from lilliput.errors import InputError
from lilliput.pieces.lexicon import Lexicon
from lilliput.text.corpus import FIRST_WORD
from lilliput.training.layout import Layout, Words, plain
from lilliput.training.rows import Rows


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
            pieces=_moved(self.pieces, device),
            padding=None if self.padding is None else _moved(self.padding, device),
            positions=_moved(self.positions, device),
            targets=_moved(self.targets, device),
            words=_moved(self.words, device),
        )


@dataclass(frozen=True)
class Taught:
    """What the teacher said of a batch's texts, where it has read them before."""

    vectors: Tensor
    """Vectors of the texts, of length 1 [B, E]."""
    states: Tensor
    """States of their words along the leading directions, in their deviations [N, K]."""

    @property
    def rows(self) -> int:
        """The number of texts."""
        return self.vectors.shape[0]

    @property
    def words(self) -> int:
        """The number of words."""
        return self.states.shape[0]

    def to(self, device: torch.device) -> "Taught":
        """Returns the same on another device."""
        return Taught(_moved(self.vectors, device), _moved(self.states, device))


@dataclass(frozen=True)
class Batch:
    """One step's words as teacher and student read them."""

    teacher: Reading
    """Each word in the teacher's segmentation or, with the probability of mixing, in the student's; empty
    [0, 0] where the teacher does not read."""
    student: Reading
    """Every word in the student's segmentation; empty [0, 0] where the student does not read."""
    aligned: Tensor
    """Which of the student's predicted pieces the teacher reads alike [N], none where it does not read; their
    order is the order of the student-vocabulary pieces among the teacher's predicted pieces."""
    words: int
    """Running words read, specials not counted."""
    masked_characters: int
    """Characters of the masked words."""
    taught: Taught | None = None
    """What the teacher said of the texts; nothing is masked then, and the student's `positions` are those of
    the words' first pieces."""

    def to(self, device: torch.device) -> "Batch":
        """Returns the batch on another device."""
        return dataclasses.replace(
            self,
            teacher=self.teacher.to(device),
            student=self.student.to(device),
            aligned=_moved(self.aligned, device),
            taught=None if self.taught is None else self.taught.to(device),
        )


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns a tensor on another device, for which CUDA need not have finished what it has to do before."""
    return tensor.to(device, non_blocking=device.type == "cuda")


class BatchSource:
    """Makes the batches of one stage or evaluation; batch `step` depends on nothing but its arguments."""

    def __init__(
        self,
        rows: Rows,
        lexicon: Lexicon,
        config: BatchConfig,
        seed: tuple[int, ...],
        *,
        teacher: bool = True,
        student: bool = True,
    ) -> None:
        """Prepares to make batches.

        Args:
            rows: Where the words stand.
            lexicon: How they are segmented.
            config: Rows per batch, masking and mixing.
            seed: Numbers that together seed everything random.
            teacher: Whether the teacher reads the batches; if not, its reading is not made.
            student: Whether the student reads them; if not, its reading is not made.
        """
        if not len(rows):
            raise InputError("the text holds no row to read; give more text")
        self.rows, self.config, self._seed = rows, config, seed
        self._streams = plain(rows.shards)
        self._characters = np.asarray(lexicon.characters)
        self._maskable = ~np.asarray(lexicon.unknown)
        self._maskable[:FIRST_WORD] = False
        self._teacher = _teacher_table(lexicon) if teacher else None
        self._student = _student_table(lexicon) if student else None
        self._order: tuple[int, Ints] = (-1, np.empty(0, np.int64))
        self._key = np.random.SeedSequence(seed).generate_state(1, np.uint64)

    def batch(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        """Returns part `part` of batch `step`, its rows spread evenly over `parts`, one each or more."""
        start, end = (self.config.rows * edge // parts for edge in (part, part + 1))
        drawn = self._words(step * self.config.rows + start, end - start)
        ids = drawn.words.ids
        teacher = student = NOTHING
        in_student = np.zeros(len(ids), np.bool_)
        if self._teacher is not None:
            in_student = self._uniform(drawn.identity + 1) < self.config.mixing
            teacher = self._teacher.read(drawn, in_student, self.config.length)
        if self._student is not None:
            student = self._student.read(drawn, np.zeros_like(in_student), self.config.length)
        return Batch(
            teacher=teacher,
            student=student,
            aligned=torch.from_numpy(in_student[student.words.numpy()]),
            words=int((ids >= FIRST_WORD).sum()),
            masked_characters=int(self._characters[ids[drawn.masked]].sum()),
        )

    def __iter__(self) -> Iterator[Batch]:
        """Yields batches that pass once over all rows, the last one filled up from the beginning."""
        for step in range(-(-len(self.rows) // self.config.rows)):
            yield self.batch(step)

    def stream(self, step: int, own: range, parts: int) -> Iterator[list[Batch]]:
        """Yields the parts `own` of all `parts` of each batch, from batch `step` on, without end."""
        for number in itertools.count(step):
            yield [self.batch(number, part, parts) for part in own]

    def _uniform(self, identity: Ints) -> npt.NDArray[np.float64]:
        """Returns a number in [0, 1) for each identity, always the same (SplitMix64, Steele et al. 2014).

        A word's draws hang on its row's number and its place there and on nothing else, so a batch is the
        same however it is split into parts.
        """
        x = (identity.view(np.uint64) + self._key) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * np.float64(2.0**-53)

    def _words(self, first: int, count: int) -> "_Masked":
        """Returns the words of rows `first` to `first + count`, and which of them are masked."""
        words = Words.of_rows(self._streams, self.rows, self._shuffled(first, count))
        lengths = words.last + 1 - words.first
        identity = ranges(np.arange(first, first + count) << 16, lengths, words.first) << 8
        masked = self._maskable[words.ids] & (self._uniform(identity) < self.config.masked)
        return _Masked(words, identity, np.flatnonzero(masked))

    def _shuffled(self, first: int, count: int) -> Ints:
        """Returns rows `first` to `first + count` of an endless sequence of shuffled passes over all rows."""
        total, found = len(self.rows), []
        for turn in range(first // total, (first + count - 1) // total + 1):
            if self._order[0] != turn:
                self._order = (turn, np.random.default_rng([turn, *self._seed]).permutation(total))
            found.append(self._order[1][max(first - turn * total, 0) : first + count - turn * total])
        return np.concatenate(found)


_NONE = torch.empty(0, dtype=torch.int64)
NOTHING = Reading(pieces=_NONE.view(0, 0), padding=None, positions=_NONE, targets=_NONE, words=_NONE)
"""The reading of a model that does not read."""


@dataclass(frozen=True)
class _Masked:
    """The words of a batch, some of them masked."""

    words: Words
    """All of them."""
    identity: Ints
    """What the random draws of each word depend on: 2^24 numbers for a row, 2^8 of them for a word [W]."""
    masked: Ints
    """Where words are masked, ascending [M]."""


@dataclass(frozen=True)
class _Table:
    """A model's segmentation, or two, one after the other: a mixture of both is then one gather."""

    pieces: Ragged
    """Each word's pieces in the model's ids, int32; of the second segmentation after all of the first."""
    masks: Ints
    """[MASK] of each segmentation."""
    pad: int
    """[PAD]."""

    def read(self, batch: _Masked, in_second: npt.NDArray[np.bool_], most: int) -> Reading:
        """Returns words in the first segmentation or, where `in_second` [W] says so, in the second."""
        rows = batch.words.ids + in_second * (len(self.pieces) // 2)
        layout = Layout.of(self.pieces, rows, batch.words, self.pad, most)
        flat, lengths = layout.pieces.reshape(-1), layout.lengths[batch.masked]
        word = np.repeat(batch.masked, lengths)
        positions = ranges(layout.places[batch.masked], lengths)
        targets = flat[positions]
        flat[positions] = self.masks.take(in_second[word])
        return Reading(
            pieces=torch.from_numpy(layout.pieces),
            padding=layout.padding,
            positions=torch.from_numpy(positions),
            targets=torch.from_numpy(targets),
            words=torch.from_numpy(word),
        )


def _teacher_table(lexicon: Lexicon) -> _Table:
    """Returns the teacher's segmentation and the student's, in joint ids."""
    own, second, shift = lexicon.teacher, lexicon.student, lexicon.teacher_size
    both = Ragged(
        np.concatenate([own.values, second.values + np.int32(shift)]),
        np.concatenate([own.offsets, second.offsets[1:] + own.offsets[-1]]),
    )
    return _Table(
        both,
        np.array([lexicon.teacher_special.mask, lexicon.student_special.mask + shift]),
        lexicon.teacher_special.pad,
    )


def _student_table(lexicon: Lexicon) -> _Table:
    """Returns the student's segmentation, as it is mapped from disk."""
    special = lexicon.student_special
    table = Ragged(np.asarray(lexicon.student.values), np.asarray(lexicon.student.offsets))
    return _Table(table, np.array([special.mask]), special.pad)
