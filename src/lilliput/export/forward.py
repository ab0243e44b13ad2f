"""An encoder's forward pass over one text, in the few operators that ExecuTorch hands to XNNPACK.

A phone reads one text at a time, so nothing is padded and there is no mask; states have no axis for a batch.

Shape letters: L length, D width, H heads, V vocabulary.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lilliput.export.source import Source
from lilliput.models.blocks import Block, blocks_of, classifier_of, embeddings_of, head_of, pooler_of
from lilliput.models.quantization import Grid, QuantizationScheme


class Forward(nn.Module):
    """The pieces of one text [1, L] and their types [1, L] -> what the ONNX graph gives for that text.

    Linear layers and tables are copies, so that they can be quantized without a change to the source.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.head = source.answers.head
        embeddings = embeddings_of(source.model)
        self.pieces = _table(embeddings.pieces)
        self.positions = _table(embeddings.positions)
        assert embeddings.types is not None, "what is exported is a BERT"
        self.types = _table(embeddings.types)
        self.norm = embeddings.norm
        self.layers = nn.ModuleList(_Layer(block) for block in blocks_of(source.model))
        if self.head == "mask":
            head = head_of(source.model)
            self.transform, self.transform_norm = _linear(head.dense), head.norm
            # A layer like others to XNNPACK, which cannot multiply with the table that is looked up in.
            self.scores = _layer_of([embeddings.pieces.weight], [head.bias])
        elif self.head != "states":
            if self.head == "text":
                self.pooled = _linear(pooler_of(source.model))
            self.scores = _linear(classifier_of(source.model))
        elif source.dense is not None:
            self.scores = _linear(source.dense)
        self.reads_first, self.has_scores = source.reads_first, hasattr(self, "scores")

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        """Returns scores [1, columns] or [1, L, columns], or states [1, L, D]."""
        pieces, types = self.pieces(input_ids[0]), self.types(token_type_ids[0])
        x = self.norm(pieces + types + self.positions(torch.arange(input_ids.shape[1])))
        for layer in self.layers:
            x = layer(x)
        if self.head == "mask":
            x = self.scores(self.transform_norm(F.gelu(self.transform(x))))
        elif self.head == "text":
            return cast(Tensor, self.scores(torch.tanh(self.pooled(x[:1]))))
        elif self.has_scores:
            x = self.scores(x)
        if self.reads_first:
            x = x[:1].expand(x.shape[0], -1)
        return cast(Tensor, x[None])

    def grids(self, scheme: QuantizationScheme) -> dict[nn.Linear | nn.Embedding, Grid]:
        """Returns how each linear layer and table is stored; the output layer of a masked LM is as others."""
        found: dict[nn.Linear | nn.Embedding, Grid] = {
            self.pieces: scheme.table,
            self.positions: scheme.table,
            self.types: scheme.exact,
        }
        found |= {module: scheme.linear for module in self.modules() if isinstance(module, nn.Linear)}
        if self.head != "mask" and self.has_scores:
            found[self.scores] = scheme.scores
        return found


class _Layer(nn.Module):
    """One layer: states [L, D] -> states [L, D]."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.heads = block.heads
        self.query_key_value = _linear(block.query, block.key, block.value)
        self.out, self.out_norm = _linear(block.output), block.attention_norm
        self.inner = _linear(block.inner)
        self.down, self.norm = _linear(block.outer), block.norm

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
    return _layer_of([source.weight for source in sources], [source.bias for source in sources])


def _layer_of(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> nn.Linear:
    """Returns a linear layer of its own with some rows one after the other."""
    weight = torch.cat([weight.detach() for weight in weights])
    copy = nn.Linear(weight.shape[1], weight.shape[0])
    copy.weight = nn.Parameter(weight, requires_grad=False)
    copy.bias = nn.Parameter(torch.cat([bias.detach() for bias in biases]), requires_grad=False)
    return copy


def _table(source: nn.Embedding) -> nn.Embedding:
    """Returns a copy of a table, without the mark of padding that ExecuTorch's quantized tables lack."""
    rows, columns = source.weight.shape
    return nn.Embedding(rows, columns, _weight=source.weight.detach().clone(), _freeze=True)
