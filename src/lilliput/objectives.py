"""What is minimised: pure functions of tensors that return (sum, count).

They know no model and no config. The training step divides each sum by the count over all parts and
processes, so uneven masks, accumulation and many processes are exact.

Shape letters: N positions, D width, V vocabulary.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor


def logits(hidden: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    """Returns scores over a vocabulary [N, V] in float32.

    Args:
        hidden: Output of a masked-LM head's transform [N, D]; sets the precision of the product.
        table: The vocabulary's embeddings [V, D], to which the head is tied.
        bias: The head's bias [V].
    """
    return F.linear(hidden, table.to(hidden.dtype)).float() + bias


def masked_lm(scores: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Returns the summed cross-entropy in nats of scores [N, V] to piece ids [N], and N (Devlin et al.)."""
    return F.cross_entropy(scores, targets, reduction="sum"), targets.shape[0]


def soft_labels(student: Tensor, teacher: Tensor) -> tuple[Tensor, int]:
    """Returns the summed cross-entropy of the student's distribution to the teacher's, and N.

    Args:
        student: The student's scores at the aligned positions [N, V].
        teacher: The teacher's scores over the same vocabulary at the same positions [N, V]; no gradient flows
            there.
    """
    return F.cross_entropy(student, teacher.detach().softmax(-1), reduction="sum"), student.shape[0]


def shared_projection(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, int]:
    """Returns the summed squared distance between projected variables and their counterparts, and 1.

    Zhao et al. 2019, equations 1 and 2: the loss is the plain sum over all variables, so the count is one.
    """
    distances = [(projected - target).square().sum() for projected, target in pairs]
    return torch.stack(distances).sum(), 1
