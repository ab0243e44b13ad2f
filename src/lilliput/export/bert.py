"""The graph of a BERT, from the parameters of a transformers checkpoint by their names.

Shape letters: B batch, L length, D width, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from lilliput.export.graph import Graph, Value
from lilliput.inference.kinds import Kind
from lilliput.models.quantization import Grid, QuantizationPlan, grid_of

Parameters = Mapping[str, NDArray[np.float32]]
"""Parameters by the names that transformers gives them."""

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
"""What every graph reads: int64 [batch, length]."""


@dataclass(frozen=True)
class Shape:
    """What a BERT's parameters do not say of themselves."""

    layers: int
    heads: int
    epsilon: float
    """Added to the variance in layer norms."""


def bert_model(parameters: Parameters, shape: Shape, kind: Kind, plan: QuantizationPlan) -> ModelProto:
    """Returns the ONNX model: piece ids, mask and types [B, L] -> scores or states, in float32.

    Args:
        parameters: By the kind's head those of a BertForSequenceClassification (text),
            BertForTokenClassification (words), BertForMaskedLM (mask) or BertModel (states).
        shape: The BERT's.
        kind: What is answered.
        plan: How weights are stored.
    """
    bert = _Bert(parameters, shape, plan)
    # The head that fills in needs the whole table of pieces, all else only the rows of those that are read.
    table = bert.table() if kind.head == "mask" else None
    states = bert.embeddings(table)
    last = shape.layers - 1
    of_text = kind.head == "text"
    for layer in range(shape.layers):
        # Of the last layer, a score of the whole text needs only what becomes of [CLS].
        states = bert.layer(
            f"encoder.layer.{layer}", f"{layer}", states, only_first=of_text and layer == last
        )
    graph, where = bert.graph, ["batch", "length"]
    if kind.head == "states":
        return graph.model(INPUTS, graph.name(states, "states"), [*where, bert.width], version("lilliput"))
    if table is not None:
        output = bert.head(states, table)
    elif of_text:
        first = graph.op("Squeeze", states, graph.whole(1))
        pooled = graph.op("Tanh", bert.linear("pooler", first, "pooler.dense"))
        output, where = bert.linear("classifier", pooled, "classifier"), ["batch"]
    else:
        output = bert.linear("classifier", states, "classifier")
    size = len(parameters["cls.predictions.bias" if kind.head == "mask" else "classifier.bias"])
    return graph.model(INPUTS, graph.name(output, "scores"), [*where, size], version("lilliput"))


