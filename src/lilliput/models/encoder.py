"""BERT's forward pass over the parameters of a transformers model, for teacher and student alike.

transformers holds the parameters and reads and writes the checkpoints; its modules are not called. This
forward is faster in training: one product for query, key and value, no mask where nothing is padded, and
masked-LM heads at masked positions only. Tests hold it equal to `BertForMaskedLM`.

Shape letters: B batch, L length, D width, N positions, V vocabulary.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertForMaskedLM, BertModel
from transformers.models.bert.modeling_bert import BertCrossAttention, BertLayer, BertSelfAttention


def cast_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Returns `layer(x)` in the precision of `x`."""
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def cast_layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Returns `norm(x)` in the precision of `x`; the statistics are taken in float32 by torch itself."""
    return F.layer_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)


def embed(bert: BertModel, words: Tensor) -> Tensor:
    """Adds positions and type 0 to embedded pieces [B, L, D] and normalises them."""
    embeddings = bert.embeddings
    places = (
        embeddings.position_embeddings.weight[: words.shape[1]] + embeddings.token_type_embeddings.weight[0]
    )
    return cast_layer_norm(words + places.to(words.dtype), embeddings.LayerNorm)


def encode(bert: BertModel, words: Tensor, padding: Tensor | None) -> Tensor:
    """Returns the last hidden states [B, L, D] of embedded pieces, without dropout.

    Args:
        bert: The parameters.
        words: Embeddings of the pieces [B, L, D], before positions and normalisation; sets the precision.
        padding: True where a piece is padding [B, L], or None where nothing is.
    """
    x = embed(bert, words)
    mask = None
    if padding is not None:
        mask = torch.zeros_like(padding, dtype=x.dtype).masked_fill_(padding, -math.inf)[:, None, None, :]
    for layer in cast(list[BertLayer], list(bert.encoder.layer)):
        attention = layer.attention
        context = self_attention(x, attention.self, mask)
        x = cast_layer_norm(x + cast_linear(context, attention.output.dense), attention.output.LayerNorm)
        inner = layer.intermediate.intermediate_act_fn(cast_linear(x, layer.intermediate.dense))
        x = cast_layer_norm(x + cast_linear(inner, layer.output.dense), layer.output.LayerNorm)
    return x


def self_attention(
    x: Tensor, attention: BertSelfAttention | BertCrossAttention, mask: Tensor | None
) -> Tensor:
    """Returns the heads' outputs side by side [B, L, D], before the output product.

    Args:
        x: Input [B, L, D].
        attention: The parameters.
        mask: Added to the scores, broadcast to [B, heads, L, L], or None.
    """
    batch, length, width = x.shape
    heads = attention.num_attention_heads
    parts = (attention.query, attention.key, attention.value)
    weight = torch.cat([part.weight for part in parts]).to(x.dtype)
    bias = torch.cat([part.bias for part in parts]).to(x.dtype)
    together = F.linear(x, weight, bias).view(batch, length, 3, heads, width // heads)
    query, key, value = together.permute(2, 0, 3, 1, 4).unbind(0)
    context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return context.transpose(1, 2).reshape(batch, length, width)


def head_transform(model: BertForMaskedLM, hidden: Tensor) -> Tensor:
    """Returns what the masked-LM head multiplies with the embeddings [N, D], from hidden states [N, D]."""
    transform = model.cls.predictions.transform
    return cast_layer_norm(
        transform.transform_act_fn(cast_linear(hidden, transform.dense)), transform.LayerNorm
    )
