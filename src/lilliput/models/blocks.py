"""Where an architecture keeps its matrices: the parts of a model of transformers by what they do.

The only file that names the attributes of an architecture. A part holds the modules themselves, so that
whoever changes their parameters changes the model.

Known are post-norm encoders, which differ from a BERT by names, by where positions begin, by what they lack,
and, of MPNet, by a bias of attention. `encoder` computes them and `warm_start` projects them. All others have
a forward pass of their own (`own_modules`).
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertModel, PreTrainedConfig, PreTrainedModel
from transformers.models.bert.modeling_bert import BertPooler

from lilliput.errors import ModelError

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Names:
    """The attributes by which a post-norm encoder has its parts."""

    layers: str
    """In the encoder."""
    query: str
    """In a layer, as all that follow up to the head."""
    key: str
    value: str
    output: str
    attention_norm: str
    inner: str
    outer: str
    norm: str
    activation: str
    heads: str
    head_bias: str
    """In the model with a head, as all that follow."""
    head_dense: str
    head_norm: str
    head_activation: str | None
    """None where it is the gelu."""


_BERT = _Names(
    layers="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    inner="intermediate.dense",
    outer="output.dense",
    norm="output.LayerNorm",
    activation="intermediate.intermediate_act_fn",
    heads="attention.self.num_attention_heads",
    head_bias="cls.predictions.bias",
    head_dense="cls.predictions.transform.dense",
    head_norm="cls.predictions.transform.LayerNorm",
    head_activation="cls.predictions.transform.transform_act_fn",
)
_ROBERTA = dataclasses.replace(
    _BERT,
    head_bias="lm_head.bias",
    head_dense="lm_head.dense",
    head_norm="lm_head.layer_norm",
    head_activation=None,
)
_MPNET = dataclasses.replace(
    _ROBERTA,
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    output="attention.attn.o",
    attention_norm="attention.LayerNorm",
    heads="attention.attn.num_attention_heads",
)
_DISTILBERT = _Names(
    layers="transformer.layer",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    output="attention.out_lin",
    attention_norm="sa_layer_norm",
    inner="ffn.lin1",
    outer="ffn.lin2",
    norm="output_layer_norm",
    activation="ffn.activation",
    heads="attention.n_heads",
    head_bias="vocab_projector.bias",
    head_dense="vocab_transform",
    head_norm="vocab_layer_norm",
    head_activation="activation",
)
_KNOWN = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": _DISTILBERT,
    "mpnet": _MPNET,
}
"""By model_type, as pre-norm encoders have the same names (roberta-prelayernorm)."""


@dataclass(frozen=True)
class Embeddings:
    """What turns pieces into the first states."""

    pieces: nn.Embedding
    """The table of pieces [V, D]."""
    positions: nn.Embedding
    """Added by position [first + positions, D]."""
    types: nn.Embedding | None
    """Added by text: row 0 for the first text, row 1 for the second; None where nothing is, and one row where
    texts are not told apart."""
    norm: nn.LayerNorm
    """Normalises the sum."""
    first: int = 0
    """The row of the first position."""


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
    relative: Callable[[Tensor], Tensor] | None = None
    """Gives what is added to the scores of attention [1, heads, L, L] by distance, of a stream [1, L, D]."""

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


def has_blocks(config: PreTrainedConfig) -> bool:
    """Returns whether the parts of a model are known here."""
    return config.model_type in _KNOWN


def embeddings_of(model: PreTrainedModel) -> Embeddings:
    """Returns the embeddings of a model, with or without a head."""
    _names_of(model)
    found = _encoder(model).embeddings
    positions = found.position_embeddings
    return Embeddings(
        found.word_embeddings,
        positions,
        cast(nn.Embedding | None, found._modules.get("token_type_embeddings")),
        found.LayerNorm,
        0 if positions.padding_idx is None else positions.padding_idx + 1,
    )


def blocks_of(model: PreTrainedModel) -> list[Block]:
    """Returns the layers of a model, from the first to the last."""
    names, encoder = _names_of(model), _encoder(model)
    layers, bias = attrgetter(names.layers)(encoder), None
    if names is _MPNET:
        bias = cast(Any, encoder.encoder).compute_position_bias
    return [_block(layer, names, bias) for layer in layers]


def _block(layer: nn.Module, names: _Names, relative: Callable[[Tensor], Tensor] | None) -> Block:
    return Block(
        query=attrgetter(names.query)(layer),
        key=attrgetter(names.key)(layer),
        value=attrgetter(names.value)(layer),
        output=attrgetter(names.output)(layer),
        attention_norm=attrgetter(names.attention_norm)(layer),
        inner=attrgetter(names.inner)(layer),
        outer=attrgetter(names.outer)(layer),
        norm=attrgetter(names.norm)(layer),
        activation=attrgetter(names.activation)(layer),
        heads=attrgetter(names.heads)(layer),
        relative=relative,
    )


def head_of(model: PreTrainedModel) -> Head:
    """Returns the masked-LM head of a model that has one."""
    names = _names_of(model)
    return Head(
        attrgetter(names.head_bias)(model),
        attrgetter(names.head_dense)(model),
        attrgetter(names.head_norm)(model),
        attrgetter(names.head_activation)(model) if names.head_activation else F.gelu,
    )


def pooler_of(model: PreTrainedModel) -> nn.Linear:
    """Returns the layer between the first state and the classifier of a text; tanh follows it."""
    return cast(BertPooler, _encoder(model).pooler).dense


def classifier_of(model: PreTrainedModel) -> nn.Linear:
    """Returns the output layer of a model with a head for a task."""
    return cast(nn.Linear, model.classifier)


def parameters_of(part: Embeddings | Block | Head) -> Iterator[tuple[str, nn.Parameter]]:
    """Yields the parameters of a part, each with its role, in an order that depends on its type alone."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, nn.Parameter):
            yield field.name, value
        elif isinstance(value, nn.Module):
            yield from ((f"{field.name}.{name}", found) for name, found in value.named_parameters())


def _names_of(model: PreTrainedModel) -> _Names:
    names = _KNOWN.get(model.config.model_type)
    if names is None:
        raise ModelError(
            f"lilliput does not know where a '{model.config.model_type}' keeps its matrices; known are "
            f"{', '.join(_KNOWN)}"
        )
    return names


def _encoder(model: PreTrainedModel) -> BertModel:
    return cast(BertModel, model.base_model)
