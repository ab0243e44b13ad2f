"""The forward pass of a post-norm encoder over the parameters of a transformers model.

transformers holds the parameters and reads and writes the checkpoints; its modules are not called. This
forward is faster in training: one product for query, key and value, no mask where nothing is padded, and
masked-LM heads at masked positions only. Tests hold it equal to the modules of transformers.

Shape letters: B batch, L length, D width, N positions, V vocabulary.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from lilliput.models.blocks import Block, Head, blocks_of, embeddings_of


def cast_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Returns `layer(x)` in the precision of `x`."""
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def cast_layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Returns `norm(x)` in the precision of `x`; the statistics are taken in float32 by torch itself."""
    return F.layer_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)


def embed(model: PreTrainedModel, embedded: Tensor) -> Tensor:
    """Adds positions and type 0 to embedded pieces [B, L, D] and normalises them."""
    parts = embeddings_of(model)
    places = parts.positions.weight[: embedded.shape[1]] + parts.types.weight[0]
    return cast_layer_norm(embedded + places.to(embedded.dtype), parts.norm)


def encode(model: PreTrainedModel, embedded: Tensor, padding: Tensor | None) -> Tensor:
    """Returns the last hidden states [B, L, D] of embedded pieces, without dropout.

    Args:
        model: Holds the parameters.
        embedded: Embedded pieces [B, L, D], before positions and normalisation; sets the precision.
        padding: True where a piece is padding [B, L], or None where nothing is.
    """
    x = embed(model, embedded)
    mask = None
    if padding is not None:
        mask = torch.zeros_like(padding, dtype=x.dtype).masked_fill_(padding, -math.inf)[:, None, None, :]
    for block in blocks_of(model):
        _, x = attend(block, x, mask)
        _, x = feed_forward(block, x)
    return x


def attend(block: Block, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns the heads' outputs side by side and the stream after attention, both [B, L, D].

    Args:
        block: The parameters.
        x: The stream [B, L, D].
        mask: Added to the scores, broadcast to [B, heads, L, L], or None.
    """
    context = _self_attention(block, x, mask)
    return context, cast_layer_norm(x + cast_linear(context, block.output), block.attention_norm)


def feed_forward(block: Block, x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the inner activations [B, L, inner] and the stream after the feed-forward block [B, L, D]."""
    inner = block.activation(cast_linear(x, block.inner))
    return inner, cast_layer_norm(x + cast_linear(inner, block.outer), block.norm)


def _self_attention(block: Block, x: Tensor, mask: Tensor | None) -> Tensor:
    batch, length, width = x.shape
    parts = (block.query, block.key, block.value)
    weight = torch.cat([part.weight for part in parts]).to(x.dtype)
    bias = torch.cat([part.bias for part in parts]).to(x.dtype)
    together = F.linear(x, weight, bias).view(batch, length, 3, block.heads, width // block.heads)
    query, key, value = together.permute(2, 0, 3, 1, 4).unbind(0)
    context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return context.transpose(1, 2).reshape(batch, length, width)


def head_transform(head: Head, states: Tensor) -> Tensor:
    """Returns what a masked-LM head multiplies with the table of pieces [N, D], from states [N, D]."""
    return cast_layer_norm(head.activation(cast_linear(states, head.dense)), head.norm)
