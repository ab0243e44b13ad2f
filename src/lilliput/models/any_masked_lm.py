"""A masked LM of any architecture that transformers holds: what it is, and its weights.

A BERT is opened as ever (`pretrained`), every other encoder through `any_encoder`. What a model is said to be
is tried once: its scores through our interface (`masked_lm`) must be those that transformers gives.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoModelForMaskedLM, PreTrainedModel

from lilliput.common.hub import checkpoint_folder, read_settings
from lilliput.errors import ModelError, first_line
from lilliput.models.any_encoder import any_config, any_positions, load_weights_into, sketch
from lilliput.models.blocks import has_blocks
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.own_modules import output_of
from lilliput.models.pretrained import load_config, load_masked_lm
from lilliput.models.shape import EncoderShape

_CONFIG, _TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
_TRIED_PIECES = 6
_LEAST_ORDINARY = 5
"""Ids below are often special, and such as stand for padding are counted out of positions."""
_TOLERANCE = 1e-3
"""Largest difference of scores that rounding explains, relative to the largest score."""


@dataclass(frozen=True)
class Outline:
    """What is known of a masked LM before its weights are read."""

    kind: str
    """Its model_type."""
    shape: EncoderShape
    """Its sizes; positions are the pieces that it reads at most."""
    has_blocks: bool
    """Whether its matrices are known by what they do, so that a student can start from them."""


def outline(name: str) -> Outline:
    """Returns what is known of a masked LM from a folder or the hub before its weights are read.

    Raises:
        ModelError: If it is no encoder with a masked-LM head, or its config is damaged.
    """
    if _is_bert(name):
        config = load_config(name)
        return Outline(config.model_type, EncoderShape.of_config(config), has_blocks(config))
    return _outline(_sketched(name), name)


def open_masked_lm(name: str) -> tuple[PreTrainedModel, bool]:
    """Loads a masked LM from a folder or the hub, and says whether it came with its head.

    A missing head starts as nearly as it can with the identity as its transform, so that it passes on what
    the encoder knows.

    Raises:
        ModelError: If it is no encoder with a masked-LM head, weights cannot be read, or our interface does
            not fit it.
    """
    if _is_bert(name):
        return load_masked_lm(name)
    sketched = _sketched(name)
    _outline(sketched, name)
    model, missing = load_weights_into(name, sketched, within=sketched.base_model)
    if MaskedLM(model).is_tied:
        missing -= set(model._tied_weights_keys or ())
    inside = {key for key in missing if key.startswith(f"{model.base_model_prefix}.")}
    if inside:
        raise ModelError(f"'{name}' lacks {len(inside)} weights, e.g. {min(inside)}; fetch it again")
    if missing and not MaskedLM(model).is_tied:
        raise ModelError(
            f"'{name}' has no masked-LM head, and that of a '{model.config.model_type}' has a table of its "
            "own, which nothing can stand in for; take a checkpoint with its head"
        )
    with torch.no_grad():
        for key in missing:
            weight = model.get_parameter(key)
            if weight.dim() == 2 and weight.shape[0] == weight.shape[1]:
                nn.init.eye_(weight)
    _try(model, name)
    return model, not missing


def _is_bert(name: str) -> bool:
    """Returns whether a checkpoint is a BERT, or says too little to be anything else."""
    folder = checkpoint_folder(name, _CONFIG, _TOKENIZER_CONFIG)
    return read_settings(folder / _CONFIG).get("model_type") in (None, "bert")


def _sketched(name: str) -> PreTrainedModel:
    """Returns a masked LM without memory for its weights."""
    config = any_config(name)
    kind: type[PreTrainedModel] = cast(Any, AutoModelForMaskedLM)._model_mapping[type(config)]
    found = sketch(kind, config)
    table, output = found.get_input_embeddings(), output_of(found)
    if not (
        isinstance(table, nn.Embedding)
        and isinstance(output, nn.Linear)
        and output.weight.shape == table.weight.shape
    ):
        raise ModelError(
            f"'{name}' is a '{config.model_type}', whose {kind.__name__} has no output layer over the table "
            "of its pieces, so it has no masked-LM head that lilliput can teach with; take another encoder"
        )
    return found


def _outline(sketched: PreTrainedModel, name: str) -> Outline:
    config = sketched.config
    try:
        shape = EncoderShape.of_config(config, positions=any_positions(name, sketched))
    except AttributeError as error:
        raise ModelError(
            f"the config of '{name}', a '{config.model_type}', does not say how large the model is "
            f"({first_line(error)}); take another encoder"
        ) from error
    return Outline(config.model_type, shape, has_blocks(config))


@torch.no_grad()
def _try(model: PreTrainedModel, name: str) -> None:
    """Raises ModelError where scores through our interface are not those that transformers gives."""
    rows, mine = len(MaskedLM(model).table), MaskedLM(model)
    pieces = torch.arange(_LEAST_ORDINARY, _LEAST_ORDINARY + _TRIED_PIECES).clamp(max=rows - 1)[None]
    try:
        theirs = model(input_ids=pieces, attention_mask=torch.ones_like(pieces)).logits[0]
        ours = mine.scores(mine.read(pieces, None)[0])
        furthest = float((ours - theirs).abs().max())
    except Exception as error:  # models fail in many ways
        raise ModelError(
            f"'{name}' is a '{model.config.model_type}', which cannot be read by embedded pieces "
            f"({first_line(error)}); take another encoder"
        ) from error
    if not furthest <= _TOLERANCE * max(1.0, float(theirs.abs().max())):
        raise ModelError(
            f"'{name}' is a '{model.config.model_type}', which makes other scores of embedded pieces than of "
            "pieces, so lilliput cannot teach it a second vocabulary; take another encoder"
        )
