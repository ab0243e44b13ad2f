"""An encoder with a head for a task, as a plain transformers checkpoint.

A joint task has one head over its tags and classes together: a class is read at [CLS], a tag at the first
piece of each word. So it is an ordinary token classifier, which any tool loads.
"""

import dataclasses
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import BertForSequenceClassification, BertForTokenClassification

from lilliput.errors import ModelError, StorageError
from lilliput.files import read_json, write_json
from lilliput.models.pretrained import load_weights, longest_input
from lilliput.models.teacher import load_teacher_config
from lilliput.settings import build
from lilliput.tasks.task import Task
from lilliput.tokenizer import save_tokenizer

FORMAT = 1
"""Raised whenever a fine-tuned folder changes its meaning."""
_TASK_FILE = "task.json"

TaskModel = BertForSequenceClassification | BertForTokenClassification


def load_encoder(name: str, task: Task, dropout: float | None, seed: int) -> TaskModel:
    """Loads a BERT from a folder or the hub and puts a new head for a task on it.

    Args:
        name: Folder or hub name; a head of its own stays only if it has as many columns and is of that kind.
        task: Says what the head predicts.
        dropout: Of states, attention and the head; None keeps what the checkpoint's config says.
        seed: Seed of the head's first weights.

    Raises:
        ModelError: If there is no BERT encoder of that name, or it lacks weights.
    """
    config = load_teacher_config(name)
    labels = labels_of(task)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = "regression" if task.kind == "regression" else None
    if dropout is not None:
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    new = ("classifier", "bert.pooler")  # a masked-LM student has no pooler
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, _ = load_weights(
            _model_class(task), name, head=new, config=config, ignore_mismatched_sizes=True
        )
    return model


def labels_of(task: Task) -> tuple[str, ...]:
    """Returns the names of a head's columns; a regression has a single one."""
    return (task.tags + task.classes) or ("score",)


def _model_class(task: Task) -> type[TaskModel]:
    return BertForTokenClassification if task.tags else BertForSequenceClassification


def task_scores(model: TaskModel, inputs: dict[str, Tensor], positions: Tensor) -> tuple[Tensor, Tensor]:
    """Returns scores where something is predicted [K, C], and the last states [B, L, D].

    Args:
        model: Reads B rows of L pieces.
        inputs: `input_ids`, `attention_mask` and `token_type_ids` [B, L].
        positions: Where something is predicted, as indices into B * L [K]. For a model that predicts one
            thing of a text these are the rows' first places, and nothing is gathered.
    """
    output = model(**inputs, output_hidden_states=True)
    scores = output.logits
    if scores.dim() == 3:
        scores = scores.flatten(0, 1)[positions]
    return scores.float(), output.hidden_states[-1]


def save_task_model(model: TaskModel, tokenizer: Tokenizer, task: Task, folder: Path) -> None:
    """Saves model, tokenizer and task so that transformers' Auto classes load them without lilliput."""
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder, longest=longest_input(model.config))
    write_json(folder / _TASK_FILE, {"format": FORMAT, "task": dataclasses.asdict(task)})


def load_task(folder: Path) -> Task:
    """Returns the task that a folder's model was fine-tuned for; raises StorageError where there is none."""
    if not (folder / _TASK_FILE).is_file():
        raise StorageError(
            f"{folder} holds no fine-tuned model ({_TASK_FILE} is missing); make one with `lilliput finetune`"
        )
    found = read_json(folder / _TASK_FILE)
    if found.get("format") != FORMAT:
        raise StorageError(
            f"{folder / _TASK_FILE} has format {found.get('format')}, this version of lilliput reads "
            f"{FORMAT}; fine-tune again, or use the version that wrote it"
        )
    task: Task = build(Task, found["task"], "")
    return task


def load_task_model(folder: Path) -> tuple[TaskModel, Task]:
    """Loads what `save_task_model` wrote; raises StorageError when it is missing or damaged."""
    task = load_task(folder)
    try:
        model, _ = load_weights(_model_class(task), str(folder))
    except ModelError as error:
        raise StorageError(
            f"no fine-tuned model could be loaded from {folder} ({error}); fine-tune again"
        ) from error
    return model, task
