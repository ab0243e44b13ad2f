"""A task's examples -> copies in which the teacher has put other words for some.

Each copy masks some words of every example; the teacher reads what is left, and its masked-LM head says what
else may stand there. A masked word is one [MASK] and becomes one word, whatever pieces it had: pieces drawn
side by side for a word of several seldom make a word.

Shape letters: B rows of a batch, L length, N masked words, P pieces, U units, V pieces that are words.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from lilliput.common.progress import bar
from lilliput.common.ragged import ranges, rank_in_row
from lilliput.models.masked_lm import scores_over
from lilliput.models.teacher import Teacher
from lilliput.pieces.segmentation import segment
from lilliput.pieces.teacher_tokenizer import special_pieces
from lilliput.pieces.tokenizer_file import SpecialPieces
from lilliput.tasks.task import Examples, Words
from lilliput.text.words import WordSplitter

_BEST = 20
"""Guesses of the teacher from which one is drawn."""
_BATCH_PIECES = 4096
"""Pieces that the teacher reads at once, padding included."""

_Ints = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]
_Texts = npt.NDArray[np.object_]


def substituted(
    examples: Examples, teacher: Teacher, tokenizer: Tokenizer, copies: int, seed: int, share: float = 0.2
) -> Examples:
    """Returns unlabelled copies of examples in which the teacher has replaced a share of the words.

    The replaced words of a copy are masked together, then each is drawn from the teacher's 20 best guesses by
    their probability, never the word that stood there. Words with a letter or digit are replaced by other
    such words that the teacher has as one piece; punctuation stays. Pairs are read together, so that the
    teacher sees in either text what the other says. Texts come back as words joined by spaces, in which the
    tokenizer finds the same words again; given words stay as many as they were and, where they are not
    replaced, as they were written, so that tags still belong to them. Behind the teacher's last position
    nothing is replaced. The teacher computes where it is and reads its own vocabulary only.

    Copies like these are an idea of Jiao et al. (2020, TinyBERT), there replaced word by word.

    Args:
        examples: Texts, pairs of texts, or texts as tuples of words; labels are not looked at.
        teacher: A teacher whose masked-LM head has learnt to predict words.
        tokenizer: The teacher's own.
        copies: Copies of each example; those equal to one another or to an example are left out.
        seed: Seed of what is replaced and by what.
        share: Share of an example's words that is replaced; at least one is, where it has any.
    """
    splitter = WordSplitter(tokenizer.normalizer.__getstate__().decode())
    units = _Units.of(examples, tokenizer, splitter)
    guesser = _Guesser(teacher, tokenizer, splitter)
    seen = dict.fromkeys(units.written(units.text))
    originals = len(seen)
    with bar("substituting words", copies * len(examples)) as shown:
        for copy in range(copies):
            rng = np.random.default_rng([seed, copy])
            masked = units.chosen(share, teacher.config.max_position_embeddings, rng)
            text, draws = units.text.copy(), rng.random(len(masked))
            for read, which, words in guesser.guess(units, masked, draws):
                text[masked[which]] = words
                shown.update(copy * len(examples) + read)
            seen.update(dict.fromkeys(units.written(text)))
    copied = list(islice(seen, originals, None))
    seconds = tuple(second for _, second in copied) if examples.pairs else ()
    return Examples(tuple(first for first, _ in copied), seconds)


@dataclass(frozen=True)
class _Units:
    """What is replaced as one, words or given words, of all examples one after the other."""

    text: _Texts
    """How each is written [U]."""
    row: _Ints
    """Its example, ascending [U]."""
    is_second: _Flags
    """Whether it belongs to the second text [U]."""
    is_word: _Flags
    """Whether it has a letter or digit [U]."""
    offsets: _Ints
    """Where its pieces begin, the last number one past the end [U + 1]."""
    pieces: _Ints
    """The pieces of all units [P]."""
    bounds: _Ints
    """Where the units of each text begin, and one past the end; with pairs each example has two texts."""
    given: bool
    """Whether texts are given as words."""
    pairs: bool
    """Whether examples are pairs."""

    @classmethod
    def of(cls, examples: Examples, tokenizer: Tokenizer, splitter: WordSplitter) -> "_Units":
        """Returns the units of some examples in a tokenizer's pieces."""
        texts: tuple[str | Words, ...] = examples.texts
        if examples.pairs:
            texts = tuple(chain.from_iterable(zip(texts, examples.pairs, strict=True)))
        parts = [(text,) if isinstance(text, str) else text for text in texts]
        flat = list(chain.from_iterable(parts))
        found, words = splitter.split_texts(flat)
        numbers, bounds = found.values, found.offsets
        taken = segment(words, tokenizer).take(numbers)
        offsets = taken.offsets
        is_word = np.fromiter((any(map(str.isalnum, word)) for word in words), np.bool_, len(words))[numbers]
        text = np.array([*words, None], object)[numbers]
        given = any(isinstance(part, tuple) for part in texts)
        if given:
            text = np.array([*flat, None], object)[:-1]
            offsets, held = offsets[bounds], np.append(0, np.cumsum(is_word))
            is_word = held[bounds[1:]] > held[bounds[:-1]]
            bounds = np.append(0, np.cumsum([len(part) for part in parts], dtype=np.int64))
        owner = np.repeat(np.arange(len(texts)), np.diff(bounds))
        each = 2 if examples.pairs else 1
        is_second = owner % each == 1
        return cls(text, owner // each, is_second, is_word, offsets, taken.values, bounds, given, each == 2)

    def written(self, text: _Texts) -> Iterator[tuple[str | Words, str]]:
        """Yields each example's texts with its units written as `text` [U] says, the second empty if none."""
        units, bounds = text.tolist(), self.bounds.tolist()
        texts = [units[begin:end] for begin, end in pairwise(bounds)]
        if self.given:
            return ((tuple(units), "") for units in texts)
        joined = list(map(" ".join, texts))
        return zip(joined[::2], joined[1::2], strict=True) if self.pairs else ((text, "") for text in joined)

    def chosen(self, share: float, positions: int, rng: np.random.Generator) -> _Ints:
        """Returns which units are replaced, ascending [N], of those that can be read."""
        lengths = np.diff(self.offsets)
        able = np.flatnonzero(self.is_word & (self.places(lengths) < positions))
        row = self.row[able]
        order, sizes = np.lexsort((rng.random(len(able)), row)), np.bincount(row)
        most = np.maximum(1, np.rint(share * sizes))
        return np.sort(able[order[rank_in_row(sizes) < most[row]]])

    def places(self, lengths: _Ints) -> _Ints:
        """Returns where each unit begins in its row, when it has so many pieces [U]."""
        before, row = np.cumsum(lengths) - lengths, self.row
        first = np.searchsorted(row, row)  # of the units of a row
        return before - before[first] + 1 + self.is_second

    def rows(self, masked: _Ints, special: SpecialPieces) -> tuple[_Ints, _Ints, _Ints]:
        """Returns the pieces of all rows with units masked [N], where rows begin, and those units."""
        lengths = np.diff(self.offsets)
        lengths[masked] = 1
        count = (len(self.bounds) - 1) // (2 if self.pairs else 1)
        total = np.bincount(self.row, lengths, count).astype(np.int64)
        begin = np.append(0, np.cumsum(total + (3 if self.pairs else 2)))
        pieces = np.full(begin[-1], special.sep, np.int64)  # what nothing else is written to stays [SEP]
        pieces[begin[:-1]] = special.cls
        place = begin[self.row] + self.places(lengths)
        pieces[ranges(place, lengths)] = self.pieces[ranges(self.offsets[:-1], lengths)]
        pieces[place[masked]] = special.mask
        return pieces, begin, place[masked]


class _Guesser:
    """A teacher that says which words may stand where others are masked."""

    def __init__(self, teacher: Teacher, tokenizer: Tokenizer, splitter: WordSplitter) -> None:
        # What goes on a word, or is special, is made up of several words.
        words = [
            (piece, name)
            for name, piece in tokenizer.get_vocab().items()
            if any(map(str.isalnum, name)) and splitter.ask(name) == [name]
        ]
        ids = np.array([piece for piece, _ in sorted(words)])
        self.names = np.array([name for _, name in sorted(words)], object)
        self.index = np.full(teacher.own_table.shape[0], -1)
        self.index[ids] = np.arange(len(ids))
        self.teacher, self.special, self.device = teacher, special_pieces(tokenizer), teacher.own_table.device
        self.positions = teacher.config.max_position_embeddings
        self.table, self.bias = teacher.own_table.detach()[ids], teacher.own_bias.detach()[ids]

    def guess(
        self, units: _Units, masked: _Ints, draws: npt.NDArray[np.float64]
    ) -> Iterator[tuple[int, _Ints, _Texts]]:
        """Yields how many rows are read, which of the masked units are in the last of them, and other words.

        Args:
            units: The words of all rows.
            masked: Units to be replaced, ascending [N].
            draws: A number in [0, 1) for each, that decides among the guesses [N].
        """
        pieces, begin, place = units.rows(masked, self.special)
        lengths = np.minimum(np.diff(begin), self.positions)
        order = np.argsort(-lengths, kind="stable")
        turn = np.argsort(order)[units.row[masked]]  # when the row of each masked unit is read
        by_turn = np.argsort(turn, kind="stable")
        own = np.where(
            np.diff(units.offsets)[masked] == 1, self.index[units.pieces[units.offsets[masked]]], -1
        )
        done = 0
        while done < len(order):
            rows = order[done : done + max(1, _BATCH_PIECES // int(lengths[order[done]]))]
            which = by_turn[slice(*np.searchsorted(turn[by_turn], (done, done + len(rows))))]
            steps = np.arange(lengths[rows[0]])
            padding = steps >= lengths[rows, None]
            read = np.where(padding, self.special.pad, pieces.take(begin[rows, None] + steps, mode="clip"))
            places = (turn[which] - done) * len(steps) + place[which] - begin[units.row[masked[which]]]
            guessed = self.among(read, padding, places, own[which], draws[which])
            done += len(rows)
            yield done, which, self.names[guessed]

    @torch.no_grad()
    def among(
        self, pieces: _Ints, padding: _Flags, places: _Ints, own: _Ints, draws: npt.NDArray[np.float64]
    ) -> _Ints:
        """Returns which words stand at places of B * L [N], in pieces [B, L], never those `own` if not -1."""
        on = self.device
        is_padding = torch.from_numpy(padding).to(on) if padding.any() else None
        states = self.teacher.hidden(torch.from_numpy(pieces).to(on), is_padding, torch.float32)
        masked = states.flatten(0, 1)[torch.from_numpy(places).to(on)]
        scores = scores_over(self.table, self.bias, self.teacher.transform(masked))
        is_own = np.flatnonzero(own >= 0)
        scores[torch.from_numpy(is_own).to(on), torch.from_numpy(own[is_own]).to(on)] = -torch.inf
        best = scores.topk(min(_BEST, scores.shape[1]))
        sums = best.values.softmax(1).cumsum(1)
        drawn = (sums[:, :-1] <= torch.from_numpy(draws).to(on, sums.dtype)[:, None]).sum(1, keepdim=True)
        guessed: _Ints = best.indices.gather(1, drawn).squeeze(1).cpu().numpy()
        return guessed
