"""The shared maps between the student's width and the teacher's.

For every trainable variable that both models have, one pair of matrices (U on rows, V on columns), shared by
all variables of the same shape, maps the one model's variable to the other's size (Zhao et al. 2019, section
3.3). An axis of equal size is left alone.

Shape letters: K variables of one shape, R rows and C columns of the source, r rows and c columns of the
target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lilliput.models.blocks import Block, Embeddings, Head, blocks_of, embeddings_of, head_of, parameters_of
from lilliput.models.teacher import Teacher


@dataclass(frozen=True)
class SharedVariable:
    """One variable that both models have, as live tensors."""

    name: str
    """Its name in the student's checkpoint."""
    teacher: Tensor
    student: Tensor


def matching_layers(student_layers: int, teacher_layers: int) -> list[int]:
    """Returns the teacher layer of each student layer, evenly spaced and ending at the last.

    >>> matching_layers(3, 12)
    [3, 7, 11]
    """
    return [(layer + 1) * teacher_layers // student_layers - 1 for layer in range(student_layers)]


def shared_variables(teacher: Teacher, student: PreTrainedModel) -> list[SharedVariable]:
    """Returns all variables that both models have, in the order of the student's.

    Among them the embeddings of the student's vocabulary; of the positions, and of the types of texts, those
    that both have; of the layers, those of `matching_layers`. What a model lacks is not shared.
    """
    embeddings, head, blocks = embeddings_of(student), head_of(student), blocks_of(student)
    theirs, their_blocks = embeddings_of(teacher.model), blocks_of(teacher.model)
    layers = matching_layers(len(blocks), len(their_blocks))
    parts: list[Embeddings | Block | Head] = [embeddings, head, *blocks]
    others: list[Embeddings | Block | Head] = [theirs, head_of(teacher.model)]
    others += [their_blocks[layer] for layer in layers]
    counterparts: dict[Tensor, tuple[Tensor, Tensor]] = {}
    for part, other in zip(parts, others, strict=True):
        found = dict(parameters_of(other))
        counterparts |= {own: (found[role], own) for role, own in parameters_of(part) if role in found}
    counterparts |= {
        embeddings.pieces.weight: (teacher.second(), embeddings.pieces.weight),
        embeddings.positions.weight: _rows_of_both(theirs.positions, embeddings.positions, theirs.first),
        head.bias: (teacher.second_bias, head.bias),
    }
    if embeddings.types is not None and theirs.types is not None:
        counterparts[embeddings.types.weight] = _rows_of_both(theirs.types, embeddings.types)
    return [
        SharedVariable(name, *counterparts[own])
        for name, own in student.named_parameters()
        if own in counterparts
    ]


def _rows_of_both(teacher: nn.Embedding, student: nn.Embedding, first: int = 0) -> tuple[Tensor, Tensor]:
    """Returns the rows that two tables have; the teacher's begins at row `first`."""
    theirs, ours = teacher.weight[first:], student.weight
    rows = min(len(theirs), len(ours))
    return theirs[:rows], (ours if rows == len(ours) else ours[:rows])


class SharedProjections(nn.Module):
    """Pairs of matrices (U, V) that map source variables to the size of target variables, one pair per shape.

    Vectors count as one row, so only V acts on them.
    """

    def __init__(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        super().__init__()
        self.rows = nn.ParameterDict()
        self.columns = nn.ParameterDict()
        for key, members in _by_shape(sources, targets).items():
            source, target = _stack([sources[i] for i in members]), _stack([targets[i] for i in members])
            if source.shape[1] != target.shape[1]:
                self.rows[key] = nn.Parameter(torch.empty(target.shape[1], source.shape[1]))
            if source.shape[2] != target.shape[2]:
                self.columns[key] = nn.Parameter(torch.empty(source.shape[2], target.shape[2]))
        for matrix in self.parameters():
            nn.init.orthogonal_(matrix, generator=torch.Generator().manual_seed(0))

    def forward(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Returns pairs (projected sources, targets) [K, r, c], one pair per shape."""
        pairs = []
        for key, members in _by_shape(sources, targets).items():
            projected = _stack([sources[i] for i in members])
            if key in self.rows:
                projected = self.rows[key] @ projected
            if key in self.columns:
                projected = projected @ self.columns[key]
            pairs.append((projected, _stack([targets[i] for i in members])))
        return pairs

    @torch.no_grad()
    def fit(self, sources: Sequence[Tensor], targets: Sequence[Tensor], rounds: int = 5) -> None:
        """Sets U and V to minimise the squared distance, by alternating least squares."""
        for key, members in _by_shape(sources, targets).items():
            source = _stack([sources[i] for i in members]).double()
            target = _stack([targets[i] for i in members]).double()
            for _ in range(rounds):
                if key in self.rows:
                    reach = source @ self.columns[key].double() if key in self.columns else source
                    self.rows[key].copy_(_least_squares(reach.mT, target.mT).mT)
                if key in self.columns:
                    reach = self.rows[key].double() @ source if key in self.rows else source
                    self.columns[key].copy_(_least_squares(reach, target))


def _least_squares(inputs: Tensor, outputs: Tensor) -> Tensor:
    """Returns X [C, c] that minimises sum_k ||inputs_k X - outputs_k||^2; a tiny ridge makes it unique."""
    x, y = inputs.flatten(0, 1), outputs.flatten(0, 1)
    return solve_ridge(x.mT @ x, x.mT @ y, 1e-6)


def solve_ridge(gram: Tensor, cross: Tensor, penalty: float) -> Tensor:
    """Returns the ridge regression [C, c] of outputs on inputs from their products.

    Args:
        gram: X^T X of the inputs X [C, C].
        cross: X^T Y of the inputs and the outputs Y [C, c].
        penalty: The ridge, relative to the mean of the diagonal of `gram`.
    """
    ridge = penalty * gram.diagonal().mean().clamp(min=1e-12)
    solved: Tensor = torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), cross)
    return solved


def _stack(variables: Sequence[Tensor]) -> Tensor:
    """Returns variables of one shape as [K, R, C]; a vector is one row."""
    stacked = torch.stack(list(variables))
    return stacked if stacked.dim() == 3 else stacked[:, None, :]


def _by_shape(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> dict[str, list[int]]:
    """Returns the indices of the variables of each pair of shapes."""
    groups: dict[str, list[int]] = {}
    for index, (source, target) in enumerate(zip(sources, targets, strict=True)):
        shapes = ("x".join(map(str, tensor.shape)) for tensor in (source, target))
        groups.setdefault("_to_".join(shapes), []).append(index)
    return groups
