"""How steps are taken: the rate, who has which rate, clipping, and Muon's own precision."""

import pytest
import torch
from pytorch_optimizer import Muon
from torch import nn

from lilliput.config import OptimizerConfig
from lilliput.models.kernels import DualKernels, Kernels, Precision, dtype_of
from lilliput.training import optimizers
from lilliput.training.optimizers import build_optimizer, learning_rate


def test_the_rate_climbs_to_its_peak_and_falls_to_nothing() -> None:
    rates = [learning_rate(2.0, done, warm_up=0.25) for done in (0.0, 0.125, 0.25, 0.625, 1.0, 1.1)]
    assert rates == pytest.approx([0.0, 1.0, 2.0, 1.0, 0.0, 0.0])


def test_without_warm_up_the_rate_begins_at_its_peak() -> None:
    assert [learning_rate(2.0, done, warm_up=0.0) for done in (0.0, 0.5, 1.0)] == pytest.approx(
        [2.0, 1.0, 0.0]
    )


@pytest.mark.parametrize("name", ["adamw", "lamb", "muon"])
def test_the_teacher_has_a_rate_of_its_own_and_only_matrices_decay(name: str) -> None:
    rates, decays = {}, {}
    parts = {
        part: nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2)) for part in ("teacher", "student", "up")
    }
    models = nn.ModuleDict(parts)
    models["teacher"][0].requires_grad_(False)
    optimizer = build_optimizer(models, OptimizerConfig(name=name, student_rate=0.3, teacher_rate=0.1))
    for group in optimizer.param_groups:
        for item in group["params"]:
            rates[id(item)], decays[id(item)] = group["peak"], group["weight_decay"]
    for place, item in models.named_parameters():
        if place == "teacher.0.weight":
            assert id(item) not in rates
            continue
        assert rates[id(item)] == (0.1 if place.startswith("teacher.") else 0.3), place
        assert (decays[id(item)] > 0) == (item.dim() > 1), place


def test_muon_multiplies_for_each_model_as_its_kernels_say() -> None:
    models = nn.ModuleDict({part: nn.Sequential(nn.Linear(2, 2)) for part in ("teacher", "student", "up")})
    kernels = DualKernels(teacher=Kernels(update="bfloat16"))
    optimizer = build_optimizer(models, OptimizerConfig(name="muon"), kernels)
    updates = {id(item): group["update"] for group in optimizer.param_groups for item in group["params"]}
    for place, item in models.named_parameters():
        assert updates[id(item)] == ("bfloat16" if place.startswith("teacher") else "float32"), place


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (12, 12)])
def test_muon_takes_the_librarys_steps_in_the_precision_of_its_group(
    shape: tuple[int, int], precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = [nn.Linear(shape[1], shape[0], bias=False) for _ in range(2)]
    before = weights[0].weight.detach().clone()
    weights[1].load_state_dict(weights[0].state_dict())
    products: list[torch.dtype] = []
    multiply = torch.bmm

    def counted(first: torch.Tensor, *others: torch.Tensor, **options: torch.Tensor) -> torch.Tensor:
        products.append(first.dtype)
        return multiply(first, *others, **options)

    monkeypatch.setattr(torch, "bmm", counted)
    for weight, kind in zip(weights, (optimizers._Muon, Muon), strict=True):
        group = {"params": list(weight.parameters()), "use_muon": True, "lr": 0.1, "weight_decay": 0.0}
        group["update"] = precision
        weight.weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        kind([group], use_adjusted_lr=True).step()
    assert set(products) == {dtype_of(precision)}
    step = weights[0].weight - before
    torch.testing.assert_close(step, weights[1].weight - before, atol=0.05 * float(step.abs().max()), rtol=0)
