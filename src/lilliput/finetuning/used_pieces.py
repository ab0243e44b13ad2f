"""Fine-tuning with the rows of the table of pieces that its examples use, and no others.

An optimiser goes over a whole table in every step, of which a few rows have a gradient: 12 of a MiniLM's 23
million parameters, 192 of a multilingual E5's 278. A row that no example uses is only decayed, by the same
factor as all others, so it can wait until the end.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from lilliput.common.ragged import Ragged
from lilliput.finetuning.encoded import Encoded
from lilliput.models.blocks import embeddings_of


@dataclasses.dataclass
class UsedPieces:
    """A table that is cut to the pieces of some examples."""

    encoded: list[Encoded]
    """The examples, with pieces numbered by their rows in what is left of the table."""
    decay: float = 1.0
    """What rows that are not used would have been multiplied with."""


@contextlib.contextmanager
def used_pieces(model: PreTrainedModel, sets: Sequence[Encoded]) -> Iterator[UsedPieces]:
    """Cuts a model's table of pieces to those of some examples while the block runs.

    Afterwards it is whole again, with what its rows have learnt; where the block raises, as it was before.
    """
    table = embeddings_of(model).pieces
    whole = table.weight
    pieces = [np.append(encoded.pieces.values, encoded.pad) for encoded in sets]
    rows = np.unique(np.concatenate(pieces))
    number = np.zeros(len(whole), np.int64)
    number[rows] = np.arange(len(rows))
    encoded = [
        dataclasses.replace(
            one, pieces=Ragged(number[one.pieces.values], one.pieces.offsets), pad=int(number[one.pad])
        )
        for one in sets
    ]
    found, index = UsedPieces(encoded), torch.from_numpy(rows).to(whole.device)
    table.weight = nn.Parameter(whole.detach()[index])
    try:
        yield found
        with torch.no_grad():
            whole.mul_(found.decay)
            whole[index] = table.weight
    finally:
        table.weight = whole
