"""Encoders with a head for a task: one row of scores for a text, or one for each of its pieces."""

from typing import Literal

from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedConfig,
)

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
