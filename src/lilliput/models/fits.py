"""Least squares by which a student's first weights are fitted to what its teacher computes.

Shape letters: B batch, L length, N positions, T teacher width, S student width, V vocabulary, R rank.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from lilliput.models.blocks import head_of
from lilliput.models.encoder import cast_layer_norm
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.projection import solve_ridge

_RIDGE = 1e-2
"""Penalty of every least squares, relative to the mean variance of the inputs."""
_OPERATING_POINT = 3.0
"""Where the gelu of the head works: there its slope is 1.01, so that it passes on a linear map."""
_PRIOR_COUNT = 10.0
"""Occurrences spread over the vocabulary and added to both sides when the head bias is corrected."""


def leading_directions(energy: Tensor, width: int) -> Tensor:
    """Returns P [T, S]: the directions of most energy, from second moments [T, T].

    Within their span the axes are free. The cosine transform turns them to like energies, and such that
    LayerNorm, which takes the mean of the axes away, loses the weakest direction.
    """
    leading: Tensor = torch.linalg.eigh(energy).eigenvectors[:, -width:]  # weakest first
    steps = torch.arange(width, dtype=torch.float64)
    cosines = torch.cos(math.pi / width * (steps[:, None] + 0.5) * steps) * math.sqrt(2 / width)
    cosines[:, 0] /= math.sqrt(2)
    basis: Tensor = leading @ cosines.mT
    return basis.float()


def moments(x: Tensor) -> Tensor:
    """Returns the uncentred second moments [D, D] of x [..., D] in double precision."""
    flat = x.flatten(0, -2)
    return (flat.mT @ flat).double() / len(flat)


def least_squares(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Returns W [D, C] and b [D] with outputs [N, D] = W inputs [N, C] + b; b bears no ridge."""
    means = inputs.mean(0), outputs.mean(0)
    centred = inputs - means[0]
    gram, cross = (centred.mT @ centred).double(), (centred.mT @ (outputs - means[1])).double()
    matrix = solve_ridge(gram, cross, _RIDGE).mT.float()
    return matrix, means[1] - matrix @ means[0]


def fit_norm(norm: nn.LayerNorm, v: Tensor, goal: Tensor) -> None:
    """Sets gain and bias of `norm` so that norm(v) is nearest to goal, both [N, S], axis by axis."""
    unit = F.layer_norm(v, v.shape[-1:], eps=norm.eps)
    centred = unit - unit.mean(0)
    gain = (centred * (goal - goal.mean(0))).mean(0) / centred.square().mean(0).clamp(min=1e-9)
    norm.weight.copy_(gain)
    norm.bias.copy_(goal.mean(0) - gain * unit.mean(0))


def fit_output(
    dense: nn.Linear, norm: nn.LayerNorm, inputs: Tensor, residual: Tensor, goal: Tensor
) -> Tensor:
    """Corrects `dense` and `norm` to bring the student's stream nearest to goal, and returns the stream.

    The goal stands behind LayerNorm, dense before it. Of all sums that LayerNorm would turn into the goal,
    which differ by their mean and scale, each position takes the one nearest to its own. One correction:
    after several the stream is nearer to the goal and the predictions are further from the teacher's.

    Args:
        dense: Writes to the stream, with the projected weights.
        norm: Follows the sum.
        inputs: Inputs of `dense` [B, L, C].
        residual: What is added to its output [B, L, S].
        goal: P^T of the teacher's stream behind the block [B, L, S].
    """
    shape = goal.shape
    inputs, residual, goal = inputs.flatten(0, 1), residual.flatten(0, 1), goal.flatten(0, 1)
    v = residual + dense(inputs)
    fit_norm(norm, v, goal)
    mean = v.mean(1, keepdim=True)
    gain = torch.where(norm.weight < 0, -1.0, 1.0) * norm.weight.abs().clamp(min=1e-2)
    wanted = (goal - norm.bias) / gain
    scale = ((v - mean) * wanted).sum(1, keepdim=True) / wanted.square().sum(1, keepdim=True)
    weight, bias = least_squares(inputs, mean + scale * wanted - v)
    dense.weight.add_(weight)
    dense.bias.add_(bias)
    v = residual + dense(inputs)
    fit_norm(norm, v, goal)
    return cast_layer_norm(v, norm).view(shape)


def cut(form: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Returns A [R, M], B [R, N] with A^T B nearest to form [M, N]; they share the singular values evenly."""
    u, values, vt = torch.linalg.svd(form, full_matrices=False)
    roots = values[:rank].sqrt()
    return (u[:, :rank] * roots).mT.float(), (vt[:rank].mT * roots).mT.float()


def fit_linear_head(dense: nn.Linear, y: Tensor, goal: Tensor) -> None:
    """Makes the first step of a head, whose gelu follows, a linear map of y [N, S] to goal [N, S].

    With a large bias c, gelu(c + u) is c + u, and the LayerNorm behind it takes c away again.
    """
    weight, bias = least_squares(y, goal)
    estimate = F.linear(y, weight, bias)
    middle, scale = estimate.mean(0), 2 * estimate.std()  # inputs of the gelu deviate by half a unit
    dense.weight.copy_(weight / scale)
    dense.bias.copy_((bias - middle) / scale + _OPERATING_POINT)


def fit_bias(student: PreTrainedModel, y: Tensor, mean: Tensor, first: Tensor) -> None:
    """Sets the bias of a student's scores so that its mean prediction is a given one.

    Args:
        student: Has the rest of its head already.
        y: Its last states where it predicts [N, S].
        mean: The mean prediction wanted [V].
        first: The bias to begin with [V].
    """
    bias, own = head_of(student).bias, MaskedLM(student)
    bias.copy_(first)
    for _ in range(3):  # each round halves what the mean prediction is wrong by, at least
        found = F.linear(own.transform(y), own.table, bias).softmax(1)
        prior = _PRIOR_COUNT / found.numel()
        bias.add_(((mean + prior) / (found.mean(0) + prior)).log())
