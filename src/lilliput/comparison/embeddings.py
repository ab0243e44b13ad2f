"""How good vectors of texts are: pairs of texts with scores, and the retrieval of documents.

Shape letters: Q queries, N texts or documents, E width of vectors.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lilliput.common.files import read_json_lines
from lilliput.common.sheet import Sheet
from lilliput.errors import InputError
from lilliput.inference.bundle import load
from lilliput.inference.format import MANIFEST
from lilliput.inference.texts import batches, is_missing
from lilliput.inference.vectors import unit
from lilliput.models.any_sentence_encoder import find_sentence_encoder
from lilliput.models.sentence_modules import has_modules
from lilliput.run import RunDir
from lilliput.tasks.formulas import correlations
from lilliput.tasks.task import Examples, spelled

_TOP = 10
"""Documents that a search shows, which are judged."""
_QUERIES = 64
"""Queries that are judged together."""
_Floats = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str]], _Floats]
"""Texts -> their vectors [N, E]."""


@dataclass(frozen=True)
class Collection:
    """Documents, queries, and which documents answer which query."""

    documents: Mapping[str, str]
    """Their texts by their ids."""
    queries: Mapping[str, str]
    """The queries with an answer, by their ids."""
    relevant: Mapping[str, Mapping[str, int]]
    """By query and document how well it answers, from 1 on."""


def open_encoder(path: Path) -> Encode:
    """Returns what makes vectors of texts: a bundle, the student of a run, or a folder or hub name.

    Raises BundleError, ModelError or StorageError where it cannot be opened.
    """
    if (path / MANIFEST).is_file() and not has_modules(path):  # a fine-tuned folder has a manifest too
        bundle = load(path)
        return lambda texts: bundle.encode(_all_there(texts))
    return _Encoder(encoder_folder(path)).encode


def _all_there(texts: Sequence[str]) -> Sequence[str]:
    """Returns texts of which none is missing, as the scores of its vector would be NaN."""
    for number, text in enumerate(texts, start=1):
        if is_missing(text):
            raise InputError(f"text {number:,} of {len(texts):,} is empty; leave it out")
    return texts


def encoder_folder(path: Path) -> str:
    """Returns the folder or hub name of an encoder that is no bundle: the student of a run, or itself."""
    student = RunDir(path).student
    return str(student if has_modules(student) else path)


class _Encoder:
    """A sentence encoder of any architecture, read by our own forward pass."""

    def __init__(self, name: str) -> None:
        found = find_sentence_encoder(name)
        self._prompt, self._model, self._found = found.modules.prompt(), found.load(), found.tokenizer()
        self._found.tokenizer.enable_truncation(found.positions, direction=self._found.side)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> _Floats:
        """Returns a vector for each text [N, E]."""
        pieces = self._found.tokenizer.encode_batch([self._prompt + text for text in texts])
        found: list[Any] = [None] * len(texts)
        for batch in batches([len(item) for item in pieces]):
            longest = max(len(pieces[place]) for place in batch)
            ids = torch.full((len(batch), longest), self._found.pad)
            padding = torch.ones(ids.shape, dtype=torch.bool)
            for row, place in enumerate(batch):
                ids[row, : len(pieces[place])] = torch.tensor(pieces[place].ids)
                padding[row, : len(pieces[place])] = False
            hides = padding if bool(padding.any()) else None
            vectors = self._model.vectors(ids, hides).numpy()
            for row, place in enumerate(batch):
                found[place] = vectors[row]
        return np.stack(found)


def likeness(encode: Encode, examples: Examples) -> dict[str, float]:
    """Returns how well cosines order pairs of texts with scores: `spearman` and `pearson`, times 100.

    Args:
        encode: Makes vectors.
        examples: Two texts and a score each.

    Raises:
        InputError: If a text has no vector.
    """
    assert examples.labels is not None
    one, other = (
        unit(encode(texts)) for texts in ([spelled(text) for text in examples.texts], list(examples.pairs))
    )
    found = correlations(examples.labels.values, (one * other).sum(1).tolist())
    return {name: 100 * found[name] for name in ("spearman", "pearson")}


def retrieval(queries: Encode, documents: Encode, collection: Collection) -> dict[str, float]:
    """Returns how well documents are found by cosine: `ndcg@10` and `recall@10`, times 100.

    Args:
        queries: Makes vectors of queries.
        documents: Makes vectors of documents, in the same space.
        collection: What is searched, and for what.

    Raises:
        InputError: If the two are not of one width, or a text has no vector.
    """
    from sklearn.metrics import ndcg_score

    asked = unit(queries(list(collection.queries.values())))
    given = unit(documents(list(collection.documents.values())))
    if asked.shape[1] != given.shape[1]:
        raise InputError(
            f"queries have vectors of {asked.shape[1]:,} numbers, documents of {given.shape[1]:,}: they are "
            "not of one space; search the documents of a teacher by its own student"
        )
    places = {name: place for place, name in enumerate(collection.documents)}
    sums = np.zeros(2)
    for start in range(0, len(asked), _QUERIES):
        scores = asked[start : start + _QUERIES] @ given.T
        gold = np.zeros(scores.shape)
        for row, query in enumerate(list(collection.queries)[start : start + _QUERIES]):
            for document, degree in collection.relevant[query].items():
                gold[row, places[document]] = degree
        best = np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]
        shown = (np.take_along_axis(gold, best, 1) > 0).sum(1) / (gold > 0).sum(1)
        sums += len(gold) * ndcg_score(gold, scores, k=_TOP), shown.sum()
    ndcg, recall = 100 * sums / len(asked)
    return {f"ndcg@{_TOP}": float(ndcg), f"recall@{_TOP}": float(recall)}


def read_collection(folder: Path) -> Collection:
    """Returns what BEIR's files in a folder hold: corpus.jsonl, queries.jsonl and qrels/test.tsv.

    Where there is no test.tsv, the one other file in qrels is read. Raises InputError or StorageError where
    one is missing or damaged.
    """
    documents = _texts(folder / "corpus.jsonl")
    queries = _texts(folder / "queries.jsonl")
    files = sorted((folder / "qrels").glob("*.tsv"))
    tests = [file for file in files if file.name == "test.tsv"] or files
    if len(tests) != 1:
        raise InputError(
            f"{folder / 'qrels'} has {len(tests)} files that end with .tsv; expected is test.tsv, or one"
        )
    relevant: dict[str, dict[str, int]] = {}
    with tests[0].open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t"), start=1):
            if number == 1 and row[-1:] == ["score"]:
                continue
            if len(row) != 3 or not row[2].lstrip("-").isdecimal() or len(row[2]) > 9:
                raise InputError(
                    f"{tests[0]}, line {number:,} is no query-id, corpus-id and whole score with tabs between"
                )
            if row[0] not in queries or row[1] not in documents:
                raise InputError(
                    f"{tests[0]}, line {number:,} names {row[0]!a} and {row[1]!a}, which queries.jsonl and "
                    "corpus.jsonl do not both hold; fetch the files together"
                )
            if int(row[2]) > 0:
                relevant.setdefault(row[0], {})[row[1]] = int(row[2])
    if not relevant or len(documents) < 2:
        raise InputError(f"{folder} holds no query with an answer among at least two documents")
    return Collection(documents, {name: queries[name] for name in relevant}, relevant)


def _texts(path: Path) -> dict[str, str]:
    """Returns texts by their ids, with their titles before them."""
    found: dict[str, str] = {}
    for number, line in enumerate(read_json_lines(path, "fetch it again"), start=1):
        values = [line.get(key, "") for key in ("_id", "title", "text")] if isinstance(line, dict) else []
        if not values or not all(isinstance(value, str) for value in values) or values[0] in found:
            raise InputError(f"{path}, line {number:,} has no _id of its own and text; fetch it again")
        found[values[0]] = f"{values[1]} {values[2]}".strip()
    return found


def evaluate_vectors(
    models: Sequence[Path], *, pairs: Examples | None = None, collection: Collection | None = None
) -> dict[str, dict[str, float]]:
    """Returns the metrics of the vectors of each model, by its name.

    Args:
        models: Bundles, runs with a student that encodes sentences, or folders or hub names of encoders.
        pairs: Two texts and a score each.
        collection: What is searched, and for what.
    """
    found: dict[str, dict[str, float]] = {}
    for model in models:
        encode = open_encoder(model)
        scores = {} if pairs is None else likeness(encode, pairs)
        found[str(model)] = scores | ({} if collection is None else retrieval(encode, encode, collection))
    return found


def render(found: Mapping[str, Mapping[str, float]]) -> Sheet:
    """Returns metrics as a table, a model a row."""
    names = list(next(iter(found.values())))
    rows = [[model, *(f"{scores[name]:.2f}" for name in names)] for model, scores in found.items()]
    return Sheet(["model", *names], rows)
