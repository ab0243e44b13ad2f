"""Examples as a model reads them: pieces, and the places where something is predicted.

A *slot* is one thing to predict: the class or score of a text, or the tag of one of its words. The slots of
a set are numbered through: of each example first its class or score, if it has one, then its tags. So labels,
scores and a teacher's targets are arrays over slots, whatever the kind of task and whoever reads the texts.

Where tags belong to given words, a text has a slot for each word that the tokenizer finds in it (`words`).

Shape letters: N examples, P pieces of all examples, K slots, W words, B rows, L length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from lilliput.common.ragged import Ints, Ragged
from lilliput.finetuning.words import all_words, encodings, shortened, text_labels, words_in
from lilliput.models.shape import filled_up
from lilliput.pieces.bert_tokenizer import complete, load_tokenizer, special_pieces
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.task import Examples, Labels, Task, Words

_SORTED_TOGETHER = 64
"""Batches whose rows are shuffled together and then sorted by length, so that little is padded."""
_READ_TOGETHER = 4096
"""Examples that another model's tokenizer cuts at once: what it returns takes kilobytes each."""
_MULTIPLE = 4
"""Of a batch's length: products of a shape that is new are compiled first (`shape.filled_up`)."""


@dataclass(frozen=True)
class Encoded:
    """The examples of a set as one model reads them."""

    pieces: Ragged
    """Piece ids, special ones included; the texts of an example in one row, or each in a row of its own."""
    types: Ints
    """0 for pieces of the first text and 1 for those of the second [P]."""
    slots: Ragged
    """The piece at which each slot is predicted, counted within its example; -1 where that was cut off."""
    words: Ragged
    """The first piece of each word, counted within its example; -1 where that was cut off."""
    spans: Ints
    """For each word its text (0, or 1 for a pair's second), its first character and its end [W, 3]."""
    given: Ragged
    """For each slot of a tag the given word that it stands in, counted within its example."""
    cut: int
    """Examples that were longer than the model's positions."""
    pad: int
    """Id of [PAD]."""
    towers: int = 1
    """Rows of pieces of each example: more than one where its texts are read apart."""
    groups: Ints | None = None
    """Of each example a number; those of another number are its wrong answers, where there are such [N]."""

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def lengths(self) -> Ints:
        """The pieces of the longest text that is read of each example [N]."""
        longest: Ints = self.pieces.lengths.reshape(-1, self.towers).max(1)
        return longest


@dataclass(frozen=True)
class TaskBatch:
    """What one step reads."""

    inputs: dict[str, Tensor]
    """`input_ids`, `attention_mask` and `token_type_ids` [B, L]; where texts are read apart, all first texts
    of the examples, then all second ones, and so on."""
    positions: Tensor
    """Where something is predicted, as indices into B * L [K]."""
    slots: Tensor
    """The numbers of these slots in the set [K]."""
    word_positions: Tensor
    """Each word's first piece, as an index into B * L, in rows [B, W]; 0 behind a row's last word."""
    words: Tensor
    """The numbers of these words in the set [B, W]; -1 behind a row's last word or where one was cut off."""

    def to(self, device: torch.device) -> "TaskBatch":
        """Returns the batch on another device."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        others = (self.positions, self.slots, self.word_positions, self.words)
        return TaskBatch(inputs, *(tensor.to(device) for tensor in others))


def task_tokenizer(name: str) -> Tokenizer:
    """Loads an encoder's tokenizer, and lets it put [CLS] and [SEP] around texts if it does not yet."""
    return complete(load_tokenizer(name))


