"""Sentence encoders side by side: pairs with scores, and retrieval; teacher, static vectors, and BM25 too.

    python experiments/sentences.py TEACHER BUNDLE... --tasks TASKS --corpus FILE --out FOUND.json

BUNDLE is a bundle of a sentence encoder. Reported are

- Spearman's correlation x 100 of the cosine with the score, on STS-B's and SICK's dev pairs;
- retrieval among articles (--articles of the corpus): nDCG@10 x 100 of the article by its first sentence, and
  by a sentence of a later paragraph; what is searched are articles without that sentence. With `documents by
  teacher` the teacher's vectors are searched by the student's;
- by `truncate_dim`, the same correlations.

Static vectors are the teacher's of each piece alone, as model2vec makes them without its own code: the mean
over the pieces of a text, after 256 principal axes and weights by rank (Zipf). Figures go to OUT as JSON.
"""

import argparse
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer

import lilliput
from lilliput.common.files import write_json
from lilliput.common.sheet import Sheet

Vectors = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]
_LEAST, _MOST = 40, 300
"""Characters of a sentence that asks."""
_BEST = 10
_SENTENCE = re.compile(r"(?<=[a-z)][.!?]) (?=[A-Z])")


def unit(vectors: Vectors) -> Vectors:
    """Returns vectors of length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)


def by_teacher(teacher: str) -> Encode:
    """Returns what makes the teacher's vectors."""
    model = SentenceTransformer(teacher, device="cpu")
    return lambda texts: unit(model.encode(list(texts), show_progress_bar=False))


def static(teacher: str, axes: int = 256) -> Encode:
    """Returns what makes static vectors of the same teacher."""
    model = SentenceTransformer(teacher, device="cpu")
    tokenizer = model.tokenizer
    pieces = [tokenizer.convert_ids_to_tokens(at) for at in range(len(tokenizer))]
    table = model.encode(pieces, show_progress_bar=False, normalize_embeddings=False)
    table = PCA(axes).fit_transform(table) * np.log1p(np.arange(1, len(pieces) + 1))[:, None]

    def encode(texts: Sequence[str]) -> Vectors:
        ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return unit(np.stack([table[one].mean(0) if one else np.zeros(axes) for one in ids]))

    return encode


def pairs(tasks: Path) -> dict[str, tuple[list[str], list[str], list[float]]]:
    """Returns the dev pairs of STS-B and SICK with their scores."""
    found = {}
    for name, column in (("stsb", "label"), ("sick", "relatedness")):
        table = pq.read_table(tasks / f"{name}_dev.parquet").to_pydict()
        found[name] = table["text"], table["text_pair"], table[column]
    return found


def correlation(
    encode: Encode, texts: tuple[list[str], list[str], list[float]], cut: Callable[[Vectors], Vectors]
) -> float:
    """Returns Spearman's correlation x 100 of cosines with scores."""
    first, second = (unit(cut(encode(side))) for side in texts[:2])
    return 100 * float(spearmanr((first * second).sum(1), texts[2]).statistic)


def questions(corpus: Path, count: int) -> dict[str, list[tuple[str, str]]]:
    """Returns sentences that ask, with the article that answers, by the place of the sentence."""
    found: dict[str, list[tuple[str, str]]] = {"first sentence": [], "later sentence": []}
    for text in pq.read_table(corpus)["text"].slice(0, count).to_pylist():
        paragraphs = [_SENTENCE.split(one) for one in text.split("\n") if one.strip()]
        if len(paragraphs) < 2:
            continue
        later = max(paragraphs[1:], key=len)
        for name, (sentence, paragraph) in (
            ("first sentence", (paragraphs[0][0], paragraphs[0])),
            ("later sentence", (later[-1], later)),
        ):
            rest = text.replace(sentence, " ", 1)
            if _LEAST <= len(sentence) <= _MOST and len(paragraph) > 1 and len(rest) > _MOST:
                found[name].append((sentence, rest[:1000]))
    return found


def gain(scores: npt.NDArray[Any]) -> float:
    """Returns nDCG@10 x 100 where row i's only answer is column i."""
    own = scores.diagonal()[:, None]
    ranks = (scores > own).sum(1)
    return 100 * float(np.where(ranks < _BEST, 1 / np.log2(ranks + 2), 0).mean())


def bm25(asked: Sequence[str], documents: Sequence[str], k: float = 1.2, b: float = 0.75) -> npt.NDArray[Any]:
    """Returns BM25 of every document for every question (Robertson and Zaragoza 2009)."""
    counter = CountVectorizer(token_pattern=r"\w+")
    counts = counter.fit_transform(documents).tocsr().astype(np.float64)
    lengths = np.asarray(counts.sum(1)).ravel()
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    there = np.bincount(counts.indices, minlength=counts.shape[1])
    rarity = np.log1p((len(documents) - there + 0.5) / (there + 0.5))
    norm = k * (1 - b + b * lengths / lengths.mean())
    counts.data = counts.data * (k + 1) / (counts.data + norm[rows]) * rarity[counts.indices]
    return (counter.transform(asked).astype(bool).astype(np.float64) @ counts.T).toarray()


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher")
    parser.add_argument("bundles", nargs="*", type=Path)
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--articles", type=int, default=10_000)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[256, 128, 64, 32])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    opened = {folder.name: lilliput.load(folder) for folder in given.bundles}
    ways: dict[str, Encode] = {"teacher": by_teacher(given.teacher), "static": static(given.teacher)}
    ways |= {name: one.encode for name, one in opened.items()}
    asked = questions(given.corpus, given.articles)
    sets = pairs(given.tasks)
    figures: dict[str, dict[str, float]] = {}
    teachers: dict[str, Vectors] = {}
    for name, encode in ways.items():
        started = time.monotonic()
        found = {one: correlation(encode, texts, lambda of: of) for one, texts in sets.items()}
        for place, items in asked.items():
            queries, documents = (encode([item[side] for item in items]) for side in (0, 1))
            teachers.setdefault(place, documents)
            found[f"nDCG@10 by {place}"] = gain(queries @ documents.T)
            if name in opened:
                found[f"nDCG@10 by {place}, documents by teacher"] = gain(queries @ teachers[place].T)
        if name in opened:
            for size in given.dimensions:
                shorter = opened[name]
                for one, texts in sets.items():
                    found[f"{one}, {size} dimensions"] = correlation(
                        lambda given, of=shorter, at=size: of.encode(given, truncate_dim=at),
                        texts,
                        lambda of: of,
                    )
        found["seconds"] = time.monotonic() - started
        figures[name] = found
        write_json(given.out, figures)
    figures["BM25"] = {
        f"nDCG@10 by {place}": gain(bm25([item[0] for item in items], [item[1] for item in items]))
        for place, items in asked.items()
    }
    write_json(given.out, figures)
    keys = dict.fromkeys(key for found in figures.values() for key in found)
    lines = [(key, *(f"{of[key]:.2f}" if key in of else "" for of in figures.values())) for key in keys]
    print(Sheet(("", *figures), lines, title="Sentence encoders").markdown())


if __name__ == "__main__":
    main()
