"""A training state saved whole, or refused with a reason.

A checkpoint is a folder with the weights of all models, the optimiser's state and how far the stage has come.
It appears under its name only when everything in it is on disk; the digests of its files stand in
`state.json`.
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lilliput.common.files import digest_file, digest_value, not_written, sync, write_json, writing
from lilliput.common.settings import require
from lilliput.common.stored import intact, stored
from lilliput.config import MOST_MINUTES
from lilliput.errors import StorageError, bounded

_KEPT = 2
"""Checkpoints kept: the newest and, should that one be damaged later, the one before."""
_TENSOR_FILES = ("weights.safetensors", "optimizer.safetensors")
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""What safetensors calls the types of numbers that models and optimisers have."""


@dataclass(frozen=True)
class Progress:
    """How far a stage has come."""

    step: int = 0
    """Steps taken; with the seed this is also the position in the data."""
    words: int = 0
    """Words read."""
    seconds: float = 0.0
    """Time spent, over all interruptions."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require(value >= 0, f"{name} must not be negative, found {value}")


@dataclass(frozen=True)
class _State:
    """What `state.json` holds."""

    position: Progress
    optimizer: dict[str, Any]
    digests: dict[str, str]
    """Of the files of tensors."""
    digest: str = ""
    """Of all else in here."""


def _digest(state: _State) -> str:
    return digest_value(dataclasses.asdict(state) | {"digest": ""})


def minutes_between(checkpoints: float) -> float:
    """Returns the minutes between checkpoints as a number; raises ConfigError where they are none."""
    minutes: float = bounded("minutes between checkpoints", checkpoints, 0.0, MOST_MINUTES, 0.0)
    return minutes


def save_checkpoint(
    folder: Path, models: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Saves a checkpoint below `folder` and removes all but the newest two.

    Raises StorageError when the disk does not take it; earlier checkpoints then stay as they are.
    """
    path = folder / f"step-{progress.step:08d}"
    partial = folder / f".{path.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    tensors, rest = _flatten(optimizer.state_dict())
    try:
        for name, content in zip(_TENSOR_FILES, (models.state_dict(), tensors), strict=True):
            with writing(partial / name) as file:
                write_tensors(file, content)
        digests = {name: digest_file(partial / name) for name in _TENSOR_FILES}
        state = _State(progress, rest, digests)
        state = dataclasses.replace(state, digest=_digest(state))
        write_json(partial / "state.json", dataclasses.asdict(state))
    except StorageError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)
    try:
        partial.rename(path)
        sync(folder)
    except OSError as error:
        raise not_written(path, error) from error
    for old in checkpoints(folder)[:-_KEPT]:
        shutil.rmtree(old)


def checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints below `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name))


def load_checkpoint(folder: Path, models: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Puts the newest checkpoint below `folder` into models and optimiser and returns its progress.

    Without any checkpoint nothing is changed and the progress is the beginning. Raises StorageError when the
    newest one is damaged or belongs to other models.
    """
    found = checkpoints(folder)
    if not found:
        return Progress()
    path = found[-1]
    remedy = f"remove {path} to go on from " + (
        "the checkpoint before it" if len(found) > 1 else "the beginning"
    )
    state: _State = stored(_State, path / "state.json", remedy)
    if state.digest not in ("", _digest(state)):  # earlier versions wrote none
        raise StorageError(f"{path / 'state.json'} is altered; {remedy}")
    for name in _TENSOR_FILES:
        if not (path / name).is_file() or digest_file(path / name) != state.digests.get(name):
            raise StorageError(f"{path / name} is missing, cut short or altered; {remedy}")
    with intact(path, remedy, "does not fit the models of this stage"):
        weights, tensors = (load_file(path / name) for name in _TENSOR_FILES)
        models.load_state_dict(weights)
        optimizer.load_state_dict(_unflatten(tensors, state.optimizer, optimizer.param_groups))
    return state.position


def write_tensors(file: BinaryIO, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors as safetensors stores them, one after the other, tied ones each by itself.

    The library's own `save` holds two copies of everything in memory, `save_file` one.
    """
    header, end = {}, 0
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for _, tensor in ordered:
        file.write(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def _flatten(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Splits an optimiser's state into tensors by name and the rest, which is JSON."""
    tensors, rest = {}, {}
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                rest[f"{index}.{name}"] = value
    numbers = [
        {name: value for name, value in group.items() if name == "params" or isinstance(value, int | float)}
        for group in state["param_groups"]
    ]
    return tensors, {"state": rest, "param_groups": numbers}


def _unflatten(
    tensors: dict[str, Tensor], rest: dict[str, Any], groups: list[dict[str, Any]]
) -> dict[str, Any]:
    """Puts together what `_flatten` split; settings that are no numbers stay as they are in `groups`."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **rest["state"]}.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    merged = [{**ours, **saved} for ours, saved in zip(groups, rest["param_groups"], strict=True)]
    return {"state": state, "param_groups": merged}
