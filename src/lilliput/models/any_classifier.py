"""A model of any architecture that transformers holds and that somebody fine-tuned for texts or words.

A BERT is read by our own forward pass (`classifier`), any other by the module of transformers.

Shape letters: B batch, L length, D width, K places where something is predicted, C columns of the head.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from lilliput.errors import ModelError
from lilliput.models.any_encoder import (
    any_config,
    any_positions,
    load_any,
    require_safetensors,
    sketch,
)
from lilliput.models.any_tokenizer import AnyTokenizer, load_any_tokenizer
from lilliput.models.classifier import Classifier, classifier_class, columns_of, load_classifier
from lilliput.models.pretrained import load_config, longest_input

Reads = Literal["text", "words"]

_AUTO: dict[Reads, Any] = {
    "text": AutoModelForSequenceClassification,
    "words": AutoModelForTokenClassification,
}
"""For what a head reads, the class of transformers that knows those of all architectures."""


class AnyClassifier(nn.Module):
    """A fine-tuned model that only reads."""

    def __init__(self, model: PreTrainedModel, reads: Reads) -> None:
        super().__init__()
        self.model = model
        self.reads = reads
        takes = inspect.signature(model.forward).parameters
        self._types = getattr(model.config, "type_vocab_size", 0) if "token_type_ids" in takes else 0
        self._states: Tensor | None = None
        model.base_model.register_forward_hook(self._note)

    def _note(self, _: nn.Module, __: Any, output: Any) -> None:
        self._states = output[0]

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        device: torch.device = self.model.device
        return device

    def scores(
        self, inputs: Mapping[str, Tensor], positions: Tensor, *, states: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Returns scores where something is predicted [K, C] and, if asked for, the last states [B, L, D].

        Args:
            inputs: `input_ids`, `attention_mask` and `token_type_ids` [B, L]; the last is left out where the
                model has no rows for the second text.
            positions: Where something is predicted, as indices into B * L [K]; of whole texts one each.
            states: Whether the states are wanted too.
        """
        types = inputs["token_type_ids"]
        given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        if self._types > 1 and int(types.max()) < self._types:
            given["token_type_ids"] = types
        found = self.model(**given).logits.float()
        last, self._states = self._states, None
        if self.reads == "words":
            found = found.flatten(0, 1)[positions]
        assert len(found) == len(positions)
        return found, last if states else None


@dataclass(frozen=True)
class ClassifierCheckpoint:
    """A fine-tuned checkpoint whose weights are not read yet."""

    name: str
    """Folder or hub name."""
    config: PreTrainedConfig
    """Its config, checked."""
    reads: Reads
    """Whether its head scores the whole text, or each piece."""
    sketched: PreTrainedModel | None
    """The model without weights; None for a BERT, which lilliput reads itself."""
    positions: int
    """Pieces that it reads at most, special ones included."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of its head."""
        return columns_of(self.config)

    @property
    def is_regression(self) -> bool:
        """Whether its only column is a score, as transformers takes one column for."""
        problem = self.config.problem_type
        return self.reads == "text" and (problem == "regression" or (len(self.columns) == 1 and not problem))

    def task_kind(self) -> str:
        """Returns the kind of task that it knows; raises ModelError where lilliput has none like it."""
        problem, columns = self.config.problem_type, self.columns
        if problem == "regression" and len(columns) > 1:
            raise ModelError(
                f"{self.name} gives a text {len(columns)} scores, and lilliput has no kind of task for that; "
                "take a model of one score"
            )
        if len(set(columns)) < len(columns):
            raise ModelError(
                f"{self.name} has columns of the same name ('id2label' of its config.json: "
                f"{', '.join(map(repr, columns[:12]))}); give each a name of its own"
            )
        if self.reads == "words":
            return "tagging"
        if problem == "multi_label_classification":
            return "multilabel"
        return "regression" if self.is_regression else "classification"

    def load(self) -> Classifier | AnyClassifier:
        """Loads the model in float32; raises ModelError where weights are missing or damaged."""
        if self.sketched is not None:
            return AnyClassifier(load_any(self.name, self.sketched), self.reads).train(False)
        assert isinstance(self.config, BertConfig)
        return load_classifier(classifier_class(self.reads), self.name, self.config)[0]

    def tokenizer(self) -> AnyTokenizer:
        """Loads its tokenizer; raises ModelError where there is none that says where its pieces stand."""
        return load_any_tokenizer(self.name, self.config)


def find_classifier(name: str) -> ClassifierCheckpoint:
    """Returns a fine-tuned checkpoint in a folder or on the hub, of any encoder that transformers holds.

    Raises:
        ModelError: If there is none, it is no encoder, it has no head for texts or words, it needs code of
            its own, or its weights are pickled.
    """
    config = any_config(name)
    reads, kind = _head(name, config)
    require_safetensors(name)
    if config.model_type == "bert":
        plain = load_config(name)
        return ClassifierCheckpoint(name, plain, reads, None, longest_input(plain))
    sketched = sketch(kind, config)
    return ClassifierCheckpoint(name, config, reads, sketched, any_positions(name, sketched))


def _head(name: str, config: PreTrainedConfig) -> tuple[Reads, type[PreTrainedModel]]:
    """Returns what the head of a checkpoint reads, and its class."""
    said = config.architectures or ()
    for reads, auto in _AUTO.items():
        kinds = auto._model_mapping.get(type(config), None)
        for kind in kinds if isinstance(kinds, tuple) else (kinds,):
            if kind is not None and kind.__name__ in said:
                return reads, kind
    has = f"it is a {' and a '.join(map(str, said[:3]))}" if said else "its config names no class"
    way = (
        f"lilliput finetune {name} --task TASK --out runs/teacher, and then --teacher runs/teacher"
        if config.model_type == "bert"
        else "with transformers' Trainer, as AutoModelForSequenceClassification or ForTokenClassification"
    )
    raise ModelError(
        f"'{name}' has no head for texts or words ({has}), so it knows no task; fine-tune it first: {way}"
    )
