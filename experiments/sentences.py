"""Sentence encoders side by side: pairs with scores, and retrieval; teacher, static vectors, and BM25 too.

    python experiments/sentences.py TEACHER BUNDLE... --tasks TASKS --corpus FILE --out FOUND.json

BUNDLE is a bundle of a sentence encoder. Reported are

- Spearman's correlation x 100 of the cosine with the score, on STS-B's and SICK's dev pairs;
- retrieval among articles (the first --articles of the corpus): nDCG@10 x 100 of the article by the
  subject of its first sentence (there are no titles), by that sentence, and by one of a later paragraph;
  what is searched are the beginnings of articles without that sentence. With `documents by teacher` the
  teacher's vectors are searched by the student's;
- by `truncate_dim`, the same correlations.

Static vectors are model2vec's of the same teacher with 256 axes: `pip install model2vec[distill]`, or, beside
newer versions of its requirements, `--no-deps` with skeletoken. Figures go to OUT as JSON, and
what is there is not measured again.
"""

import argparse
import functools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import CountVectorizer

import lilliput
from lilliput.common.files import read_json, write_json
from lilliput.common.sheet import Sheet
from lilliput.comparison.embeddings import open_encoder

Vectors = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]
Pairs = tuple[list[str], list[str], list[float]]
_LEAST, _MOST = 40, 300
"""Characters of a sentence that asks."""
_BEGINNING = 500
"""Characters of an article that are searched: what a student of 128 positions reads whole."""
_BEST = 10
_SENTENCE = re.compile(r"(?<=[a-z)][.!?]) (?=[A-Z])")
_SUBJECT = re.compile(r"(?:The |A |An )?([A-Z0-9].{5,60}?)(?: \(.*?\))?(?:,.{0,80}?,)? (?:is|was|are|were) ")


def unit(vectors: Vectors) -> Vectors:
    """Returns vectors of length 1."""
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    return vectors / lengths


def by_teacher(teacher: str) -> Encode:
    """Returns what makes the teacher's vectors, of each text once."""
    known: dict[str, Vectors] = {}

    def encode(texts: Sequence[str]) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        known.update(zip(new, open_encoder(Path(teacher))(new) if new else [], strict=True))
        return unit(np.stack([known[text] for text in texts]))

    return encode


def static(teacher: str, axes: int = 256) -> Encode:
    """Returns what makes model2vec's static vectors of the same teacher."""

    @functools.cache
    def model() -> Any:
        from model2vec.distill import distill

        return distill(teacher, pca_dims=axes)

    return lambda texts: unit(model().encode(list(texts)))


def pairs(tasks: Path) -> dict[str, Pairs]:
    """Returns the dev pairs of STS-B and SICK with their scores."""
    found = {}
    for name, column in (("stsb", "label"), ("sick", "relatedness")):
        table = pq.read_table(tasks / f"{name}_dev.parquet").to_pydict()
        found[name] = table["text"], table["text_pair"], table[column]
    return found


def correlation(encode: Encode, texts: Pairs) -> float:
    """Returns Spearman's correlation x 100 of cosines with scores."""
    first, second = (unit(encode(side)) for side in texts[:2])
    return 100 * float(spearmanr((first * second).sum(1), texts[2]).statistic)


@dataclass
class Search:
    """Questions to articles, of each of which one sentence is left out."""

    documents: list[str] = field(default_factory=list)
    """The beginnings of the articles."""
    asked: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """By kind the questions, each with the place of the article that answers."""


def searches(corpus: Path, count: int) -> list[Search]:
    """Returns questions by an article's first sentence and its subject, and by a later sentence."""
    first = Search(asked={"subject": [], "first sentence": []})
    later = Search(asked={"later sentence": []})
    for text in pq.read_table(corpus)["text"].slice(0, count).to_pylist():
        paragraphs = [_SENTENCE.split(one) for one in text.split("\n") if one.strip()] or [[""]]
        longest = max(paragraphs[1:], key=len, default=[""])
        for search, paragraph, place in ((first, paragraphs[0], 0), (later, longest, -1)):
            sentence = paragraph[place]
            rest = text.replace(sentence, " ", 1)
            if len(paragraph) < 2 or not _LEAST <= len(sentence) <= _MOST or len(rest) < _MOST:
                search.documents.append(text[:_BEGINNING])
                continue
            *_, kind = search.asked
            search.asked[kind].append((sentence, len(search.documents)))
            if search is first and (subject := _SUBJECT.match(sentence)):
                search.asked["subject"].append((subject[1], len(search.documents)))
            search.documents.append(rest[:_BEGINNING])
    return [first, later]


