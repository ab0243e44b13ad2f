"""Checks how much memory and computation a bundle's graph takes, before it runs.

A file of a few bytes can ask for terabytes: a row times a column, a tensor joined to itself forty times. So
all shapes are computed for the longest input, by the rules of the operators that bundles use; any other
operator is refused. The rules: https://onnx.ai/onnx/operators.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lilliput.inference.onnx_file import BITS, Node, OnnxGraph

MOST_ELEMENTS = 1 << 28
"""Elements of a tensor: 1 GB in float32; the scores of 512 pieces over a vocabulary of 500,000."""
MOST_TOGETHER = 1 << 30
"""Elements of all tensors that depend on the text: BERT-large with 512 pieces has half of that."""
MOST_PRODUCTS = 1 << 40
"""Multiplications in matrix products: BERT-large with 512 pieces takes 2^37."""
_UNPACKED = 16
"""Elements computed from constants alone, per byte of the file: 4-bit weights take 2 in each step."""
_MOST_AXES = 8

_Shape = tuple[int, ...]


class _Value(NamedTuple):
    """The known properties of a tensor."""

    shape: _Shape
    values: tuple[int, ...] | None = None
    """Its values, if they are a few whole numbers that do not depend on the text."""


_Rule = Callable[[Node, Sequence[_Value]], list[_Value]]


def check_sizes(graph: OnnxGraph, bytes_: int, batch: int, length: int) -> None:
    """Raises ValueError with the reason if a graph computes too much.

    Args:
        graph: The graph.
        bytes_: The size of its file.
        batch: Texts in a batch.
        length: Pieces per text.
    """
    known = {name: _Value(constant.shape, constant.values) for name, constant in graph.constants.items()}
    known |= {name: _Value((batch, length)) for name in graph.inputs if name not in known}
    known[""] = _Value(())  # an input that is left out
    of_text = set(graph.inputs) - graph.constants.keys()
    elements, unpacked, products = 0, 0, 0
    for node in graph.nodes:
        made = _made(node, known)
        sizes = [math.prod(value.shape) for value in made]
        if node.operator != "Shape" and not of_text.isdisjoint(node.inputs):
            of_text.update(node.outputs)
            elements += sum(sizes)
        else:
            unpacked += sum(sizes)
        products += _products(node, known, made)
        if (
            max(sizes) > MOST_ELEMENTS
            or elements > MOST_TOGETHER
            or unpacked > _UNPACKED * bytes_
            or products > MOST_PRODUCTS
        ):
            raise ValueError(
                f"it computes too much for {batch} x {length:,} pieces: its {node.operator} to "
                f"{node.outputs[0]!r} makes {sizes[0]:,} elements, all nodes {elements + unpacked:,} with "
                f"{products:,} products"
            )
        if len({*node.outputs} - known.keys()) < len(node.outputs):
            raise ValueError(f"two of its nodes make {node.outputs[0]!r}")
        known |= zip(node.outputs, made, strict=False)


def _made(node: Node, known: dict[str, _Value]) -> list[_Value]:
    """Returns the outputs of a node; raises ValueError if its inputs do not fit."""
    if node.operator not in _RULES:
        known_ones = ", ".join(sorted(_RULES))
        raise ValueError(f"it has the operator {node.operator!r}, but a bundle's graph has only {known_ones}")
    if missing := [name for name in node.inputs if name not in known]:
        raise ValueError(f"its {node.operator} reads {missing[0]!r}, which no earlier node makes")
    try:
        made = _RULES[node.operator](node, [known[name] for name in node.inputs])
    except (IndexError, KeyError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"its {node.operator} to {node.outputs[:1]} lacks inputs or attributes") from error
    if not 0 < len(node.outputs) <= len(made) or any(len(value.shape) > _MOST_AXES for value in made):
        raise ValueError(f"its {node.operator} makes {len(node.outputs)} tensors, or has too many axes")
    if any(size < 0 for value in made for size in value.shape):
        raise ValueError(f"its {node.operator} has a negative size")
    return made


def _products(node: Node, known: dict[str, _Value], made: list[_Value]) -> int:
    """Returns the number of multiplications in a node's matrix products."""
    if node.operator in ("MatMul", "MatMulIntegerToFloat"):
        return math.prod(made[0].shape) * known[node.inputs[0]].shape[-1]
    if node.operator == "Attention":
        query, key = (known[name].shape for name in node.inputs[:2])
        return 2 * math.prod(query) * key[1]
    return 0


