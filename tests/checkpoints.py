"""Small checkpoints of every kind, and what transformers itself answers with them."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    PreTrainedModel,
)

from conftest import World, stir
from lilliput.finetuning.model import labels_of, save_task_model
from lilliput.models.student import save_student
from lilliput.tasks.task import Task


def drawn_pieces(rows: int, vocabulary: int, mask: int) -> torch.Tensor:
    """Random pieces [rows, 16], a fifth of them masked."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(5, vocabulary, (rows, 16), generator=generator)
    return torch.where(torch.rand(drawn.shape, generator=generator) < 0.2, mask, drawn)


POSITIONS = 24
TAGS = ("O", "B-place", "I-place")
TASKS = {
    "classification": Task("films", "classification", classes=("bad", "good")),
    "pairs": Task("same", "classification", pairs=True, classes=("no", "yes", "perhaps")),
    "regression": Task("likeness", "regression", pairs=True, metric="pearson"),
    "tagging": Task("places", "tagging", tags=TAGS, metric="f1"),
    "joint": Task("orders", "joint", classes=("book", "play"), tags=TAGS),
}
KINDS = [*TASKS, "fill", "encode"]
SENTENCES = ("Yes.", "Why not?", "A child ran across the wet grass.", "the of in with a my every was under")


def small_config(pieces: int) -> BertConfig:
    return BertConfig(
        vocab_size=pieces, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=POSITIONS, layer_norm_eps=1e-6,
    )  # fmt: skip


def save_small(world: World, kind: str, folder: Path, seed: int = 0) -> Path:
    """Writes a small checkpoint of a kind."""
    tokenizer = world.lexicon.student_tokenizer()
    config = small_config(world.lexicon.student_size)
    if kind in TASKS:
        task = TASKS[kind]
        config.id2label = dict(enumerate(labels_of(task)))
        config.label2id = {label: index for index, label in config.id2label.items()}
        model = (BertForTokenClassification if task.tags else BertForSequenceClassification)(config)
        stir(model, seed)
        save_task_model(model, tokenizer, task, folder)
    else:
        student = BertForMaskedLM(config) if kind == "fill" else BertModel(config)
        stir(student, seed)
        save_student(student, tokenizer, folder)  # type: ignore[arg-type]
    return folder


def load_torch(folder: Path, kind: str) -> PreTrainedModel:
    """Loads a checkpoint with nothing of lilliput."""
    if kind == "encode":
        return BertModel.from_pretrained(folder, add_pooling_layer=False)
    if kind == "fill":
        return AutoModelForMaskedLM.from_pretrained(folder)
    tagged = bool(TASKS[kind].tags)
    auto = AutoModelForTokenClassification if tagged else AutoModelForSequenceClassification
    return auto.from_pretrained(folder)


def inputs(rows: int, length: int, pieces: int = 300) -> dict[str, torch.Tensor]:
    """Returns random pieces of both types, all rows but the first with padding."""
    generator = torch.Generator().manual_seed(rows * 100 + length)
    lengths = torch.randint(1, length + 1, (rows, 1), generator=generator)
    lengths[0] = length
    mask = (torch.arange(length)[None] < lengths).long()
    ids = torch.randint(5, pieces, (rows, length), generator=generator) * mask
    types = (torch.arange(length)[None] >= lengths // 2).long() * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def compared(scores: NDArray[np.float32], given: dict[str, torch.Tensor]) -> NDArray[np.float32]:
    """Returns the scores that mean something: those of texts, or of pieces that are not padding."""
    return scores[given["attention_mask"].numpy() == 1] if scores.ndim == 3 else scores
