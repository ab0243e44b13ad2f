"""A masked LM through one interface: its table of pieces, the states of a text, and the scores of pieces.

Whatever architecture stands behind it, training, evaluation and planning ask for no more than this.

Shape letters: B batch, L length, D width, N positions, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from lilliput.models.blocks import embeddings_of, head_of
from lilliput.models.encoder import encode, head_transform
from lilliput.models.kernels import PLAIN, Kernels
from lilliput.models.shape import filled_up


@dataclass(frozen=True)
class MaskedLM:
    """A view of a model of transformers that has a masked-LM head tied to its table of pieces."""

    model: PreTrainedModel
    """Owns the parameters."""

    @property
    def table(self) -> Tensor:
        """Embeddings of the pieces [V, D], with which the head multiplies too."""
        return embeddings_of(self.model).pieces.weight

    @property
    def bias(self) -> Tensor:
        """The bias of the scores [V]."""
        return head_of(self.model).bias

    def read(
        self, pieces: Tensor, padding: Tensor | None, kernels: Kernels = PLAIN, at: Tensor | None = None
    ) -> Tensor:
        """Returns the last states of pieces [B, L, D], or of some of them [N, D].

        Args:
            pieces: Ids of pieces [B, L].
            padding: True where a piece is padding [B, L], or None where nothing is.
            kernels: How to compute.
            at: The pieces whose states are wanted, as indices into B * L [N]; None for all.
        """
        return self.states(F.embedding(pieces, self.table), padding, kernels, at)

    def states(
        self, embedded: Tensor, padding: Tensor | None, kernels: Kernels = PLAIN, at: Tensor | None = None
    ) -> Tensor:
        """Returns the last states of embedded pieces [B, L, D], as `read` does."""
        return encode(self.model, embedded.to(kernels.dtype), padding, kernels, at=at)

    def transform(self, states: Tensor, kernels: Kernels = PLAIN) -> Tensor:
        """Returns what the head multiplies with a table of pieces [N, D], from states [N, D]."""
        return head_transform(head_of(self.model), states, kernels)

    def scores(self, states: Tensor, kernels: Kernels = PLAIN) -> Tensor:
        """Returns the scores of all pieces [N, V] in float32, from states [N, D]."""
        return scores_over(self.table, self.bias, self.transform(states, kernels))


def scores_over(table: Tensor, bias: Tensor, transformed: Tensor) -> Tensor:
    """Returns scores over a vocabulary [N, V] in float32.

    Args:
        table: The vocabulary's embeddings [V, D].
        bias: The bias of its scores [V].
        transformed: Output of a masked-LM head's transform [N, D]; sets the precision of the product.
    """
    scores: Tensor = _Scores.apply(table, bias, transformed)  # type: ignore[no-untyped-call]
    return scores


class _Scores(torch.autograd.Function):
    """A product over a vocabulary, of a number of rows that is filled up."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, bias: Tensor, transformed: Tensor) -> Tensor:
        states = F.pad(transformed, (0, 0, 0, filled_up(len(transformed)) - len(transformed)))
        ctx.save_for_backward(table, states)
        ctx.count = len(transformed)
        return F.linear(states, table.to(states.dtype))[: ctx.count] + bias

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        table, states = ctx.saved_tensors
        whole = gradient.new_empty((len(states), len(table)), dtype=states.dtype)
        whole[: ctx.count], whole[ctx.count :] = gradient, 0
        of_states = torch.mm(whole, table.to(states.dtype))[: ctx.count]
        return torch.mm(whole.mT, states).to(table.dtype), gradient.sum(0), of_states