def _same(node: Node, given: Sequence[_Value]) -> list[_Value]:
    return [_Value(given[0].shape)]


def _cast(node: Node, given: Sequence[_Value]) -> list[_Value]:
    if _one(node, "to") not in BITS:
        raise ValueError("its Cast is to a type that is not a number")
    return [_Value(given[0].shape)]


def _broadcast(*shapes: _Shape) -> _Shape:
    longest = max(map(len, shapes))
    padded = [(1,) * (longest - len(shape)) + shape for shape in shapes]
    result = []
    for sizes in zip(*padded, strict=True):
        others = {size for size in sizes if size != 1}
        if len(others) > 1:
            raise ValueError(f"its shapes {' and '.join(map(str, shapes))} do not fit each other")
        result.append(others.pop() if others else 1)
    return tuple(result)


def _elementwise(node: Node, given: Sequence[_Value]) -> list[_Value]:
    return [_Value(_broadcast(given[0].shape, given[1].shape))]


def _expand(node: Node, given: Sequence[_Value]) -> list[_Value]:
    return [_Value(_broadcast(given[0].shape, _numbers(node, given[1])))]


def _gather(node: Node, given: Sequence[_Value]) -> list[_Value]:
    data, axis = given[0].shape, _axis(_one(node, "axis", 0), len(given[0].shape))
    return [_Value(data[:axis] + given[1].shape + data[axis + 1 :])]


def _matmul(node: Node, given: Sequence[_Value]) -> list[_Value]:
    left, right = given[0].shape, given[1].shape
    if len(left) < 2 or len(right) < 2 or left[-1] != right[-2]:
        raise ValueError(f"its shapes {left} and {right} cannot be multiplied")
    return [_Value((*_broadcast(left[:-2], right[:-2]), left[-2], right[-1]))]


def _integer_matmul(node: Node, given: Sequence[_Value]) -> list[_Value]:
    """Integers, a matrix, the scale of each, the zero of each, and what is added to each row."""
    (made,), (_, right, *others) = _matmul(node, given), (value.shape for value in given)
    if len(right) != 2 or any(math.prod(shape) not in (1, right[-1]) for shape in others) or len(others) > 5:
        raise ValueError(f"its scales and zeros {others} do not fit a matrix of {right}")
    return [made]


