"""What is exported: a model of torch with its tokenizer, and what it answers."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from lilliput.errors import ConfigError, ModelError
from lilliput.finetuning.model import load_task_model, load_threshold
from lilliput.inference.format import LONGEST_NAME, VECTORS
from lilliput.inference.kinds import KINDS, Kind
from lilliput.inference.space import axes
from lilliput.models.any_classifier import find_classifier
from lilliput.models.pretrained import (
    load_config,
    load_encoder,
    load_masked_lm,
    longest_input,
    says_masked_lm,
    says_other_head,
)
from lilliput.models.sentence_encoder import SentenceEncoder, load_sentence_encoder
from lilliput.models.sentence_modules import SentenceModules, has_modules
from lilliput.pieces.bert_tokenizer import complete, load_tokenizer
from lilliput.tasks.kinds import KINDS as TASK_KINDS
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
    sentences: SentenceModules | None = None
    """How a sentence encoder makes a vector of states; None for all else."""
    dense: nn.Linear | None = None
    """Its map from states to vectors, which is a part of `model` too; None where it has none."""
    min_probability: float | None = None
    """The least probability of a class that is an answer; None for any."""

    @property
    def positions(self) -> int:
        """Pieces that are read of a text at most."""
        longest = longest_input(self.config)
        return longest if self.sentences is None else self.sentences.positions(longest)

    @property
    def reads_first(self) -> bool:
        """Whether a text's vector is made of the state of its first piece alone."""
        return self.sentences is not None and self.sentences.pooling == "cls"

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
        """Returns what torch answers: scores, or states of which the mean is a text's vector."""
        with torch.inference_mode():
            answer: Tensor = self.model(**inputs)[0]
            if self.reads_first:
                answer = answer[:, :1].expand_as(answer)
            return answer if self.dense is None else self.dense(answer)


Space = Literal["teacher", "own"]
"""Where a sentence encoder's vectors lie: in its teacher's space, or along the axes of its own map alone."""


def load_source(folder: Path, kind: Literal["fill", "encode"] | None, space: Space = "teacher") -> Source:
    """Loads what a folder holds.

    Args:
        folder: A fine-tuned model, a student or any encoder that lilliput reads.
        kind: What a checkpoint is exported for other than its task; None for its task, which is that of its
            head where lilliput has not fine-tuned it, or, where it has none, `encode` for a sentence encoder,
            `fill` where it has a masked-LM head and else `encode`.
        space: Of a sentence encoder, where its vectors lie. `own` turns them onto the axes of its map, of
            which there is one more than a state has numbers, so cosines stay what they are.

    Raises:
        ModelError: If there is no model that lilliput exports, its head is of no kind that lilliput has, or
            there is no masked-LM head for `fill`.
        StorageError: If a fine-tuned model is damaged.
        ConfigError: If there is no such kind.
    """
    if kind not in (None, "fill", "encode"):
        raise ConfigError(
            f"a kind that can be chosen is 'fill' or 'encode', not '{kind}'; a task has its own"
        )
    is_tuned = kind is None and (folder / "task.json").is_file()
    source = _of_task(folder) if is_tuned else _plain(folder, kind)
    if space == "own":
        source = _in_own_space(source)
    if source.config.hidden_act != "gelu":
        raise ModelError(
            f"{folder} has the activation '{source.config.hidden_act}', and only 'gelu' can be exported"
        )
    return source


def _in_own_space(source: Source) -> Source:
    """Returns a sentence encoder whose map is turned onto its axes; ConfigError where it has no map."""
    if source.dense is None:
        raise ConfigError(
            f"{source.folder} has no map into another space, so its vectors lie in its own; leave out "
            "space='own'"
        )
    weight, bias = (part.detach().numpy() for part in (source.dense.weight, source.dense.bias))
    turn = axes(weight, bias)[:, : weight.shape[1] + 1].T
    dense = nn.Linear(weight.shape[1], len(turn)).requires_grad_(requires_grad=False)
    dense.weight.copy_(torch.from_numpy(turn @ weight))
    dense.bias.copy_(torch.from_numpy(turn @ bias))
    source.model.add_module(VECTORS, dense)
    return replace(source, dense=dense)


def _of_task(folder: Path) -> Source:
    """Loads a fine-tuned model; a two-tower one as a sentence encoder, which reads one text at a time."""
    tuned, task = load_task_model(folder)
    tokenizer = complete(load_tokenizer(str(folder)))
    if isinstance(tuned, SentenceEncoder):
        return _sentence_encoder(folder, tokenizer, task)
    kind = TASK_KINDS[task.kind].runs_as
    return Source(folder, tuned, tokenizer, kind, task, min_probability=load_threshold(folder))


def _plain(folder: Path, kind: Literal["fill", "encode"] | None) -> Source:
    config = load_config(str(folder))
    has_head = says_masked_lm(config)
    tokenizer = complete(load_tokenizer(str(folder)))
    if kind != "fill" and has_modules(folder):
        return _sentence_encoder(folder, tokenizer)
    if kind is None and says_other_head(config):
        return _of_head(folder, tokenizer)
    if kind == "encode" or (kind is None and not has_head):
        return Source(folder, load_encoder(str(folder)), tokenizer, "encode", None)
    model, is_whole = load_masked_lm(str(folder))
    if not is_whole:
        raise ModelError(f"{folder} has no masked-LM head, so it fills in nothing; export it as 'encode'")
    if not config.tie_word_embeddings:
        raise ModelError(f"{folder} has a masked-LM head with a table of its own, which cannot be exported")
    return Source(folder, model, tokenizer, "fill", None)


def _of_head(folder: Path, tokenizer: Tokenizer) -> Source:
    """Loads a classifier or a tagger that lilliput has not fine-tuned, with the labels that its config names.

    Raises ModelError where the head is of another kind.
    """
    try:
        found = find_classifier(str(folder))
        kind = found.task_kind()
    except ModelError as error:
        raise ModelError(f"{error}; or export the vectors of its encoder, with kind 'encode'") from error
    tags = found.columns if TASK_KINDS[kind].has_tags else ()
    classes = found.columns if TASK_KINDS[kind].has_classes else ()
    task = Task(folder.resolve().name, kind, tags=tags, classes=classes)
    model = found.load()
    assert isinstance(model, PreTrainedModel)
    return Source(folder, model, tokenizer, TASK_KINDS[kind].runs_as, task)


def _sentence_encoder(folder: Path, tokenizer: Tokenizer, task: Task | None = None) -> Source:
    """Loads an encoder with its dense layers as one; raises ModelError where a bundle cannot have them."""
    model = load_sentence_encoder(str(folder)).requires_grad_(requires_grad=False)
    modules = model.modules_of_text
    if len(modules.prompt()) > LONGEST_NAME:
        raise ModelError(
            f"{folder} puts {len(modules.prompt()):,} characters before each text, and a bundle at most "
            f"{LONGEST_NAME:,}; shorten its prompt '{modules.default_prompt}'"
        )
    single = None if task is None else replace(task, pairs=False)
    return Source(folder, model, tokenizer, "encode", single, modules, model.vectors)
