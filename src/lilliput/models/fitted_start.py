"""A student's first weights from what its teacher computes, where the teacher's matrices are not known.

`warm_start` projects matrices. Here only states and weights of attention are looked at, which every
architecture gives. The student's stream is to be y = P^T x as there, with x the teacher's stream,
standardised position by position, as the layers of a pre-norm model read it. Embeddings are a linear map of
the teacher's. Layer by layer, query and key are fitted to the teacher's attention, values to what brings the
stream nearest to its goal; inner neurons stay random, and outputs are least squares.

Measured at MiniLM 6x384 -> 6x120 as if its matrices were not known: experiments/LOG.md, "Any architecture".

Shape letters: B batch, L length, N positions, T teacher width, E width of its table, S student width,
H heads, d width of a head.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertForMaskedLM, PreTrainedConfig

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
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.own_modules import modules_traces
from lilliput.models.projection import matching_layers, solve_ridge
from lilliput.models.student import random_student
from lilliput.models.teacher import Teacher

_RIDGE, _FAINT_RIDGE = 1e-2, 1e-3
_ATTENTION_ROWS = 16
"""Rows of the sample whose weights of attention are kept: all heads of all layers."""
_LEAST_WEIGHT = 1e-5
"""Weights of attention below count as this."""


@torch.no_grad()
def fitted_start(teacher: Teacher, config: PreTrainedConfig, pieces: Tensor, *, mask: int) -> BertForMaskedLM:
    """Returns a student that starts near its teacher; the arguments are those of `warm_start`."""
    student = random_student(config, seed=0)
    generator = torch.Generator().manual_seed(0)
    table, model = teacher.second(), teacher.model
    *streams, last = modules_traces(model, F.embedding(pieces, table))[0]
    attention = modules_traces(model, F.embedding(pieces[:_ATTENTION_ROWS], table), attention=True)[1]
    standard = [F.layer_norm(stream, stream.shape[-1:]) for stream in (*streams, last)]
    energy = sum((moments(x) / moments(x).trace() for x in standard), torch.zeros(()))
    basis = leading_directions(energy, config.hidden_size)
    goals = [x @ basis for x in standard]
    y = _fit_embeddings(student, table, pieces, goals[0])
    matches = matching_layers(config.num_hidden_layers, len(goals) - 1)
    for block, matching in zip(blocks_of(student), matches, strict=True):
        goal = goals[matching + 1]
        if len(attention) == len(goals) - 1:
            _fit_attention(block, attention[matching], y[:_ATTENTION_ROWS])
        _fit_values(block, y, goal)
        y = fit_output(block.output, block.attention_norm, attend(block, y)[0], y, goal)
        _spread_neurons(block, y, generator)
        y = fit_output(block.outer, block.norm, feed_forward(block, y)[0], y, goal)
    masked = pieces == mask
    assert masked.any(), "the sample has no masked pieces to fit the head with"
    _fit_head(teacher, student, last[masked], y[masked])
    return student


def _fit_embeddings(student: BertForMaskedLM, table: Tensor, pieces: Tensor, goal: Tensor) -> Tensor:
    """Sets the student's embeddings from the teacher's table [V, E] and returns its stream.

    A position is what the goal [B, L, S] is on the average there; a piece is a linear map of its row.
    """
    ours = embeddings_of(student)
    assert ours.types is not None, "a student is a BERT"
    places = goal.mean(0)
    rows = F.embedding(pieces, table).flatten(0, 1)
    rest = (goal - places).flatten(0, 1)
    mapped = solve_ridge((rows.mT @ rows).double(), (rows.mT @ rest).double(), _RIDGE).float()
    ours.pieces.weight.copy_(table @ mapped)
    ours.types.weight.zero_()
    ours.positions.weight.copy_(places.mean(0).expand_as(ours.positions.weight))
    ours.positions.weight[: len(places)] = places
    embedded = F.embedding(pieces, ours.pieces.weight)
    fit_norm(ours.norm, (embedded + places).flatten(0, 1), goal.flatten(0, 1))
    return embed(student, embedded)


def _fit_attention(block: Block, weights: Tensor, y: Tensor) -> None:
    """Sets query and key so that the student's attention is near the teacher's weights [B, H, L, L].

    Scores are a form [y; 1]^T M y. M is fitted to the logarithm of the weights, centred by query, as softmax
    ignores what is the same for all keys: M = C^-1 (mean of y^T S y) C^-1, with C the second moments. The
    teacher's heads of the most uneven weights are taken, in their order.
    """
    size, count = len(block.query.weight) // block.heads, weights.shape[1]
    log = weights.clamp(min=_LEAST_WEIGHT).log()
    log = log - log.mean(-1, keepdim=True)
    order = log.square().mean((0, 2, 3)).argsort(descending=True, stable=True)[: block.heads].sort().values
    with_one = torch.cat([y, y.new_ones((*y.shape[:2], 1))], -1)
    left_moments, right_moments = moments(with_one), moments(y)
    for head in range(block.heads):
        origin = order[head % min(count, block.heads)]
        cross = torch.einsum("bld,blm,bme->de", with_one, log[:, origin], y).double() / log[:, 0].numel()
        form = solve_ridge(right_moments, solve_ridge(left_moments, cross, _RIDGE).mT, _RIDGE).mT
        left, right = cut(form * math.sqrt(size), size)
        rows = slice(head * size, head * size + len(left))
        block.query.weight[rows], block.query.bias[rows] = left[:, :-1], left[:, -1]
        block.key.weight[rows] = right


def _fit_values(block: Block, y: Tensor, goal: Tensor) -> None:
    """Sets values and output to what brings the stream [B, L, S] nearest to its goal, head by head."""
    size, width = len(block.query.weight) // block.heads, y.shape[-1]
    query, key = (
        layer(y).view(*y.shape[:2], block.heads, size).transpose(1, 2) for layer in (block.query, block.key)
    )
    read = (query @ key.mT / math.sqrt(size)).softmax(-1) @ y[:, None]  # [B, H, L, S]
    inputs = torch.cat([y, read.transpose(1, 2).flatten(2)], -1).flatten(0, 1)
    wanted = least_squares(inputs, goal.flatten(0, 1))[0][:, width:].view(width, block.heads, width)
    for head in range(block.heads):
        left, right = cut(wanted[:, head], size)
        rows = slice(head * size, head * size + len(left))
        block.output.weight[:, rows], block.value.weight[rows] = left.mT, right


def _spread_neurons(block: Block, y: Tensor, generator: torch.Generator) -> None:
    """Sets inner neurons to random directions of the stream [B, L, S], each reading with deviation 1."""
    drawn = torch.randn(block.inner.weight.shape, generator=generator)
    flat = y.flatten(0, 1)
    drawn /= ((flat - flat.mean(0)) @ drawn.mT).std(0)[:, None]
    block.inner.weight.copy_(drawn)
    block.inner.bias.copy_(torch.randn(len(drawn), generator=generator) / 2 - drawn @ flat.mean(0))
    block.outer.weight.zero_()


def _fit_head(teacher: Teacher, student: BertForMaskedLM, x: Tensor, y: Tensor) -> None:
    """Sets the masked-LM head from the last streams x [N, T] and y [N, S] at masked positions.

    The student's scores are products with its own table; what it multiplies with is to be that which gives
    the teacher's scores, in the least squares over the vocabulary.
    """
    ours, table = head_of(student), MaskedLM(student).table
    wide = teacher.transform(x)
    theirs = teacher.second() if teacher.second_output is None else teacher.second_output
    narrowed = solve_ridge((table.mT @ table).double(), (table.mT @ theirs).double(), _FAINT_RIDGE).float()
    goal, mean = wide @ narrowed.mT, teacher.second_scores(wide).softmax(1).mean(0)
    fit_linear_head(ours.dense, y, goal)
    fit_norm(ours.norm, ours.activation(ours.dense(y)), goal)
    fit_bias(student, y, mean, teacher.second_bias)
