"""Weights of a checkpoint of transformers, from a folder or the hub, or the reason why there are none."""

from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from lilliput.errors import ModelError, first_line

SUPPORTED = (
    "supported are checkpoints of transformers' BERT (model_type 'bert', an encoder with absolute positions) "
    "with safetensors weights, from a folder or the hub"
)
UNREADABLE = (OSError, ValueError, RuntimeError, SafetensorError)
"""What transformers raises where weights are missing or damaged."""

_Model = TypeVar("_Model", bound=PreTrainedModel)


def load_weights(
    kind: type[_Model], name: str, *, head: tuple[str, ...] = (), **options: Any
) -> tuple[_Model, set[str]]:
    """Loads a model in float32, and says which weights of its head the checkpoint lacks.

    Args:
        kind: The class of transformers.
        name: Folder or hub name.
        head: How the names of weights begin that may be missing; those have new ones.
        options: What else `from_pretrained` is told.

    Raises:
        ModelError: If weights cannot be read, or others are missing.
    """
    try:
        loaded: Any = kind.from_pretrained(
            name, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **options
        )
    except UNREADABLE as error:
        reason = first_line(error)
        raise ModelError(f"the weights of '{name}' cannot be loaded ({reason}); {SUPPORTED}") from error
    model: _Model
    model, info = loaded
    missing = set(info["missing_keys"])
    if needed := {key for key in missing if not key.startswith(head)}:
        raise ModelError(f"'{name}' lacks {len(needed)} weights, e.g. {min(needed)}; {SUPPORTED}")
    return model, missing
