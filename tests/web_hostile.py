"""Graphs that no bundle has, or that compute without end, for the tests of the page."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

PIECES, LARGE = 600, 250_000
"""Of the tokenizer of the bundles in which the graphs are put, and of a large one."""
CLASSES = 5_000
Array = npt.NDArray[np.generic]


def _graph(nodes: list[NodeProto], arrays: dict[str, Array]) -> onnx.ModelProto:
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    used = [helper.make_node("Add", ["attention_mask", "token_type_ids"], ["unused"])]
    made = helper.make_graph(
        [*nodes, *used],
        "graph",
        inputs,
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _table(pieces: int = PIECES, width: int = 4) -> Array:
    return np.random.default_rng(1).standard_normal((pieces, width)).astype(np.float32)


def slow_to_open() -> onnx.ModelProto:
    """Multiplies constants of 16 million numbers five hundred times, of a file of a few bytes."""
    node = helper.make_node
    nodes = [node("Expand", ["one", "shape"], ["x0"])]
    nodes += [node("MatMul", [f"x{step}", f"x{step}"], [f"x{step + 1}"]) for step in range(500)]
    nodes += [
        node("Gather", ["table", "input_ids"], ["read"]),
        node("ReduceSum", ["x500", "axes"], ["sum"]),
        node("Add", ["read", "sum"], ["states"]),
    ]
    shape = np.array([4096, 4096])
    return _graph(
        nodes,
        {"one": np.ones((1, 1), np.float32), "shape": shape, "table": _table(), "axes": np.array([0, 1])},
    )


def slow_to_answer() -> onnx.ModelProto:
    """Multiplies matrices with sides of the square of a text's pieces: two take nothing, sixty take hours."""
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["read"]),
        node("Transpose", ["read"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["read", "turned"], ["square"]),
        node("Reshape", ["square", "column"], ["tall"]),
        node("Reshape", ["square", "row"], ["wide"]),
        node("MatMul", ["tall", "wide"], ["x0"]),
    ]
    nodes += [node("MatMul", [f"x{step}", f"x{step}"], [f"x{step + 1}"]) for step in range(200)]
    nodes += [
        node("ReduceSum", ["x200", "axes"], ["sum"]),
        node("Mul", ["sum", "zero"], ["nothing"]),
        node("Add", ["read", "read"], ["states"]),
        node("Add", ["nothing", "zero"], ["kept"]),
    ]
    arrays = {"table": _table() / 1000, "column": np.array([1, -1, 1]), "row": np.array([1, 1, -1])}
    made = _graph(nodes, arrays | {"axes": np.array([1, 2]), "zero": np.zeros(1, np.float32)})
    made.graph.output.append(helper.make_tensor_value_info("kept", TensorProto.FLOAT, None))
    return made


def not_a_number() -> onnx.ModelProto:
    """Gives NaN for the piece 60 and higher ones."""
    table = _table()
    table[60:] = np.nan
    return _graph([helper.make_node("Gather", ["table", "input_ids"], ["states"])], {"table": table})


def loop() -> onnx.ModelProto:
    """Loops for ever."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )
    nodes = [
        helper.make_node("Loop", ["", "true"], [], body=body),
        helper.make_node("Gather", ["table", "input_ids"], ["states"]),
    ]
    return _graph(nodes, {"table": _table(), "true": np.array(True)})


def outside() -> onnx.ModelProto:
    """Has its weights in another file."""
    made = _graph([helper.make_node("Gather", ["table", "input_ids"], ["states"])], {"table": _table()})
    onnx.external_data_helper.set_external_data(made.graph.initializer[0], "../../secret", 0, 9600)
    return made


def foreign() -> onnx.ModelProto:
    """Has an operator of another domain."""
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["states"], domain="com.example")]
    return _graph(nodes, {"table": _table()})


def scattered() -> onnx.ModelProto:
    """Has a constant of billions of numbers, of which it gives one."""
    made = _graph([helper.make_node("Gather", ["table", "input_ids"], ["states"])], {"table": _table()})
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("many", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("", TensorProto.INT64, [1], [0]),
        [1_000_000, 1_000_000],
    )
    made.graph.sparse_initializer.append(sparse)
    return made


def huge() -> onnx.ModelProto:
    """Makes a tensor of 64 GB out of a few bytes."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["read"]),
        helper.make_node("Expand", ["one", "shape"], ["large"]),
        helper.make_node("ReduceSum", ["large", "axes"], ["sum"]),
        helper.make_node("Add", ["read", "sum"], ["states"]),
    ]
    shape = np.array([1 << 17, 1 << 17])
    return _graph(
        nodes,
        {"one": np.ones((1, 1), np.float32), "shape": shape, "table": _table(), "axes": np.array([0, 1])},
    )


def many_classes() -> onnx.ModelProto:
    """Gives each text one of five thousand classes."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["read"]),
        helper.make_node("ReduceSum", ["read", "axes"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["sum", "matrix"], ["states"]),
    ]
    matrix = np.random.default_rng(2).standard_normal((4, CLASSES)).astype(np.float32)
    return _graph(nodes, {"table": _table(), "axes": np.array([1]), "matrix": matrix})


def large_vocabulary() -> onnx.ModelProto:
    """Guesses one of 250,000 pieces."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["read"]),
        helper.make_node("MatMul", ["read", "matrix"], ["states"]),
    ]
    matrix = np.random.default_rng(2).standard_normal((4, LARGE)).astype(np.float32)
    return _graph(nodes, {"table": _table(LARGE), "matrix": matrix})


GRAPHS = (
    slow_to_open,
    slow_to_answer,
    not_a_number,
    loop,
    outside,
    foreign,
    scattered,
    huge,
    many_classes,
    large_vocabulary,
)


def write_graphs(folder: Path) -> None:
    """Writes the graphs, each as NAME.onnx."""
    folder.mkdir()
    for make in GRAPHS:
        (folder / f"{make.__name__}.onnx").write_bytes(make().SerializeToString())
