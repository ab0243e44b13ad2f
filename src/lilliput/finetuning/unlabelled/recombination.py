"""Pairs of texts -> new pairs of the same texts that have something to do with each other."""

import json

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lilliput.common.progress import bar
from lilliput.common.ragged import rank_in_row
from lilliput.tasks.task import Examples, spelled
from lilliput.text.words import WordSplitter

_NEIGHBOURS = 16
"""Second texts with which a first one may be paired, the nearest."""
_COMMON = 100
"""Words that stand in more texts than this, and in more than a hundredth of them, do not count."""
_ROWS = 1024
"""First texts compared at once with all second ones."""
_WORDS = json.dumps(
    {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
)
"""How words are told apart here, whatever model reads the pairs."""


def recombined(examples: Examples, count: int, seed: int) -> Examples:
    """Returns unlabelled new pairs of the first text of one example with the second text of another.

    Two texts at random have next to nothing in common. So a first text is paired with second ones that share
    words with it, the rarer the better: its 16 nearest by the cosine of their words' weights, tf-idf (Sparck
    Jones 1972). Of all these pairs those are taken whose cosine times a random number is greatest, so that
    pairs are from hardly to very alike; pairs drawn without regard to the cosine were measured to be less
    alike than pairs of STS-B and of MRPC are, as sentence vectors have it. No pair is one of the examples, no
    text is paired with itself, and all pairs are different. To pair texts that come one by one, give them as
    first and second ones alike.

    Args:
        examples: Pairs of texts; labels are not looked at.
        count: Pairs wanted; there are fewer where texts share no more words.
        seed: Seed of the choice.
    """
    firsts, first_of = np.unique([spelled(text) for text in examples.texts], return_inverse=True)
    seconds, second_of = np.unique(examples.pairs, return_inverse=True)
    _, *same = np.intersect1d(firsts, seconds, assume_unique=True, return_indices=True)
    pairs = np.concatenate([np.stack([first_of, second_of]), np.stack(same)], axis=1)
    known = pairs[0] * len(seconds) + pairs[1]
    vectors = _vectors([*firsts, *seconds])
    rows, others = vectors[: len(firsts)], vectors[len(firsts) :].T.tocsr()
    found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]] = []
    with bar("new pairs", len(firsts)) as shown:
        for begin in range(0, len(firsts), _ROWS):
            alike = (rows[begin : begin + _ROWS] @ others).tocoo()
            keys = (begin + alike.row.astype(np.int64)) * len(seconds) + alike.col
            is_new = ~np.isin(keys, known)
            nearest = _nearest(keys[is_new], alike.row[is_new], alike.data[is_new])
            found.append((keys[is_new][nearest], alike.data[is_new][nearest]))
            shown.update(min(begin + _ROWS, len(firsts)))
    keys, cosines = map(np.concatenate, zip(*found, strict=True))
    rng = np.random.default_rng(seed)
    taken = rng.permutation(keys[np.argsort(-cosines * rng.random(len(keys)))[:count]])
    first, second = np.divmod(taken, max(1, len(seconds)))
    return Examples(tuple(firsts[first].tolist()), tuple(seconds[second].tolist()))


def _nearest(
    keys: npt.NDArray[np.int64], row: npt.NDArray[np.int32], alike: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Returns which are the most alike of each row."""
    order = np.lexsort((keys, -alike, row))  # the key decides between equals
    which: npt.NDArray[np.int64] = order[rank_in_row(np.bincount(row)) < _NEIGHBOURS]
    return which


def _vectors(texts: list[str]) -> sparse.csr_array:
    """Returns each text's words by their weight, of length one [texts, words]."""
    ids, words = WordSplitter(_WORDS).split_texts(texts)
    text = np.repeat(np.arange(len(texts)), ids.lengths)
    counts = sparse.csr_array((np.ones(len(text)), (text, ids.values)), (len(texts), len(words)))
    counts.sum_duplicates()
    held = np.bincount(counts.indices, minlength=len(words))
    weights = np.log(len(texts) / np.maximum(held, 1))
    weights[held > max(_COMMON, len(texts) // 100)] = 0
    counts.data *= weights[counts.indices]
    counts.eliminate_zeros()
    norms = np.sqrt(counts.power(2).sum(axis=1))
    return sparse.diags_array(1 / np.where(norms > 0, norms, 1)) @ counts
