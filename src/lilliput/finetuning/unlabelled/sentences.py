"""A corpus and a task's texts -> the sentences of the corpus that are most like these texts.

Works on the stream of word ids, a stretch of a shard at a time, and keeps no more than the best sentences, so
memory is bounded whatever the corpus.

Shape letters: V word types, N words of a stretch, S sentences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lilliput.common.progress import bar
from lilliput.common.ragged import rank_in_row
from lilliput.tasks.task import Words, spelled
from lilliput.text.corpus import END, FIRST_WORD, START, Corpus

_END_MARKS = (".", "!", "?")
_STRETCH = 1 << 22
"""Words looked at together."""
_SMOOTHING = 0.1
"""Weight of the corpus's word frequencies among a task's own, against that of its texts."""
_SHORTEST = 4
"""Words of a sentence at least, end mark included; what is shorter is most often a remainder."""

_Ints = npt.NDArray[np.int64]
_Ids = npt.NDArray[np.uint32]
_Flags = npt.NDArray[np.bool_]
_Number = TypeVar("_Number", np.uint64, np.float64)


@dataclass(frozen=True)
class _Sentences:
    """Sentences of a corpus, one number of each array a sentence."""

    shard: _Ints
    """Its shard [S]."""
    start: _Ints
    """Where it begins there [S]."""
    length: _Ints
    """Its words, end mark included [S]."""
    key: npt.NDArray[np.uint64]
    """The same for the same words in any order, without the end mark, and for no others [S]."""
    score: npt.NDArray[np.float64]
    """How much it is like the task [S]."""

    def take(self, which: _Ints | _Flags) -> "_Sentences":
        """Returns some of them."""
        return _Sentences(**{name: values[which] for name, values in vars(self).items()})

    def with_others(self, others: "_Sentences") -> "_Sentences":
        """Returns them and others."""
        return _Sentences(
            **{name: np.concatenate([values, getattr(others, name)]) for name, values in vars(self).items()}
        )

    def different(self) -> "_Sentences":
        """Returns the first of all with the same key."""
        return self.take(np.unique(self.key, return_index=True)[1])

    def best(self, most: _Ints) -> "_Sentences":
        """Returns the best of each length, in turn as often as `most` says at its index.

        There are up to twice as many, which stand in where another length is rare.
        """
        order = np.lexsort((-self.score, self.length))
        sizes = np.bincount(self.length, minlength=len(most))
        turn = rank_in_row(sizes) / most[self.length[order]]
        return self.take(order[np.argsort(turn, kind="stable")[: np.sum(turn < 2)]])


def near_sentences(corpus: Corpus, texts: Sequence[str | Words], count: int, seed: int) -> tuple[str, ...]:
    """Returns different sentences of a corpus that are like a task's texts, in random order.

    A sentence's score is the mean over its words w of log(p(w) / q(w)), where q is the frequency of words in
    the corpus and p that in the texts, smoothed by q: p(w) = (n(w) + m q(w)) / (N + m) for a word that stands
    n(w) times among the N of the texts. It is the difference of two cross-entropies by which Moore and Lewis
    (2010, Intelligent Selection of Language Model Training Data) choose text, here of unigrams, with the
    Dirichlet smoothing of Zhai and Lafferty (2004); m = N / 10. Lengths are spread as those of the texts
    between their 5th and 95th percentile, and the best of each length are taken. To draw from twice or four
    times as many was measured and gives sentences less near, as sentence vectors have it. Where texts are
    much longer than sentences, several sentences on end are taken for one.

    The words of a sentence are joined by spaces, where they do not have their own. They went through the
    normaliser of the corpus's tokenizer, cased or not, so that one and every student's made from it finds the
    same words in them again.

    Args:
        corpus: Where the sentences are.
        texts: The task's texts, first and second ones alike; none of them is returned.
        count: Sentences wanted; there are fewer where the corpus holds fewer of these lengths.
        seed: Seed of the order.
    """
    words, rng = corpus.word_types(), np.random.default_rng(seed)
    task = _ids_of(corpus, words, texts)
    cutter = _Cutter.of(corpus, words, np.diff(np.flatnonzero(task == END)) - 1, count)
    scores, keys = _scores(corpus, task), rng.integers(0, 1 << 64, len(words), np.uint64)
    own = _own_keys(task, cutter.is_end, keys)
    found = None
    with bar("sentences near the task", corpus.words, counted=False) as shown:
        done = 0
        for number, shard in enumerate(corpus.shards):
            for begin, ids in _stretches(np.asarray(shard), cutter):
                start, length = cutter.cut(ids)
                key, score = _sums(keys[ids], start, length - 1), _sums(scores[ids], start, length) / length
                new = _Sentences(np.full(len(start), number), begin + start, length, key, score)
                new = new.take(~np.isin(new.key, own))
                found = (new if found is None else found.with_others(new)).different().best(cutter.most)
                done += len(ids)
                shown.update(done)
    if found is None:
        return ()
    spans = found.take(rng.permutation(min(count, len(found.key))))
    shards, names = corpus.shards, np.array(words, object)
    places = zip(spans.shard.tolist(), spans.start.tolist(), spans.length.tolist(), strict=True)
    return tuple(
        corpus.between.join(names[shards[shard][start : start + size]]).strip(" ")
        for shard, start, size in places
    )


@dataclass(frozen=True)
class _Cutter:
    """Cuts a stream of words into sentences."""

    is_end: _Flags
    """Words that end a sentence, END among them [V]."""
    is_short: _Flags
    """Abbreviations and single letters, after which a full stop ends nothing [V]."""
    is_number: _Flags
    """Words whose last character is a digit; a full stop between two such is a decimal point [V]."""
    is_first: _Flags
    """Words that a sentence may begin with, no punctuation [V]."""
    on_end: int
    """Sentences on end that are taken for one."""
    most: _Ints
    """How many are wanted of each length, beginning with none of 0 words."""

    @classmethod
    def of(cls, corpus: Corpus, words: Sequence[str], lengths: _Ints, count: int) -> "_Cutter":
        """Returns what cuts a corpus, given the lengths of a task's texts and how many sentences it wants."""
        words = [word.strip(" ") for word in words]  # some corpora have the space before a word
        is_number = np.fromiter((word[-1].isdigit() for word in words), np.bool_, len(words))
        is_first = np.fromiter((word[0].isalnum() for word in words), np.bool_, len(words))
        is_end = np.fromiter((word in _END_MARKS for word in words), np.bool_, len(words))
        # As Kiss and Strunk (2006) do, what is an abbreviation is learnt from the text: a short word that is
        # followed by a full stop most of the time.
        followed = np.zeros(len(words), np.int64)
        for shard in map(np.asarray, corpus.shards):
            followed += np.bincount(shard[:-1][is_end[shard[1:]]], minlength=len(words))
        sizes = np.fromiter(map(len, words), np.int64, len(words))
        is_short = (2 * followed > corpus.counts) & (corpus.counts >= 50) & (sizes <= 5)
        is_short |= (sizes == 1) & is_first & ~is_number
        ends = corpus.counts[is_end].sum() - followed[is_short].sum()
        on_end = max(1, round(float(np.median(lengths) * ends / corpus.words)))
        is_end[END] = True
        return cls(is_end, is_short, is_number, is_first, on_end, _wanted(lengths, count))

    def cut(self, ids: _Ids) -> tuple[_Ints, _Ints]:
        """Returns where sentences of wanted lengths begin in some words [N], and these lengths."""
        # In "a b . c d . END e . END" the ends are 2 5 6 8 9, of which 6 and 9 are breaks. Joined in twos
        # within each document, 5 6 9 are left: starts 0 6 7, lengths 6 1 3. What ends at a break is no
        # whole number of sentences and gets the length 0, so "a b . c d ." is found.
        ends = self.ends(ids)
        is_break = ids[ends] == END
        if self.on_end > 1:
            place = np.arange(len(ends))
            first = np.maximum.accumulate(np.append(0, np.where(is_break, place + 1, 0)[:-1]))
            ends = ends[is_break | ((place - first) % self.on_end == self.on_end - 1)]
            is_break = ids[ends] == END
        start = np.append(0, ends[:-1] + 1)
        length = ends + 1 - start
        length[is_break | (length >= len(self.most))] = 0
        kept = (self.most[length] > 0) & self.is_first[ids[start]]
        return start[kept], length[kept]

    def ends(self, ids: _Ids) -> _Ints:
        """Returns where sentences end, and documents [S]."""
        ends = np.flatnonzero(self.is_end[ids])
        before, after = ids[ends - 1], ids[np.minimum(ends + 1, len(ids) - 1)]
        goes_on = self.is_short[before] | (self.is_number[before] & self.is_number[after])
        kept: _Ints = ends[(ids[ends] == END) | ~goes_on]
        return kept