def encode(examples: Examples, task: Task, tokenizer: Tokenizer, positions: int) -> Encoded:
    """Returns examples as a model reads them; those longer than its positions are cut.

    Args:
        examples: Texts, pairs, or words with tags.
        task: Says what is predicted of each.
        tokenizer: The model's own.
        positions: Pieces that the model reads at most.
    """
    short = shortened(examples, positions)
    found = encodings(short, tokenizer, positions)
    given: list[list[int]] = [[] for _ in found]
    kind = KINDS[task.kind]
    if kind.has_tags:
        words = [words_in(*row) for row in zip(examples.texts, short.texts, found, strict=True)]
        places = [[word.piece for word in row] for row in words]
        spans = [(0, word.start, word.end) for row in words for word in row]
        given = [[word.given for word in row] for row in words]
    else:
        every = [all_words(encoding) for encoding in found]
        places = [[place for place, *_ in row] for row in every]
        spans = [(text, start, end) for row in every for _, text, start, end in row]
    return Encoded(
        pieces=Ragged.of([encoding.ids for encoding in found]),
        types=np.array([item for encoding in found for item in encoding.type_ids], np.int64),
        slots=Ragged.of([kind.slots(row) for row in places]),
        words=Ragged.of(places),
        spans=np.array(spans, np.int64).reshape(-1, 3),
        given=Ragged.of(given),
        cut=sum(
            bool(encoding.overflowing) or _row(short, index) != _row(examples, index)
            for index, encoding in enumerate(found)
        ),
        pad=special_pieces(tokenizer).pad,
    )


def encode_again(
    examples: Examples,
    encoded: Encoded,
    task: Task,
    tokenizer: Tokenizer,
    positions: int,
    *,
    pad: int,
    side: Literal["left", "right"],
    has_types: bool,
) -> Encoded:
    """Returns examples as another model reads them, with the same slots and words.

    A word stands where the first of the other model's pieces is that overlaps it, by the characters of the
    text, so tokenizers need have nothing in common.

    Args:
        examples: Texts, pairs, or words with tags.
        encoded: The same examples as the model reads them whose words they are.
        task: Says what is predicted of each.
        tokenizer: The other model's.
        positions: Pieces that the other model reads at most.
        pad: The id that fills its rows up.
        side: Where it cuts a longer text.
        has_types: Whether it is told which of two texts a piece is of.
    """
    pieces, types, places, cut = list[list[int]](), list[int](), list[list[int]](), 0
    bounds = encoded.words.offsets.tolist()
    for start in range(0, len(examples), _READ_TOGETHER):
        part = slice(start, start + _READ_TOGETHER)
        texts = Examples(examples.texts[part], examples.pairs[part])
        for row, encoding in enumerate(encodings(texts, tokenizer, positions, side), start):
            pieces.append(encoding.ids)
            types += [text * has_types for text in encoding.type_ids]
            spans = encoded.spans[bounds[row] : bounds[row + 1]]
            places.append(_first_pieces(encoding, spans).tolist())
            cut += bool(encoding.overflowing)
    return replace(
        encoded,
        pieces=Ragged.of(pieces),
        types=np.array(types, np.int64),
        slots=Ragged.of([KINDS[task.kind].slots(row) for row in places]),
        words=Ragged.of(places),
        cut=cut,
        pad=pad,
        towers=1,
    )


def _first_pieces(encoding: Encoding, spans: Ints) -> Ints:
    """Returns the first piece that overlaps each word of a text; -1 where none does.

    Args:
        encoding: The pieces of a text or a pair.
        spans: Text, first character and end of each word [W, 3].
    """
    of_text = np.array([-1 if text is None else text for text in encoding.sequence_ids], np.int64)
    offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2)
    found = np.full(len(spans), -1)
    for text in np.unique(spans[:, 0]):
        numbers = np.flatnonzero((of_text == text) & (offsets[:, 1] > offsets[:, 0]))
        words = np.flatnonzero((spans[:, 0] == text) & (spans[:, 2] > spans[:, 1]))
        if not (len(numbers) and len(words)):
            continue
        # Pieces stand in the order of the text: the first that ends behind a word's first character is it,
        # unless it begins behind the word.
        first = np.searchsorted(np.maximum.accumulate(offsets[numbers, 1]), spans[words, 1], side="right")
        inside = first < len(numbers)
        piece = numbers[np.minimum(first, len(numbers) - 1)]
        found[words] = np.where(inside & (offsets[piece, 0] < spans[words, 2]), piece, -1)
    return found


def _row(examples: Examples, index: int) -> tuple[str | Words, tuple[str, ...]]:
    return examples.texts[index], examples.pairs[index : index + 1]


