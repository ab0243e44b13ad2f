"""A BERT's forward pass over one text, in the few operators that ExecuTorch hands to XNNPACK.

A phone reads one text at a time, so nothing is padded and there is no mask; states have no axis for a batch.

Shape letters: L length, D width, H heads, V vocabulary.
"""

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertLayer

from lilliput.export.source import Source


class Forward(nn.Module):
    """The pieces of one text [1, L] and their types [1, L] -> what the ONNX graph gives for that text.

    Linear layers and tables are copies, so that they can be quantized without a change to the source.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        model: Any = source.model
        bert = getattr(model, "bert", model)
        self.head = source.answers.head
        embeddings = bert.embeddings
        self.word_embeddings = _table(embeddings.word_embeddings)
        self.position_embeddings = _table(embeddings.position_embeddings)
        self.token_type_embeddings = _table(embeddings.token_type_embeddings)
        self.norm = embeddings.LayerNorm
        layers = cast(list[BertLayer], list(bert.encoder.layer))
        self.layers = nn.ModuleList(_Layer(layer, source.shape.heads) for layer in layers)
        if self.head == "mask":
            head = model.cls.predictions
            self.transform, self.transform_norm = _linear(head.transform.dense), head.transform.LayerNorm
            # A layer like others to XNNPACK, which cannot multiply with the table that is looked up in.
            self.scores = _linear(head.decoder)
        elif self.head != "states":
            if self.head == "text":
                self.pooler = _linear(bert.pooler.dense)
            self.classifier = _linear(model.classifier)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        """Returns scores [1, columns] or [1, L, columns], or states [1, L, D]."""
        pieces, types = self.word_embeddings(input_ids[0]), self.token_type_embeddings(token_type_ids[0])
        x = self.norm(pieces + types + self.position_embeddings(torch.arange(input_ids.shape[1])))
        for layer in self.layers:
            x = layer(x)
        if self.head == "mask":
            x = self.scores(self.transform_norm(F.gelu(self.transform(x))))
        elif self.head == "text":
            return cast(Tensor, self.classifier(torch.tanh(self.pooler(x[:1]))))
        elif self.head != "states":
            x = self.classifier(x)
        return cast(Tensor, x[None])


class _Layer(nn.Module):
    """One layer: states [L, D] -> states [L, D]."""

    def __init__(self, layer: BertLayer, heads: int) -> None:
        super().__init__()
        attention = layer.attention
        self.heads = heads
        self.query_key_value = _linear(attention.self.query, attention.self.key, attention.self.value)
        self.out, self.out_norm = _linear(attention.output.dense), attention.output.LayerNorm
        self.inner = _linear(layer.intermediate.dense)
        self.down, self.norm = _linear(layer.output.dense), layer.output.LayerNorm

    def forward(self, x: Tensor) -> Tensor:
        length, width = x.shape
        size = width // self.heads
        together = self.query_key_value(x).view(length, 3 * self.heads, size).transpose(0, 1)
        query, key, value = together.split(self.heads)  # [H, L, D/H] each
        scores = torch.bmm(query / math.sqrt(size), key.transpose(1, 2))
        context = torch.bmm(scores.softmax(-1), value).transpose(0, 1).reshape(length, width)
        x = self.out_norm(x + self.out(context))
        return cast(Tensor, self.norm(x + self.down(F.gelu(self.inner(x)))))


def _linear(*sources: nn.Linear) -> nn.Linear:
    """Returns several linear layers side by side as one, of their own."""
    weight = torch.cat([source.weight.detach() for source in sources])
    copy = nn.Linear(weight.shape[1], weight.shape[0])
    copy.weight = nn.Parameter(weight, requires_grad=False)
    bias = torch.cat([source.bias.detach() for source in sources])
    copy.bias = nn.Parameter(bias, requires_grad=False)
    return copy


def _table(source: nn.Embedding) -> nn.Embedding:
    """Returns a copy of a table, without the mark of padding that ExecuTorch's quantized tables lack."""
    rows, columns = source.weight.shape
    return nn.Embedding(rows, columns, _weight=source.weight.detach().clone(), _freeze=True)
