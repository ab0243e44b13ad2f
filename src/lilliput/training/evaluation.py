"""How good models are: masked-LM quality on held-out text, the same words for every model.

15 % of the words are masked whole, every piece of them [MASK], none kept, none random, fixed by a seed.
Vocabularies differ, so the loss is given in bits per character of the masked words; beside it stands the
share of masked pieces predicted right.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lilliput.config import BatchConfig
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.teacher import Teacher
from lilliput.pieces.lexicon import Lexicon
from lilliput.training.batches import Batch, BatchSource, Reading
from lilliput.training.processes import ALONE, Processes
from lilliput.training.rows import Rows

_ROWS_PER_BATCH = 16
_MASKED = 0.15
_SEED = 20191011


@dataclass(frozen=True)
class Quality:
    """Masked-LM quality of one model on one text."""

    bits_per_character: float
    """Bits the model needs for a character of a masked word, given the rest of the row."""
    accuracy: float
    """Share of the masked pieces predicted right."""
    loss: float
    """Nats per masked piece."""
    pieces: int
    """Masked pieces."""
    words: int
    """Masked words."""


def evaluation_source(rows: Rows, lexicon: Lexicon, length: int) -> BatchSource:
    """Returns the batches every model is evaluated on: each word in its reader's own segmentation."""
    config = BatchConfig(rows=min(_ROWS_PER_BATCH, len(rows)), length=length, masked=_MASKED, mixing=0.0)
    return BatchSource(rows, lexicon, config, (_SEED,))


@torch.no_grad()
def evaluate_masked_lm(
    source: BatchSource,
    *,
    teacher: Teacher | None = None,
    student: PreTrainedModel | None = None,
    dtype: torch.dtype = torch.float32,
    rows: int = 512,
    processes: Processes = ALONE,
) -> Iterator[tuple[str, Quality]]:
    """Yields `("teacher", quality)` and `("student", quality)` for the models given.

    Args:
        source: Made by `evaluation_source`.
        teacher: Reads and predicts its own vocabulary.
        student: Reads and predicts its own.
        dtype: Precision of the forward pass.
        rows: Rows to evaluate on at most.
        processes: Share the rows among them; each yields the quality on all.
    """
    readers: dict[str, _Tally] = {}
    if teacher is not None:
        readers["teacher"] = _Tally()
    if student is not None:
        readers["student"] = _Tally()
    steps = max(1, min(rows, len(source.rows)) // source.config.rows)
    for step in range(processes.index, steps, processes.count):
        batch = source.batch(step)
        if teacher is not None:
            reading = batch.teacher.to(teacher.own_table.device)
            hidden = teacher.hidden(reading.pieces, reading.padding, dtype)
            scores = teacher.masked_lm.scores(hidden.flatten(0, 1)[reading.positions])
            readers["teacher"].add(scores, reading, batch)
        if student is not None:
            reading = batch.student.to(student.device)
            model = MaskedLM(student)
            hidden = model.read(reading.pieces, reading.padding, dtype)
            readers["student"].add(model.scores(hidden.flatten(0, 1)[reading.positions]), reading, batch)
    for name, tally in readers.items():
        yield name, tally.quality(processes)


class _Tally:
    """Sums over batches."""

    def __init__(self) -> None:
        self.nats, self.right, self.pieces, self.words, self.characters = 0.0, 0, 0, 0, 0

    def add(self, scores: Tensor, reading: Reading, batch: Batch) -> None:
        """Counts one batch in."""
        self.nats += float(torch.nn.functional.cross_entropy(scores, reading.targets, reduction="sum"))
        self.right += int((scores.argmax(-1) == reading.targets).sum())
        self.pieces += reading.targets.shape[0]
        self.words += reading.words.unique().shape[0]  # type: ignore[no-untyped-call]
        self.characters += batch.masked_characters

    def quality(self, processes: Processes) -> Quality:
        """Returns what the sums of all processes come to."""
        total = processes.add_up(vars(self))
        pieces = max(total["pieces"], 1)
        return Quality(
            bits_per_character=total["nats"] / math.log(2) / max(total["characters"], 1),
            accuracy=total["right"] / pieces,
            loss=total["nats"] / pieces,
            pieces=int(total["pieces"]),
            words=int(total["words"]),
        )
