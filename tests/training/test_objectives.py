"""Objectives against loops that spell them out."""

import math

import pytest
import torch
from torch import Tensor

from lilliput.training.objectives import in_batch, masked_lm, shared_projection, soft_labels


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def log_softmax(row: list[float]) -> list[float]:
    total = math.log(sum(math.exp(value) for value in row))
    return [value - total for value in row]


def test_masked_lm_is_the_summed_surprise() -> None:
    scores, targets = drawn(6, 7), torch.tensor([0, 6, 3, 3, 1, 2])
    found, count = masked_lm(scores, targets)
    expected = -sum(
        log_softmax(row)[target] for row, target in zip(scores.tolist(), targets.tolist(), strict=True)
    )
    assert count == 6
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_soft_labels_is_the_cross_entropy_of_distributions() -> None:
    student, teacher = drawn(6, 7), drawn(6, 7, seed=1)
    found, count = soft_labels(student, teacher)
    expected = -sum(
        math.exp(theirs) * ours
        for mine, other in zip(student.tolist(), teacher.tolist(), strict=True)
        for ours, theirs in zip(log_softmax(mine), log_softmax(other), strict=True)
    )
    assert count == 6
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_soft_labels_are_least_where_the_distributions_agree() -> None:
    teacher = drawn(4, 9)
    student = (teacher + 5).requires_grad_()  # the same distribution, other scores
    least, _ = soft_labels(student, teacher)
    least.backward()
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-6
    entropy = -(teacher.softmax(-1) * teacher.log_softmax(-1)).sum()
    torch.testing.assert_close(least, entropy)
    for seed in range(5):
        assert soft_labels(student + 0.1 * drawn(4, 9, seed=seed), teacher)[0] > least


def test_soft_labels_teach_the_student_only() -> None:
    student, teacher = drawn(4, 9).requires_grad_(), drawn(4, 9, seed=1).requires_grad_()
    soft_labels(student, teacher)[0].backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_shared_projection_is_the_plain_sum_of_squares() -> None:
    pairs = [(drawn(2, 3, 4), drawn(2, 3, 4, seed=1)), (drawn(1, 1, 5), drawn(1, 1, 5, seed=1))]
    found, count = shared_projection(pairs)
    expected = 0.0
    for one, other in pairs:
        for a, b in zip(one.flatten().tolist(), other.flatten().tolist(), strict=True):
            expected += (a - b) ** 2
    assert count == 1
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("classes", [3, 100])
def test_nothing_masked_gives_a_zero_that_can_go_backward(classes: int) -> None:
    scores = drawn(0, classes).requires_grad_()
    for found, count in (
        masked_lm(scores, torch.zeros(0, dtype=torch.long)),
        soft_labels(scores, drawn(0, classes)),
    ):
        assert count == 0
        assert float(found.detach()) == 0
        found.backward()


def test_in_batch_is_the_surprise_at_ones_own_answer_among_wrong_ones() -> None:
    queries, answers = (
        torch.nn.functional.normalize(drawn(count, 5, seed=count), dim=-1) for count in (4, 8)
    )
    groups, weights = torch.tensor([0, 1, 0, 2]), torch.tensor([1.0, 0.5, 0.0, 2.0])
    found, count = in_batch(queries, answers, groups, weights, temperature=0.2)
    expected = 0.0
    for row, query in enumerate(queries):
        # The answers of a query's own group are left out but for its own; the last four are wrong to all.
        kept = [row, *(other for other in range(8) if other > 3 or groups[other] != groups[row])]
        scores = [float(query @ answers[other]) / 0.2 for other in kept]
        expected -= float(weights[row]) * log_softmax(scores)[0]
    assert count == 3.5
    assert float(found) == pytest.approx(expected, rel=1e-5)
