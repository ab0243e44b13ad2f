"""How a model makes one vector of a text: the files of sentence-transformers, read and written.

A folder of sentence-transformers lists modules: an encoder, pooling of its states, dense layers, and
normalisation. Classes that the list names are known by their last name and never imported.

Shape letters: B batch, L length, D width of states, E width of vectors.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self, cast, get_args

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lilliput.common.files import write_json
from lilliput.common.hub import checkpoint_folder, read_settings, read_value
from lilliput.errors import ModelError, first_line, nearest

Pooling = Literal["mean", "cls", "max"]

MODULES, SETTINGS, LONGEST = (
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
)
POOLING_FOLDER, DENSE_FOLDER, NORMALIZE_FOLDER = "1_Pooling", "2_Dense", "3_Normalize"
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_ACTIVATIONS = {"Identity": lambda x: x, "Tanh": torch.tanh, "ReLU": torch.relu, "GELU": F.gelu}
_MOST_MODULES, _MOST_BYTES = 16, 1 << 30
_CLASSES = {
    "Transformer": "sentence_transformers.models.Transformer",
    "Pooling": "sentence_transformers.models.Pooling",
    "Dense": "sentence_transformers.models.Dense",
    "Normalize": "sentence_transformers.models.Normalize",
}
"""The names that every version of sentence-transformers knows."""


@dataclass(frozen=True)
class Dense:
    """A linear layer over pooled vectors."""

    weight: Tensor
    """[out, in]."""
    bias: Tensor
    """[out]; zeros where the layer has none."""
    activation: str = "Identity"
    """The name of a class of `torch.nn`."""

    @classmethod
    def of(cls, layer: nn.Linear) -> Self:
        """Returns what a layer of torch holds, to be written."""
        return cls(layer.weight.detach().cpu(), layer.bias.detach().cpu())

    def __call__(self, vectors: Tensor) -> Tensor:
        """Returns vectors [B, out] of vectors [B, in]."""
        return cast(Tensor, _ACTIVATIONS[self.activation](F.linear(vectors, self.weight, self.bias)))


@dataclass(frozen=True)
class SentenceModules:
    """What makes a text's vector of the last states of its pieces."""

    pooling: Pooling = "mean"
    """What is taken of the states."""
    dense: tuple[Dense, ...] = ()
    """Layers over what was taken, in their order."""
    normalize: bool = True
    """Whether vectors have length 1."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """By name what is put before a text."""
    default_prompt: str | None = None
    """The name of the one that is used where none is asked for."""
    longest: int | None = None
    """Pieces that are read of a text at most; None where the encoder alone says it."""
    is_stated: bool = True
    """Whether the checkpoint has files that say all this; else it is what most such encoders do."""

    def vectors(self, states: Tensor, padding: Tensor | None) -> Tensor:
        """Returns a vector for each text [B, E] in float32.

        Args:
            states: The last states of its pieces [B, L, D].
            padding: True where a piece is padding [B, L], or None where nothing is.
        """
        found = pooled(states, padding, self.pooling)
        for layer in self.dense:
            found = layer(found)
        return F.normalize(found, dim=-1) if self.normalize else found

    def prompt(self, name: str | None = None) -> str:
        """Returns what is put before a text: the prompt of a name, or the default one.

        Raises ModelError naming the nearest where there is none of that name.
        """
        name = self.default_prompt if name is None else name
        if name is None:
            return ""
        if name not in self.prompts:
            raise ModelError(f"there is no prompt '{name}'; {nearest(name, list(self.prompts))}")
        return self.prompts[name]

    def positions(self, most: int) -> int:
        """Returns the pieces that are read of a text at most, by an encoder that reads `most`."""
        return min(most, self.longest or most)

    def to(self, device: torch.device) -> Self:
        """Returns them on another device."""
        moved = tuple(
            replace(one, weight=one.weight.to(device), bias=one.bias.to(device)) for one in self.dense
        )
        return replace(self, dense=moved)


def pooled(states: Tensor, padding: Tensor | None, pooling: Pooling) -> Tensor:
    """Returns one vector for each text [B, D] in float32, from the states of its pieces [B, L, D]."""
    states = states.float()
    if pooling == "cls":
        return states[:, 0]
    if padding is None:
        return states.mean(1) if pooling == "mean" else states.amax(1)
    away = padding[..., None]
    if pooling == "max":
        return states.masked_fill(away, -torch.inf).amax(1)
    there = (~away).float()
    return states.masked_fill(away, 0).sum(1) / there.sum(1).clamp(min=1)


def has_modules(folder: Path) -> bool:
    """Returns whether a folder has the files of sentence-transformers."""
    return (folder / MODULES).is_file()


def read_modules(name: str) -> SentenceModules:
    """Returns how a checkpoint makes a vector of a text; the mean of states where nothing says it.

    Args:
        name: Folder or hub name.

    Raises:
        ModelError: If the checkpoint has a module that lilliput does not have, or a file is damaged.
    """
    folder = checkpoint_folder(name, MODULES, SETTINGS, LONGEST, f"*/{_CONFIG}", f"*/{_WEIGHTS}")
    if not has_modules(folder):
        return SentenceModules(is_stated=False)
    found = SentenceModules(normalize=False)
    for kind, path in _listed(folder):
        if kind == "Pooling":
            found = replace(found, pooling=_pooling(folder / path / _CONFIG))
        elif kind == "Dense":
            found = replace(found, dense=(*found.dense, _dense(folder / path)))
        elif kind == "Normalize":
            found = replace(found, normalize=True)
    return _with_settings(found, folder)


def _listed(folder: Path) -> list[tuple[str, str]]:
    """Returns kind and path of every module, as modules.json lists them; checks their order."""
    path = folder / MODULES
    listed = read_value(path)
    if not isinstance(listed, list) or not 0 < len(listed) <= _MOST_MODULES:
        raise ModelError(f"{path} does not list the modules of an encoder; fetch it again")
    found = []
    for module in listed:
        kind, where = (module.get(key) if isinstance(module, dict) else None for key in ("type", "path"))
        if not (isinstance(kind, str) and isinstance(where, str)):
            raise ModelError(f"{path} lists a module without type or path; fetch it again")
        if PurePosixPath(where).is_absolute() or ".." in PurePosixPath(where).parts or "\\" in where:
            raise ModelError(f"{path} names {where[:100]!r}, which is not a folder beside it; fetch it again")
        found.append((kind.rpartition(".")[2], where))
    kinds = [kind for kind, _ in found]
    if unknown := [kind for kind in kinds if kind not in _CLASSES]:
        raise ModelError(
            f"{path} lists a module of the type {reprlib.repr(unknown[0])}, which lilliput does not have "
            f"(it has {', '.join(_CLASSES)}); take another encoder"
        )
    middle = kinds[2:-1] if kinds[-1] == "Normalize" else kinds[2:]
    if kinds[:2] != ["Transformer", "Pooling"] or any(kind != "Dense" for kind in middle):
        raise ModelError(
            f"{path} lists {', '.join(kinds)}; lilliput reads an encoder, its pooling, dense layers and, "
            "last, normalisation; take another encoder"
        )
    return found


def _pooling(path: Path) -> Pooling:
    """Returns how states are pooled, by either form of the file."""
    found = read_settings(path)
    if not found:
        raise ModelError(f"{path} is missing or empty, though the encoder pools by it; fetch it again")
    if found.get("include_prompt", True) is not True:
        raise ModelError(f"{path} leaves prompts out of pooling, which lilliput does not; take another one")
    modes = found.get("pooling_mode")
    if not isinstance(modes, str):
        names = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}
        true = [key for key, value in found.items() if key.startswith("pooling_mode_") and value is True]
        modes = "+".join(names.get(key.removeprefix("pooling_mode_"), key) for key in true)
    if modes not in get_args(Pooling):
        raise ModelError(
            f"{path} pools by '{modes}', and lilliput pools by {', '.join(get_args(Pooling))} alone; take "
            "another encoder"
        )
    return cast(Pooling, modes)


def _dense(folder: Path) -> Dense:
    """Returns a dense layer."""
    settings, path = read_settings(folder / _CONFIG), folder / _WEIGHTS
    activation = str(settings.get("activation_function", "Identity")).rpartition(".")[2]
    if activation not in _ACTIVATIONS:
        raise ModelError(
            f"{folder / _CONFIG} has the activation {reprlib.repr(activation)}; lilliput has "
            f"{', '.join(_ACTIVATIONS)}; take another encoder"
        )
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{path} is larger than any dense layer; fetch it again")
        weights = {key.rpartition(".")[2]: value.float() for key, value in load_file(path).items()}
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read ({first_line(error)}), and lilliput opens no other form of weights; "
            "fetch it again"
        ) from error
    weight, bias = weights.get("weight"), weights.get("bias")
    if weight is None or weight.dim() != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise ModelError(f"{path} does not hold the weight and the bias of a dense layer; fetch it again")
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ModelError(f"{path} holds values that are not numbers, or infinite; fetch it again")
    return Dense(weight, weight.new_zeros(len(weight)) if bias is None else bias, activation)


def _with_settings(modules: SentenceModules, folder: Path) -> SentenceModules:
    """Returns modules with prompts and the longest input, as the folder's settings have them."""
    prompts = read_settings(folder / SETTINGS).get("prompts") or {}
    default: Any = read_settings(folder / SETTINGS).get("default_prompt_name")
    longest = read_settings(folder / LONGEST).get("max_seq_length")
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ModelError(f"{folder / SETTINGS} has prompts that are no texts; fetch it again")
    if default is not None and default not in prompts:
        raise ModelError(
            f"{folder / SETTINGS} names the prompt {reprlib.repr(default)}, which it does not have; fetch it "
            "again"
        )
    if longest is not None and (type(longest) is not int or longest < 2):
        raise ModelError(
            f"{folder / LONGEST} has 'max_seq_length': {reprlib.repr(longest)}, expected is a whole number "
            "from 2 on; fetch it again"
        )
    return replace(modules, prompts=prompts, default_prompt=default, longest=longest)


