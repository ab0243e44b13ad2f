"""A model of torch that computes with what a file will hold: weights, and what linear layers read.

With rounded weights it is trained, so that it learns to live with them.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from lilliput.models.blocks import blocks_of
from lilliput.models.quantization import (
    SMALLEST_SCALE,
    Grid,
    InputGrid,
    QuantizationScheme,
    grid_of,
    scale_factors,
)


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


def input_grids(model: PreTrainedModel, read: Callable[[], object]) -> dict[str, InputGrid]:
    """Returns the grids for what the layers' linear layers read, from what they read while `read` runs.

    Args:
        model: The model.
        read: Runs the model on texts without padding.

    Returns:
        The grid of the product `name` of each layer (`Block.products`), as "layer.name". A product is left
        out where its grid would be too coarse.
    """
    seen: dict[str, list[Tensor]] = {}

    def look(name: str, given: Tensor) -> Tensor:
        rows = given.reshape(-1, given.shape[-1])
        squares = rows.double().square().mean().reshape(1)
        seen.setdefault(name, []).append(torch.cat([rows.amin(0), rows.amax(0), squares]))
        return given

    with _reading(model, look):
        read()
    grids = {name: _grid_around(torch.stack(found), name.endswith(".down")) for name, found in seen.items()}
    return {name: grid for name, grid in grids.items() if grid is not None}


def _grid_around(seen: Tensor, after_gelu: bool) -> InputGrid | None:
    """Returns the grid for texts, a row each: least and most of each column, and the mean square."""
    least, most, squares = (*seen[:, :-1].chunk(2, dim=1), seen[:, -1])
    ends = least.amin(0).float().numpy(), most.amax(0).float().numpy()
    return InputGrid.around(*ends, math.sqrt(float(squares.mean())), after_gelu=after_gelu)


@contextlib.contextmanager
def as_stored(
    model: PreTrainedModel, scheme: QuantizationScheme, grids: Mapping[str, InputGrid]
) -> Iterator[None]:
    """Lets `model` compute as a file does that rounds what linear layers read to grids (`input_grids`)."""
    with quantization_aware(model, scheme), parametrize.cached(), _rounded_inputs(model, grids):
        yield


@contextlib.contextmanager
def _rounded_inputs(model: PreTrainedModel, grids: Mapping[str, InputGrid]) -> Iterator[None]:
    """Lets linear layers read what they read rounded to grids; those without one read it as it is."""

    def rounded(name: str, given: Tensor) -> Tensor:
        grid = grids.get(name)
        if grid is None:
            return given

        def on_grid(values: Tensor) -> Tensor:
            integers = (torch.round(values / grid.scale) + grid.zero).clamp(0, 255)
            return (integers - grid.zero) * grid.scale

        found = on_grid(given)
        for neuron, middle in zip(grid.large, grid.middles, strict=True):
            beyond = given[..., neuron] - middle  # GELU(u) is u so far out
            found[..., neuron] += on_grid(F.gelu(beyond)) - on_grid(F.gelu(-beyond)) + grid.most
        return found

    with _reading(model, rounded):
        yield


@contextlib.contextmanager
def _reading(model: PreTrainedModel, change: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
    """Gives the layers' linear layers `change(name, what they read)` to read."""
    with contextlib.ExitStack() as stack:
        for layer, block in enumerate(blocks_of(model)):
            for name, modules in block.products.items():
                for module in modules:

                    def hook(_: nn.Module, given: tuple[Tensor], name: str = f"{layer}.{name}") -> Tensor:
                        return change(name, *given)

                    handle = module.register_forward_pre_hook(hook)
                    stack.callback(handle.remove)
        yield


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
