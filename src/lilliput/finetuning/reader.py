"""How a model reads the examples of a task: both texts of a pair together, or each alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from tokenizers import Encoding, Tokenizer

from lilliput.common.ragged import Ragged
from lilliput.finetuning.encoded import Encoded, encode, task_tokenizer
from lilliput.finetuning.words import encodings, shortened
from lilliput.models.pretrained import load_config, longest_input
from lilliput.models.sentence_modules import read_modules
from lilliput.pieces.bert_tokenizer import special_pieces
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.retrieval import groups
from lilliput.tasks.task import Examples, Task, spelled


@dataclass(frozen=True)
class Reader:
    """What an encoder reads of examples."""

    tokenizer: Tokenizer
    """The encoder's."""
    positions: int
    """Pieces of its longest input."""
    prompt: str = ""
    """What is put before each text that is read alone."""

    def encode(self, examples: Examples, task: Task) -> Encoded:
        """Returns examples of a task as the encoder reads them; those that are too long are cut."""
        if not KINDS[task.kind].is_two_tower:
            return encode(examples, task, self.tokenizer, self.positions)
        return encode_apart(
            examples,
            task,
            self.tokenizer,
            self.positions,
            prompt=self.prompt,
            pad=special_pieces(self.tokenizer).pad,
        )


def reader_of(encoder: str, task: Task) -> Reader:
    """Returns how an encoder, a folder or hub name, reads the examples of a task."""
    tokenizer, positions = task_tokenizer(encoder), longest_input(load_config(encoder))
    if not KINDS[task.kind].is_two_tower:
        return Reader(tokenizer, positions)
    modules = read_modules(encoder)
    return Reader(tokenizer, modules.positions(positions), modules.prompt())


def encode_apart(
    examples: Examples,
    task: Task,
    tokenizer: Tokenizer,
    positions: int,
    *,
    prompt: str,
    pad: int,
    side: Literal["left", "right"] = "right",
) -> Encoded:
    """Returns examples whose texts are each read alone.

    Args:
        examples: Pairs, perhaps with wrong answers.
        task: Says what is predicted of each.
        tokenizer: The model's own.
        positions: Pieces that the model reads of a text at most.
        prompt: What is put before each text.
        pad: The id that fills its rows up.
        side: Where it cuts a longer text.
    """
    short = shortened(examples, positions)
    sides: list[Sequence[str]] = [[spelled(text) for text in short.texts], short.pairs]
    sides += [short.negatives] if short.negatives else []
    every = [
        encodings(Examples(tuple(prompt + text for text in texts)), tokenizer, positions, side)
        for texts in sides
    ]
    of_examples: list[tuple[Encoding, ...]] = list(zip(*every, strict=True))
    pieces = Ragged.of([encoding.ids for row in of_examples for encoding in row])
    nothing = Ragged.of([[]] * len(examples))
    return Encoded(
        pieces=pieces,
        types=np.zeros(len(pieces.values), np.int64),
        slots=Ragged.of([[0]] * len(examples)),
        words=nothing,
        spans=np.zeros((0, 3), np.int64),
        given=nothing,
        cut=sum(any(encoding.overflowing for encoding in row) for row in of_examples),
        pad=pad,
        towers=len(every),
        groups=groups(examples) if KINDS[task.kind].implied is not None else None,
    )
