"""Ranks of right answers, against loops that spell them out."""

import math

import numpy as np
import pytest

from lilliput.tasks.kinds import KINDS
from lilliput.tasks.retrieval import groups, ranks
from lilliput.tasks.task import Examples, Labels, Task

TASK = Task("find", "retrieval", pairs=True)


def test_pairs_that_share_a_text_are_one_group() -> None:
    queries = ("who", "Who ", "when", "where", "why")
    answers = ("me", "you", "you", "here", "HERE")
    assert groups(Examples(queries, answers)).tolist() == [0, 0, 0, 1, 1]
    assert groups(Examples(("a", "b"), ("b", "a"))).tolist() == [0, 1]  # a query is not its own answer
    assert groups(Examples((), ())).tolist() == []


def test_a_rank_counts_the_groups_that_are_as_near() -> None:
    rng = np.random.default_rng(0)
    queries, answers = rng.normal(size=(2, 700, 3))
    group = rng.integers(0, 300, 700)
    answers[group == 7] = answers[group == 7][0]  # equal answers
    found = ranks(queries, answers, group)
    for row in range(0, 700, 97):
        nearest = {number: max(answers[group == number] @ queries[row]) for number in set(group.tolist())}
        own = answers[row] @ queries[row]
        before = [number for number, near in nearest.items() if near >= own and number != group[row]]
        assert found[row] == 1 + len(before)


def test_a_model_that_says_the_same_of_all_is_last() -> None:
    same = np.ones((5, 2, 4), np.float32) / 2
    assert KINDS["retrieval"].compared(same, np.arange(5)).values == (5, 5, 5, 5, 5)
    assert KINDS["retrieval"].compared(same * np.nan, np.arange(5)).values == (5, 5, 5, 5, 5)


def test_metrics_are_those_of_one_right_answer() -> None:
    found = KINDS["retrieval"].metrics(TASK, Labels((1.0,) * 4), Labels((1.0, 2.0, 4.0, 11.0)))
    assert found["accuracy"] == 0.25
    assert found["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 4 + 1 / 11) / 4)
    assert found["ndcg@10"] == pytest.approx((1 + 1 / math.log2(3) + 1 / math.log2(5)) / 4)
