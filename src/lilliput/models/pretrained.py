"""A checkpoint of transformers from a folder or the hub: config, weights and models, or the reason why not.

lilliput reads the files itself and hands transformers a config and weights. Nothing that a checkpoint names
is followed: no other files, no code, no kernels, no adapters.
"""

import reprlib
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    PreTrainedConfig,
    PreTrainedModel,
)

from lilliput.common.files import digest_folder
from lilliput.common.hub import checkpoint_folder, hub_revision, read_settings
from lilliput.errors import ModelError, first_line
from lilliput.models.bert_config import bert_config
from lilliput.models.blocks import head_of
from lilliput.models.shape import EncoderShape
from lilliput.models.weights import (
    INDEX,
    WEIGHTS,
    Stored,
    check_weights,
    read_weights,
    stored_weights,
)

SUPPORTED = (
    "supported are checkpoints of transformers' BERT (model_type 'bert', an encoder with absolute positions) "
    "with safetensors weights, from a folder or the hub"
)
UNREADABLE = (OSError, ValueError, RuntimeError, SafetensorError, ModelError)
"""What comes where weights are missing or damaged."""

_CONFIG, _TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
_Model = TypeVar("_Model", bound=PreTrainedModel)
_WITH_HEAD = ("BertForMaskedLM", "BertForPreTraining")
"""What a checkpoint with a masked-LM head says it is."""


def load_config(name: str) -> BertConfig:
    """Loads the config of a BERT encoder from a folder or the hub.

    Of a folder with weights it is known to be that of these weights. Raises ModelError when there is none.
    """
    folder = checkpoint_folder(name, _CONFIG, _TOKENIZER_CONFIG)
    if (folder / "adapter_config.json").exists():
        raise ModelError(f"{folder} holds an adapter of another model; merge the two first; {SUPPORTED}")
    if not (found := read_settings(folder / _CONFIG)):
        raise ModelError(f"no model could be loaded from '{name}' (it has no {_CONFIG}); {SUPPORTED}")
    config = bert_config(found, folder / _CONFIG, SUPPORTED)
    config._commit_hash = hub_revision(folder)
    if (
        longest := longest_by_tokenizer(folder, config.max_position_embeddings)
    ) < config.max_position_embeddings:
        config.longest_input = longest
    if (folder / WEIGHTS).is_file() or (folder / INDEX).is_file():
        _stored(config, name)
    return config


def checkpoint_digest(name: str) -> str:
    """Returns what identifies a checkpoint: the digest of a folder's files, or a hub name and revision."""
    if Path(name).is_dir():
        return digest_folder(Path(name))
    return f"{name}@{hub_revision(checkpoint_folder(name, _CONFIG, _TOKENIZER_CONFIG))}"


def longest_input(config: PreTrainedConfig) -> int:
    """Returns how many pieces a model reads at most: its positions, or those that it was trained for."""
    longest: int = getattr(config, "longest_input", config.max_position_embeddings)
    return longest


def longest_by_tokenizer(folder: Path, positions: int) -> int:
    """Returns the length that a tokenizer cuts texts to, where that is less than a model's positions."""
    settings = read_settings(folder / _TOKENIZER_CONFIG)
    found = settings.get("model_max_length", settings.get("max_len"))
    if found is None:
        return positions
    if isinstance(found, bool) or not isinstance(found, int | float) or not found >= 3:
        raise ModelError(
            f"{folder / _TOKENIZER_CONFIG} has 'model_max_length': {reprlib.repr(found)}, expected is a "
            "number of pieces, special ones included; fetch it again, or remove it"
        )
    return int(min(found, positions))


def _stored(config: BertConfig, name: str) -> dict[str, Stored]:
    """Returns where a checkpoint's weights are; raises ModelError where they are not those of a config."""
    try:
        stored = stored_weights(name)
        check_weights(config, stored, name)
    except ModelError as error:
        raise ModelError(f"the weights of '{name}' cannot be loaded: {error}; {SUPPORTED}") from error
    return stored


def built(
    kind: type[_Model], name: str, config: PreTrainedConfig, weights: dict[str, Tensor], **options: Any
) -> tuple[_Model, set[str]]:
    """Builds a model in float32 of a config and of weights that lilliput read, and says which are missing.

    Raises one of UNREADABLE if transformers cannot.
    """
    loaded: Any = kind.from_pretrained(
        None,  # without a name transformers reads no file
        config=config,
        state_dict=weights,
        dtype=torch.float32,
        # Named, as a config could name code to fetch.
        attn_implementation="sdpa" if kind._supports_sdpa else "eager",
        output_loading_info=True,
        **options,
    )
    model: _Model
    model, info = loaded
    model.config.name_or_path = name
    return model, set(info["missing_keys"])


def load_weights(
    kind: type[_Model],
    name: str,
    *,
    head: tuple[str, ...] = (),
    config: BertConfig | None = None,
    **options: Any,
) -> tuple[_Model, set[str]]:
    """Loads a model in float32, and says which weights of its head the checkpoint lacks.

    Args:
        kind: The class of transformers.
        name: Folder or hub name.
        head: How the names of weights begin that may be missing; those have new ones.
        config: The model's; None for the checkpoint's own.
        options: What else `from_pretrained` is told.

    Raises:
        ModelError: If weights cannot be read, others are missing, or they are not those of the config.
    """
    config = config or load_config(name)
    weights = read_weights(_stored(config, name), name)
    try:
        model, missing = built(kind, name, config, weights, **options)
    except UNREADABLE as error:
        reason = first_line(error)
        raise ModelError(f"the weights of '{name}' cannot be loaded ({reason}); {SUPPORTED}") from error
    if needed := {key for key in missing if not key.startswith(head)}:
        raise ModelError(f"'{name}' lacks {len(needed)} weights, e.g. {min(needed)}; {SUPPORTED}")
    return model, missing


def load_masked_lm(name: str) -> tuple[BertForMaskedLM, bool]:
    """Loads a masked LM from a folder or the hub and says whether it came with its head.

    A missing head starts with the identity as its transform, so that it passes on what the encoder knows.
    Raises ModelError when the checkpoint is no encoder that lilliput reads or cannot be read.
    """
    model, missing = load_weights(BertForMaskedLM, name, head=("cls.",))
    has_head = all(key.startswith("cls.predictions.decoder") for key in missing)  # that is the table, tied
    if not has_head:
        with torch.no_grad():
            nn.init.eye_(head_of(model).dense.weight)
    return model, has_head


def says_masked_lm(config: PreTrainedConfig) -> bool:
    """Returns whether a checkpoint says that it has a masked-LM head."""
    return any(name in _WITH_HEAD for name in config.architectures or ())


def says_other_head(config: PreTrainedConfig) -> bool:
    """Returns whether a checkpoint says that it has a head, and none of a masked LM."""
    return not says_masked_lm(config) and any(name != "BertModel" for name in config.architectures or ())


def load_encoder(name: str) -> BertModel:
    """Loads an encoder without a head from a folder or the hub; raises ModelError where there is none."""
    return load_weights(BertModel, name, add_pooling_layer=False)[0]


def config_of(shape: EncoderShape) -> BertConfig:
    """Returns the config of a teacher of that shape."""
    return BertConfig(
        num_hidden_layers=shape.layers,
        hidden_size=shape.width,
        num_attention_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=shape.positions,
        vocab_size=shape.vocabulary,
    )


def random_masked_lm(config: PreTrainedConfig) -> BertForMaskedLM:
    """Returns a masked LM with random weights from torch's generator, to measure with."""
    return BertForMaskedLM(cast(BertConfig, config))
