"""An encoder with a head for a task, as a plain transformers checkpoint.

A joint task has one head over its tags and classes together: a class is read at [CLS], a tag at the first
piece of each word. So it is an ordinary token classifier, which any tool loads.

Columns of heads are told apart by their names, never by their order: a head that a checkpoint brings has the
order of its own labels.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedConfig

from lilliput.common.files import write_json
from lilliput.common.folders import settle
from lilliput.common.settings import require
from lilliput.common.stored import as_stored, intact, stored
from lilliput.errors import ModelError, StorageError
from lilliput.finetuning.encoded import Encoded, TaskBatch
from lilliput.finetuning.heads import HEADS
from lilliput.models.autotune import choose
from lilliput.models.blocks import classifier_of
from lilliput.models.classifier import (
    Classifier,
    class_scores,
    classifier_class,
    columns_of,
    dropout_of,
    head_class_of,
    load_classifier,
)
from lilliput.models.dropout import NO_DROPOUT
from lilliput.models.kernels import Kernels
from lilliput.models.pretrained import load_config, load_weights, longest_input
from lilliput.models.sentence_encoder import SentenceEncoder, load_sentence_encoder
from lilliput.models.shape import EncoderShape
from lilliput.pieces.bert_tokenizer import save_tokenizer
from lilliput.tasks.kinds import require_known
from lilliput.tasks.task import Task

FORMAT = 2
"""Raised whenever a fine-tuned folder changes its meaning. In format 1 tags were learnt and scored at the
first piece of given words alone: not at ' and hare in o'hare."""
_READ = (1, 2)
_TASK_FILE = "task.json"
_AGAIN = "fine-tune again"
_LISTED = 8
"""Names that a sentence lists."""

TaskModel = Classifier | SentenceEncoder


@dataclass(frozen=True)
class CheckpointHead:
    """The head that a checkpoint brings, and what of it a task keeps."""

    kind: str
    """The class of transformers that it is of."""
    names: tuple[str, ...]
    """The names of its columns."""
    kept: dict[int, int]
    """For columns of the task's head the ones that they take over."""
    wanted: tuple[str, ...]
    """The names of the task's columns."""

    @property
    def is_whole(self) -> bool:
        """Whether it has the task's columns in the task's order, and no others."""
        is_in_order = all(self.kept.get(column) == column for column in range(len(self.wanted)))
        return is_in_order and len(self.names) == len(self.wanted)

    def __str__(self) -> str:
        kept = [self.wanted[column] for column in sorted(self.kept)]
        new = [name for column, name in enumerate(self.wanted) if column not in self.kept]
        if not kept:
            return (
                f"its head ({self.kind}: {_listed(self.names)}) has no column that the task needs "
                f"({_listed(self.wanted)}), so all of them are drawn anew"
            )
        rest = f", and {_listed(new)} drawn anew" if new else ""
        return f"of its head's columns {_listed(kept)} {'are' if kept[1:] else 'is'} kept, by name{rest}"


def find_head(name: str, task: Task) -> CheckpointHead | None:
    """Returns the head of a checkpoint as a task sees it; None where the checkpoint's config names none.

    A two-tower model has no head. A column is kept where task and checkpoint have its name once. The only
    column of a head for scores is kept for scores. Of a head of another kind, such as one of words for texts,
    nothing is kept.
    """
    return _head(load_config(name), task)


def _head(config: PreTrainedConfig, task: Task) -> CheckpointHead | None:
    kind = head_class_of(config)
    if kind is None or HEADS[task.kind].reads == "apart":
        return None
    ours, theirs = labels_of(task), columns_of(config)
    is_same = kind == _model_class(task).__name__
    return CheckpointHead(kind, theirs, HEADS[task.kind].kept(ours, theirs) if is_same else {}, ours)


def load_encoder(name: str, task: Task, dropout: float | None, seed: int) -> TaskModel:
    """Loads an encoder from a folder or the hub, and puts a head for a task on it where the kind has one.

    Args:
        name: Folder or hub name; of a head of its own the columns stay that `find_head` says.
        task: Says what the head predicts.
        dropout: Of states, attention and the head; None keeps what the checkpoint's config says.
        seed: Seed of the head's first weights.

    Raises:
        ModelError: If there is no encoder of that name, or it lacks weights.
    """
    if HEADS[task.kind].reads == "apart":
        return _sentence_encoder(name, dropout)
    config = load_config(name)
    head, labels = _head(config, task), labels_of(task)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = HEADS[task.kind].problem_type
    if dropout is not None:
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, has_head = load_classifier(_model_class(task), name, config, new_head=True)
        if has_head and not (head and head.is_whole):
            _put_head(model, name, head)
    return model


def _sentence_encoder(name: str, dropout: float | None) -> SentenceEncoder:
    model = load_sentence_encoder(name)
    if dropout is not None:
        model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = dropout
    return model


def _put_head(model: Classifier, name: str, head: CheckpointHead | None) -> None:
    """Gives a model a new head with the columns that are kept of its checkpoint's."""
    ours = old = classifier_of(model)
    if head is not None and head.kept and len(head.names) != old.out_features:
        old = classifier_of(load_classifier(type(model), name, load_config(name))[0])
    new = nn.Linear(old.in_features, ours.out_features)
    with torch.no_grad():
        nn.init.normal_(new.weight, std=model.config.initializer_range)
        nn.init.zeros_(new.bias)
        for column, theirs in (head.kept if head is not None else {}).items():
            new.weight[column] = old.weight[theirs]
            new.bias[column] = old.bias[theirs]
        ours.load_state_dict(new.state_dict())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return f"{', '.join(map(repr, names[:_LISTED]))}{more}"


