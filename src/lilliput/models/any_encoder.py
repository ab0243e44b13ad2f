"""Any encoder that transformers holds, from a folder or the hub: its config, checked, and its weights.

As for a BERT (`pretrained`), lilliput reads the files itself: transformers is given a config and weights, and
nothing that a checkpoint names is followed. Which architectures are encoders is not listed here: those that
transformers has a masked LM of, and that write no text.
"""

import dataclasses
import functools
import reprlib
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from lilliput.common.hub import checkpoint_folder, hub_revision, read_settings
from lilliput.errors import ModelError, first_line
from lilliput.models.bert_config import NO_ENCODER, OTHERWISE, RULES, whole
from lilliput.models.pretrained import UNREADABLE, built, longest_by_tokenizer
from lilliput.models.weights import INDEX, WEIGHTS, read_weights, stored_weights

_CONFIG, _TOKENIZER_CONFIG, _ADAPTER = "config.json", "tokenizer_config.json", "adapter_config.json"
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")
_KEPT = {"id2label", "label2id", "problem_type", "chunk_size_feed_forward"}
"""What is kept of the settings that every config has; the others say how transformers is to run."""
_HOW_TO_RUN = ("implementation", "kernels", "kernel_config", "compile", "dtype")
"""Parts of the names of further settings that say how transformers is to run, not what a model computes."""
_ANY_RULES = RULES | {"type_vocab_size": whole(0, 1_000)}  # a DeBERTa tells no texts apart
_MOST_LAYERS, _LARGEST = 1_000, 1 << 31
_UNBOUNDED = 512
"""Pieces that are read by a model whose files name no limit."""


def any_settings(name: str) -> dict[str, Any]:
    """Returns what the config.json of a checkpoint holds; raises ModelError where there is none."""
    folder = checkpoint_folder(name, _CONFIG, _TOKENIZER_CONFIG, _ADAPTER)
    if (folder / _ADAPTER).exists():
        raise ModelError(f"{folder} holds an adapter of another model; merge the two, and name the result")
    if not (found := read_settings(folder / _CONFIG)):
        raise ModelError(f"no model could be loaded from '{name}' (it has no {_CONFIG})")
    return found


def any_config(name: str) -> PreTrainedConfig:
    """Returns the config of any encoder that transformers holds, from a folder or the hub.

    Raises:
        ModelError: If there is none, it is no encoder, it names code of its own, or a value is impossible.
    """
    found = any_settings(name)
    folder = checkpoint_folder(name, _CONFIG, _TOKENIZER_CONFIG, _ADAPTER)
    path = folder / _CONFIG
    kind = found.get("model_type")
    if not isinstance(kind, str):
        raise ModelError(f'{path} does not say of which kind the model is ("model_type"); add it')
    for key, why in OTHERWISE.items():
        if found.get(key):
            raise ModelError(f"{path} has '{key}': {why}")
    if kind not in CONFIG_MAPPING:
        raise ModelError(
            f"{path} is of a {reprlib.repr(kind)} model, which transformers {transformers.__version__} does "
            "not hold; install a newer version, or take another checkpoint"
        )
    if kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES or any(found.get(key) for key in NO_ENCODER):
        raise ModelError(
            f"{path} is of a '{kind}' model, which is no encoder that reads a text at once (it writes text, "
            "or reads something else); take an encoder, such as a BERT, RoBERTa, DeBERTa or ModernBERT"
        )
    _check_values(found, path)
    base = {field.name for field in dataclasses.fields(PreTrainedConfig)} - _KEPT
    values = {
        key: value
        for key, value in found.items()
        if key not in base and key[:1] != "_" and not any(part in key for part in _HOW_TO_RUN)
    }
    if labels := values.get("id2label"):
        values["id2label"] = {int(number): label for number, label in labels.items()}
    else:
        values.pop("id2label", None)
        values.pop("label2id", None)
    try:
        config: PreTrainedConfig = CONFIG_MAPPING[kind](**values)
        layers, is_encoder = config.num_hidden_layers, not config.is_encoder_decoder
    except Exception as error:  # configs check in many ways
        raise ModelError(f"{path} cannot be used ({first_line(error)}); fetch it again") from error
    if not is_encoder:
        raise ModelError(f"{path} is of a '{kind}' model, which has a decoder; take an encoder")
    if not (type(layers) is int and 0 < layers <= _MOST_LAYERS):
        raise ModelError(f"{path} says that the model has {reprlib.repr(layers)} layers; fetch it again")
    config.architectures = found.get("architectures")
    config._commit_hash = hub_revision(folder)
    return config


