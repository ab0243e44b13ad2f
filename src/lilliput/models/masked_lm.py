"""A masked LM through one interface: its table of pieces, the states of a text, and the scores of pieces.

Whatever architecture stands behind it, training, evaluation and planning ask for no more than this. Post-norm
encoders, among them BERT, are computed by our own forward pass, all others by transformers' modules.

Shape letters: B batch, L length, D width, E width of the table (in most models D), N positions, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from lilliput.models.blocks import has_blocks, head_of
from lilliput.models.encoder import encode, head_transform
from lilliput.models.kernels import PLAIN, Kernels
from lilliput.models.own_modules import modules_states, modules_transform, output_of
from lilliput.models.shape import filled_up


@dataclass(frozen=True)
class MaskedLM:
    """A view of a model of transformers that has a masked-LM head."""

    model: PreTrainedModel
    """Owns the parameters."""

    @property
    def table(self) -> Tensor:
        """Embeddings of the pieces [V, E]."""
        return cast(nn.Embedding, self.model.get_input_embeddings()).weight

    @property
    def output_table(self) -> Tensor:
        """What the head multiplies with [V, E]: the same table, unless the two are not tied."""
        return self._output.weight

    @property
    def is_tied(self) -> bool:
        """Whether the head multiplies with the embeddings of the pieces."""
        return self.output_table is self.table

    @property
    def bias(self) -> Tensor:
        """The bias of the scores [V]; zeros where the model has none."""
        if has_blocks(self.model.config):
            return head_of(self.model).bias
        found: Tensor | None = self._output.bias
        return self.table.new_zeros(len(self.table)) if found is None else found

    @property
    def _output(self) -> nn.Linear:
        return cast(nn.Linear, output_of(self.model))

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
        """Returns the last states of embedded pieces [B, L, E], as `read` does."""
        if has_blocks(self.model.config):
            return encode(self.model, embedded.to(kernels.dtype), padding, kernels, at=at)
        found = modules_states(self.model, embedded, padding, kernels)
        return found if at is None else found.flatten(0, 1).index_select(0, at)

    def transform(self, states: Tensor, kernels: Kernels = PLAIN) -> Tensor:
        """Returns what the head multiplies with a table of pieces [N, E], from states [N, D]."""
        if has_blocks(self.model.config):
            return head_transform(head_of(self.model), states, kernels)
        return modules_transform(self.model, states)

    def scores(self, states: Tensor, kernels: Kernels = PLAIN) -> Tensor:
        """Returns the scores of all pieces [N, V] in float32, from states [N, D]."""
        return scores_over(self.output_table, self.bias, self.transform(states, kernels))


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
