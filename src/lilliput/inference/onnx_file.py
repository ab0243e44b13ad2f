"""An ONNX file from anywhere, taken apart without the onnx package and refused for what no bundle's has.

Read are the constants' shapes, the nodes and how they hang together, in the order of the file. What
onnxruntime would follow beyond that (graphs within nodes, functions, weights in other files, operators of
other domains) has no place in a bundle. A field that may stand once and stands twice is refused too, as
readers differ in which counts.

The wire format: https://protobuf.dev/programming-guides/encoding; the fields: onnx/onnx.proto.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

MOST_NODES = 20_000
"""Nodes of a graph, and constants: a BERT has about 25 of either for each layer."""
_MOST_FIELDS, _MOST_BYTES = 100_000, 1 << 22
"""Fields of a message, and bytes of all nodes and constants without what these hold: a BERT has 200 kB."""
_KNOWN_VALUES = 64
"""Whole numbers of a constant that are read, as they may be a shape or axes; larger ones are weights."""
BITS = {1: 32, 2: 8, 3: 8, 6: 32, 7: 64, 9: 8, 10: 16, 16: 16, 21: 4, 22: 4}
"""Bits of an element by the number of its type: floats and whole numbers of 4 to 64 bits, and booleans."""
_INT64 = 7
_T = TypeVar("_T")


class Constant(NamedTuple):
    """A tensor in the file."""

    shape: tuple[int, ...]
    """Its sizes."""
    values: tuple[int, ...] | None
    """What it holds, where these are a few whole numbers."""


class Node(NamedTuple):
    """An operation."""

    operator: str
    """What it does."""
    inputs: tuple[str, ...]
    """Names of what it reads; empty for one that is left out."""
    outputs: tuple[str, ...]
    """Names of what it makes."""
    numbers: dict[str, tuple[int, ...]]
    """Its whole-number attributes by name, a single one as a tuple of one."""


class OnnxGraph(NamedTuple):
    """What computes."""

    inputs: tuple[str, ...]
    """Names of what it reads."""
    constants: dict[str, Constant]
    """Tensors by name."""
    nodes: tuple[Node, ...]
    """Operations in the order in which they compute."""


def read_graph(content: bytes) -> OnnxGraph:
    """Returns the graph of an ONNX file; raises ValueError with the reason where a bundle's cannot be so."""
    graph: memoryview | None = None
    for field, value in _fields(memoryview(content)):
        if field == 7:
            graph = _once(graph, _bytes(value), "graph")
        elif field == 8:
            _check_domain(_text_field(_bytes(value), 1))
        elif field in (20, 25):
            raise ValueError("it defines functions or training steps, which a bundle's graph has not")
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
            raise ValueError("it has sparse constants, which a bundle's graph has not")
        if max(len(nodes), len(constants)) > MOST_NODES or described > _MOST_BYTES:
            raise ValueError(f"it has more than {MOST_NODES:,} nodes or constants, or very long ones")
    return OnnxGraph(tuple(inputs), constants, tuple(nodes))


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
    _check_domain("".join(found[7]))
    return Node(found[4][0], tuple(found[1]), tuple(found[2]), numbers)


def _attribute(content: memoryview) -> tuple[str, tuple[int, ...]]:
    """Returns the name of an attribute and its whole numbers, of which one of another kind has none."""
    name: str | None = None
    numbers: list[int] = []
    for field, value in _fields(content):
        if field == 1:
            name = _once(name, _text(_bytes(value)), "name of an attribute")
        elif field in (3, 8):
            numbers += _integers(value)
        elif field in (5, 6, 10, 11, 14, 15, 22, 23):
            raise ValueError("it has a graph or a tensor within a node, which a bundle's graph has not")
    return name or "", tuple(numbers)


def _constant(content: memoryview) -> tuple[str, Constant, int]:
    """Returns the name of a constant, what is read of it, and the bytes of what it holds."""
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
            raise ValueError("it has constants in another file, and a bundle's graph holds its own")
        elif field in (3, 4, 5, 6, 7, 10, 11):
            raise ValueError("it has constants that are not stored as plain bytes, as a bundle's are")
    if kind not in BITS:
        raise ValueError(f"its constant {name!r} is of the type {kind}, which a bundle's graph has not")
    count = 1
    for size in shape:
        if size < 0:
            raise ValueError(f"its constant {name!r} has a negative size")
        count *= size
    content = raw if raw is not None else memoryview(b"")
    if len(content) != -(-count * BITS[kind] // 8):
        raise ValueError(
            f"its constant {name!r} says that it has {count:,} elements, and has {len(content):,} bytes"
        )
    is_known = kind == _INT64 and count <= _KNOWN_VALUES
    pieces = (content[start : start + 8] for start in range(0, 8 * count, 8)) if is_known else ()
    values = tuple(int.from_bytes(piece, "little", signed=True) for piece in pieces) if is_known else None
    return name or "", Constant(tuple(shape), values), len(content)


def _check_domain(domain: str) -> None:
    if domain not in ("", "ai.onnx"):
        raise ValueError(f"it has operators of {domain!r}; a bundle's are all of ONNX itself")


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields the number and the content of each field of a message; fixed 32 and 64 bits come as bytes."""
    place, end, count = 0, len(content), 0
    while place < end:
        count += 1
        if count > _MOST_FIELDS:
            raise ValueError("it has parts without number")
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
            raise ValueError("it is no ONNX file, or a damaged one")
        if size > end - place:
            raise ValueError("it is cut short, or no ONNX file")
        yield tag >> 3, content[place : place + size]
        place += size


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """Returns a number of seven bits a byte, the lowest first, and the place behind it."""
    if place < len(content) and content[place] < 128:  # as most are
        return content[place], place + 1
    number = shift = 0
    while place < len(content) and shift < 70:
        byte = content[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & (1 << 64) - 1, place
        shift += 7
    raise ValueError("it is cut short, or no ONNX file")


def _integers(value: int | memoryview) -> list[int]:
    """Returns signed numbers of a field that holds one, or many packed."""
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
        raise ValueError("it is no ONNX file, or a damaged one")
    return value


def _text(value: memoryview) -> str:
    return bytes(value).decode()  # what is not UTF-8 raises a ValueError


def _text_field(content: memoryview, number: int) -> str:
    found = [_text(_bytes(value)) for field, value in _fields(content) if field == number]
    if len(found) > 1:
        raise ValueError("it says the same thing twice")
    return "".join(found)


def _once(before: _T | None, value: _T, what: str) -> _T:
    if before is not None:
        raise ValueError(f"it has two values for the {what}")
    return value


def _new(name: str, known: dict[str, Any]) -> str:
    if name in known:
        raise ValueError(f"it has two things of the name {name!r}")
    return name