def write_modules(modules: SentenceModules, folder: Path, width: int) -> None:
    """Writes the files that let sentence-transformers open a folder with a checkpoint of transformers.

    Args:
        modules: What makes the vectors; with one dense layer at most.
        folder: Holds the encoder.
        width: The width of the encoder's states.
    """
    assert len(modules.dense) <= 1
    listed = [("Transformer", ""), ("Pooling", POOLING_FOLDER)]
    write_json(
        folder / POOLING_FOLDER / _CONFIG,
        {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": modules.pooling == "cls",
            "pooling_mode_mean_tokens": modules.pooling == "mean",
            "pooling_mode_max_tokens": modules.pooling == "max",
        },
    )
    for layer in modules.dense:
        listed.append(("Dense", DENSE_FOLDER))
        rows, columns = layer.weight.shape
        settings: dict[str, Any] = {
            "in_features": columns,
            "out_features": rows,
            "bias": True,
            "activation_function": f"torch.nn.modules.{_module_of(layer.activation)}.{layer.activation}",
        }
        write_json(folder / DENSE_FOLDER / _CONFIG, settings)
        tensors = {"linear.weight": layer.weight, "linear.bias": layer.bias}
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()},
                  folder / DENSE_FOLDER / _WEIGHTS)  # fmt: skip
    if modules.normalize:
        listed.append(("Normalize", NORMALIZE_FOLDER))
    write_json(
        folder / MODULES,
        [
            {"idx": index, "name": str(index), "path": path, "type": _CLASSES[kind]}
            for index, (kind, path) in enumerate(listed)
        ],
    )
    write_json(
        folder / SETTINGS,
        {
            "prompts": dict(modules.prompts),
            "default_prompt_name": modules.default_prompt,
            "similarity_fn_name": "cosine",
        },
    )
    write_json(folder / LONGEST, {"max_seq_length": modules.longest, "do_lower_case": False})


def _module_of(activation: str) -> str:
    return "linear" if activation == "Identity" else "activation"