def label_array(task: Task, labels: Labels, given: Ragged) -> npt.NDArray[np.float64]:
    """Returns the label of every slot: a column of the model's head, a score, or as `Kind.label_shape` says.

    Args:
        task: What is predicted.
        labels: The labels of texts, and the tags of given words.
        given: For each word of each text the given word that it stands in; more texts may follow.
    """
    kind = KINDS[task.kind]
    if labels.are_none:
        return np.zeros((0, *kind.label_shape(task)))
    if kind.has_tags:
        labels = text_labels(task, labels, given.rows()[: len(labels.tags)])
    return kind.array(task, labels)


def labels_from(
    task: Task, scores: npt.NDArray[np.float32], slots: Ragged, groups: Ints | None = None
) -> Labels:
    """Returns what scores [K, C] of all slots say; a word that was cut off has the tag O.

    Args:
        task: Whose scores these are.
        scores: A row for each slot, NaN where it was cut off; of texts read apart their vectors.
        slots: The examples' slots.
        groups: `Encoded.groups` of the examples.
    """
    kind = KINDS[task.kind]
    return kind.compared(scores, groups) if kind.is_two_tower else kind.labels(task, scores, slots.offsets)


def batches(encoded: Encoded, rows: int, seed: Sequence[int] | None) -> Iterator[TaskBatch]:
    """Yields batches that pass once over a set, rows of like length together, the last one smaller.

    Args:
        encoded: The set.
        rows: Examples in a batch.
        seed: Seeds the order; None sorts the whole set by length.
    """
    lengths, together = encoded.lengths, rows * _SORTED_TOGETHER
    if seed is None:
        order, together = np.arange(len(encoded)), len(encoded)
    else:
        generator = np.random.default_rng(list(seed))
        order = generator.permutation(len(encoded))
    chosen = []
    for start in range(0, len(order), max(together, 1)):
        part = order[start : start + together]
        part = part[np.argsort(lengths[part], kind="stable")]
        chosen += [part[first : first + rows] for first in range(0, len(part), rows)]
    numbers = range(len(chosen)) if seed is None else generator.permutation(len(chosen))
    for number in numbers:
        yield make_batch(encoded, chosen[number])


def make_batch(encoded: Encoded, rows: Ints) -> TaskBatch:
    """Returns some examples as one batch."""
    # Of examples 4 and 7, read apart, the rows of pieces are 8 14 and then 9 15.
    read = (rows * encoded.towers + np.arange(encoded.towers)[:, None]).ravel()
    places, _ = encoded.pieces.places(read)
    lengths = encoded.pieces.lengths[read]
    length = min(filled_up(int(lengths.max()), _MULTIPLE), int(encoded.pieces.lengths.max()))
    inputs = np.full((3, len(read), length), encoded.pad)
    # For rows of 2 and 3 pieces this is [[1 1 0] [1 1 1]]; what is assigned there fills it row by row.
    is_piece = np.arange(length) < lengths[:, None]
    inputs[1:] = 0
    inputs[0][is_piece] = encoded.pieces.values[places]
    inputs[1][is_piece] = 1
    inputs[2][is_piece] = encoded.types[places]
    slots, slot_row = encoded.slots.places(rows)
    kept = encoded.slots.values[slots] >= 0
    slots, slot_row = slots[kept], slot_row[kept]
    words, word_row = encoded.words.places(rows)
    counts = encoded.words.lengths[rows]
    is_word = np.arange(int(counts.max(initial=1))) < counts[:, None]
    there = encoded.words.values[words] >= 0
    numbers, positions = np.full(is_word.shape, -1), np.zeros(is_word.shape, np.int64)
    numbers[is_word] = np.where(there, words, -1)
    positions[is_word] = np.where(there, word_row * length + encoded.words.values[words], 0)
    names = ("input_ids", "attention_mask", "token_type_ids")
    return TaskBatch(
        inputs={name: torch.from_numpy(values) for name, values in zip(names, inputs, strict=True)},
        positions=torch.from_numpy(slot_row * length + encoded.slots.values[slots]),
        slots=torch.from_numpy(slots),
        word_positions=torch.from_numpy(positions),
        words=torch.from_numpy(numbers),
    )