def _check_values(found: Mapping[str, Any], path: object) -> None:
    """Raises ModelError at a value that no encoder can have."""
    for name, value in found.items():
        rule = _ANY_RULES.get(name)
        if rule is not None and not rule.fits(value):
            raise ModelError(
                f"{path} has '{name}': {reprlib.repr(value)}, expected is {rule.wanted}; fetch it again, or "
                "mend it"
            )
        if type(value) is int and abs(value) > _LARGEST:
            raise ModelError(f"{path} has '{name}': {value:.3g}, which no model has; fetch it again")


def sketch(kind: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    """Returns a model without memory for its weights."""
    try:
        with torch.device("meta"):
            return kind(config)
    except Exception as error:  # models check in many ways
        raise ModelError(
            f"transformers cannot build a '{config.model_type}' model of this config ({first_line(error)}); "
            "fetch the checkpoint again"
        ) from error


def any_positions(name: str, sketched: PreTrainedModel) -> int:
    """Returns how many pieces a model reads at most, by its table of positions and by its tokenizer.

    A table with a row for padding (RoBERTa, MPNet) begins behind that row.
    """
    positions = getattr(sketched.config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        positions = _UNBOUNDED
    starts = [
        module.padding_idx + 1
        for path, module in sketched.named_modules()
        if isinstance(module, nn.Embedding) and "position" in path and module.padding_idx is not None
    ]
    folder = checkpoint_folder(name, _CONFIG, _TOKENIZER_CONFIG, _ADAPTER)
    return longest_by_tokenizer(folder, positions - max(starts, default=0))


def load_any(name: str, sketched: PreTrainedModel) -> PreTrainedModel:
    """Loads the weights of a model in float32, for reading.

    Args:
        name: Folder or hub name.
        sketched: The model without weights (`sketch`).

    Raises:
        ModelError: If weights cannot be read, some are missing, or they are not those of the config.
    """
    model, missing = load_weights_into(name, sketched, within=sketched)
    if missing:
        raise ModelError(
            f"'{name}' lacks {len(missing)} weights of a {type(sketched).__name__}, e.g. {min(missing)}; "
            "fetch it again, or fine-tune it first"
        )
    return model


def load_weights_into(
    name: str, sketched: PreTrainedModel, within: nn.Module
) -> tuple[PreTrainedModel, set[str]]:
    """Loads the weights of a model in float32, and says which the checkpoint lacks; those are new ones.

    Args:
        name: Folder or hub name.
        sketched: The model without weights (`sketch`).
        within: The part of it whose weights the files must hold at least.

    Raises:
        ModelError: If weights cannot be read, or they are not those of the config.
    """
    kind, config = type(sketched), sketched.config
    require_safetensors(name)
    stored = stored_weights(name)
    needed = sum(parameter.numel() for parameter in within.parameters())
    there = sum(functools.reduce(int.__mul__, weight.shape, 1) for weight in stored.values())
    if needed > there:
        raise ModelError(
            f"by its config '{name}' has {needed:,} weights, and its files hold {there:,}; fetch it again"
        )
    weights = read_weights(stored, name)
    try:
        return built(kind, name, config, weights)
    except UNREADABLE as error:
        raise ModelError(f"the weights of '{name}' cannot be loaded ({first_line(error)})") from error


def require_safetensors(name: str) -> None:
    """Raises ModelError, with the way to convert them, where a checkpoint's weights are pickled alone."""
    folder = checkpoint_folder(name, WEIGHTS, INDEX)
    if (folder / WEIGHTS).is_file() or (folder / INDEX).is_file():
        return
    pickled = next((file for file in _PICKLED if (folder / file).is_file()), None)
    found = f"'{name}' has {f'{pickled} and ' if pickled else ''}no {WEIGHTS}"
    raise ModelError(
        f"{found}, and lilliput opens nothing else, as pickled weights may run code; if you trust it, "
        "convert it with transformers: load it with the Auto class of its task, call "
        'save_pretrained("FOLDER") on model and tokenizer, then name that folder'
    )
