"""How steps are taken: learning rate, optimisers, clipping, and a stop at what is not finite."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from pytorch_optimizer import Lamb, Muon
from pytorch_optimizer.optimizer.utils.matrix import zero_power_via_newton_schulz_5
from torch import Tensor, nn

from lilliput.config import OptimizerConfig
from lilliput.errors import TrainingError
from lilliput.models.kernels import PLAIN_BOTH, DualKernels, dtype_of


def parameter_groups(parameters: Iterable[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Returns groups for an optimiser: the matrices, which decay, and the vectors, which do not."""
    matrices, vectors = list[nn.Parameter](), list[nn.Parameter]()
    for parameter in parameters:
        (matrices if parameter.dim() > 1 else vectors).append(parameter)
    groups = ({"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def require_finite(what: str, value: float, step: int, remedy: str) -> None:
    """Raises TrainingError where a number is not finite; the step must not be taken yet.

    Args:
        what: What the number is, as the beginning of a sentence.
        value: The number.
        step: The step's number.
        remedy: What to do, as the end of the sentence.
    """
    if not math.isfinite(value):
        raise TrainingError(f"{what} is {value} at step {step}; nothing of this step is kept: {remedy}")


def clip_gradients(
    parameters: Iterable[nn.Parameter], most: float, what: str, step: int, remedy: str
) -> None:
    """Scales the gradients of some parameters so that their norm is at most `most`.

    Raises TrainingError, as `require_finite` does, where the norm is not finite.
    """
    clipped = list(parameters)
    gradients = [parameter.grad for parameter in clipped if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    require_finite(f"the norm of the gradients of {what}", float(norm), step, remedy)
    if norm + 1e-6 > most:  # else torch would multiply all of them with 1
        nn.utils.clip_grads_with_norm_(clipped, most, norm)


def build_optimizer(
    models: nn.Module, config: OptimizerConfig, kernels: DualKernels = PLAIN_BOTH
) -> torch.optim.Optimizer:
    """Returns the optimiser of what a stage trains; each group keeps its peak rate under "peak".

    Vectors are not decayed.

    Args:
        models: Its child `teacher` has the teacher's rate, all others have the student's.
        config: Which optimiser, and its rates.
        kernels: The precision in which Muon multiplies for the teacher, and for all others.
    """
    groups = []
    for name, module in models.named_children():
        peak = config.teacher_rate if name == "teacher" else config.student_rate
        update = kernels.teacher.update if name == "teacher" else kernels.student.update
        trained = [item for item in module.parameters() if item.requires_grad]
        hidden = _hidden_matrices(module)
        for use_muon in (True, False):
            chosen = [item for item in trained if (item in hidden) == use_muon]
            rates = {"use_muon": use_muon, "peak": peak, "lr": peak, "update": update}
            groups += [rates | group for group in parameter_groups(chosen, config.weight_decay)]
    betas = (0.9, config.beta2)
    if config.name == "muon":
        return _Muon(groups, adamw_betas=betas, use_adjusted_lr=True)
    if config.name == "lamb":
        # Gradients are clipped here already, per model; LAMB's own clipping over all of them would mix the
        # models.
        return Lamb(groups, betas=betas, max_grad_norm=0.0)
    return torch.optim.AdamW(groups, betas=betas, fused=True)


class _Muon(Muon):
    """Muon that makes steps orthogonal in the precision that is faster here, a group's "update".

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
            dtype=dtype_of(group["update"]),
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
