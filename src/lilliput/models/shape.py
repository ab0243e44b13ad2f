"""The sizes of an encoder, from which its parameters and costs follow; needs no torch."""

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lilliput.config import StudentConfig

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_TYPES = 2
"""Segment embeddings of every BERT."""


def filled_up(count: int, multiple: int = 64) -> int:
    """Returns a number of rows or of pieces, filled up to a multiple.

    What changes from batch to batch is filled up: a product of a new shape is compiled first, for bfloat16 in
    up to 10 ms, which took an eighth of a student's step.

    >>> filled_up(65), filled_up(64), filled_up(9, 8)
    (128, 64, 16)
    """
    return -(-count // multiple) * multiple


@dataclass(frozen=True)
class EncoderShape:
    """The sizes of an encoder with a tied masked-LM head."""

    layers: int
    """Encoder layers."""
    width: int
    """Hidden size."""
    heads: int
    """Attention heads."""
    feed_forward: int
    """Inner size of the feed-forward blocks."""
    positions: int
    """Longest input in pieces."""
    vocabulary: int
    """Pieces."""

    @classmethod
    def of_student(cls, config: StudentConfig, vocabulary: int) -> "EncoderShape":
        """Returns the shape of a recipe's student with `vocabulary` pieces."""
        return cls(**dataclasses.asdict(config), vocabulary=vocabulary)

    @classmethod
    def of_config(cls, config: "PreTrainedConfig", positions: int | None = None) -> "EncoderShape":
        """Returns the shape of a checkpoint.

        Args:
            config: The checkpoint's.
            positions: The longest input in pieces, where the config's is not it.
        """
        inner = getattr(config, "intermediate_size", None)
        return cls(
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=config.num_attention_heads,
            feed_forward=config.hidden_dim if inner is None else inner,  # as a DistilBERT has it
            positions=config.max_position_embeddings if positions is None else positions,
            vocabulary=config.vocab_size,
        )

    def variables(self) -> list[tuple[int, ...]]:
        """Returns the shape of every parameter, in an order that depends on the number of layers alone."""
        width, inner = self.width, self.feed_forward
        vector, square = (width,), (width, width)
        embeddings = [(self.vocabulary, width), (self.positions, width), (_TYPES, width), vector, vector]
        attention = [square, vector] * 4 + [vector, vector]
        feed_forward = [(inner, width), (inner,), (width, inner), vector, vector, vector]
        head = [square, vector, vector, vector, (self.vocabulary,)]
        return [*embeddings, *(attention + feed_forward) * self.layers, *head]

    def matrices(self) -> list[tuple[int, ...]]:
        """Returns the shapes of the linear layers' weights, to which the tables do not belong."""
        return [shape for shape in self.variables()[3:] if len(shape) == 2]

    @property
    def parameters(self) -> int:
        """Parameters, the embeddings that the head is tied to counted once."""
        return sum(math.prod(shape) for shape in self.variables())
