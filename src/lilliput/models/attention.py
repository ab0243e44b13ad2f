"""Self-attention in the ways that a processor or a GPU may be fast at; `autotune` measures which is.

Shape letters: B batch, L length, D width, H heads, d width of a head.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lilliput.models.dropout import factors
from lilliput.models.kernels import Attention, Kernels
from lilliput.models.shape import filled_up

_ALIGNED_BYTES = 64
"""Of a row of scores in `_Products`: a softmax of rows that do not fill vectors takes three times as long."""


def mask_of(padding: Tensor | None, x: Tensor, kernels: Kernels) -> Tensor | None:
    """Returns what `attend_heads` adds to scores [B or 1, 1, L, L'], or None where that is nothing.

    L' is the length, for products filled up so that rows of scores are aligned. There is a row for each
    query, as sums over whole matrices are several times faster than row by row.

    Args:
        padding: True where a piece is padding [B, L], or None where nothing is.
        x: The stream [B, L, D].
        kernels: How to compute.
    """
    length = x.shape[1]
    more = _aligned(length, x.dtype) - length if kernels.attention == "products" else 0
    if padding is None and not more:
        return None
    if padding is None:
        padding = torch.zeros((1, length), dtype=torch.bool, device=x.device)
    whole = F.pad(padding, (0, more), value=True)
    mask = torch.zeros_like(whole, dtype=x.dtype).masked_fill_(whole, -math.inf)
    return mask[:, None, None, :].expand(-1, -1, length, -1).contiguous()


def attend_heads(together: Tensor, mask: Tensor | None, heads: int, way: Attention, dropout: float) -> Tensor:
    """Returns the heads' outputs side by side [B, L, D].

    Args:
        together: Queries, keys and values side by side [B, L, 3 D].
        mask: What `mask_of` returned.
        heads: Attention heads.
        way: torch's own attention; or two batched products and a softmax, which keeps the weights. On
            processors torch's own goes backward in bfloat16 many times slower than that, and forward with
            fewer passes over memory.
        dropout: Share of the weights that are left out.
    """
    if way == "products":
        found: Tensor = _Products.apply(together, mask, heads, dropout)  # type: ignore[no-untyped-call]
        return found
    query, key, value = _apart(together, heads).unbind(0)
    context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    return _together(context)


class _Products(torch.autograd.Function):
    """Goes backward by hand, so that queries, keys and values are copied once, not three times."""

    @staticmethod
    def forward(ctx: Any, together: Tensor, mask: Tensor | None, heads: int, dropout: float) -> Tensor:
        parts = _apart(together, heads)
        query, (key, value) = parts[0].flatten(0, 1), _filled_up(parts[1:]).flatten(1, 2)
        scale = 1 / math.sqrt(query.shape[-1])
        scores = _product(query, key.mT, scale)
        if mask is not None:
            scores.view(len(together), heads, *scores.shape[1:]).add_(mask)
        weights = scores.softmax(-1)
        kept = factors(weights, dropout) if dropout else None
        used = weights if kept is None else weights * kept
        context = torch.bmm(used, value)
        ctx.save_for_backward(query, key, value, weights, kept, used)
        ctx.heads, ctx.scale = heads, scale
        return _together(context.view(len(together), heads, *context.shape[1:]))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        query, key, value, weights, kept, used = ctx.saved_tensors
        batch, length, _ = gradient.shape
        of_context = gradient.view(batch, length, ctx.heads, -1).transpose(1, 2).reshape(query.shape)
        of_weights = torch.bmm(of_context, value.mT)
        of_value = torch.bmm(used.mT, of_context)
        if kept is not None:
            of_weights *= kept
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_query, of_key = _product(of_scores, key, ctx.scale), _product(of_scores.mT, query, ctx.scale)
        found = gradient.new_empty((batch, length, 3, ctx.heads, query.shape[-1]))
        for place, part in enumerate((of_query, of_key, of_value)):
            found[:, :, place] = part.view(batch, ctx.heads, *part.shape[1:])[:, :, :length].transpose(1, 2)
        return found.flatten(2), None, None, None


def _apart(together: Tensor, heads: int) -> Tensor:
    """Returns a view of queries, keys and values by heads [3, B, H, L, d]."""
    batch, length, _ = together.shape
    return together.view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)


def _together(context: Tensor) -> Tensor:
    """Returns heads [B, H, L, d] side by side [B, L, D]."""
    return context.transpose(1, 2).flatten(2)


def _filled_up(x: Tensor) -> Tensor:
    """Returns [..., L, d] contiguous, with rows of zeros so that L is aligned."""
    length = x.shape[-2]
    aligned = _aligned(length, x.dtype)
    if aligned == length:
        return x.contiguous()
    filled = x.new_zeros((*x.shape[:-2], aligned, x.shape[-1]))
    filled[..., :length, :] = x
    return filled


def _aligned(length: int, dtype: torch.dtype) -> int:
    return filled_up(length, _ALIGNED_BYTES // dtype.itemsize)


def _product(first: Tensor, second: Tensor, scale: float) -> Tensor:
    """Returns batched products times a number, which the product itself multiplies with."""
    return torch.baddbmm(first.new_empty(()), first, second, beta=0, alpha=scale)
