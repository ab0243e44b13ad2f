"""What is exported: a model of torch with its tokenizer, and what it answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from lilliput.errors import ConfigError, ModelError
from lilliput.finetuning.model import load_task_model
from lilliput.inference.kinds import KINDS, Kind
from lilliput.models.pretrained import load_config, load_encoder, load_masked_lm, says_masked_lm
from lilliput.pieces.bert_tokenizer import complete, load_tokenizer
from lilliput.tasks.task import Task

_PLAIN = Task(name="", kind="classification")
"""Stands for no task: neither pairs nor classes nor tags."""


@dataclass(frozen=True)
class Source:
    """A checkpoint and what it answers."""

    folder: Path
    """Where it was read from."""
    model: PreTrainedModel
    """The model, in float32 and without dropout, as transformers loads it."""
    tokenizer: Tokenizer
    """Its tokenizer, without truncation and padding."""
    kind: str
    """What it answers."""
    task: Task | None
    """What it was fine-tuned for; None for a plain encoder or masked LM."""

    @property
    def config(self) -> PreTrainedConfig:
        """The model's config."""
        config: PreTrainedConfig = self.model.config
        return config

    @property
    def answers(self) -> Kind:
        """The kind of its answers."""
        return KINDS[self.kind]

    @property
    def labels(self) -> Task:
        """The task, or one without labels where there is none."""
        return self.task or _PLAIN

    def scores(self, inputs: dict[str, Tensor]) -> Tensor:
        """Returns what torch answers: scores, or the last states of a plain encoder."""
        with torch.inference_mode():
            answer: Tensor = self.model(**inputs)[0]
        return answer


def load_source(folder: Path, kind: Literal["fill", "encode"] | None) -> Source:
    """Loads what a folder holds.

    Args:
        folder: A fine-tuned model, a student or any encoder that lilliput reads.
        kind: What a checkpoint is exported for other than its task; None for its task or, where it has none,
            `fill` where it has a masked-LM head and else `encode`.

    Raises:
        ModelError: If there is no model that lilliput exports, or no masked-LM head for `fill`.
        StorageError: If a fine-tuned model is damaged.
        ConfigError: If there is no such kind.
    """
    if kind not in (None, "fill", "encode"):
        raise ConfigError(
            f"a kind that can be chosen is 'fill' or 'encode', not '{kind}'; a task has its own"
        )
    if kind is None and (folder / "task.json").is_file():
        tuned, task = load_task_model(folder)
        source = Source(folder, tuned, complete(load_tokenizer(str(folder))), task.kind, task)
    else:
        source = _plain(folder, kind)
    if source.config.hidden_act != "gelu":
        raise ModelError(
            f"{folder} has the activation '{source.config.hidden_act}', and only 'gelu' can be exported"
        )
    return source


def _plain(folder: Path, kind: Literal["fill", "encode"] | None) -> Source:
    config = load_config(str(folder))
    has_head = says_masked_lm(config)
    tokenizer = complete(load_tokenizer(str(folder)))
    if kind == "encode" or (kind is None and not has_head):
        return Source(folder, load_encoder(str(folder)), tokenizer, "encode", None)
    model, is_whole = load_masked_lm(str(folder))
    if not is_whole:
        raise ModelError(f"{folder} has no masked-LM head, so it fills in nothing; export it as 'encode'")
    if not config.tie_word_embeddings:
        raise ModelError(f"{folder} has a masked-LM head with a table of its own, which cannot be exported")
    return Source(folder, model, tokenizer, "fill", None)