def _wanted(lengths: _Ints, count: int) -> _Ints:
    """Returns how many sentences of each length make up `count` that are as long as some texts."""
    low, high = np.quantile(lengths, 0.05, method="lower"), np.quantile(lengths, 0.95, method="higher")
    lengths = lengths[(lengths >= low) & (lengths <= high)]
    # Each text stands for all lengths up to a fifth from its own, as few texts have few lengths.
    # One of 10 words adds 1/5 to the shares of 8 to 12 words: they rise by 1/5 at 8 and fall by it at 13.
    first, last = np.floor(0.8 * lengths).astype(np.int64), np.ceil(1.2 * lengths).astype(np.int64) + 1
    size = int(last.max()) + 1
    ends = np.bincount(first, 1 / (last - first), size) - np.bincount(last, 1 / (last - first), size)
    shares = np.maximum(np.cumsum(ends), 0)
    shares[:_SHORTEST] = 0
    shares[shares < 1e-9 * shares.sum()] = 0  # what rounding leaves
    most: _Ints = np.ceil(shares * count / max(shares.sum(), 1e-9)).astype(np.int64)
    return most


def _ids_of(corpus: Corpus, words: Sequence[str], texts: Sequence[str | Words]) -> _Ids:
    """Returns the words of some texts in the ids of a corpus, END before and after each text.

    Words that the corpus does not hold become START, which is in no stream.
    """
    import pyarrow.compute

    rows, types = corpus.splitter().split_texts(map(spelled, texts))
    known = pyarrow.array(words, pyarrow.large_string())
    found = pyarrow.compute.index_in(pyarrow.array(types, known.type), value_set=known)
    ids: _Ids = found.fill_null(START).to_numpy().astype(np.uint32)
    return np.insert(ids[rows.values], rows.offsets, END)


