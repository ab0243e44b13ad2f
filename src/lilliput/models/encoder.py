"""The forward pass of a post-norm encoder over the parameters of a transformers model.

transformers holds the parameters and reads and writes the checkpoints; its modules are not called. This
forward is faster: one product for query, key and value, no mask where nothing is padded, each operation as it
is fastest here (`kernels`), and of the last layer only what somebody asks for. Tests hold it equal to the
modules of transformers.

Shape letters: B batch, L length, D width, N positions, V vocabulary.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from lilliput.models.attention import attend_heads, mask_of
from lilliput.models.blocks import Block, Head, blocks_of, embeddings_of
from lilliput.models.dropout import NO_DROPOUT, Dropout, drop
from lilliput.models.kernels import PLAIN, Kernels, dtype_of
from lilliput.models.shape import filled_up


def cast_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Returns `layer(x)` in the precision of `x`."""
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def cast_layer_norm(x: Tensor, norm: nn.LayerNorm, kernels: Kernels = PLAIN) -> Tensor:
    """Returns `norm(x)` in the precision of `x`; the statistics are taken in float32 by torch itself."""
    dtype = x.dtype if x.dtype == torch.float32 else dtype_of(kernels.norm)
    weight, bias = norm.weight.to(dtype), norm.bias.to(dtype)
    return F.layer_norm(x.to(dtype), norm.normalized_shape, weight, bias, norm.eps).to(x.dtype)


def embed(
    model: PreTrainedModel,
    embedded: Tensor,
    types: Tensor | None = None,
    kernels: Kernels = PLAIN,
    dropout: Dropout = NO_DROPOUT,
) -> Tensor:
    """Adds positions and types to embedded pieces [B, L, D] and normalises them.

    Args:
        model: Holds the parameters.
        embedded: Embedded pieces; sets the precision.
        types: The text that a piece is of, 0 or 1 [B, L]; None for 0 everywhere.
        kernels: How to compute.
        dropout: What is left out.
    """
    parts = embeddings_of(model)
    places = parts.positions.weight[parts.first : parts.first + embedded.shape[1]]
    if parts.types is not None:
        rows = parts.types.weight
        places = places + (rows[0] if types is None else F.embedding(types, rows))
    x = cast_layer_norm(embedded + places.to(embedded.dtype), parts.norm, kernels)
    return drop(x, dropout.states)


def encode(
    model: PreTrainedModel,
    embedded: Tensor,
    padding: Tensor | None,
    kernels: Kernels = PLAIN,
    *,
    types: Tensor | None = None,
    at: Tensor | None = None,
    dropout: Dropout = NO_DROPOUT,
) -> Tensor:
    """Returns the last hidden states [B, L, D] of embedded pieces, or [N, D] of some of them.

    Args:
        model: Holds the parameters.
        embedded: Embedded pieces [B, L, D], before positions and normalisation; sets the precision.
        padding: True where a piece is padding [B, L], or None where nothing is.
        kernels: How to compute.
        types: The text that a piece is of, 0 or 1 [B, L]; None for 0 everywhere.
        at: The pieces whose states are wanted, as indices into B * L [N]; None for all. The last layer then
            computes no others.
        dropout: What is left out.
    """
    x = embed(model, embedded, types, kernels, dropout)
    *blocks, last = blocks_of(model)
    if last.relative is not None:  # what it adds learns, which torch's own attention alone allows
        kernels = dataclasses.replace(kernels, attention="fused")
    mask = mask_of(padding, x, kernels)
    for block in blocks:
        _, x = attend(block, x, mask, kernels, dropout=dropout)
        _, x = feed_forward(block, x, kernels, dropout)
    if at is None:
        _, x = attend(last, x, mask, kernels, dropout=dropout)
        return feed_forward(last, x, kernels, dropout)[1]
    count, at = len(at), F.pad(at, (0, filled_up(len(at)) - len(at)))  # by the first piece
    _, x = attend(last, x, mask, kernels, at=at, dropout=dropout)
    return feed_forward(last, x, kernels, dropout)[1][:count]


def attend(
    block: Block,
    x: Tensor,
    mask: Tensor | None = None,
    kernels: Kernels = PLAIN,
    *,
    at: Tensor | None = None,
    dropout: Dropout = NO_DROPOUT,
) -> tuple[Tensor, Tensor]:
    """Returns the heads' outputs side by side and the stream after attention, both [B, L, D] or [N, D].

    Args:
        block: The parameters.
        x: The stream [B, L, D].
        mask: What `attention.mask_of` returned.
        kernels: How to compute; with torch's own attention where the block adds to scores by distance.
        at: The pieces that go on, as indices into B * L [N]; None for all.
        dropout: What is left out.
    """
    if block.relative is not None:
        relative = block.relative(x[:1]).to(x.dtype)
        mask = relative if mask is None else relative + mask
    parts = (block.query, block.key, block.value)
    weight = torch.cat([part.weight.to(x.dtype) for part in parts])
    bias = torch.cat([part.bias.to(x.dtype) for part in parts])
    together = F.linear(x, weight, bias)
    context = attend_heads(together, mask, block.heads, kernels.attention, dropout.attention)
    if at is not None:
        context, x = (values.flatten(0, 1).index_select(0, at) for values in (context, x))
    added = drop(cast_linear(context, block.output), dropout.states)
    return context, cast_layer_norm(x + added, block.attention_norm, kernels)


def feed_forward(
    block: Block, x: Tensor, kernels: Kernels = PLAIN, dropout: Dropout = NO_DROPOUT
) -> tuple[Tensor, Tensor]:
    """Returns the inner activations [..., inner] and the stream after the feed-forward block [..., D]."""
    inner = block.activation(cast_linear(x, block.inner))
    added = drop(cast_linear(inner, block.outer), dropout.states)
    return inner, cast_layer_norm(x + added, block.norm, kernels)


def head_transform(head: Head, states: Tensor, kernels: Kernels = PLAIN) -> Tensor:
    """Returns what a masked-LM head multiplies with the table of pieces [N, D], from states [N, D]."""
    count = len(states)
    states = F.pad(states.to(dtype_of(kernels.head)), (0, 0, 0, filled_up(count) - count))
    return cast_layer_norm(head.activation(cast_linear(states, head.dense)), head.norm, kernels)[:count]
