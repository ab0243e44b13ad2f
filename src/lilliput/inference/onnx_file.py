"""Parses an untrusted ONNX file without the onnx package, and refuses what no bundle has.

Reads the shapes of constants, and the nodes with their inputs and outputs, in the order of the file. Refuses
what else onnxruntime would follow: graphs within nodes, functions, weights in other files, operators of other
domains (but two of onnxruntime's own). Also refuses a field that occurs twice but may occur once, as readers
differ in which one counts.

The wire format: https://protobuf.dev/programming-guides/encoding; the fields: onnx/onnx.proto.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

MOST_NODES = 20_000
"""Nodes of a graph, and constants: a BERT has about 25 of each per layer."""
_MOST_FIELDS, _MOST_BYTES = 100_000, 1 << 22
"""Fields of a message, and bytes of all nodes and constants without their values: a BERT has 200 kB."""
_KNOWN_VALUES = 64
"""Integer constants up to this size are read, as they may be a shape or axes; larger ones are weights."""
BITS = {1: 32, 2: 8, 3: 8, 6: 32, 7: 64, 9: 8, 10: 16, 16: 16, 21: 4, 22: 4}
"""Bits of an element by the number of its type: floats and integers of 4 to 64 bits, and booleans."""
_INT64 = 7
_STANDARD, _OWN = ("", "ai.onnx"), "com.microsoft"
_OWN_OPERATORS = ("MatMulIntegerToFloat", "QuantizeLinear")
"""The operators of onnxruntime itself that bundles have."""
_TYPES = {1: "<f4", 3: "<i1", 10: "<f2"}
"""Types of the constants whose numbers are read, by their number."""
_T = TypeVar("_T")


class Constant(NamedTuple):
    """A tensor in the file."""

    shape: tuple[int, ...]
    """Its shape."""
    values: tuple[int, ...] | None
    """Its values, if they are a few whole numbers."""


class Node(NamedTuple):
    """An operation."""

    operator: str
    """Its operator."""
    inputs: tuple[str, ...]
    """Names of its inputs; empty for one that is left out."""
    outputs: tuple[str, ...]
    """Names of its outputs."""
    numbers: dict[str, tuple[int, ...]]
    """Its whole-number attributes by name, a single one as a tuple of one."""


class OnnxGraph(NamedTuple):
    """A graph of operations."""

    inputs: tuple[str, ...]
    """Names of its inputs."""
    constants: dict[str, Constant]
    """Tensors by name."""
    nodes: tuple[Node, ...]
    """Operations in the order of computation."""


def read_graph(content: bytes) -> OnnxGraph:
    """Returns the graph of an ONNX file; raises ValueError with the reason if no bundle has such a graph."""
    graph: memoryview | None = None
    for field, value in _fields(memoryview(content)):
        if field == 7:
            graph = _once(graph, _bytes(value), "graph")
        elif field == 8:
            domain = _text_field(_bytes(value), 1)
            if domain not in (*_STANDARD, _OWN):
                raise _stranger(domain)
        elif field in (20, 25):
            raise ValueError("it defines functions or training steps, which a bundle's graph does not")
    if graph is None:
        raise ValueError("it holds no graph")
    inputs: list[str] = []
    constants: dict[str, Constant] = {}
    nodes: list[Node] = []
    described = 0
    for field, value in _fields(graph):
        if field == 1:
            described += len(_bytes(value))
            nodes.append(_node(_bytes(value)))
        elif field == 5:
            name, constant, held = _constant(_bytes(value))
            described += len(_bytes(value)) - held
            constants[_new(name, constants)] = constant
        elif field == 11:
            inputs.append(_text_field(_bytes(value), 1))
        elif field == 15:
            raise ValueError("it has sparse constants, which a bundle's graph does not have")
        if max(len(nodes), len(constants)) > MOST_NODES or described > _MOST_BYTES:
            raise ValueError(f"it has more than {MOST_NODES:,} nodes or constants, or very long ones")
    return OnnxGraph(tuple(inputs), constants, tuple(nodes))


def read_floats(content: bytes, name: str) -> npt.NDArray[np.float32] | None:
    """Returns the numbers of a constant of a graph that `read_graph` has read; None where it has none."""
    for field, graph in _fields(memoryview(content)):
        for inner, value in _fields(_bytes(graph)) if field == 7 else ():
            if inner == 5 and _text_field(_bytes(value), 8) == name:
                parts = [part for part in _fields(_bytes(value)) if part[0] in (1, 2, 9)]
                shape = [size for number, part in parts if number == 1 for size in _integers(part)]
                kind, raw = dict(parts).get(2), dict(parts).get(9, memoryview(b""))
                if kind not in _TYPES:
                    return None
                return np.frombuffer(_bytes(raw), _TYPES[kind]).reshape(shape).astype(np.float32)
    return None


def _node(content: memoryview) -> Node:
    found: dict[int, list[str]] = {1: [], 2: [], 4: [], 7: []}
    numbers: dict[str, tuple[int, ...]] = {}
    for field, value in _fields(content):
        if field in found:
            found[field].append(_text(_bytes(value)))
        elif field == 5:
            name, values = _attribute(_bytes(value))
            numbers[_new(name, numbers)] = values
    if len(found[4]) != 1 or len(found[7]) > 1:
        raise ValueError("it has a node that does not name one operator")
    domain = "".join(found[7])
    if domain not in ((_OWN,) if found[4][0] in _OWN_OPERATORS else _STANDARD):
        raise _stranger(domain)
    return Node(found[4][0], tuple(found[1]), tuple(found[2]), numbers)


def _attribute(content: memoryview) -> tuple[str, tuple[int, ...]]:
    """Returns the name of an attribute and its whole numbers; none for an attribute of another type."""
    name: str | None = None
    numbers: list[int] = []
    for field, value in _fields(content):
        if field == 1:
            name = _once(name, _text(_bytes(value)), "name of an attribute")
        elif field in (3, 8):
            numbers += _integers(value)
        elif field in (5, 6, 10, 11, 14, 15, 22, 23):
            raise ValueError("it has a graph or a tensor within a node, which a bundle's graph does not have")
    return name or "", tuple(numbers)


def _constant(content: memoryview) -> tuple[str, Constant, int]:
    """Returns the name of a constant, the constant, and the bytes of its values."""
    shape: list[int] = []
    name, kind, raw = None, None, None
    for field, value in _fields(content):
        if field == 1:
            shape += _integers(value)
        elif field == 2:
            kind = _once(kind, value if isinstance(value, int) else -1, "type of a constant")
        elif field == 8:
            name = _once(name, _text(_bytes(value)), "name of a constant")
        elif field == 9:
            raw = _once(raw, _bytes(value), "content of a constant")
        elif field == 13 or (field == 14 and value):
            raise ValueError("it has constants in another file; those of a bundle are in the graph")
        elif field in (3, 4, 5, 6, 7, 10, 11):
            raise ValueError("it has constants that are not stored as raw bytes; those of a bundle are")
    if kind not in BITS:
        raise ValueError(f"its constant {name!r} has the type {kind}, which a bundle's graph does not have")
    count = 1
    for size in shape:
        if size < 0:
            raise ValueError(f"its constant {name!r} has a negative size")
        count *= size
    content = raw if raw is not None else memoryview(b"")
    if len(content) != -(-count * BITS[kind] // 8):
        raise ValueError(
            f"its constant {name!r} says that it has {count:,} elements, but has {len(content):,} bytes"
        )
    is_known = kind == _INT64 and count <= _KNOWN_VALUES
    pieces = (content[start : start + 8] for start in range(0, 8 * count, 8)) if is_known else ()
    values = tuple(int.from_bytes(piece, "little", signed=True) for piece in pieces) if is_known else None
    return name or "", Constant(tuple(shape), values), len(content)


def _stranger(domain: str) -> ValueError:
    return ValueError(
        f"it has operators of {domain!r}; a bundle has those of ONNX itself and, of onnxruntime's, "
        f"{', '.join(_OWN_OPERATORS)}"
    )


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields the number and the content of each field of a message; fixed 32 and 64 bits come as bytes."""
    place, end, count = 0, len(content), 0
    while place < end:
        count += 1
        if count > _MOST_FIELDS:
            raise ValueError(f"it has a part with more than {_MOST_FIELDS:,} fields")
        tag, place = _varint(content, place)
        kind = tag & 7
        if kind == 0:
            number, place = _varint(content, place)
            yield tag >> 3, number
            continue
        if kind == 2:
            size, place = _varint(content, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("it is not an ONNX file, or a damaged one")
        if size > end - place:
            raise ValueError("it is cut short, or not an ONNX file")
        yield tag >> 3, content[place : place + size]
        place += size


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """Returns a number stored in seven bits per byte, the lowest first, and the position after it."""
    if place < len(content) and content[place] < 128:  # the usual case
        return content[place], place + 1
    number = shift = 0
    while place < len(content) and shift < 70:
        byte = content[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & (1 << 64) - 1, place
        shift += 7
    raise ValueError("it is cut short, or not an ONNX file")


def _integers(value: int | memoryview) -> list[int]:
    """Returns the signed numbers of a field with one number, or many packed."""
    if isinstance(value, int):
        found = [value]
    else:
        found, place = [], 0
        while place < len(value):
            number, place = _varint(value, place)
            found.append(number)
    return [number - (1 << 64) if number >> 63 else number for number in found]


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it is not an ONNX file, or a damaged one")
    return value


def _text(value: memoryview) -> str:
    return bytes(value).decode()  # what is not UTF-8 raises a ValueError


def _text_field(content: memoryview, number: int) -> str:
    found = [_text(_bytes(value)) for field, value in _fields(content) if field == number]
    if len(found) > 1:
        raise ValueError(f"it has field {number} of a message twice")
    return "".join(found)


def _once(before: _T | None, value: _T, what: str) -> _T:
    if before is not None:
        raise ValueError(f"it has two values for the {what}")
    return value


def _new(name: str, known: dict[str, Any]) -> str:
    if name in known:
        raise ValueError(f"it uses the name {name!r} twice")
    return name