class _Bert:
    """Adds the parts of one BERT to a graph."""

    def __init__(self, parameters: Parameters, shape: Shape, plan: QuantizationPlan) -> None:
        # A BertModel's own parameters have this prefix wherever it is a part of something.
        self._parameters = {name.removeprefix("bert."): value for name, value in parameters.items()}
        self._shape, self._plan = shape, plan
        self.graph = Graph()
        self.width = self._parameters["embeddings.word_embeddings.weight"].shape[1]
        self._length = self.graph.op("Shape", "input_ids", start=1, end=2)
        visible = self.graph.op("Cast", "attention_mask", to=9)  # to bool
        self._mask_of_one = self.graph.op("Unsqueeze", visible, self.graph.whole(1, 2))  # [B, 1, 1, L]
        one, batch = self.graph.whole(1), self.graph.op("Shape", "input_ids", start=0, end=1)
        square = self.graph.op("Concat", batch, one, self._length, self._length, axis=0)
        self._mask = self.graph.op(
            "Expand", self._mask_of_one, square
        )  # onnxruntime wants a row for each query

    def table(self) -> Value:
        """Adds the embeddings of all pieces [V, D]."""
        return self.graph.matrix("pieces", *self._weight("embeddings.word_embeddings"))

    def embeddings(self, table: Value | None) -> Value:
        """Adds pieces, positions and types [B, L, D], and normalises the sum."""
        op = self.graph.op
        positions = self.graph.matrix("positions", *self._weight("embeddings.position_embeddings"))
        types = self.graph.matrix("types", *self._weight("embeddings.token_type_embeddings"))
        if table is None:
            pieces = self.graph.rows("pieces", *self._weight("embeddings.word_embeddings"), "input_ids")
        else:
            pieces = op("Gather", table, "input_ids")
        places = op("Slice", positions, self.graph.whole(0), self._length)
        summed = op("Add", pieces, op("Gather", types, "token_type_ids"))
        return self._norm("embeddings.norm", op("Add", summed, places), "embeddings.LayerNorm")

    def layer(self, source: str, name: str, states: Value, only_first: bool) -> Value:
        """Adds one layer [B, L, D]; with `only_first` its output for the first piece alone [B, 1, D]."""
        op, own = self.graph.op, f"{source}.attention.self"
        asking = op("Slice", states, *(self.graph.whole(n) for n in (0, 1, 1))) if only_first else states
        if only_first:
            query = self.linear(f"{name}.query", asking, f"{own}.query")
            both = self.linear(f"{name}.key_value", states, f"{own}.key", f"{own}.value")
            key, value = self.graph.split_op("Split", both, outputs=2, axis=-1, num_outputs=2)
        else:
            together = self.linear(
                f"{name}.query_key_value", states, *(f"{own}.{x}" for x in ("query", "key", "value"))
            )
            query, key, value = self.graph.split_op("Split", together, outputs=3, axis=-1, num_outputs=3)
        mask = self._mask_of_one if only_first else self._mask
        heads = self._shape.heads
        context = op("Attention", query, key, value, mask, q_num_heads=heads, kv_num_heads=heads)
        attended = op("Add", self.linear(f"{name}.out", context, f"{source}.attention.output.dense"), asking)
        states = self._norm(f"{name}.attention.norm", attended, f"{source}.attention.output.LayerNorm")
        inner = op("Gelu", self.linear(f"{name}.in", states, f"{source}.intermediate.dense"))
        summed = op("Add", self.linear(f"{name}.down", inner, f"{source}.output.dense"), states)
        return self._norm(f"{name}.norm", summed, f"{source}.output.LayerNorm")

    def head(self, states: Value, table: Value) -> Value:
        """Adds the masked-LM head [B, L, V]; its product is with the one stored table of pieces."""
        op, source = self.graph.op, "cls.predictions"
        inner = op("Gelu", self.linear("head", states, f"{source}.transform.dense"))
        inner = self._norm("head.norm", inner, f"{source}.transform.LayerNorm")
        product = op("MatMul", inner, op("Transpose", table, perm=[1, 0]))
        return op("Add", product, self._vector("head.scores", f"{source}.bias"))

    def linear(self, name: str, x: Value, *sources: str) -> Value:
        """Adds the product of `x` with one or several linear layers side by side."""
        weight = self.graph.transposed(name, *self._weight(*sources))
        biases = [f"{source}.bias" for source in sources]
        return self.graph.op("Add", self.graph.op("MatMul", x, weight), self._vector(f"{name}.bias", *biases))

    def _norm(self, name: str, x: Value, source: str) -> Value:
        gain = self._vector(f"{name}.gain", f"{source}.weight")
        bias = self._vector(f"{name}.bias", f"{source}.bias")
        return self.graph.op("LayerNormalization", x, gain, bias, epsilon=self._shape.epsilon)

    def _weight(self, *sources: str) -> tuple[NDArray[np.float32], Grid]:
        """Returns the rows of one or several matrices, and how they are stored."""
        rows = np.concatenate([self._parameters[f"{source}.weight"] for source in sources])
        return rows, grid_of(f"{sources[0]}.weight", self._plan)

    def _vector(self, name: str, *sources: str) -> Value:
        return self.graph.constant(name, np.concatenate([self._parameters[source] for source in sources]))