def gain(scores: npt.NDArray[Any], answers: Sequence[int]) -> float:
    """Returns nDCG@10 x 100 where a row's only answer is the column `answers` names."""
    ranks = (scores > scores[np.arange(len(scores)), answers][:, None]).sum(1)
    return 100 * float(np.where(ranks < _BEST, 1 / np.log2(ranks + 2), 0).mean())


def bm25(asked: Sequence[str], documents: Sequence[str], k: float = 1.2, b: float = 0.75) -> npt.NDArray[Any]:
    """Returns BM25 of every document for every question (Robertson and Zaragoza 2009)."""
    counter = CountVectorizer(token_pattern=r"\w+")
    counts = counter.fit_transform(documents).tocsr().astype(np.float32)
    lengths = np.asarray(counts.sum(1)).ravel()
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    there = np.bincount(counts.indices, minlength=counts.shape[1])
    rarity = np.log1p((len(documents) - there + 0.5) / (there + 0.5))
    norm = k * (1 - b + b * lengths / lengths.mean())
    counts.data = counts.data * (k + 1) / (counts.data + norm[rows]) * rarity[counts.indices]
    scores: npt.NDArray[Any] = (counter.transform(asked).astype(bool).astype(np.float32) @ counts.T).toarray()
    return scores


def measure(
    encode: Encode, sets: Mapping[str, Pairs], asked: Sequence[Search], teachers: list[Vectors]
) -> dict[str, float]:
    """Returns the figures of one encoder; the first one's vectors of documents become `teachers`."""
    found = {one: correlation(encode, texts) for one, texts in sets.items()}
    is_teacher = not teachers
    for at, search in enumerate(asked):
        documents = encode(search.documents)
        if is_teacher:
            teachers.append(documents)
        for kind, items in search.asked.items():
            queries, answers = encode([item[0] for item in items]), [item[1] for item in items]
            found[f"nDCG@10 by {kind}"] = gain(queries @ documents.T, answers)
            if queries.shape[1] == teachers[at].shape[1] and not is_teacher:
                found[f"nDCG@10 by {kind}, documents by teacher"] = gain(queries @ teachers[at].T, answers)
    return found


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
    asked, sets = searches(given.corpus, given.articles), pairs(given.tasks)
    figures: dict[str, dict[str, float]] = read_json(given.out, "remove it") if given.out.exists() else {}
    kept = given.out.with_suffix(".npz")
    teachers = list(np.load(kept).values()) if "teacher" in figures else []
    for name, encode in ways.items():
        if name in figures:
            continue
        started = time.monotonic()
        figures[name] = measure(encode, sets, asked, teachers)
        for size in given.dimensions if name in opened else []:
            shorter = functools.partial(opened[name].encode, truncate_dim=size)
            for one, texts in sets.items():
                figures[name][f"{one}, {size} dimensions"] = correlation(shorter, texts)
        figures[name]["seconds"] = time.monotonic() - started
        np.savez(kept, *teachers)
        write_json(given.out, figures)
    figures["BM25"] = {
        f"nDCG@10 by {kind}": gain(
            bm25([item[0] for item in items], search.documents), [item[1] for item in items]
        )
        for search in asked
        for kind, items in search.asked.items()
    }
    write_json(given.out, figures)
    keys = dict.fromkeys(key for found in figures.values() for key in found)
    lines = [(key, *(f"{of[key]:.2f}" if key in of else "" for of in figures.values())) for key in keys]
    print(Sheet(("", *figures), lines, title="Sentence encoders").markdown())


if __name__ == "__main__":
    main()
