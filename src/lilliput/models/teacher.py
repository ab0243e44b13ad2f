"""The teacher: an encoder with two embedding tables and two softmax heads.

Its pieces have joint ids: the teacher's own pieces come first, the student's pieces follow, shifted by the
size of the teacher's vocabulary. So one sequence can mix both segmentations word by word. The two heads share
the transform; each multiplies with its own table and adds its own bias.

Shape letters: B batch, L length, T teacher width, S student width, V vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from lilliput.common.folders import settle
from lilliput.errors import ModelError, StorageError, first_line
from lilliput.models.kernels import PLAIN, Kernels
from lilliput.models.masked_lm import MaskedLM, scores_over
from lilliput.models.pretrained import load_masked_lm

_SECOND_FILE = "second_vocabulary.safetensors"


class AffineTable(nn.Module):
    """Embeddings as narrow as the student's, mapped to the teacher's width (mixed-vocabulary training)."""

    def __init__(self, size: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, narrow) * 0.02)
        self.map = nn.Linear(narrow, wide)

    def forward(self) -> Tensor:
        """Returns the table at the teacher's width [V, T]."""
        table: Tensor = self.map(self.weight)
        return table


class FreeTable(nn.Module):
    """Embeddings of the teacher's own width."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self) -> Tensor:
        """Returns the table [V, T]."""
        return self.weight


class Teacher(nn.Module):
    """An encoder that reads and predicts two vocabularies.

    Attributes:
        model: The transformers model with the teacher's own table and head bias.
        second: Gives the table of the student's vocabulary [V, T] when called.
        second_bias: Bias of the student-vocabulary head [V].
    """

    def __init__(self, model: PreTrainedModel, second: FreeTable | AffineTable) -> None:
        super().__init__()
        self.model = model
        self.second = second
        self.second_bias = nn.Parameter(torch.zeros(second.weight.shape[0]))

    @property
    def config(self) -> PreTrainedConfig:
        """The shape of the original teacher."""
        config: PreTrainedConfig = self.model.config
        return config

    @property
    def masked_lm(self) -> MaskedLM:
        """The model with the teacher's own vocabulary alone."""
        return MaskedLM(self.model)

    @property
    def own_table(self) -> Tensor:
        """Embeddings of the teacher's own vocabulary [V, T]."""
        return self.masked_lm.table

    @property
    def own_bias(self) -> Tensor:
        """Head bias of the teacher's own vocabulary [V]."""
        return self.masked_lm.bias

    def hidden(
        self, pieces: Tensor, padding: Tensor | None, kernels: Kernels = PLAIN, at: Tensor | None = None
    ) -> Tensor:
        """Returns the last hidden states of joint pieces [B, L, T], or of some of them [N, T].

        Args:
            pieces: Joint ids [B, L].
            padding: True where a piece is padding [B, L], or None where nothing is.
            kernels: How to compute.
            at: The pieces whose states are wanted, as indices into B * L [N]; None for all.
        """
        own_size = self.own_table.shape[0]
        is_second = pieces >= own_size
        own = F.embedding(torch.where(is_second, 0, pieces), self.own_table)
        second = F.embedding(torch.where(is_second, pieces - own_size, 0), self.second())
        embedded = torch.where(is_second[..., None], second, own)
        return self.masked_lm.states(embedded, padding, kernels, at)

    def transform(self, states: Tensor, kernels: Kernels = PLAIN) -> Tensor:
        """Returns what both heads multiply with their tables [N, T], from states [N, T]."""
        return self.masked_lm.transform(states, kernels)

    def own_scores(self, transformed: Tensor) -> Tensor:
        """Returns the scores of the teacher's own pieces [N, V] in float32, from what `transform` returns."""
        return scores_over(self.own_table, self.own_bias, transformed)

    def second_scores(self, transformed: Tensor) -> Tensor:
        """Returns the scores of the student's pieces [N, V] in float32, from what `transform` returns."""
        return scores_over(self.second(), self.second_bias, transformed)

    def save(self, folder: Path) -> None:
        """Saves a plain masked-LM checkpoint and, beside it, the second vocabulary."""
        self.model.save_pretrained(folder)
        tensors = {f"second.{name}": tensor for name, tensor in self.second.state_dict().items()}
        save_file(tensors | {"second_bias": self.second_bias.detach()}, folder / _SECOND_FILE)
        settle(folder)

    @classmethod
    def load(cls, folder: Path) -> "Teacher":
        """Loads what `save` wrote; raises StorageError when the second vocabulary is missing or damaged."""
        model, _ = load_masked_lm(str(folder))
        try:
            tensors = load_file(folder / _SECOND_FILE)
            weight = tensors["second.weight"]
            second = (
                AffineTable(weight.shape[0], weight.shape[1], model.config.hidden_size)
                if "second.map.weight" in tensors
                else FreeTable(weight)
            )
            teacher = cls(model, second)
            teacher.load_state_dict(tensors, strict=False)
        except (OSError, SafetensorError, KeyError, IndexError, RuntimeError) as error:
            raise StorageError(
                f"{folder / _SECOND_FILE} cannot be read ({first_line(error)}); train the teacher again: the "
                "same command makes anew what is damaged"
            ) from error
        return teacher


def build_teacher(
    model: PreTrainedModel,
    pieces_of: Sequence[Sequence[int]],
    start: Literal["pieces", "random", "affine"],
    narrow: int,
    seed: int,
) -> Teacher:
    """Returns a teacher whose second table starts from its first.

    Args:
        model: The teacher's checkpoint.
        pieces_of: For each piece of the student's vocabulary the own pieces that spell it.
        start: `pieces`: the mean of those pieces' embeddings and head biases, which for a piece that the
            teacher has too is a copy; `random`: normal with deviation 0.02; `affine`: narrow embeddings and
            an affine map.
        narrow: Width of the embeddings for `affine`.
        seed: Seed of the random starts.

    Raises:
        ModelError: If the teacher's head has a table of its own.
    """
    if not model.config.tie_word_embeddings:
        raise ModelError(
            "the teacher has a masked-LM head with a table of its own ('tie_word_embeddings': false), with "
            "which lilliput cannot teach; take one whose head shares the table of its pieces"
        )
    own, bias = MaskedLM(model).table.detach(), MaskedLM(model).bias.detach()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if start == "affine":
            return Teacher(model, AffineTable(len(pieces_of), narrow, own.shape[1]))
        if start == "random":
            return Teacher(model, FreeTable(torch.randn(len(pieces_of), own.shape[1]) * 0.02))
    flat = torch.tensor([piece for pieces in pieces_of for piece in pieces])
    lengths = torch.tensor([len(pieces) for pieces in pieces_of])
    offsets = torch.cumsum(lengths, 0) - lengths
    teacher = Teacher(model, FreeTable(F.embedding_bag(flat, own, offsets, mode="mean")))
    with torch.no_grad():
        teacher.second_bias.copy_(F.embedding_bag(flat, bias[:, None], offsets, mode="mean").squeeze(1))
    return teacher
