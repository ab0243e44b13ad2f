"""Training with the weights that a file will hold, so that a model learns to live with their rounding."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lilliput.models.quantization import SMALLEST_SCALE, Grid, QuantizationScheme, grid_of, scale_factors


@contextlib.contextmanager
def quantization_aware(model: nn.Module, scheme: QuantizationScheme) -> Iterator[None]:
    """Lets `model` compute with the weights of a file of that scheme, while its own are trained.

    A gradient passes the rounding as if it were not there (the straight-through estimator). Parameters stay
    the objects they are, so an optimizer may be made before or inside; afterwards the model is as it was,
    with what its parameters have learnt. Inside, `state_dict` has other names: save the model outside.
    """
    changed = []
    for name, module in list(model.named_modules()):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            grid = grid_of(f"{name}.weight", scheme)
            if grid.bits != 32:
                parametrize.register_parametrization(module, "weight", _OnGrid(grid))
                changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
            _move_weight_first(module)


def _move_weight_first(module: nn.Module) -> None:
    """Puts `weight` before `bias` again: optimizers and checkpoints go by the order of parameters."""
    for name in [name for name in module._parameters if name != "weight"]:
        module._parameters[name] = module._parameters.pop(name)


def fake_quantize(weight: Tensor, grid: Grid) -> Tensor:
    """Returns a matrix [R, C] as a file of that grid gives it back, bit for bit; gradients pass unchanged.

    The same as `dequantize(quantize(weight, grid))` of `quantization`, on whatever device the weight is.
    """
    rounded: Tensor = _StraightThrough.apply(weight, grid)  # type: ignore[no-untyped-call]
    return rounded


class _OnGrid(nn.Module):
    """The parametrization that puts a weight on a grid."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, weight: Tensor) -> Tensor:
        return fake_quantize(weight, self.grid)


class _StraightThrough(torch.autograd.Function):
    """Rounds forward; backward the gradient of what was rounded is that of the weight."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, grid: Grid) -> Tensor:
        return _round(weight.float(), grid).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _round(weight: Tensor, grid: Grid) -> Tensor:
    """Returns the weights on the grid; step by step what `quantize` and `dequantize` do."""
    if grid.bits == 32:
        return weight.clone()
    if grid.bits == 16:
        return weight.half().float()
    groups = weight.reshape(len(weight), -1, grid.length(weight.shape[1]))
    above = groups.amax(-1, keepdim=True).clamp(min=0)
    below = (-groups).amax(-1, keepdim=True).clamp(min=0)
    far, near = (float(factor) for factor in scale_factors(grid.bits))
    size = torch.maximum(torch.maximum(above, below) * far, torch.minimum(above, below) * near)
    size = size.clamp(min=SMALLEST_SCALE)
    scales = torch.where(above > below, -size, size).half().float()
    half = 2 ** (grid.bits - 1)
    return (torch.round(groups / scales).clamp(-half, half - 1) * scales).reshape(weight.shape)
