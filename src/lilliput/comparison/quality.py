"""How good a model is on a task: by its own answers or, where it has only vectors, by a head on these."""

import contextlib
import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput.common.files import parse_json
from lilliput.comparison.candidates import Candidate
from lilliput.comparison.forms import open_model
from lilliput.export.scoring import scores_of, two_tower_scores
from lilliput.inference.bundle import load
from lilliput.inference.format import CONFIG
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.metrics import score
from lilliput.tasks.task import Examples, Labels, Task, TaskData, spelled

_FITTED = 10_000
"""Examples that a head is fitted to at most, evenly spaced in train."""
_RIDGE = 1e-3
"""What is added to the squares of the features, as a share of their mean."""

_Array = npt.NDArray[Any]


def quality(candidate: Candidate, data: TaskData, threads: int) -> dict[str, float]:
    """Returns the metrics of a model on the dev examples; none where it does not answer what is asked.

    A joint task's classes alone give the share that is right, as `intent_accuracy`.
    """
    if candidate.form == "bundle" and not candidate.has_vectors:
        return scores_of(load(candidate.path, threads), data.task, data.dev)
    if KINDS[data.task.kind].is_two_tower:
        vectors = None if candidate.form == "onnx" else _vectors(candidate, data.dev, threads)
        return {} if vectors is None else two_tower_scores(data.task, data.dev, vectors)
    of_texts = KINDS[data.task.kind].of_texts(data.task)
    if of_texts is None:
        return {}
    if candidate.form == "onnx":
        rows = open_model(candidate.path, threads)(candidate.given(data.dev))
        columns = len(data.task.classes) or 1
        if any(row.shape != (columns,) for row in rows):
            return {}
        return _scores(data.task, of_texts, data.dev, np.stack(rows)[:, _columns(candidate, data.task)])
    train = _some(data.train)
    features = [_features(_vectors(candidate, examples, threads), examples) for examples in (train, data.dev)]
    assert train.labels is not None
    targets = KINDS[of_texts.kind].targets(of_texts, train.labels)
    return _scores(data.task, of_texts, data.dev, fitted(features[0], targets, features[1]))


def fitted(features: _Array, targets: _Array, asked: _Array) -> _Array:
    """Returns the targets of others by least squares with a ridge on features [N, F] and targets [N, C]."""
    features, asked = (np.hstack([values, np.ones((len(values), 1))]) for values in (features, asked))
    squares = features.T @ features
    squares[np.diag_indices_from(squares)] += _RIDGE * np.diag(squares).mean()
    found: _Array = asked @ np.linalg.solve(squares, features.T @ targets)
    return found


def _columns(candidate: Candidate, task: Task) -> list[int]:
    """Returns where an ONNX graph has the score of each class: by names beside it, else in their order."""
    in_order = list(range(len(task.classes) or 1))
    with contextlib.suppress(OSError, ValueError, LookupError, AttributeError, TypeError):
        config = parse_json((candidate.path.parent / CONFIG).read_bytes())
        names = config.get("classes") or [config["id2label"][str(column)] for column in in_order]
        return [names.index(name) for name in task.classes] or in_order
    return in_order  # there are no names, or others


def _vectors(candidate: Candidate, examples: Examples, threads: int) -> _Array:
    """Returns a vector for each first text, and then for each second."""
    texts = [*map(spelled, examples.texts), *examples.pairs]
    if candidate.form == "bundle":
        return load(candidate.path, threads).encode(texts)
    return np.stack(open_model(candidate.path, threads)(texts))


def _features(vectors: _Array, examples: Examples) -> _Array:
    """Returns the features of each example: of two texts their vectors, differences and products."""
    vectors = vectors.astype(np.float64)
    if not examples.pairs:
        return vectors
    first, second = np.split(vectors, 2)
    return np.hstack([first, second, abs(first - second), first * second])


def _scores(task: Task, of_texts: Task, examples: Examples, columns: _Array) -> dict[str, float]:
    """Returns the metrics of scores of each class, or of scores alone [N, C].

    Args:
        task: The task of the examples.
        of_texts: The part of it that is about whole texts.
        examples: The examples.
        columns: Their scores.
    """
    assert examples.labels is not None
    gold = dataclasses.replace(examples.labels, tags=())
    said = KINDS[of_texts.kind].labels(of_texts, columns, np.arange(len(columns) + 1))
    found = score(of_texts, gold, said)
    return found if of_texts == task else {"intent_accuracy": found["accuracy"]}


def _some(examples: Examples) -> Examples:
    """Returns at most as many examples as a head is fitted to, without their tags."""
    assert examples.labels is not None
    every = slice(None, None, max(1, math.ceil(len(examples) / _FITTED)))
    labels = Labels(examples.labels.values[every], several=examples.labels.several[every])
    return Examples(examples.texts[every], examples.pairs[every], labels)
