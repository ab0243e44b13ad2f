"""The graph of an encoder with or without a head, from the parts of a model of transformers.

Shape letters: B batch, L length, D width, V vocabulary.
"""

import dataclasses
from collections.abc import Mapping
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn
from transformers import PreTrainedModel

from lilliput.export.graph import Graph, Rounded, Value
from lilliput.inference.format import VECTORS
from lilliput.models.blocks import Block, blocks_of, classifier_of, embeddings_of, head_of, pooler_of
from lilliput.models.quantization import Grid, InputGrid, QuantizationScheme

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
"""What every graph reads: int64 [batch, length]."""


def encoder_model(
    model: PreTrainedModel,
    head: str,
    scheme: QuantizationScheme,
    grids: Mapping[str, InputGrid],
    *,
    dense: nn.Linear | None = None,
    reads_first: bool = False,
    output_name: str | None = None,
) -> ModelProto:
    """Returns the ONNX model: piece ids, mask and types [B, L] -> scores or states, in float32.

    Args:
        model: A masked LM (mask), a classifier of texts (text) or of pieces (words), or an encoder without a
            head (states).
        head: What the graph gives (`inference.kinds.Kind.head`).
        scheme: How weights are stored.
        grids: To what each product of the layers rounds what it reads (`fake_quantization.input_grids`),
            if weights have eight bits; a product without a grid is computed in float32.
        dense: A linear map of the states, where there is no head. As it is linear, the mean of its outputs is
            its output for the mean.
        reads_first: Whether the first state stands at every piece, where there is no head; then its mean is
            the first state too.
        output_name: What the output is called; by default states, or scores where there is a head.
    """
    assert not grids or scheme.weights == 8
    made = _Encoder(model, scheme, grids)
    # The head that fills in needs the whole table of pieces, all else only the rows of those that are read.
    table = made.table() if head == "mask" else None
    states = made.embeddings(table)
    blocks = blocks_of(model)
    last = len(blocks) - 1
    of_text = head == "text" or reads_first
    for layer, block in enumerate(blocks):
        # Of the last layer, a score of the whole text needs only what becomes of [CLS].
        states = made.layer(block, f"{layer}", states, only_first=of_text and layer == last)
    graph, where = made.graph, ["batch", "length"]
    if head == "states":
        if dense is not None:
            states = made.linear(VECTORS, states, dense, grid=scheme.scores)
        states = made.everywhere(states) if reads_first else states
        width = made.width if dense is None else dense.out_features
        return graph.model(
            INPUTS, graph.name(states, output_name or "states"), [*where, width], version("lilliput")
        )
    if table is not None:
        output, size = made.head(states, table), len(head_of(model).bias)
    else:
        if head == "text":
            first = graph.op("Squeeze", states, graph.whole(1))
            states, where = graph.op("Tanh", made.linear("pooler", first, pooler_of(model))), ["batch"]
        classifier = classifier_of(model)
        output = made.linear("classifier", states, classifier, grid=scheme.scores)
        size = classifier.out_features
    return graph.model(
        INPUTS, graph.name(output, output_name or "scores"), [*where, size], version("lilliput")
    )