def _scores(corpus: Corpus, task: _Ids) -> npt.NDArray[np.float64]:
    """Returns log(p(w) / q(w)) of each word of a corpus [V]; see `near_sentences`."""
    task = task[task >= FIRST_WORD]
    counts = np.maximum(corpus.counts, 1)  # END and START have a score that nobody looks at
    seen = np.bincount(task, minlength=len(counts)) * (corpus.words / counts)
    smoothing = _SMOOTHING * max(1, len(task))
    scores: npt.NDArray[np.float64] = np.log((seen + smoothing) / (len(task) + smoothing))
    return scores


def _own_keys(task: _Ids, is_end: _Flags, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Returns the keys of a task's texts, as those of sentences without the end mark."""
    breaks = np.flatnonzero(task == END)
    start, length = breaks[:-1] + 1, np.diff(breaks) - 1
    return _sums(keys[task], start, length - (is_end[task[breaks[1:] - 1]] & (length > 0)))


def _sums(values: npt.NDArray[_Number], start: _Ints, length: _Ints) -> npt.NDArray[_Number]:
    """Returns the sums of stretches of some values."""
    sums = np.append(np.zeros(1, values.dtype), np.cumsum(values, dtype=values.dtype))
    result: npt.NDArray[_Number] = sums[start + length] - sums[start]
    return result


def _stretches(shard: _Ids, cutter: _Cutter) -> Iterator[tuple[int, _Ids]]:
    """Yields a shard in stretches that end where a sentence does, and where each begins."""
    begin = 0
    while begin < len(shard):
        ids = shard[begin : begin + _STRETCH]
        if begin + len(ids) < len(shard):
            ends = cutter.ends(ids[:-1])
            ids = ids[: ends[-1] + 1] if len(ends) else ids
        yield begin, ids
        begin += len(ids)
