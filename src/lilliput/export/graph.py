"""Builds an ONNX model node by node.

Only standard operators are used, so any runtime of this opset reads the file. onnxruntime's own fused ones
were tried, on a 6 x 120 student and a sentence of 32 pieces. The standard `Attention` took 1.5 ms, that of
onnxruntime 1.6, with `SkipLayerNormalization` too 1.9, and nothing fused 1.7. `MatMulNBits` at four and eight
bits took 2.0 and 2.4. `DynamicQuantizeMatMul` took 0.9, but rounds activations on a scale that depends on the
whole batch, and its sums overflow on processors without VNNI.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from lilliput.models.quantization import Grid, packed, quantize

OPSET = 23
"""The first opset with `Attention`; onnxruntime has it since 1.23."""
IR_VERSION = 11
"""The version of the file format that belongs to that opset."""

Value = str
"""The name of a tensor in a graph."""


class Graph:
    """The nodes and constants of a model that is being built."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}

    def op(self, operator: str, *inputs: Value, **attributes: Any) -> Value:
        """Returns the output of a new node."""
        (output,) = self.split_op(operator, *inputs, outputs=1, **attributes)
        return output

    def split_op(self, operator: str, *inputs: Value, outputs: int, **attributes: Any) -> list[Value]:
        """Returns the outputs of a new node."""
        made = [f"{len(self._nodes)}{'abc'[index]}" for index in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, made, **attributes))
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
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="lilliput",
            producer_version=producer,
        )
        checker.check_model(made, full_check=True)
        return made

    def name(self, value: Value, name: str) -> Value:
        """Returns the output of the last node under another name."""
        assert self._nodes[-1].output[0] == value
        self._nodes[-1].output[0] = name
        return name

    def _stored(self, name: str, value: NDArray[Any]) -> Value:
        return self._float(self.constant(name, value))

    def _float(self, value: Value) -> Value:
        return self.op("Cast", value, to=TensorProto.FLOAT)
