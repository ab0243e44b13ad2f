"""The weights of a checkpoint: which files they are in, whether its config is theirs, and what they are.

Only .safetensors files in the checkpoint's own folder are opened, whatever its index names. What they hold is
compared with the config by their headers, before a model of that size is built or a weight is read.
"""

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import BertConfig
from transformers.utils.hub import cached_file

from lilliput.common.hub import checkpoint_folder, read_settings
from lilliput.errors import ModelError, first_line

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_MOST_BYTES_OF_HEADER = 1 << 24
"""A BERT-large's header has 50,000 bytes."""
_MOST_FILES = 1_000
_FLOATS = ("F64", "F32", "F16", "BF16")
_BYTES_IN_MEMORY = 4
"""Of a number; models are float32 whatever their files are."""


class Stored(NamedTuple):
    """One weight, as the header of its file describes it."""

    path: Path
    """The file."""
    key: str
    """Its name there."""
    dtype: str
    """Its type."""
    shape: tuple[int, ...]
    """Its sizes."""


def stored_weights(name: str) -> dict[str, Stored]:
    """Returns the weights of a checkpoint by their names, from the headers of their files.

    Names are without what depends on the class that was saved: the prefix `bert.`, and gamma and beta for the
    weight and bias of a normalisation.

    Raises ModelError when there are none, an index names anything but such a file in the folder, or one is
    damaged.
    """
    folder = checkpoint_folder(name, WEIGHTS, INDEX)
    try:
        if (folder / WEIGHTS).is_file():
            paths = [folder / WEIGHTS]
        else:
            names = _files_of_index(folder / INDEX)
            folder = checkpoint_folder(name, *names) if names else folder
            paths = [folder / name for name in names]
        if not paths:
            raise ModelError(f"{folder} has no {WEIGHTS}, which is the only form of weights that is opened")
        stored: dict[str, Stored] = {}
        for weight in (weight for path in paths for weight in _header(path)):
            plain = plain_name(weight.key)
            if plain in stored:
                raise ModelError(
                    f"{weight.path} has {weight.key}, which {stored[plain].path} has too; fetch both again"
                )
            stored[plain] = weight
        return stored
    except OSError as error:
        raise ModelError(f"{folder} cannot be read: {error.strerror or error}") from error


def weight_bytes(name: str) -> int:
    """Returns the bytes of the files of a checkpoint's weights."""
    folder = Path(str(cached_file(name, "config.json"))).parent
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def plain_name(key: str) -> str:
    """Returns a weight's name as it is in a BertModel saved today.

    >>> plain_name("bert.embeddings.LayerNorm.gamma")
    'embeddings.LayerNorm.weight'
    """
    plain = key.removeprefix("bert.")
    for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        if plain.endswith(old):
            plain = plain.removesuffix(old) + new
    return plain


def _files_of_index(path: Path) -> list[str]:
    """Returns the names of the files that an index names; none where there is no index."""
    if not path.is_file():
        return []
    found = read_settings(path, most_bytes=1 << 24).get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found.values()):
        raise ModelError(f"{path} does not say in which file each weight is ('weight_map'); fetch it again")
    names = sorted(set(found.values()))
    for name in names:
        if not name.endswith(".safetensors") or name[:1] == "." or any(mark in name for mark in "/\\:\0*?["):
            raise ModelError(
                f"{path} names {name[:200]!r}; only .safetensors files in the checkpoint's own folder are "
                f"opened"
            )
    if len(names) > _MOST_FILES:
        raise ModelError(f"{path} names {len(names):,} files, where at most {_MOST_FILES:,} make sense")
    return names


def _header(path: Path) -> Iterator[Stored]:
    """Yields the weights of a file; raises ModelError where it is missing, cut short or no such file."""
    if not path.is_file():
        raise ModelError(f"{path} is missing, though the index beside it names it; fetch it again")
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) < 8 or struct.unpack("<Q", start)[0] > _MOST_BYTES_OF_HEADER:
        raise ModelError(f"{path} is cut short, damaged, or no safetensors file; fetch it again")
    try:
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118 - it is no dict
                part = file.get_slice(key)
                yield Stored(path, key, part.get_dtype(), tuple(part.get_shape()))
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is cut short or damaged ({first_line(error)}); fetch it again") from error


