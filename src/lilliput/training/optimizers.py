"""How steps are taken: the precision of training, the learning rate, and the optimisers."""

from typing import Any

import torch
from pytorch_optimizer import Lamb, Muon
from pytorch_optimizer.optimizer.utils.matrix import zero_power_via_newton_schulz_5
from torch import Tensor, nn

from lilliput.config import OptimizerConfig


def training_dtype(device: torch.device) -> torch.dtype:
    """Returns the faster precision on a device: bfloat16 where hardware multiplies it in tiles, else float32.

    A processor without AMX multiplies bfloat16 at half the speed of float32 (measured: 84 against 165 GFLOP/s
    a core on a Xeon with AVX-512 BF16), so it counts as one that does not have it.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    tiles = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return torch.bfloat16 if tiles else torch.float32


def build_optimizer(trainees: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Returns the optimiser of what a stage trains; each group keeps its peak rate under "peak".

    Vectors are not decayed.

    Args:
        trainees: Its child `teacher` has the teacher's rate, all others have the student's.
        config: Which optimiser, and its rates.
    """
    groups = []
    for name, module in trainees.named_children():
        peak = config.teacher_rate if name == "teacher" else config.student_rate
        trained = [item for item in module.parameters() if item.requires_grad]
        hidden = _hidden_matrices(module)
        for decay, use_muon, chosen in (
            (config.weight_decay, True, [item for item in trained if item in hidden]),
            (config.weight_decay, False, [item for item in trained if item.dim() > 1 and item not in hidden]),
            (0.0, False, [item for item in trained if item.dim() <= 1]),
        ):
            if chosen:
                rates = {"peak": peak, "lr": peak, "weight_decay": decay}
                groups.append({"params": chosen, "use_muon": use_muon, **rates})
    betas = (0.9, config.beta2)
    if config.name == "muon":
        return _Muon(groups, adamw_betas=betas, use_adjusted_lr=True)
    if config.name == "lamb":
        # Gradients are clipped here already, per model; LAMB's own clipping over all of them would mix the
        # models.
        return Lamb(groups, betas=betas, max_grad_norm=0.0)
    return torch.optim.AdamW(groups, betas=betas, fused=True)


class _Muon(Muon):
    """Muon that makes steps orthogonal in the faster precision of their device.

    The library always does it in bfloat16. Where a processor only emulates that, it was half of a student's
    step (838 ms of 1,639).
    """

    @staticmethod
    def _orthogonalize(group: dict[str, Any], updates: list[Tensor]) -> list[Tensor]:
        """Returns the nearest orthogonal matrices to matrices of one shape, up to transposition."""
        tall = [update.shape[0] > update.shape[1] for update in updates]
        stacked = torch.stack(
            [update.mT if flip else update for update, flip in zip(updates, tall, strict=True)]
        )
        found = zero_power_via_newton_schulz_5(
            stacked,
            num_steps=group["ns_steps"],
            weights=group["ns_coeffs"],
            dtype=training_dtype(stacked.device),
        )
        return [update.mT if flip else update for update, flip in zip(found, tall, strict=True)]


def _hidden_matrices(module: nn.Module) -> set[Tensor]:
    """Returns the weights of linear layers that are not also a table of embeddings."""
    parts = list(module.modules())
    tables = {part.weight for part in parts if isinstance(part, nn.Embedding)}
    return {part.weight for part in parts if isinstance(part, nn.Linear)} - tables


def learning_rate(peak: float, done: float, warm_up: float) -> float:
    """Returns the rate when the share `done` of a stage is over: up over `warm_up`, then down to 0."""
    if done < warm_up:
        return peak * done / warm_up
    return peak * max(1.0 - done, 0.0) / (1.0 - warm_up)
