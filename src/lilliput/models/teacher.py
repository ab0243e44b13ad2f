"""The teacher: an encoder with two embedding tables and two softmax heads.

Its pieces have joint ids: the teacher's own pieces come first, the student's pieces follow, shifted by the
size of the teacher's vocabulary. So one sequence can mix both segmentations word by word. The two heads share
the transform; each multiplies with its own table and adds its own bias. A teacher whose own head has another
table than its embeddings has another for the student's vocabulary, too.

Shape letters: B batch, L length, T teacher width, E width of its embeddings (in most T), S student width,
V vocabulary.
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
from lilliput.models.any_masked_lm import open_masked_lm
from lilliput.models.blocks import has_blocks
from lilliput.models.kernels import PLAIN, Kernels
from lilliput.models.masked_lm import MaskedLM, scores_over

_SECOND_FILE = "second_vocabulary.safetensors"


class AffineTable(nn.Module):
    """Embeddings as narrow as the student's, mapped to the teacher's (mixed-vocabulary training)."""

    def __init__(self, size: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, narrow) * 0.02)
        self.map = nn.Linear(narrow, wide)

    def forward(self) -> Tensor:
        """Returns the table at the width of the teacher's embeddings [V, E]."""
        table: Tensor = self.map(self.weight)
        return table


class FreeTable(nn.Module):
    """Embeddings of the teacher's own width."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self) -> Tensor:
        """Returns the table [V, E]."""
        return self.weight


class Teacher(nn.Module):
    """An encoder that reads and predicts two vocabularies.

    Attributes:
        model: The transformers model with the teacher's own table and head bias.
        second: Gives the table of the student's vocabulary [V, E] when called.
        second_bias: Bias of the student-vocabulary head [V].
        second_output: What the student-vocabulary head multiplies with [V, E], where that is not `second`.
    """

    second_output: nn.Parameter | None

    def __init__(self, model: PreTrainedModel, second: FreeTable | AffineTable) -> None:
        super().__init__()
        self.model = model
        self.second = second
        self.second_bias = nn.Parameter(torch.zeros(second.weight.shape[0]))
        own, size = self.masked_lm.output_table, second.weight.shape[0]
        free = None if self.masked_lm.is_tied else nn.Parameter(torch.zeros(size, own.shape[1]))
        self.register_parameter("second_output", free)

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
        """Embeddings of the teacher's own vocabulary [V, E]."""
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
        """Returns what both heads multiply with their tables [N, E], from states [N, T]."""
        return self.masked_lm.transform(states, kernels)

    def own_scores(self, transformed: Tensor) -> Tensor:
        """Returns the scores of the teacher's own pieces [N, V] in float32, from what `transform` returns."""
        return scores_over(self.masked_lm.output_table, self.own_bias, transformed)

    def second_scores(self, transformed: Tensor) -> Tensor:
        """Returns the scores of the student's pieces [N, V] in float32, from what `transform` returns."""
        table = self.second() if self.second_output is None else self.second_output
        return scores_over(table, self.second_bias, transformed)

    def save(self, folder: Path) -> None:
        """Saves a plain masked-LM checkpoint and, beside it, the second vocabulary."""
        self.model.save_pretrained(folder)
        tensors = {f"second.{name}": tensor for name, tensor in self.second.state_dict().items()}
        tensors["second_bias"] = self.second_bias.detach()
        if self.second_output is not None:
            tensors["second_output"] = self.second_output.detach()
        save_file(tensors, folder / _SECOND_FILE)
        settle(folder)

    @classmethod
    def load(cls, folder: Path) -> "Teacher":
        """Loads what `save` wrote; raises StorageError when the second vocabulary is missing or damaged."""
        model, _ = open_masked_lm(str(folder))
        try:
            tensors = load_file(folder / _SECOND_FILE)
            weight = tensors["second.weight"]
            second = (
                AffineTable(weight.shape[0], weight.shape[1], MaskedLM(model).table.shape[1])
                if "second.map.weight" in tensors
                else FreeTable(weight)
            )
            teacher = cls(model, second)
            others = teacher.load_state_dict(tensors, strict=False).unexpected_keys
        except (OSError, SafetensorError, KeyError, IndexError, RuntimeError) as error:
            raise _unreadable(folder, first_line(error)) from error
        if others or (teacher.second_output is not None and "second_output" not in tensors):
            raise _unreadable(folder, "it has not the tables of this teacher")
        return teacher


def _unreadable(folder: Path, why: str) -> StorageError:
    return StorageError(
        f"{folder / _SECOND_FILE} cannot be read ({why}); train the teacher again: the same command makes "
        "anew what is damaged"
    )


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
        ModelError: If the head of a teacher of the BERT family has a table of its own.
    """
    original = MaskedLM(model)
    if has_blocks(model.config) and not original.is_tied:
        raise ModelError(
            "the teacher has a masked-LM head with a table of its own ('tie_word_embeddings': false), with "
            "which lilliput cannot teach; take one whose head shares the table of its pieces"
        )
    own, bias = original.table.detach(), original.bias.detach()
    flat = torch.tensor([piece for pieces in pieces_of for piece in pieces])
    lengths = torch.tensor([len(pieces) for pieces in pieces_of])
    offsets = torch.cumsum(lengths, 0) - lengths

    def means(rows: Tensor) -> Tensor:
        return F.embedding_bag(flat, rows, offsets, mode="mean")

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        if start == "affine":
            teacher = Teacher(model, AffineTable(len(pieces_of), narrow, own.shape[1]))
        elif start == "random":
            teacher = Teacher(model, FreeTable(torch.randn(len(pieces_of), own.shape[1]) * 0.02))
        else:
            teacher = Teacher(model, FreeTable(means(own)))
            teacher.second_bias.copy_(means(bias[:, None]).squeeze(1))
        if teacher.second_output is not None:
            teacher.second_output.copy_(means(original.output_table.detach()))
    return teacher
