"""Where an architecture keeps its matrices: the parts of a model of transformers by what they do.

The only file that names the attributes of an architecture. A part holds the modules themselves, so that
whoever changes their parameters changes the model.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from transformers import BertForMaskedLM, BertModel, PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer, BertPooler, BertSelfAttention

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Embeddings:
    """What turns pieces into the first states."""

    pieces: nn.Embedding
    """The table of pieces [V, D]."""
    positions: nn.Embedding
    """Added by position [positions, D]."""
    types: nn.Embedding
    """Added by text: row 0 for the first text, row 1 for the second."""
    norm: nn.LayerNorm
    """Normalises the sum."""


@dataclass(frozen=True)
class Block:
    """One layer: attention, then a feed-forward block, each followed by a sum and a LayerNorm."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear
    """Maps the heads' outputs side by side back to the stream."""
    attention_norm: nn.LayerNorm
    """Normalises the stream after attention."""
    inner: nn.Linear
    """Maps the stream to the inner neurons."""
    outer: nn.Linear
    """Maps the inner neurons back to the stream."""
    norm: nn.LayerNorm
    """Normalises the stream after the feed-forward block."""
    activation: Activation
    """Of the inner neurons."""
    heads: int
    """Attention heads."""

    @property
    def products(self) -> dict[str, tuple[nn.Linear, ...]]:
        """The linear layers, those together that read the same."""
        return {
            "query_key_value": (self.query, self.key, self.value),
            "out": (self.output,),
            "in": (self.inner,),
            "down": (self.outer,),
        }


@dataclass(frozen=True)
class Head:
    """A masked-LM head whose output layer is the table of pieces."""

    bias: nn.Parameter
    """Of the scores [V]."""
    dense: nn.Linear
    """The first step of the transform."""
    norm: nn.LayerNorm
    """The last step of the transform."""
    activation: Activation
    """Between the two."""


def embeddings_of(model: PreTrainedModel) -> Embeddings:
    """Returns the embeddings of a model, with or without a head."""
    found = _encoder(model).embeddings
    return Embeddings(
        found.word_embeddings, found.position_embeddings, found.token_type_embeddings, found.LayerNorm
    )


def blocks_of(model: PreTrainedModel) -> list[Block]:
    """Returns the layers of a model, from the first to the last."""
    return [_block(layer) for layer in cast(list[BertLayer], list(_encoder(model).encoder.layer))]


def _block(layer: BertLayer) -> Block:
    attention = layer.attention
    own = cast(BertSelfAttention, attention.self)
    return Block(
        query=own.query,
        key=own.key,
        value=own.value,
        output=attention.output.dense,
        attention_norm=attention.output.LayerNorm,
        inner=layer.intermediate.dense,
        outer=layer.output.dense,
        norm=layer.output.LayerNorm,
        activation=layer.intermediate.intermediate_act_fn,
        heads=own.num_attention_heads,
    )


def head_of(model: PreTrainedModel) -> Head:
    """Returns the masked-LM head of a model that has one."""
    head = cast(BertForMaskedLM, model).cls.predictions
    transform = head.transform
    return Head(head.bias, transform.dense, transform.LayerNorm, transform.transform_act_fn)


def pooler_of(model: PreTrainedModel) -> nn.Linear:
    """Returns the layer between the first state and the classifier of a text; tanh follows it."""
    return cast(BertPooler, _encoder(model).pooler).dense


def classifier_of(model: PreTrainedModel) -> nn.Linear:
    """Returns the output layer of a model with a head for a task."""
    return cast(nn.Linear, model.classifier)


def parameters_of(part: Embeddings | Block | Head) -> Iterator[nn.Parameter]:
    """Yields the parameters of a part, in an order that depends on its type alone."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, nn.Parameter):
            yield value
        elif isinstance(value, nn.Module):
            yield from value.parameters()


def _encoder(model: PreTrainedModel) -> BertModel:
    return cast(BertModel, model.base_model)
