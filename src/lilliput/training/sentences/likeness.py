"""How like a student's vectors are to its teacher's, on texts held out."""

from dataclasses import dataclass

import torch
from scipy.stats import spearmanr

from lilliput.models.kernels import Kernels
from lilliput.training.sentences.source import SentenceSource
from lilliput.training.step import DualModel


@dataclass(frozen=True)
class Likeness:
    """Likeness of vectors."""

    cosine: float
    """Mean cosine of a text's vector to the teacher's."""
    similarity: float
    """Spearman's correlation of the cosines of all pairs of texts to the teacher's of the same pairs."""
    texts: int
    """Texts read."""


@torch.no_grad()
def evaluate_texts(source: SentenceSource, models: DualModel, kernels: Kernels, texts: int) -> Likeness:
    """Returns how like the student's vectors are to what the teacher said.

    Args:
        source: Texts held out.
        models: The student, with the map to the teacher's vectors.
        kernels: How it computes.
        texts: Texts to read at most.
    """
    assert models.student is not None
    device = models.student.device
    ours, theirs = list[torch.Tensor](), list[torch.Tensor]()
    for batch in source:
        moved = batch.to(device)
        ours.append(models.vectors(models.read_texts(moved, kernels)))
        assert moved.taught is not None
        theirs.append(moved.taught.vectors)
        if sum(map(len, ours)) >= texts:
            break
    found, wanted = torch.cat(ours), torch.cat(theirs)
    above = torch.triu_indices(len(found), len(found), 1, device=device)
    pairs = [(vectors @ vectors.mT)[above[0], above[1]].cpu().numpy() for vectors in (found, wanted)]
    return Likeness(float((found * wanted).sum(-1).mean()), float(spearmanr(*pairs).statistic), len(found))