class _Encoder:
    """Adds the parts of one model to a graph."""

    def __init__(
        self, model: PreTrainedModel, scheme: QuantizationScheme, grids: Mapping[str, InputGrid]
    ) -> None:
        self._model, self._scheme, self._embeddings = model, scheme, embeddings_of(model)
        self._grids = grids
        self.graph = Graph()
        self.width = self._embeddings.pieces.embedding_dim
        self._length = self.graph.op("Shape", "input_ids", start=1, end=2)
        visible = self.graph.op("Cast", "attention_mask", to=9)  # to bool
        self._mask_of_one = self.graph.op("Unsqueeze", visible, self.graph.whole(1, 2))  # [B, 1, 1, L]
        one, self._batch = self.graph.whole(1), self.graph.op("Shape", "input_ids", start=0, end=1)
        square = self.graph.op("Concat", self._batch, one, self._length, self._length, axis=0)
        self._mask = self.graph.op(
            "Expand", self._mask_of_one, square
        )  # onnxruntime wants a row for each query

    def table(self) -> Value:
        """Adds the embeddings of all pieces [V, D]."""
        return self.graph.matrix("pieces", _array(self._embeddings.pieces.weight), self._scheme.table)

    def embeddings(self, table: Value | None) -> Value:
        """Adds pieces, positions and types [B, L, D], and normalises the sum."""
        op, found, grid = self.graph.op, self._embeddings, self._scheme.table
        positions = self.graph.matrix("positions", _array(found.positions.weight), grid)
        assert found.types is not None, "what is exported is a BERT"
        types = self.graph.matrix("types", _array(found.types.weight), self._scheme.exact)
        if table is None:
            pieces = self.graph.rows("pieces", _array(found.pieces.weight), grid, "input_ids")
        else:
            pieces = op("Gather", table, "input_ids")
        places = op("Slice", positions, self.graph.whole(0), self._length)
        summed = op("Add", pieces, op("Gather", types, "token_type_ids"))
        return self._norm("embeddings.norm", op("Add", summed, places), found.norm)

    def layer(self, block: Block, name: str, states: Value, only_first: bool) -> Value:
        """Adds one layer [B, L, D]; with `only_first` its output for the first piece alone [B, 1, D]."""
        op = self.graph.op
        asking = self._first(states) if only_first else states
        read = self._rounded(f"{name}.query_key_value", states)
        if only_first:
            first: Value | Rounded = asking
            if isinstance(read, Rounded):
                first = dataclasses.replace(read, integers=self._first(read.integers))
            query = self.linear(f"{name}.query", first, block.query)
            both = self.linear(f"{name}.key_value", read, block.key, block.value)
            key, value = self.graph.split_op("Split", both, outputs=2, axis=-1, num_outputs=2)
        else:
            together = self.linear(f"{name}.query_key_value", read, block.query, block.key, block.value)
            query, key, value = self.graph.split_op("Split", together, outputs=3, axis=-1, num_outputs=3)
        mask = self._mask_of_one if only_first else self._mask
        heads = block.heads
        context = op("Attention", query, key, value, mask, q_num_heads=heads, kv_num_heads=heads)
        attended = op("Add", self._reading(f"{name}.out", context, block.output), asking)
        states = self._norm(f"{name}.attention.norm", attended, block.attention_norm)
        before_gelu = self._rounded(f"{name}.in", states)
        matrix = self._grids.get(f"{name}.down", InputGrid(1, 0)).with_pairs(*_matrix(block.inner))
        inner = op("Gelu", self._product(f"{name}.in", before_gelu, *matrix))
        summed = op("Add", self._reading(f"{name}.down", inner, block.outer), states)
        return self._norm(f"{name}.norm", summed, block.norm)

    def everywhere(self, states: Value) -> Value:
        """Adds the state of the first piece [B, 1, D] at the place of every piece [B, L, D]."""
        shape = self.graph.op("Concat", self._batch, self._length, self.graph.whole(1), axis=0)
        return self.graph.op("Expand", states, shape)

    def head(self, states: Value, table: Value) -> Value:
        """Adds the masked-LM head [B, L, V]; its product is with the one stored table of pieces."""
        op, head = self.graph.op, head_of(self._model)
        inner = op("Gelu", self.linear("head", states, head.dense))
        inner = self._norm("head.norm", inner, head.norm)
        product = op("MatMul", inner, op("Transpose", table, perm=[1, 0]))
        return op("Add", product, self._vector("head.scores", head.bias))

    def linear(self, name: str, x: Value | Rounded, *layers: nn.Linear, grid: Grid | None = None) -> Value:
        """Adds the product of `x` with one or several linear layers side by side."""
        return self._product(name, x, *_matrix(*layers), grid=grid)

    def _product(
        self,
        name: str,
        x: Value | Rounded,
        rows: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        grid: Grid | None = None,
    ) -> Value:
        """Adds the product of `x` with the transpose of a matrix, plus a vector."""
        if isinstance(x, Rounded):
            return self.graph.integer_product(name, x, rows, bias)
        weight = self.graph.transposed(name, rows, grid or self._scheme.linear)
        product = self.graph.op("MatMul", x, weight)
        return self.graph.op("Add", product, self.graph.constant(f"{name}.bias", bias))

    def _reading(self, name: str, x: Value, layer: nn.Linear) -> Value:
        """Adds the product of `x` with a linear layer, rounded as that product's grid says."""
        return self.linear(name, self._rounded(name, x), layer)

    def _rounded(self, name: str, x: Value) -> Value | Rounded:
        """Returns what a product reads: rounded if there is a grid for it."""
        grid = self._grids.get(name)
        return x if grid is None else self.graph.rounded(name, x, grid)

    def _first(self, states: Value) -> Value:
        """Returns the first of the pieces [B, 1, D]."""
        return self.graph.op("Slice", states, *(self.graph.whole(n) for n in (0, 1, 1)))

    def _norm(self, name: str, x: Value, norm: nn.LayerNorm) -> Value:
        gain, bias = self._vector(f"{name}.gain", norm.weight), self._vector(f"{name}.bias", norm.bias)
        return self.graph.op("LayerNormalization", x, gain, bias, epsilon=norm.eps)

    def _vector(self, name: str, *parameters: Tensor) -> Value:
        return self.graph.constant(name, _array(*parameters))


def _matrix(*layers: nn.Linear) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the rows and the bias of one or several linear layers side by side."""
    return _array(*(layer.weight for layer in layers)), _array(*(layer.bias for layer in layers))


def _array(*parameters: Tensor) -> NDArray[np.float32]:
    """Returns the rows of one or several parameters."""
    return np.concatenate([parameter.detach().numpy() for parameter in parameters])
