"""A student that gives vectors, with the files by which sentence-transformers opens it."""

from pathlib import Path

from torch import nn

from lilliput.models.sentence_modules import Dense, SentenceModules, write_modules
from lilliput.training.step import DualModel


def save_modules(models: DualModel, folder: Path) -> None:
    """Writes beside a saved student what makes vectors of its states."""
    assert models.student is not None
    dense = models.get_submodule("dense")
    assert isinstance(dense, nn.Linear)
    layer = Dense(dense.weight.detach().cpu(), dense.bias.detach().cpu())
    config = models.student.config
    modules = SentenceModules(dense=(layer,), longest=config.max_position_embeddings)
    write_modules(modules, folder, config.hidden_size)
