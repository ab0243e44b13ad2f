"""Self-attention in the ways that a processor or a GPU may be fast at; `kernels` says which is.

Shape letters: B batch, L length, D width, H heads, d width of a head.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def fused(together: Tensor, mask: Tensor | None, heads: int, dropout: float) -> Tensor:
    """Returns the heads' outputs side by side [B, L, D], by torch's own attention.

    Args:
        together: Queries, keys and values side by side [B, L, 3 D].
        mask: Added to the scores of keys [B, 1, 1, L], or None.
        heads: Attention heads.
        dropout: Share of the weights that are left out.
    """
    query, key, value = _apart(together, heads).unbind(0)
    context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    found: Tensor = context.transpose(1, 2).flatten(2)
    return found


def products(together: Tensor, mask: Tensor | None, heads: int, dropout: float) -> Tensor:
    """Returns the same, by two batched products and a softmax, which keeps the weights [B, H, L, L].

    Without AMX torch's own attention goes backward in bfloat16 several times slower than in float32, and with
    it twelve times slower than this.
    """
    context: Tensor = _Products.apply(together, mask, heads, dropout)  # type: ignore[no-untyped-call]
    return context


def _apart(together: Tensor, heads: int) -> Tensor:
    """Returns a view of queries, keys and values by heads [3, B, H, L, d]."""
    batch, length, _ = together.shape
    return together.view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)


class _Products(torch.autograd.Function):
    """Goes backward by hand, so that queries, keys and values are copied once, not three times."""

    @staticmethod
    def forward(ctx: Any, together: Tensor, mask: Tensor | None, heads: int, dropout: float) -> Tensor:
        batch, length, width = together.shape[0], together.shape[1], together.shape[2] // 3
        # Contiguous [3, B * H, L, d], as batched products take them.
        query, key, value = _apart(together, heads).flatten(1, 2).contiguous().unbind(0)
        scale = 1 / math.sqrt(width // heads)
        scores = _product(query, key.mT, scale)
        if mask is not None:
            scores.view(batch, heads, length, length).add_(mask)
        weights = scores.softmax(-1)
        kept = None
        if dropout:
            dropped, kept = torch.native_dropout(weights, dropout, True)
            context = torch.bmm(dropped, value)
        else:
            context = torch.bmm(weights, value)
        ctx.save_for_backward(query, key, value, weights, kept)
        ctx.heads, ctx.scale, ctx.dropout = heads, scale, dropout
        return context.view(batch, heads, length, -1).transpose(1, 2).reshape(batch, length, width)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        query, key, value, weights, kept = ctx.saved_tensors
        batch, length, width = gradient.shape
        of_context = gradient.view(batch, length, ctx.heads, -1).transpose(1, 2).reshape(query.shape)
        of_weights = torch.bmm(of_context, value.mT)
        if kept is None:
            of_value = torch.bmm(weights.mT, of_context)
        else:
            kept = kept.to(weights.dtype) / (1 - ctx.dropout)
            of_value = torch.bmm((weights * kept).mT, of_context)
            of_weights *= kept
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_query, of_key = _product(of_scores, key, ctx.scale), _product(of_scores.mT, query, ctx.scale)
        found = torch.stack((of_query, of_key, of_value))
        found = found.view(3, batch, ctx.heads, length, -1).permute(1, 3, 0, 2, 4)
        return found.reshape(batch, length, 3 * width), None, None, None


def _product(first: Tensor, second: Tensor, scale: float) -> Tensor:
    """Returns batched products times a number, which the product itself multiplies with."""
    return torch.baddbmm(first.new_empty(()), first, second, beta=0, alpha=scale)