def expected_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of an encoder's weights by their names, without the pooler and heads."""
    width, inner = config.hidden_size, config.intermediate_size
    tables = {
        "word": config.vocab_size,
        "position": config.max_position_embeddings,
        "token_type": config.type_vocab_size,
    }
    shapes: dict[str, tuple[int, ...]] = {
        f"embeddings.{name}_embeddings.weight": (rows, width) for name, rows in tables.items()
    }
    linear = {
        **{f"attention.self.{name}": (width, width) for name in ("query", "key", "value")},
        "attention.output.dense": (width, width),
        "intermediate.dense": (inner, width),
        "output.dense": (width, inner),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(config.num_hidden_layers):
        for name, shape in linear.items():
            shapes[f"encoder.layer.{layer}.{name}.weight"] = shape
            shapes[f"encoder.layer.{layer}.{name}.bias"] = shape[:1]
        norms += [f"encoder.layer.{layer}.{part}.LayerNorm" for part in ("attention.output", "output")]
    for norm in norms:
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return shapes


def head_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the pooler and of a masked-LM head, which a checkpoint may lack."""
    width, rows = config.hidden_size, config.vocab_size
    dense, norm = "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"
    return {
        **{f"{name}.weight": (width, width) for name in ("pooler.dense", dense)},
        **{f"{name}.bias": (width,) for name in ("pooler.dense", dense, norm)},
        f"{norm}.weight": (width,),
        "cls.predictions.bias": (rows,),
        "cls.predictions.decoder.weight": (rows, width),
        "cls.predictions.decoder.bias": (rows,),
    }


def check_weights(config: BertConfig, stored: Mapping[str, Stored], name: str) -> None:
    """Raises ModelError where a checkpoint's weights are not those that its config describes."""
    layers = {
        int(part)
        for key in stored
        if key.startswith("encoder.layer.") and (part := key.split(".")[2]).isdecimal()
    }
    if layers and max(layers) + 1 != config.num_hidden_layers:
        raise ModelError(
            f"the config of '{name}' says 'num_hidden_layers': {config.num_hidden_layers}, and its weights "
            f"are of {max(layers) + 1:,} layers; set it to that if the weights are right, or fetch both again"
        )
    needed = expected_shapes(config)
    if missing := needed.keys() - stored.keys():
        raise ModelError(
            f"it lacks {len(missing)} weights, e.g. {min(missing)}; fetch it again, or name the folder of "
            f"a BERT"
        )
    for key, shape in (needed | head_shapes(config)).items():
        if key not in stored:
            continue
        found = stored[key]
        if found.shape != shape:
            raise ModelError(
                f"by the config of '{name}' the weight {key} has the shape {list(shape)}, and in "
                f"{found.path.name} it has {list(found.shape)}; mend config.json (hidden_size, vocab_size "
                "and so on) if the weights are right, or fetch both again"
            )
        if found.dtype not in _FLOATS:
            raise ModelError(
                f"the weight {key} of '{name}' is stored as {found.dtype}, so it is quantised; take the "
                "checkpoint that it was made from"
            )


def read_weights(stored: Mapping[str, Stored], name: str) -> dict[str, Tensor]:
    """Returns the weights by the names that they have in their files, in their own precision.

    What is stored as whole numbers or the like is left out, as no weight of a BERT is.

    Raises ModelError when they do not fit into memory, or one cannot be read or is not a number.
    """
    floats = [weight for weight in stored.values() if weight.dtype in _FLOATS]
    _check_memory(floats, name)
    files: dict[Path, list[Stored]] = {}
    for weight in floats:
        files.setdefault(weight.path, []).append(weight)
    weights: dict[str, Tensor] = {}
    try:
        for path, inside in files.items():
            with safe_open(path, "pt") as file:
                weights |= {weight.key: file.get_tensor(weight.key) for weight in inside}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} cannot be read ({first_line(error)}); fetch it again") from error
    for key, tensor in weights.items():
        if tensor.numel() and not _is_finite(tensor):
            raise ModelError(
                f"the weight {key} of '{name}' holds values that are not numbers, or infinite; take an "
                "earlier checkpoint of its training, or fetch it again"
            )
    return weights


def _check_memory(weights: Sequence[Stored], name: str) -> None:
    """Raises ModelError where weights would take more memory than there is, before any is read."""
    bytes_of = {weight.key: _BYTES_IN_MEMORY * math.prod(weight.shape) for weight in weights}
    needed, free = sum(bytes_of.values()), psutil.virtual_memory().available
    if needed > free:
        largest = max(bytes_of, key=bytes_of.__getitem__)
        raise ModelError(
            f"the weights of '{name}' take {needed:,} bytes in float32 ({largest} alone "
            f"{bytes_of[largest]:,}), and {free:,} bytes of memory are free; "
            "end other programs, take a machine with more memory, or a smaller teacher"
        )


def _is_finite(tensor: Tensor) -> bool:
    least, most = torch.aminmax(tensor)  # both are not numbers where any value is
    return math.isfinite(least.item()) and math.isfinite(most.item())
