"""Attention by two products equals torch's own, forward and backward, and dropout leaves out what it says."""

import math

import pytest
import torch
from torch import Tensor

from lilliput.models.attention import attend_heads, mask_of
from lilliput.models.dropout import drop
from lilliput.models.kernels import PLAIN, Kernels

PRODUCTS = Kernels(attention="products")


def drawn(batch: int, length: int, width: int) -> Tensor:
    return torch.randn(batch, length, 3 * width, generator=torch.Generator().manual_seed(1))


def attended(together: Tensor, padding: Tensor | None, heads: int, kernels: Kernels) -> tuple[Tensor, Tensor]:
    """Returns the outputs of real pieces, and the gradient of the inputs."""
    given = together.clone().requires_grad_()
    mask = mask_of(padding, together, kernels)
    context = attend_heads(given, mask, heads, kernels.attention, 0.0)
    kept = context if padding is None else context[~padding]
    (kept * torch.arange(kept.numel()).view_as(kept).sin()).sum().backward()
    assert given.grad is not None
    return kept.detach(), given.grad


@pytest.mark.parametrize("lengths", [None, (5, 1, 3)], ids=str)
@pytest.mark.parametrize("length", [1, 5, 16, 21])
def test_products_equal_torchs_own_attention(length: int, lengths: tuple[int, ...] | None) -> None:
    together = drawn(3, length, 24)
    padding = None if lengths is None else torch.arange(length) >= torch.tensor(lengths)[:, None]
    ours, theirs = (attended(together, padding, 4, kernels) for kernels in (PRODUCTS, PLAIN))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_small_differences() -> None:
    together = drawn(2, 5, 4).double().requires_grad_()
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    mask = mask_of(padding, together, PRODUCTS)
    assert torch.autograd.gradcheck(lambda x: attend_heads(x, mask, 2, "products", 0.0), together)


def test_dropout_of_weights_goes_backward_through_what_was_kept() -> None:
    together = drawn(2, 6, 8).requires_grad_()
    mask = mask_of(None, together, PRODUCTS)

    def run(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return attend_heads(x, mask, 2, "products", 0.5)

    assert not torch.equal(run(together), attend_heads(together, mask, 2, "products", 0.0))
    direction = torch.randn(together.shape, generator=torch.Generator().manual_seed(2))
    run(together).square().sum().backward()
    assert together.grad is not None
    step = 1e-3
    with torch.no_grad():
        ends = [float(run(together + sign * step * direction).square().sum()) for sign in (1, -1)]
    assert float((together.grad * direction).sum()) == pytest.approx(
        (ends[0] - ends[1]) / (2 * step), rel=1e-2
    )


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_leaves_out_its_share_and_keeps_the_mean(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 101, dtype=dtype)
    found = drop(x, share).float()
    assert float((found == 0).float().mean()) == pytest.approx(share, abs=0.006)
    assert float(found.mean()) == pytest.approx(1, abs=0.01)
    rows, columns = (found == 0).float().mean(1), (found == 0).float().mean(0)
    assert float(rows.std()) == pytest.approx(math.sqrt(share * (1 - share) / 101), rel=0.15)
    assert float(columns.std()) == pytest.approx(math.sqrt(share * (1 - share) / 1000), rel=0.35)
    assert drop(x, 0.0) is x


def test_dropout_follows_torchs_seed() -> None:
    x, found = torch.ones(50), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(drop(x, 0.5))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