def _transpose(node: Node, given: Sequence[_Value]) -> list[_Value]:
    shape = given[0].shape
    order = node.numbers.get("perm", tuple(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"its Transpose cannot put {len(shape)} axes in the order {order[:_MOST_AXES]}")
    return [_Value(tuple(shape[axis] for axis in order))]


def _reshape(node: Node, given: Sequence[_Value]) -> list[_Value]:
    shape, wanted = given[0].shape, list(_numbers(node, given[1]))
    sizes = [shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    if -1 in sizes:
        sizes[sizes.index(-1)] = math.prod(shape) // -math.prod(sizes)
    if math.prod(sizes) != math.prod(shape):
        raise ValueError(f"its Reshape cannot turn {shape} into {tuple(wanted)}")
    return [_Value(tuple(sizes))]


def _unsqueeze(node: Node, given: Sequence[_Value]) -> list[_Value]:
    axes = _numbers(node, given[1])
    rank = len(given[0].shape) + len(axes)
    places = {_axis(axis, rank) for axis in axes}
    rest = iter(given[0].shape)
    return [_Value(tuple(1 if axis in places else next(rest, -1) for axis in range(rank)))]


def _squeeze(node: Node, given: Sequence[_Value]) -> list[_Value]:
    shape = given[0].shape
    places = {_axis(axis, len(shape)) for axis in _numbers(node, given[1])}
    return [_Value(tuple(size for axis, size in enumerate(shape) if axis not in places))]


def _slice(node: Node, given: Sequence[_Value]) -> list[_Value]:
    shape = list(given[0].shape)
    starts, ends = (_numbers(node, value) for value in given[1:3])
    axes = _numbers(node, given[3]) if len(given) > 3 else tuple(range(len(starts)))
    steps = _numbers(node, given[4]) if len(given) > 4 else (1,) * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = _axis(axis, len(shape))
        shape[place] = len(range(shape[place])[start:end:step])
    return [_Value(tuple(shape))]


def _concat(node: Node, given: Sequence[_Value]) -> list[_Value]:
    first = given[0].shape
    axis = _axis(_one(node, "axis"), len(first))
    for value in given:
        if value.shape[:axis] + value.shape[axis + 1 :] != first[:axis] + first[axis + 1 :]:
            raise ValueError(f"its shapes {first} and {value.shape} cannot be joined")
    size = sum(value.shape[axis] for value in given)
    lists = [value.values for value in given]
    values = tuple(number for part in lists if part is not None for number in part)
    is_known = None not in lists and len(first) == 1 and size <= _MOST_AXES
    return [_Value((*first[:axis], size, *first[axis + 1 :]), values if is_known else None)]


def _split(node: Node, given: Sequence[_Value]) -> list[_Value]:
    shape = given[0].shape
    axis, parts = _axis(_one(node, "axis", 0), len(shape)), len(node.outputs)
    each = -(-shape[axis] // parts)
    if len(given) > 1 or each * parts != shape[axis]:
        raise ValueError(f"its Split of {shape} is not into equal parts")
    return [_Value((*shape[:axis], each, *shape[axis + 1 :]))] * parts


def _shape(node: Node, given: Sequence[_Value]) -> list[_Value]:
    shape = given[0].shape
    values = shape[_one(node, "start", 0) : _one(node, "end", len(shape))]
    return [_Value((len(values),), values)]


def _reduce(node: Node, given: Sequence[_Value]) -> list[_Value]:
    shape = given[0].shape
    axes = _numbers(node, given[1]) if len(given) > 1 else tuple(range(len(shape)))
    places, keeps = {_axis(axis, len(shape)) for axis in axes}, _one(node, "keepdims", 1)
    sizes = [1 if axis in places else size for axis, size in enumerate(shape)]
    return [_Value(tuple(size for axis, size in enumerate(sizes) if keeps or axis not in places))]


def _attention(node: Node, given: Sequence[_Value]) -> list[_Value]:
    query, key, value, *_ = (item.shape for item in given)
    if not len(query) == len(key) == len(value) == 3 or len(given) > 4:
        raise ValueError("its Attention does not read queries, keys, values and a mask")
    heads = _one(node, "q_num_heads")
    if heads < 1 or _one(node, "kv_num_heads") != heads or query[2] % heads or query[2] != value[2]:
        raise ValueError(f"its Attention has {heads} heads for a width of {query[2]}")
    scores = query[0] * heads * query[1] * key[1]  # an intermediate tensor
    if scores > MOST_ELEMENTS:
        raise ValueError(f"its Attention has {scores:,} scores; a tensor may have {MOST_ELEMENTS:,} elements")
    return [_Value(query)]


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("Gelu", "Tanh", "LayerNormalization", "QuantizeLinear"), _same),
    **dict.fromkeys(("Add", "Mul", "Div", "Max"), _elementwise),
    "Attention": _attention,
    "Cast": _cast,
    "Concat": _concat,
    "Expand": _expand,
    "Gather": _gather,
    "MatMul": _matmul,
    "MatMulIntegerToFloat": _integer_matmul,
    "ReduceSum": _reduce,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""The rule of each operator: from its inputs to the shapes of its outputs."""


def _numbers(node: Node, value: _Value) -> tuple[int, ...]:
    """Returns the numbers in an input; raises ValueError if they depend on the text."""
    if value.values is None:
        raise ValueError(
            f"its {node.operator} to {node.outputs[:1]} has a shape that is not known before it runs"
        )
    return value.values


def _one(node: Node, name: str, default: int | None = None) -> int:
    """Returns a whole-number attribute; raises KeyError if there is neither it nor a default."""
    if default is not None and name not in node.numbers:
        return default
    (number,) = node.numbers[name]
    return number


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"it uses axis {axis} of a tensor with {rank} axes")
    return axis % rank
