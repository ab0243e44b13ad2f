"""The kind of task in which the vector of a query is to find its right answer among all answers.

Shape letters: N pairs of a query and its answer, E width of vectors.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput.tasks.kind import Counts, Floats, Kind
from lilliput.tasks.task import Examples, Labels, Task, plain, spelled

_TOP = 10
"""Answers that count for nDCG."""
_TOGETHER = 256
"""Queries whose answers are ranked at once."""


class Retrieval(Kind):
    """The right answer to a query among all answers, by the cosine of their vectors.

    What is said of a pair is the rank of its answer. Metrics: `accuracy` (of rank 1), `mrr`, `ndcg@10`.
    """

    name, has_label, has_tags, is_two_tower, implied = "retrieval", False, False, True, 1.0

    @property
    def runs_as(self) -> str:
        return "encode"

    @property
    def taught_by(self) -> tuple[str, ...]:
        """No kind of models: it learns of its batch."""
        return ()

    def metric_names(self, tags: Sequence[str]) -> tuple[str, ...]:
        return "accuracy", "mrr", f"ndcg@{_TOP}"

    def named(self, task: Task, labels: Labels, index: int) -> dict[str, Any]:
        return {"rank": int(labels.values[index])}

    def unnamed(self, task: Task, said: Iterable[Mapping[str, Any]]) -> Labels:
        return Labels(tuple(one["rank"] for one in said))

    def summary(self, task: Task, labels: Labels) -> dict[str, str | Counter[str]]:
        return {}

    def slots(self, words: list[int]) -> list[int]:
        return [0]

    def array(self, task: Task, labels: Labels) -> npt.NDArray[np.float64]:
        return np.asarray(labels.values, np.float64)

    def labels(self, task: Task, scores: Floats, offsets: npt.NDArray[np.int64]) -> Labels:
        return Labels(tuple(scores[:, 0].astype(np.float64).tolist()))

    def compared(self, vectors: Floats, groups: npt.NDArray[np.int64] | None) -> Labels:
        assert groups is not None
        return Labels(tuple(map(float, ranks(vectors[:, 0], vectors[:, 1], groups))))

    def metrics(self, task: Task, gold: Labels, said: Labels) -> dict[str, float]:
        return _metrics(said.values)

    def taken_for(self, task: Task, gold: Labels, said: Labels) -> Counts:
        return Counter()


def groups(examples: Examples) -> npt.NDArray[np.int64]:
    """Returns a number for each pair, the same for pairs that have a text in common, directly or by others.

    Texts that differ only in case and spacing are one. A query with two answers so is one group with both,
    and neither is ever a wrong answer to it.
    """
    from scipy import sparse

    sides = (map(spelled, examples.texts), examples.pairs)
    texts = [[plain(text) for text in side] for side in sides]
    query, answer = (np.unique(side, return_inverse=True)[1] for side in texts)
    size = int(query.max(initial=-1)) + 1
    edges = sparse.coo_array(
        (np.ones(len(query)), (query, answer + size)), shape=(size + len(answer), size + len(answer))
    )
    found: npt.NDArray[np.int64] = sparse.csgraph.connected_components(edges, directed=False)[1][query]
    return np.unique(found, return_inverse=True)[1]


def ranks(
    queries: npt.NDArray[np.floating[Any]],
    answers: npt.NDArray[np.floating[Any]],
    group: npt.NDArray[np.int64],
) -> list[int]:
    """Returns the rank of the answer of each pair among the answers of all pairs, from 1 on, by cosine.

    Of the answers of another group (`groups`) the nearest counts. What is as near as the right answer stands
    before it.

    Args:
        queries: Vectors of length 1 [N, E].
        answers: Those of the answers [N, E].
        group: The group of each pair [N].
    """
    found: list[int] = []
    order = np.argsort(group, kind="stable")
    numbers, starts = np.unique(group[order], return_index=True)
    for first in range(0, len(queries), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        cosines = queries[part] @ answers[order].T
        right = (queries[part] * answers[part]).sum(1)
        best = np.maximum.reduceat(cosines, starts, axis=1)
        is_behind = (best < right[:, None]) | (numbers == group[part, None])
        found += (1 + (~is_behind).sum(1)).tolist()
    return found


def _metrics(rank: Sequence[float]) -> dict[str, float]:
    """Returns `accuracy`, `mrr` and `ndcg@10` of the ranks of right answers, of which each query has one."""
    place = np.asarray(rank, np.float64)
    return {
        "accuracy": float((place == 1).mean()),
        "mrr": float((1 / place).mean()),
        f"ndcg@{_TOP}": float(np.where(place <= _TOP, 1 / np.log2(1 + place), 0.0).mean()),
    }
