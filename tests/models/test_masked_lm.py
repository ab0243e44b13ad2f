"""Scores over a vocabulary."""

import pytest
import torch
from torch import Tensor

from lilliput.models.masked_lm import scores_over


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_scores_are_products_with_the_table() -> None:
    hidden, table, bias = drawn(3, 4), drawn(5, 4, seed=1), drawn(5, seed=2)
    found = scores_over(table, bias, hidden)
    for n in range(3):
        for v in range(5):
            expected = sum(float(hidden[n, d] * table[v, d]) for d in range(4)) + float(bias[v])
            assert float(found[n, v]) == pytest.approx(expected, abs=1e-5)


def test_scores_of_bfloat16_come_in_float32() -> None:
    found = scores_over(drawn(5, 4, seed=1), drawn(5, seed=2), drawn(3, 4).bfloat16())
    assert found.dtype == torch.float32
