"""A student's first weights from its teacher, in closed form.

The student's residual stream is to be y = P^T x, with x the teacher's stream and P its leading directions.
What writes the stream is multiplied with P^T, what reads it with the linear estimate of x from y. Layer by
layer, on the student's own activations, least squares draw the student's stream to P^T x. These corrections
vanish where the projection is exact, so a student of the teacher's shape computes what the teacher does.

Measured at MiniLM 6x384 -> 6x120, 4,928 pieces, as divergence from the teacher in nats per masked piece. All
of this: 0.38; the bare projection: 0.78. With one part taken away: linear head +0.08, head fitted at masked
pieces only +0.06, turned axes +0.05, head bias +0.03, linear estimate +0.03, equal energy of layers +0.03,
corrected outputs +0.02. Tried and dropped, for 0.01 or nothing: covariances in the cut of heads, weights on
masked pieces, the head's directions in P, the softmax's metric in the head, a temperature; and P from
gradients, -0.02 at first and nothing after 100 steps of training.

An MPNet's attention has a bias by distance, which the student lacks. The streams are measured with it, so
outputs are corrected for it, but a student of an MPNet's shape does not compute what the teacher does.

Shape letters: B batch, L length, N positions, T teacher width, S student width, V vocabulary, R rank.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertForMaskedLM, PreTrainedConfig, PreTrainedModel

from lilliput.models.blocks import Block, blocks_of, embeddings_of, head_of
from lilliput.models.encoder import attend, embed, feed_forward
from lilliput.models.fits import (
    cut,
    fit_bias,
    fit_linear_head,
    fit_norm,
    fit_output,
    leading_directions,
    least_squares,
    moments,
)
from lilliput.models.projection import matching_layers
from lilliput.models.student import random_student
from lilliput.models.teacher import Teacher

_Read = Callable[[nn.Linear], tuple[Tensor, Tensor]]


@torch.no_grad()
def warm_start(teacher: Teacher, config: PreTrainedConfig, pieces: Tensor, *, mask: int) -> BertForMaskedLM:
    """Returns a student that starts as the teacher's projection.

    Args:
        teacher: Reads `pieces` through its second table, so that positions coincide.
        config: The student's shape: at most as wide and as long as the teacher, otherwise free.
        pieces: A sample of text in the student's segmentation [B, L], without padding, masked as in training.
            Some 10,000 positions are enough; time and memory grow with them.
        mask: The student's id of [MASK]. The head is fitted where it stands, as only there it is used.
    """
    student = random_student(config, seed=0)
    table = teacher.second()
    x = embed(teacher.model, F.embedding(pieces, table))
    passed, sources = 0, blocks_of(teacher.model)
    basis = _basis(sources, x, config.hidden_size)
    y = _project_embeddings(student, teacher.model, table, pieces, basis)
    matches = matching_layers(config.num_hidden_layers, len(sources))
    for target, matching in zip(blocks_of(student), matches, strict=True):
        for skipped in sources[passed:matching]:
            x = feed_forward(skipped, attend(skipped, x)[1])[1]
        passed, source = matching + 1, sources[matching]
        _project_attention(source, target, basis, _reader(x, y, basis), y)
        x = attend(source, x)[1]
        y = fit_output(target.output, target.attention_norm, attend(target, y)[0], y, x @ basis)
        _project_feed_forward(source, target, basis, _reader(x, y, basis), x)
        x = feed_forward(source, x)[1]
        y = fit_output(target.outer, target.norm, feed_forward(target, y)[0], y, x @ basis)
    masked = pieces == mask
    assert masked.any(), "the sample has no masked pieces to fit the head with"
    _project_head(teacher, student, x[masked], y[masked], basis)
    return student


def _basis(blocks: Sequence[Block], x: Tensor, width: int) -> Tensor:
    """Returns P [T, S]: the leading directions of the stream in all layers, from embeddings x [B, L, T].

    At equal width the axes stay, as LayerNorm's gains and the gelu of the head are bound to them.
    """
    wide = x.shape[-1]
    if width == wide:
        return torch.eye(wide)
    energy = torch.zeros(wide, wide, dtype=torch.float64)
    for block in blocks:
        middle = attend(block, x)[1]
        for stream in (x, middle):
            energy += moments(stream) / moments(stream).trace()
        x = feed_forward(block, middle)[1]
    energy += moments(x) / moments(x).trace()
    return leading_directions(energy, width)


def _reader(x: Tensor, y: Tensor, basis: Tensor) -> _Read:
    """Returns what turns a layer that reads x into the weight [out, S] and bias [out] that read y instead.

    By the linear estimate of x [B, L, T] from y [B, L, S], regularised towards x = P y.
    """
    inputs, outputs = y.flatten(0, 1), x.flatten(0, 1)
    matrix, offset = least_squares(inputs, outputs - inputs @ basis.mT)
    return lambda layer: (layer.weight @ (basis + matrix), layer.weight @ offset + layer.bias)


def _project_embeddings(
    student: PreTrainedModel, model: PreTrainedModel, table: Tensor, pieces: Tensor, basis: Tensor
) -> Tensor:
    """Sets the student's embeddings, the pieces' from `table` [V, T], and returns its stream."""
    ours, theirs = embeddings_of(student), embeddings_of(model)
    assert ours.types is not None, "a student is a BERT"
    narrow, positions, types = ours.pieces.weight, ours.positions.weight, ours.types.weight
    narrow.copy_(table @ basis)
    positions.copy_(theirs.positions.weight[theirs.first : theirs.first + len(positions)] @ basis)
    if theirs.types is None:
        types.zero_()
    else:
        types.copy_(theirs.types.weight[: len(types)] @ basis)  # of one row alone: the same for both texts
    goal = embed(model, F.embedding(pieces, table)) @ basis
    places = positions[: pieces.shape[1]] + types[0]
    fit_norm(ours.norm, (F.embedding(pieces, narrow) + places).flatten(0, 1), goal.flatten(0, 1))
    return embed(student, F.embedding(pieces, narrow))


def _project_attention(source: Block, target: Block, basis: Tensor, read: _Read, y: Tensor) -> None:
    """Sets the student's heads: per head the query-key and the value-output product, cut to the head's size.

    The scores are a form [y; 1]^T M y: a bias of the key adds the same to all scores of a query, which
    softmax ignores. Weights of attention sum to one, so value biases move into the output's. Rows beyond the
    rank stay random. Heads count by the energy of what they write for values that vary as y [B, L, S] does:
    by the product alone four of twelve heads start at 0.98 nats, not 0.53.
    """
    heads = source.heads
    (query, query_bias), (key, _), (value, value_bias) = (
        [part.double().view(heads, -1, *part.shape[1:]) for part in read(linear)]
        for linear in (source.query, source.key, source.value)
    )
    width, size, full = basis.shape[1], basis.shape[1] // target.heads, key.shape[1]
    output = (basis.mT @ source.output.weight).double().view(width, heads, -1).movedim(1, 0)
    forms = torch.cat([query, query_bias[..., None]], 2).mT @ key * math.sqrt(size / full)
    products = output @ value
    energies = ((products @ moments(y - y.mean((0, 1)))) * products).sum((1, 2))
    places = _assign_heads(energies, target.heads)
    for head, (origin, copy) in enumerate(places):
        left, right = cut(forms[origin], min(size, full, width))
        rows = slice(head * size, head * size + len(left))
        target.query.weight[rows], target.query.bias[rows] = left[:, :-1], left[:, -1]
        target.key.weight[rows] = right
        # Heads that share an origin share its scores and divide its values.
        left, right = (
            part[copy * size :] for part in cut(products[origin], min(size * (copy + 1), full, width))
        )
        rows = slice(head * size, head * size + len(left))
        target.value.weight[rows], target.output.weight[:, rows] = right, left.mT
    constant = torch.einsum("hsd,hd->s", output, value_bias).float()
    target.output.bias.copy_(basis.mT @ source.output.bias + constant)


def _assign_heads(energies: Tensor, heads: int) -> list[tuple[int, int]]:
    """Returns for each head of the student the teacher's head it comes from and which of its copies it is.

    The most energetic are taken, or taken twice; the teacher's order is kept.

    >>> _assign_heads(torch.tensor([1.0, 3.0, 2.0]), 2), _assign_heads(torch.tensor([1.0, 3.0, 2.0]), 4)
    ([(1, 0), (2, 0)], [(0, 0), (1, 0), (1, 1), (2, 0)])
    """
    order = energies.argsort(descending=True, stable=True).tolist()
    return sorted((order[head % len(order)], head // len(order)) for head in range(heads))


def _project_feed_forward(source: Block, target: Block, basis: Tensor, read: _Read, x: Tensor) -> None:
    """Sets the student's inner neurons to those of the teacher that move the student's stream most.

    A neuron of activation a and output w counts by E[a^2] ||P^T w||^2 over the teacher's stream x [B, L, T].
    Neurons that the teacher lacks stay random; `fit_output` finds a use for them.
    """
    outputs = basis.mT @ source.outer.weight
    energies = feed_forward(source, x)[0].flatten(0, 1).square().mean(0) * outputs.square().sum(0)
    inner, outer = target.inner, target.outer
    kept = energies.topk(min(len(energies), len(inner.weight))).indices.sort().values
    weight, bias = read(source.inner)
    inner.weight[: len(kept)], inner.bias[: len(kept)] = weight[kept], bias[kept]
    outer.weight[:, : len(kept)] = outputs[:, kept]
    outer.bias.copy_(basis.mT @ source.outer.bias)


def _project_head(teacher: Teacher, student: PreTrainedModel, x: Tensor, y: Tensor, basis: Tensor) -> None:
    """Sets the masked-LM head from the last streams x [N, T] and y [N, S] at masked positions.

    The gelu is bound to the teacher's axes. A student of the same width keeps them. For another the head is
    made a linear map.
    """
    ours = head_of(student)
    dense, norm = ours.dense, ours.norm
    wide = teacher.transform(x)
    goal, mean = wide @ basis, F.linear(wide, teacher.second(), teacher.second_bias).softmax(1).mean(0)
    if x.shape[1] == y.shape[1]:
        theirs = head_of(teacher.model).dense
        dense.weight.copy_(theirs.weight)
        dense.bias.copy_(theirs.bias)
    else:
        fit_linear_head(dense, y, goal)
    fit_norm(norm, ours.activation(dense(y)), goal)
    fit_bias(student, y, mean, teacher.second_bias)
