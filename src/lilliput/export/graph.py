"""Builds an ONNX model node by node.

Where integers are multiplied, `QuantizeLinear` and `MatMulIntegerToFloat` are onnxruntime's own operators;
all others are standard. What else was tried, on a 6 x 120 student in one thread with AVX-512, VNNI and AMX:

- `DynamicQuantizeMatMul` takes as long, but rounds on a scale that depends on the whole batch.
- `MatMulNBits` at eight bits takes 0.7 of float32's time for 8 pieces, and 1.2 to 1.3 of it from 16 on.
- `SkipLayerNormalization`, onnxruntime's `MultiHeadAttention` and products of two axes (`Gemm`) gain nothing.
- The standard `QuantizeLinear` and `DequantizeLinear` around standard products, which onnxruntime fuses when
  it opens the file, take 11 ms more to open, and a tenth to a third more for each text.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from lilliput.models.quantization import Grid, InputGrid, packed, quantize

OPSET = 23
"""The first opset with `Attention`; onnxruntime has it since 1.23."""
IR_VERSION = 11
"""The version of the file format that belongs to that opset."""

OWN = "com.microsoft"
"""The domain of onnxruntime's own operators."""

Value = str
"""The name of a tensor in a graph."""


@dataclass(frozen=True)
class Rounded:
    """A tensor of integers that stand for (integer - zero) * scale."""

    integers: Value
    """The integers, uint8."""
    scale: Value
    """The step, a float32."""
    zero: Value
    """The integer that stands for 0."""
    grid: InputGrid
    """How they were."""


