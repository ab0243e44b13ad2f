"""A masked LM through one interface: its table of pieces, the states of a text, and the scores of pieces.

Whatever architecture stands behind it, training, evaluation and planning ask for no more than this.

Shape letters: B batch, L length, D width, N positions, V vocabulary.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from lilliput.models.blocks import embeddings_of, head_of
from lilliput.models.encoder import encode, head_transform


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

    def read(self, pieces: Tensor, padding: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Returns the last states [B, L, D] of pieces [B, L], computed in `dtype`.

        Args:
            pieces: Ids of pieces.
            padding: True where a piece is padding [B, L], or None where nothing is.
            dtype: The precision.
        """
        return self.states(F.embedding(pieces, self.table).to(dtype), padding)

    def states(self, embedded: Tensor, padding: Tensor | None) -> Tensor:
        """Returns the last states [B, L, D] of embedded pieces [B, L, D], in their precision."""
        return encode(self.model, embedded, padding)

    def transform(self, states: Tensor) -> Tensor:
        """Returns what the head multiplies with a table of pieces [N, D], from states [N, D]."""
        return head_transform(head_of(self.model), states)

    def scores(self, states: Tensor) -> Tensor:
        """Returns the scores of all pieces [N, V] in float32, from states [N, D]."""
        return scores_over(self.table, self.bias, self.transform(states))


def scores_over(table: Tensor, bias: Tensor, transformed: Tensor) -> Tensor:
    """Returns scores over a vocabulary [N, V] in float32.

    Args:
        table: The vocabulary's embeddings [V, D].
        bias: The bias of its scores [V].
        transformed: Output of a masked-LM head's transform [N, D]; sets the precision of the product.
    """
    return F.linear(transformed, table.to(transformed.dtype)).float() + bias
