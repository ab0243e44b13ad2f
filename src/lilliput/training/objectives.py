"""What is minimised: pure functions of tensors that return (sum, count).

They know no model and no config. The training step divides each sum by the count over all parts and
processes, so uneven masks, accumulation and many processes are exact.

Shape letters: N positions, D width, V vocabulary, B rows, W words of a row, S student width, T teacher width,
A relation heads.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_lm(scores: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Returns the summed cross-entropy in nats of scores [N, V] to piece ids [N], and N (Devlin et al.)."""
    return F.cross_entropy(scores, targets, reduction="sum"), targets.shape[0]


def soft_labels(
    student: Tensor, teacher: Tensor, temperature: float = 1.0, weights: Tensor | None = None
) -> tuple[Tensor, float]:
    """Returns the summed cross-entropy of the student's distribution to the teacher's, and N.

    With a temperature both are made flatter and the sum is multiplied with its square, so that gradients keep
    their size (Hinton et al. 2015).

    Args:
        student: The student's scores at the aligned positions [N, V].
        teacher: The teacher's scores over the same vocabulary at the same positions [N, V]; no gradient flows
            there.
        temperature: Divides both.
        weights: Of each position [N]; their sum is then the count.
    """
    targets = (teacher.detach() / temperature).softmax(-1)
    return _weighted(
        F.cross_entropy(student / temperature, targets, reduction="none"), weights, temperature**2
    )


def classification(scores: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, float]:
    """Returns the summed cross-entropy of scores [N, C] to labels [N], each times its weight [N], and N."""
    return _weighted(F.cross_entropy(scores, labels, reduction="none"), weights)


def squared_error(scores: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, float]:
    """Returns the summed squared distance of scores [N] to targets [N], each times its weight [N], and N."""
    return _weighted((scores - targets.detach()).square(), weights)


def in_batch(
    queries: Tensor, answers: Tensor, groups: Tensor, weights: Tensor, temperature: float = 0.05
) -> tuple[Tensor, float]:
    """Returns the summed cross-entropy of each query to its own answer among those of the batch, and N.

    Henderson et al. 2017 (arXiv 1705.00652, section 4.4), with cosines divided by a temperature; in
    sentence-transformers MultipleNegativesRankingLoss, scale 20.

    Args:
        queries: Vectors of length 1 [N, E].
        answers: Those of their answers, and then of texts that are wrong answers to all [M, E].
        groups: Answers of a query's own number are not wrong to it [N].
        weights: Of each query [N].
        temperature: Divides cosines.
    """
    scores = queries @ answers.mT / temperature
    own = torch.arange(len(queries), device=queries.device)
    shared = (groups[:, None] == groups) & (own[:, None] != own)
    scores = scores.masked_fill(F.pad(shared, (0, len(answers) - len(queries))), -torch.inf)
    return _weighted(F.cross_entropy(scores, own, reduction="none"), weights)


def hidden_states(student: Tensor, teacher: Tensor) -> tuple[Tensor, int]:
    """Returns the summed mean squared distance of states [N, T] to the teacher's [N, T], and N.

    The student's states come here mapped to the teacher's width (Jiao et al. 2020, equation 8).
    """
    return (student - teacher.detach()).square().mean(-1).sum(), student.shape[0]


def vectors(student: Tensor, teacher: Tensor) -> tuple[Tensor, int]:
    """Returns the summed squared distance of vectors of length 1 [B, E] to the teacher's [B, E], and B.

    Twice what their cosine lacks to 1 (LEAF, arXiv 2509.12539).
    """
    return (student - teacher.detach()).square().sum(), student.shape[0]


def similarities(student: Tensor, teacher: Tensor, temperature: float = 0.05) -> tuple[Tensor, int]:
    """Returns the summed divergence of each text's similarities to the other texts, and B.

    A text's cosines to all others of the batch, divided by the temperature, are a distribution over these.

    Args:
        student: Vectors of length 1 [B, E].
        teacher: The teacher's vectors of the same texts [B, E]; no gradient flows there.
        temperature: Divides both.
    """
    itself = torch.eye(len(student), dtype=torch.bool, device=student.device)
    ours, theirs = (
        (found @ found.mT / temperature).masked_fill(itself, -1e4).log_softmax(-1)
        for found in (student, teacher.detach())
    )
    return F.kl_div(ours, theirs, reduction="sum", log_target=True), student.shape[0]


def relations(student: Tensor, teacher: Tensor, there: Tensor, heads: int) -> tuple[Tensor, float]:
    """Returns the summed divergence between the words' relations in two models, and how many there are.

    A word's relations are its distribution over the words of its row by scaled products of their states, in
    several heads (Wang et al. 2021, equation 4, with last states in place of queries, keys and values). They
    do not depend on a model's width, and here words are aligned whatever their pieces are.

    Args:
        student: States of the words [B, W, S].
        teacher: The teacher's states of the same words [B, W, T]; no gradient flows there.
        there: False where a row has no such word [B, W].
        heads: Heads into which either width is cut; what does not divide is left out.
    """
    ours, theirs = (_relations(states, there, heads) for states in (student, teacher.detach()))
    divergence = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)
    kept = there[:, None, :].expand_as(divergence)
    return divergence[kept].sum(), float(kept.sum())


def _relations(states: Tensor, there: Tensor, heads: int) -> Tensor:
    """Returns the logarithms of each word's distribution over the words of its row [B, A, W, W]."""
    batch, words, width = states.shape
    cut = width // heads * heads
    parts = F.layer_norm(states[..., :cut], (cut,)).view(batch, words, heads, -1).transpose(1, 2)
    products = parts @ parts.mT / math.sqrt(cut // heads)
    # A large number and not infinity, which would make distances of nothing to nothing.
    return products.masked_fill(~there[:, None, None, :], -1e4).log_softmax(-1)


def _weighted(losses: Tensor, weights: Tensor | None, factor: float = 1.0) -> tuple[Tensor, float]:
    """Returns the sum of losses [N] times their weights, and the sum of these."""
    if weights is None:
        return losses.sum() * factor, losses.shape[0]
    return (losses * weights).sum() * factor, float(weights.sum())


def shared_projection(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, int]:
    """Returns the summed squared distance between projected variables and their counterparts, and 1.

    Zhao et al. 2019, equations 1 and 2: the loss is the plain sum over all variables, so the count is one.
    """
    distances = [(projected - target).square().sum() for projected, target in pairs]
    return torch.stack(distances).sum(), 1
