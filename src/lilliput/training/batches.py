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
from lilliput.models.shape import filled_up
from lilliput.pieces.lexicon import Lexicon
from lilliput.text.corpus import END, FIRST_WORD, START
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

    def to(self, device: torch.device) -> "Batch":
        """Returns the batch on another device."""
        return dataclasses.replace(
            self,
            teacher=self.teacher.to(device),
            student=self.student.to(device),
            aligned=_moved(self.aligned, device),
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
        # The same memory as plain arrays: what is taken out of a memmap becomes a memmap, which takes longer.
        self._streams = [np.asarray(shard) for shard in rows.shards]
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
        words = self._words(step * self.config.rows + start, end - start)
        teacher = student = _NOTHING
        in_student = np.zeros(len(words.ids), np.bool_)
        if self._teacher is not None:
            in_student = self._uniform(words.identity + 1) < self.config.mixing
            teacher = self._teacher.read(words, in_student, self.config.length)
        if self._student is not None:
            student = self._student.read(words, np.zeros_like(in_student), self.config.length)
        return Batch(
            teacher=teacher,
            student=student,
            aligned=torch.from_numpy(in_student[student.words.numpy()]),
            words=int((words.ids >= FIRST_WORD).sum()),
            masked_characters=int(self._characters[words.ids[words.masked]].sum()),
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

    def _words(self, first: int, count: int) -> "_Words":
        """Returns the words of rows `first` to `first + count`, and which of them are masked."""
        rows = self._shuffled(first, count)
        start, end = self.rows.start[rows], self.rows.end[rows]
        spans = zip(self.rows.shard[rows].tolist(), start.tolist(), end.tolist(), strict=True)
        lengths = end - start + 2
        # Rows of 2 words and 1 are START a b END START c END: lengths 4 3, so they begin at 0 4, end at 3 6.
        last = np.cumsum(lengths) - 1
        begin = last + 1 - lengths
        ids = np.empty(last[-1] + 1, np.int64)
        ids[begin], ids[last] = START, END
        # Of all that is done here the one loop over rows: they lie in files that are mapped one by one.
        for place, (shard, a, b) in zip(last.tolist(), spans, strict=True):
            ids[place - (b - a) : place] = self._streams[shard][a:b]
        identity = ranges(np.arange(first, first + count) << 16, lengths, begin) << 8
        masked = self._maskable[ids] & (self._uniform(identity) < self.config.masked)
        return _Words(ids, identity, begin, last, np.flatnonzero(masked))

    def _shuffled(self, first: int, count: int) -> Ints:
        """Returns rows `first` to `first + count` of an endless sequence of shuffled passes over all rows."""
        total, found = len(self.rows), []
        for turn in range(first // total, (first + count - 1) // total + 1):
            if self._order[0] != turn:
                self._order = (turn, np.random.default_rng([turn, *self._seed]).permutation(total))
            found.append(self._order[1][max(first - turn * total, 0) : first + count - turn * total])
        return np.concatenate(found)


_MULTIPLE = 8
"""Of a row's pieces: products of a shape that is new are compiled first (`shape.filled_up`)."""
_NONE = torch.empty(0, dtype=torch.int64)
_NOTHING = Reading(pieces=_NONE.view(0, 0), padding=None, positions=_NONE, targets=_NONE, words=_NONE)


@dataclass(frozen=True)
class _Words:
    """The words of a batch's rows one after the other, each row from its START to its END."""

    ids: Ints
    """Word ids [W]."""
    identity: Ints
    """What the random draws of each word depend on: 2^24 numbers for a row, 2^8 of them for a word [W]."""
    first: Ints
    """Where each row's START is [B]."""
    last: Ints
    """Where each row's END is [B]."""
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

    def read(self, words: _Words, in_second: npt.NDArray[np.bool_], most: int) -> Reading:
        """Returns words in the first segmentation or, where `in_second` [W] says so, in the second.

        Rows are filled up to a multiple of `_MULTIPLE` pieces, but not beyond `most`.
        """
        starts, lengths = self.pieces.spans(words.ids + in_second * (len(self.pieces) // 2))
        counts = np.add.reduceat(lengths, words.first)
        longest = int(counts.max())
        length = max(longest, min(filled_up(longest, _MULTIPLE), most))
        # To lay out whole rows by one gather, the last word of each, [SEP], is made as long as the row's
        # padding; the pieces after [SEP] in the table that it then reads are overwritten. For two rows
        #   [CLS] brot ##ent [SEP]   of lengths 1 2 1   and   [CLS] a [SEP]   of lengths 1 1 1
        # the lengths become 1 2 1 1 1 2, and the words begin at 0 1 3 4 5 6 of the flat [2, 4] pieces.
        lengths[words.last] += length - counts
        places = np.cumsum(lengths) - lengths
        flat = self.pieces.values.take(ranges(starts, lengths, places), mode="clip").astype(np.int64)
        pieces = flat.reshape(-1, length)
        is_padding = np.arange(length) >= counts[:, None]
        pieces[is_padding] = self.pad
        lengths = lengths[words.masked]
        word = np.repeat(words.masked, lengths)
        positions = ranges(places[words.masked], lengths)
        targets = flat[positions]
        flat[positions] = self.masks.take(in_second[word])
        return Reading(
            pieces=torch.from_numpy(pieces),
            padding=torch.from_numpy(is_padding) if counts.min() < length else None,
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
