"""Small checkpoints with the files of sentence-transformers."""

import shutil
from pathlib import Path

import torch

from lilliput.models.sentence_modules import Dense, SentenceModules, write_modules

WIDTH, VECTOR = 24, 40


def dense(rows: int = VECTOR, columns: int = WIDTH, activation: str = "Identity") -> Dense:
    generator = torch.Generator().manual_seed(rows)
    weight = torch.randn(rows, columns, generator=generator)
    return Dense(weight, torch.randn(rows, generator=generator), activation)


STUDENT = SentenceModules("mean", (dense(),), normalize=True)


def encoder(checkpoint: Path, folder: Path, modules: SentenceModules) -> Path:
    """Returns a copy of a checkpoint as a sentence encoder."""
    shutil.copytree(checkpoint, folder)
    write_modules(modules, folder, WIDTH)
    return folder
