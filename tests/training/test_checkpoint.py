"""Checkpoints: saved whole or not at all, loaded whole or refused."""

from pathlib import Path

import pytest
import torch
from pytorch_optimizer import Lamb, Muon
from safetensors.torch import load_file
from torch import Tensor, nn

from conftest import full_disk
from lilliput.errors import StorageError
from lilliput.training.checkpoint import (
    Progress,
    checkpoints,
    load_checkpoint,
    save_checkpoint,
    write_tensors,
)

OPTIMIZERS = ["adamw", "lamb", "muon"]


def model(width: int = 6) -> nn.Module:
    """A model with a tied weight, like the masked-LM head."""
    made = nn.Sequential(nn.Linear(4, width), nn.Linear(width, 4), nn.Linear(4, width))
    made[2].weight = made[0].weight
    with torch.no_grad():
        for index, parameter in enumerate(made.parameters()):
            parameter.copy_(torch.linspace(-1, 1 + index, parameter.numel()).view_as(parameter))
    return made


def optimizer_of(made: nn.Module, name: str) -> torch.optim.Optimizer:
    matrices = [item for item in made.parameters() if item.dim() > 1]
    vectors = [item for item in made.parameters() if item.dim() == 1]
    groups = [
        {"params": matrices, "use_muon": True, "peak": 0.1, "lr": 0.07, "weight_decay": 0.01},
        {"params": vectors, "use_muon": False, "peak": 0.2, "lr": 0.03, "weight_decay": 0.0},
    ]
    if name == "muon":
        return Muon(groups, adamw_betas=(0.9, 0.98), use_adjusted_lr=True)
    if name == "lamb":
        return Lamb(groups, betas=(0.9, 0.98), max_grad_norm=0.0)
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def take_steps(made: nn.Module, optimizer: torch.optim.Optimizer, first: int, count: int) -> None:
    for step in range(first, first + count):
        inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        made(inputs).square().mean().backward()
        optimizer.step()


def tensors(made: nn.Module) -> list[Tensor]:
    return [item.detach().clone() for item in made.state_dict().values()]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_bit_by_bit(tmp_path: Path, name: str) -> None:
    made = model()
    optimizer = optimizer_of(made, name)
    take_steps(made, optimizer, 0, 3)
    save_checkpoint(tmp_path, made, optimizer, Progress(3, 120, 4.5))
    take_steps(made, optimizer, 3, 3)

    other = model()
    again = optimizer_of(other, name)
    take_steps(other, again, 50, 1)  # what it holds is replaced
    for group in again.param_groups:
        group["lr"] = 0.5
    assert load_checkpoint(tmp_path, other, again) == Progress(3, 120, 4.5)
    assert [group["lr"] for group in again.param_groups] == [0.07, 0.03]
    assert [group["peak"] for group in again.param_groups] == [0.1, 0.2]
    take_steps(other, again, 3, 3)
    assert equal(tensors(made), tensors(other))


