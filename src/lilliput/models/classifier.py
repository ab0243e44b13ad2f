"""Encoders with a head for a task: one row of scores for a text, or one for each of its pieces.

Shape letters: B batch, L length, D width, K places where something is predicted, C columns of the head.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from lilliput.models.blocks import classifier_of, embeddings_of, pooler_of
from lilliput.models.dropout import NO_DROPOUT, Dropout, drop
from lilliput.models.encoder import cast_linear, encode
from lilliput.models.kernels import PLAIN, Kernels
from lilliput.models.pretrained import load_weights

Classifier = BertForSequenceClassification | BertForTokenClassification

_WITH_HEAD = ("BertForSequenceClassification", "BertForTokenClassification", "BertForMultipleChoice")
"""Checkpoints whose head has the name of a task's head, `classifier`."""
_NEW = ("classifier", "bert.pooler")
"""What may be missing where a head is new: a masked LM has no pooler either."""


def classifier_class(reads: Literal["text", "words"]) -> type[Classifier]:
    """Returns the class of transformers that scores the whole text, or each piece."""
    return BertForTokenClassification if reads == "words" else BertForSequenceClassification


def head_class_of(config: PreTrainedConfig) -> str | None:
    """Returns the name of the class that a checkpoint with a head says it is of; None without a head."""
    return next((name for name in config.architectures or () if name in _WITH_HEAD), None)


def columns_of(config: PreTrainedConfig) -> tuple[str, ...]:
    """Returns the names of the columns of a checkpoint's head."""
    names: Any = config.id2label
    return tuple(str(names.get(column)) for column in range(len(names)))


def load_classifier(
    kind: type[Classifier], name: str, config: BertConfig, *, new_head: bool = False
) -> tuple[Classifier, bool]:
    """Loads a model with a head, and says whether its output layer is the checkpoint's.

    Args:
        kind: What `classifier_class` returns.
        name: Folder or hub name.
        config: The model's; its labels say how many scores there are.
        new_head: Whether a head may be missing or of another size; it is then drawn anew.

    Raises:
        ModelError: If there is no such model, or it lacks weights.
    """
    model, missing = load_weights(
        kind, name, head=_NEW if new_head else (), config=config, ignore_mismatched_sizes=new_head
    )
    return model, not any(key.startswith("classifier") for key in missing)


def dropout_of(model: PreTrainedModel) -> Dropout:
    """Returns what is left out while a model is fine-tuned, as its config says."""
    config = model.config
    return Dropout(config.hidden_dropout_prob, config.attention_probs_dropout_prob)


def leaves_out(model: PreTrainedModel) -> bool:
    """Returns whether anything is left out at random while a model is fine-tuned."""
    return dropout_of(model) != NO_DROPOUT or bool(model.config.classifier_dropout)


def class_scores(
    model: Classifier,
    pieces: Tensor,
    types: Tensor,
    padding: Tensor | None,
    positions: Tensor,
    kernels: Kernels = PLAIN,
    *,
    states: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Returns scores where something is predicted [K, C] in float32 and, if asked for, all states [B, L, D].

    A model in training mode leaves out what its config says.

    Args:
        model: Scores whole texts, or pieces.
        pieces: Ids of pieces [B, L].
        types: The text that a piece is of, 0 or 1 [B, L].
        padding: True where a piece is padding [B, L], or None where nothing is.
        positions: Where something is predicted, as indices into B * L [K]; for scores of texts their [CLS].
        kernels: How to compute.
        states: Whether the last states of all pieces are wanted too.
    """
    embedded = F.embedding(pieces, embeddings_of(model).pieces.weight).to(kernels.dtype)
    dropout = dropout_of(model) if model.training else NO_DROPOUT
    at = None if states else positions
    found = encode(model, embedded, padding, kernels, types=types, at=at, dropout=dropout)
    read = found.flatten(0, 1)[positions] if states else found
    if isinstance(model, BertForSequenceClassification):
        read = torch.tanh(cast_linear(read, pooler_of(model)))
    share = model.config.classifier_dropout
    share = dropout.states if share is None else share
    read = drop(read, share if model.training else 0.0)
    return cast_linear(read.float(), classifier_of(model)), found if states else None
