"""What the models of a stage make of a batch: what its objectives are computed from.

Shape letters: B texts, T teacher width, S student width, N pieces or words, V vocabulary, E width of vectors.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from lilliput.training.batches import Batch, Taught
from lilliput.training.objectives import (
    hidden_states,
    masked_lm,
    shared_projection,
    similarities,
    soft_labels,
    vectors,
)

if TYPE_CHECKING:
    from lilliput.training.step import DualModel


@dataclass(frozen=True)
class Predictions:
    """What a model says of masked pieces, over one vocabulary."""

    states: Tensor
    """Last hidden states of the masked pieces [N, T or S]."""
    scores: Tensor
    """Scores of every piece of the vocabulary [N, V]."""
    targets: Tensor
    """The true pieces [N]."""

    def masked_lm(self) -> Tensor:
        """Returns the summed cross-entropy to the true pieces."""
        return masked_lm(self.scores, self.targets)[0]

    def soft_labels(self, aligned: Tensor, teacher: "Predictions") -> Tensor:
        """Returns the summed cross-entropy to the teacher's distributions at the `aligned` pieces [N]."""
        return soft_labels(self.scores[aligned], teacher.scores)[0]


@dataclass(frozen=True)
class TextStates:
    """What the student makes of whole texts."""

    pooled: Tensor
    """The mean of the last states of a text's pieces, for each text [B, S], in float32."""
    words: Tensor
    """The last state of each word's first piece [N, S], in float32."""


@dataclass(frozen=True)
class Outputs:
    """What objectives are computed from."""

    models: "DualModel"
    """The models of the stage."""
    batch: Batch
    """What they read."""
    predictions: Mapping[str, Predictions]
    """Those of "student"; of "teacher" over the same vocabulary, at the words that it reads in it; and, where
    it is trained, of "teacher_own" over its own vocabulary, at the other words."""
    texts: TextStates | None = None
    """The student's states of whole texts, where the teacher has read them before."""

    @functools.cached_property
    def variables(self) -> tuple[list[Tensor], list[Tensor]]:
        """The variables that both models have, the teacher's and the student's."""
        return self.models.variables()

    def module(self, name: str) -> nn.Module:
        """Returns a module that an objective added to the models."""
        return self.models.get_submodule(name)

    @functools.cached_property
    def text_vectors(self) -> Tensor:
        """The student's vectors of the texts, of length 1 [B, E]."""
        assert self.texts is not None
        return self.models.vectors(self.texts)

    @property
    def taught(self) -> Taught:
        """What the teacher said of the texts."""
        assert self.batch.taught is not None
        return self.batch.taught

    def vector_distance(self) -> Tensor:
        """Returns the summed squared distance of the texts' vectors."""
        return vectors(self.text_vectors, self.taught.vectors)[0]

    def similarity_divergence(self) -> Tensor:
        """Returns the summed divergence of the texts' similarities."""
        return similarities(self.text_vectors, self.taught.vectors)[0]

    def state_distance(self) -> Tensor:
        """Returns the summed mean squared distance of the words' states."""
        assert self.texts is not None
        return hidden_states(self.module("state_map")(self.texts.words), self.taught.states)[0]

    def distance(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """Returns the summed squared distance of the two tensors of each pair."""
        return shared_projection(pairs)[0]