def labels_of(task: Task) -> tuple[str, ...]:
    """Returns the names of the columns of a task's head."""
    return HEADS[task.kind].columns(task)


def _model_class(task: Task) -> type[Classifier]:
    reads = HEADS[task.kind].reads
    assert reads != "apart"
    return classifier_class(reads)


def scores_shape(model: TaskModel, encoded: Encoded) -> tuple[int, ...]:
    """Returns the shape of a model's scores of all slots: [K, C], or [K, texts, E] where texts are apart."""
    slots = len(encoded.slots.values)
    if isinstance(model, SentenceEncoder):
        return slots, encoded.towers, model.width
    return slots, classifier_of(model).out_features


def task_kernels(model: TaskModel, encoded: Encoded, *, learns: bool) -> Kernels:
    """Returns the fastest kernels here for a model that learns from some examples, or reads them."""
    length = int(np.median(encoded.pieces.lengths)) if len(encoded) else 1
    dropout = dropout_of(model)
    share = max(dropout.states, dropout.attention) if learns else 0.0
    shape = EncoderShape.of_config(model.config)
    return choose(shape, length, model.device, goes_backward=learns, dropout=share)


def task_scores(
    model: TaskModel, batch: TaskBatch, kernels: Kernels, *, states: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Returns scores where something is predicted [K, C] and, if asked for, the last states [B, L, D].

    Of a model that reads texts apart, scores are their vectors [K, texts, E], and there are no states.

    Args:
        model: Reads B rows of L pieces.
        batch: What it reads.
        kernels: How to compute.
        states: Whether the states are wanted too.
    """
    pieces, mask, types = (batch.inputs[name] for name in ("input_ids", "attention_mask", "token_type_ids"))
    padding = mask == 0
    padded = padding if bool(padding.any()) else None
    if isinstance(model, SentenceEncoder):
        dropout = dropout_of(model) if model.training else NO_DROPOUT
        vectors = model.text_vectors(pieces, padded, kernels, dropout)
        return vectors.view(-1, len(batch.slots), model.width).transpose(0, 1), None
    return class_scores(model, pieces, types, padded, batch.positions, kernels, states=states)


def save_task_model(model: TaskModel, tokenizer: Tokenizer, task: Task, folder: Path) -> None:
    """Saves model, tokenizer and task so that others load them without lilliput.

    These are transformers' Auto classes or, of a model that reads texts apart, sentence-transformers.
    """
    if isinstance(model, SentenceEncoder):
        model.save(folder)
    else:
        model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder, longest=longest_input(model.config))
    write_json(folder / _TASK_FILE, {"format": FORMAT, "task": dataclasses.asdict(task)})
    settle(folder)


def load_task(folder: Path) -> Task:
    """Returns the task that a folder's model was fine-tuned for; raises StorageError where there is none."""
    task: Task = as_stored(Task, _task_file(folder).get("task"), folder / _TASK_FILE, _AGAIN)
    with intact(folder / _TASK_FILE, _AGAIN):
        require_known(task)
    return task


def write_threshold(folder: Path, min_probability: float | None) -> None:
    """Adds to a folder's task from which probability on its classes are answers."""
    write_json(folder / _TASK_FILE, _task_file(folder) | {"min_probability": min_probability})


def load_threshold(folder: Path) -> float | None:
    """Returns from which probability on the classes of a folder's task are answers; None for all."""
    found: float | None = as_stored(
        float | None, _task_file(folder).get("min_probability"), folder / _TASK_FILE, _AGAIN
    )
    with intact(folder / _TASK_FILE, _AGAIN):
        require(found is None or 0 <= found <= 1, "'min_probability' is no share")
    return found


def is_of_text(folder: Path) -> bool:
    """Whether a folder's model learnt a tag for every word of a text, as since format 2."""
    return bool(_task_file(folder)["format"] > 1)


def _task_file(folder: Path) -> dict[str, Any]:
    if not (folder / _TASK_FILE).is_file():
        raise StorageError(
            f"{folder} holds no fine-tuned model ({_TASK_FILE} is missing); make one with `lilliput finetune`"
        )
    found: dict[str, Any] = stored(dict[str, Any], folder / _TASK_FILE, _AGAIN)
    if found.get("format") not in _READ:
        raise StorageError(
            f"{folder / _TASK_FILE} has format {found.get('format')}, this version of lilliput reads "
            f"{' and '.join(map(str, _READ))}; fine-tune again, or use the version that wrote it"
        )
    return found


def load_task_model(folder: Path) -> tuple[TaskModel, Task]:
    """Loads what `save_task_model` wrote; raises StorageError when it is missing or damaged."""
    task = load_task(folder)
    try:
        if HEADS[task.kind].reads == "apart":
            return load_sentence_encoder(str(folder)), task
        model, _ = load_weights(_model_class(task), str(folder))
    except ModelError as error:
        raise StorageError(
            f"no fine-tuned model could be loaded from {folder} ({error}); fine-tune again"
        ) from error
    if (names := columns_of(model.config)) != labels_of(task):
        raise StorageError(
            f"config.json of {folder} names the columns of its head {_listed(names)}, {_TASK_FILE} names "
            f"them {_listed(labels_of(task))}; one of them was changed: put it back, or fine-tune again"
        )
    return model, task