def test_tensors_are_written_as_safetensors_reads_them(tmp_path: Path) -> None:
    table = torch.randn(3, 5)
    tensors = {
        "flag": torch.tensor([True, False, True]),
        "half": torch.randn(7).bfloat16(),
        "nothing": torch.empty(0, 4),
        "number": torch.tensor(3.0),
        "table": table,
        "tied": table,
        "turned": table.T,
        "whole": torch.arange(5),
        "ä": torch.zeros(1, dtype=torch.uint8),
    }
    with (tmp_path / "file").open("wb") as file:
        write_tensors(file, tensors)
    found = load_file(tmp_path / "file")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert all(found[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_without_a_checkpoint_nothing_is_changed(tmp_path: Path) -> None:
    made = model()
    before = tensors(made)
    assert load_checkpoint(tmp_path / "none", made, optimizer_of(made, "adamw")) == Progress(0, 0, 0.0)
    assert equal(tensors(made), before)


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    made = model()
    optimizer = optimizer_of(made, "adamw")
    for step in (9, 10, 100, 100_000_001):
        take_steps(made, optimizer, step, 1)
        save_checkpoint(tmp_path, made, optimizer, Progress(step))
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000100", "step-100000001"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000100", "step-100000001"]
    assert load_checkpoint(tmp_path, made, optimizer).step == 100_000_001


def test_a_step_saved_again_replaces_the_first(tmp_path: Path) -> None:
    made = model()
    optimizer = optimizer_of(made, "adamw")
    take_steps(made, optimizer, 0, 1)
    save_checkpoint(tmp_path, made, optimizer, Progress(1))
    take_steps(made, optimizer, 1, 1)
    save_checkpoint(tmp_path, made, optimizer, Progress(1))
    other = model()
    load_checkpoint(tmp_path, other, optimizer_of(other, "adamw"))
    assert equal(tensors(made), tensors(other))


# Damage


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    made = model()
    optimizer = optimizer_of(made, "adamw")
    for step in range(2):
        take_steps(made, optimizer, step, 1)
        save_checkpoint(tmp_path, made, optimizer, Progress(step + 1))
    return tmp_path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, alter, Path.unlink], ids=["cut", "altered", "missing"])
@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors"])
def test_damaged_tensors_are_refused(saved: Path, name: str, damage: object) -> None:
    damage(saved / "step-00000002" / name)  # type: ignore[operator]
    made = model()
    before, optimizer = tensors(made), optimizer_of(made, "adamw")
    with pytest.raises(
        StorageError, match=rf"{name} is missing, cut short or altered; remove .*step-00000002"
    ):
        load_checkpoint(saved, made, optimizer)
    assert equal(tensors(made), before)


@pytest.mark.parametrize("damage", [cut, Path.unlink], ids=["cut", "missing"])
def test_a_damaged_state_is_refused(saved: Path, damage: object) -> None:
    state = saved / "step-00000002" / "state.json"
    if damage is cut:
        state.write_bytes(state.read_bytes()[:-5])
    else:
        state.unlink()
    made = model()
    with pytest.raises(StorageError, match=r"state\.json"):
        load_checkpoint(saved, made, optimizer_of(made, "adamw"))


def test_following_the_advice_goes_on_from_the_one_before(saved: Path) -> None:
    broken = saved / "step-00000002"
    cut(broken / "weights.safetensors")
    for path in broken.iterdir():
        path.unlink()
    broken.rmdir()
    made = model()
    assert load_checkpoint(saved, made, optimizer_of(made, "adamw")).step == 1


def test_a_checkpoint_of_other_models_is_refused(saved: Path) -> None:
    other = model(width=7)
    with pytest.raises(StorageError, match="does not fit the models of this stage"):
        load_checkpoint(saved, other, optimizer_of(other, "adamw"))


# Disk full


def test_a_full_disk_leaves_earlier_checkpoints(saved: Path) -> None:
    made = model()
    optimizer = optimizer_of(made, "adamw")
    load_checkpoint(saved, made, optimizer)
    at_two = tensors(made)
    take_steps(made, optimizer, 2, 1)
    with full_disk(600), pytest.raises(StorageError, match=r"cannot be written.*make room"):
        save_checkpoint(saved, made, optimizer, Progress(3))
    assert sorted(path.name for path in saved.iterdir()) == ["step-00000001", "step-00000002"]
    other = model()
    assert load_checkpoint(saved, other, optimizer_of(other, "adamw")).step == 2
    assert equal(tensors(other), at_two)


def test_what_a_kill_left_half_written_is_passed_over(saved: Path) -> None:
    half = saved / ".step-00000003.partial"
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    made = model()
    optimizer = optimizer_of(made, "adamw")
    assert load_checkpoint(saved, made, optimizer).step == 2
    save_checkpoint(saved, made, optimizer, Progress(3))
    assert not half.exists()
    assert load_checkpoint(saved, made, optimizer).step == 3