class Graph:
    """The nodes and constants of a model that is being built."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}

    def op(self, operator: str, *inputs: Value, domain: str = "", **attributes: Any) -> Value:
        """Returns the output of a new node."""
        (output,) = self.split_op(operator, *inputs, outputs=1, domain=domain, **attributes)
        return output

    def split_op(
        self, operator: str, *inputs: Value, outputs: int, domain: str = "", **attributes: Any
    ) -> list[Value]:
        """Returns the outputs of a new node."""
        made = [f"{len(self._nodes)}{'abc'[index]}" for index in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, made, domain=domain or None, **attributes))
        return made

    def constant(self, name: str, value: NDArray[Any]) -> Value:
        """Returns a new constant with these values."""
        assert name not in self._constants
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def whole(self, *numbers: int) -> Value:
        """Returns a constant vector of integers, for operators that need one; equal ones are shared."""
        name = "whole." + ",".join(map(str, numbers))
        return name if name in self._constants else self.constant(name, np.array(numbers, np.int64))

    def matrix(self, name: str, value: NDArray[np.float32], grid: Grid) -> Value:
        """Returns a matrix in float32, stored on a grid.

        The nodes that multiply integers and scales read only constants, so onnxruntime runs them once, when
        it loads the file: inference is as fast as in float32. It would keep `DequantizeLinear`, and fuse it
        with a matrix product into one that rounds activations too.
        """
        if grid.bits == 32:
            return self.constant(name, value)
        if grid.bits == 16:
            return self._float(self.constant(name, value.astype(np.float16)))
        quantized = quantize(value, grid)
        integers, scales = packed(quantized, grid.bits), quantized.scales
        if integers.shape[1] == 1:
            return self.op(
                "Mul", self._stored(name, integers[:, 0]), self._stored(f"{name}.scale", scales[:, 0])
            )
        groups = self.op("Mul", self._stored(name, integers), self._stored(f"{name}.scale", scales))
        return self.op("Reshape", groups, self.whole(0, -1))

    def transposed(self, name: str, value: NDArray[np.float32], grid: Grid) -> Value:
        """Returns the transpose of a matrix, stored on a grid; stored transposed if a row has one scale.

        Otherwise it would be transposed each time the file is loaded.
        """
        if grid.bits == 32:
            return self.constant(name, value.T)
        if grid.bits == 16:
            return self._float(self.constant(name, value.T.astype(np.float16)))
        if grid.length(value.shape[1]) < value.shape[1]:
            return self.op("Transpose", self.matrix(name, value, grid), perm=[1, 0])
        quantized = quantize(value, grid)
        integers, scales = packed(quantized, grid.bits)[:, 0], quantized.scales[:, 0]
        return self.op("Mul", self._stored(name, integers.T), self._stored(f"{name}.scale", scales.T))

    def rounded(self, name: str, value: Value, grid: InputGrid) -> Rounded:
        """Returns a tensor rounded to a grid."""
        scale = self.constant(f"{name}.step", np.array(grid.scale, np.float32))
        zero = self.constant(f"{name}.zero", np.array(grid.zero, np.uint8))
        # onnxruntime 1.23 has its own, but not yet that of this opset.
        integers = self.op("QuantizeLinear", value, scale, zero, domain=OWN)
        return Rounded(integers, scale, zero, grid)

    def integer_product(
        self, name: str, x: Rounded, rows: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> Value:
        """Returns the product of integers with the transpose of a matrix of eight bits, plus a vector.

        Integers are summed exactly; the sums are multiplied with both scales in float32. `x` has further
        columns for large neurons (`InputGrid.with_pairs`), the matrix and the vector have not.
        """
        quantized = quantize(rows, Grid(8, 0))
        values, scales = quantized.values[:, 0], quantized.scales[:, 0]
        first = values[:, list(x.grid.large)]
        second = -np.maximum(first, -127)  # the opposite of -128 is no int8
        # The second columns are at the end of the grid where the neuron itself is not.
        bias = bias - x.grid.most * (second * scales.astype(np.float32)).sum(1)
        no_zero = ""  # of weights
        return self.op(
            "MatMulIntegerToFloat",
            x.integers,
            self.constant(name, np.concatenate([values, first, second], 1).T),
            x.scale,
            self._stored(f"{name}.scale", scales.T),
            *(x.zero, no_zero, self.constant(f"{name}.bias", bias.astype(np.float32))),
            domain=OWN,
        )

    def rows(self, name: str, value: NDArray[np.float32], grid: Grid, numbers: Value) -> Value:
        """Returns some rows of a matrix in float32, stored on a grid.

        If a row has one scale, only these rows are multiplied by theirs, else the whole matrix is.
        """
        if grid.bits not in (8, 16):
            return self.op("Gather", self.matrix(name, value, grid), numbers)
        if grid.bits == 16:
            return self._float(self.op("Gather", self.constant(name, value.astype(np.float16)), numbers))
        quantized = quantize(value, grid)
        integers = self.constant(name, quantized.values[:, 0])
        scales = self.constant(f"{name}.scale", quantized.scales[:, 0])
        found, sizes = (self._float(self.op("Gather", table, numbers)) for table in (integers, scales))
        return self.op("Mul", found, sizes)

    def model(self, inputs: list[Value], output: Value, shape: list[str | int], producer: str) -> ModelProto:
        """Returns the model, checked; `output` is float32 of that shape, inputs are int64 [batch, length]."""
        made = helper.make_model(
            helper.make_graph(
                self._nodes,
                "bert",
                [
                    helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
                    for name in inputs
                ],
                [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
                list(self._constants.values()),
            ),
            opset_imports=[helper.make_opsetid(domain, number) for domain, number in self._domains()],
            ir_version=IR_VERSION,
            producer_name="lilliput",
            producer_version=producer,
        )
        checker.check_model(made, full_check=True)
        return made

    def _domains(self) -> list[tuple[str, int]]:
        """Returns the domains of the operators, with their versions."""
        return [("", OPSET)] + [(OWN, 1)] * any(node.domain == OWN for node in self._nodes)

    def name(self, value: Value, name: str) -> Value:
        """Returns the output of the last node under another name."""
        assert self._nodes[-1].output[0] == value
        self._nodes[-1].output[0] = name
        return name

    def _stored(self, name: str, value: NDArray[Any]) -> Value:
        return self._float(self.constant(name, value))

    def _float(self, value: Value) -> Value:
        return self.op("Cast", value, to=TensorProto.FLOAT)
