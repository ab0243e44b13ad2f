"""What each kind of task decides with torch: the columns of its head, and the loss of their scores.

There is one class for each kind, under the kind's name. `tasks.kind` says what the other halves are.

Shape letters: K slots of a batch, C columns of the head.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from lilliput.finetuning.encoded import TaskBatch
from lilliput.tasks.task import Task
from lilliput.training.objectives import classification, in_batch, soft_labels, squared_error

Averages = Literal["choices", "shares", "scores"]
"""What is averaged of several teachers: probabilities of columns that are alternatives, those of columns that
are not, or scores."""


class Head(ABC):
    """The head of a kind of task."""

    reads: ClassVar[Literal["text", "words", "apart"]]
    """Whether scores come from the pooled state of the whole text, or from the state of each piece; or there
    is no head, the texts of an example are read apart, and scores are their vectors [K, texts, E]."""
    problem_type: ClassVar[Literal["regression", "multi_label_classification"] | None] = None
    """What transformers calls the problem in config.json."""
    averages: ClassVar[Averages] = "scores"
    """What is averaged of several teachers (`columns.together`)."""

    def columns(self, task: Task) -> tuple[str, ...]:
        """Returns the names of the head's columns."""
        return task.tags + task.classes

    def kept(self, ours: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
        """Returns which columns of a checkpoint's head stay: for columns of ours those of theirs.

        These are the ones whose name both have once. A single column is a score, whatever its name.
        """
        if len(theirs) <= 1:
            return {}
        once = {name for name in ours if ours.count(name) == theirs.count(name) == 1}
        return {column: theirs.index(name) for column, name in enumerate(ours) if name in once}

    def first_bias(self, labels: Tensor, own: Tensor) -> Tensor:
        """Returns the biases with which the columns begin [C].

        Args:
            labels: The labels of all slots that have one.
            own: The biases so far.
        """
        return own

    def as_labels(self, soft: Tensor) -> Tensor:
        """Returns a teacher's scores [K, C] as labels, where nothing has one."""
        return soft[:, 0]

    @abstractmethod
    def targets(self, labels: Tensor) -> Tensor:
        """Returns the labels of all slots, which are float64, as `loss` takes them."""

    def weights(self, targets: Tensor, known: Tensor, columns: int, balance: float) -> Tensor | None:
        """Returns weights of all slots by how rare their labels are; None where all weigh the same.

        Args:
            targets: What `targets` returned.
            known: Which slots have a label.
            columns: Columns of the head.
            balance: `FinetuningConfig.balance`.
        """
        return None

    def scale(self, labels: Tensor) -> float:
        """Returns the number by which losses are divided, given the labels of all slots that have one."""
        return 1.0

    def shares(self, batch: TaskBatch) -> Tensor:
        """Returns what part each slot of a batch has in the mean: over the texts, or over their words [K]."""
        count = len(batch.slots)
        return torch.full((count,), 1 / max(count, 1), device=batch.slots.device)

    @abstractmethod
    def loss(self, scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Returns the weighted sum of losses.

        Args:
            scores: The model's [K, C].
            targets: The labels, as `targets` returns them.
            weights: Of each slot [K].
        """

    @abstractmethod
    def soft_loss(self, scores: Tensor, soft: Tensor, weights: Tensor, temperature: float) -> Tensor:
        """Returns the weighted sum of losses against a teacher's scores.

        Args:
            scores: The model's [K, C].
            soft: The teacher's [K, C].
            weights: Of each slot [K].
            temperature: By which both are divided where they become probabilities.
        """


class ChoiceHead(Head):
    """A head whose column with the highest score is the answer."""

    averages = "choices"

    def targets(self, labels: Tensor) -> Tensor:
        return labels.nan_to_num().long()

    def weights(self, targets: Tensor, known: Tensor, columns: int, balance: float) -> Tensor | None:
        if not balance:
            return None
        counts = targets[known].bincount(minlength=columns)
        by_class = counts.clamp(min=1).float() ** -balance
        by_class *= counts.sum() / (by_class * counts).sum()  # the mean example weighs 1
        return by_class[targets]

    def loss(self, scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return classification(scores, targets, weights)[0]

    def soft_loss(self, scores: Tensor, soft: Tensor, weights: Tensor, temperature: float) -> Tensor:
        return soft_labels(scores, soft, temperature, weights)[0]


class ClassificationHead(ChoiceHead):
    """A column for each class."""

    reads = "text"


class TaggingHead(ChoiceHead):
    """A column for each tag."""

    reads = "words"


class JointHead(ChoiceHead):
    """A column for each tag, then one for each class, which is read at [CLS]."""

    reads = "words"

    def shares(self, batch: TaskBatch) -> Tensor:
        """Returns shares in the mean over the texts for classes, and over all words for tags [K]."""
        of_text = batch.positions % batch.inputs["input_ids"].shape[1] == 0  # [CLS]
        return torch.where(of_text, 1 / of_text.sum().clamp(min=1), 1 / (~of_text).sum().clamp(min=1))


class MultilabelHead(Head):
    """A column for each class, whose score is the logit of its probability: binary cross-entropy of each."""

    reads, problem_type, averages = "text", "multi_label_classification", "shares"

    def targets(self, labels: Tensor) -> Tensor:
        """Returns 1 for the classes that a text has, and else 0 [K, C]."""
        return labels.nan_to_num().float()

    def first_bias(self, labels: Tensor, own: Tensor) -> Tensor:
        """Returns the logit of the share of texts that have each class, for columns that are new.

        A rate that suits the weights hardly moves a bias, and so long as the states have to make up for it,
        nothing is learnt of rare classes (Lin et al. 2017, arXiv 1708.02002, section 4.1).
        """
        share = (labels.sum(0) + 1) / (len(labels) + 2)
        return torch.where(own == 0, share.logit().to(own), own)

    def as_labels(self, soft: Tensor) -> Tensor:
        return soft.sigmoid()

    def weights(self, targets: Tensor, known: Tensor, columns: int, balance: float) -> Tensor | None:
        """Returns weights of texts by their rarest class; having none counts as one [K]."""
        if not balance:
            return None
        whole = torch.cat([targets, (targets.sum(1, keepdim=True) == 0).float()], 1)
        by_class = whole[known].sum(0).clamp(min=1) ** -balance
        rarest = (whole * by_class).amax(1)
        return rarest * known.sum() / rarest[known].sum()

    def loss(self, scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        each = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        return (each.mean(1) * weights).sum()

    def soft_loss(self, scores: Tensor, soft: Tensor, weights: Tensor, temperature: float) -> Tensor:
        """Returns the loss against a teacher's probabilities, which keeps its size as `soft_labels` does."""
        targets = (soft / temperature).sigmoid()
        return self.loss(scores / temperature, targets, weights) * temperature**2


class RegressionHead(Head):
    """One column, with scores in the range of the labels."""

    reads, problem_type = "text", "regression"

    def columns(self, task: Task) -> tuple[str, ...]:
        return ("score",)

    def kept(self, ours: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
        """Returns the only column of a head for scores, whatever its name."""
        return {0: 0} if len(theirs) == 1 else {}

    def first_bias(self, labels: Tensor, own: Tensor) -> Tensor:
        """Returns the mean label: scores keep their own range, so the head begins in its middle."""
        return torch.full_like(own, float(labels.mean()))

    def targets(self, labels: Tensor) -> Tensor:
        return labels.nan_to_num().float()

    def scale(self, labels: Tensor) -> float:
        """Returns the variance of the labels."""
        return float(labels.var()) or 1.0

    def loss(self, scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return squared_error(scores[:, 0], targets, weights)[0]

    def soft_loss(self, scores: Tensor, soft: Tensor, weights: Tensor, temperature: float) -> Tensor:
        return squared_error(scores[:, 0], soft[:, 0], weights)[0]


class SimilarityHead(Head):
    """The cosine of two vectors, which is to be the score (sentence-transformers' CosineSimilarityLoss).

    Scores are learnt as (score - least) / (greatest - least), by those of the examples to learn from.
    CoSENT, which learns their order alone, was measured to be behind on STS-B (experiments/LOG.md).
    """

    reads = "apart"

    def columns(self, task: Task) -> tuple[str, ...]:
        return ()

    def targets(self, labels: Tensor) -> Tensor:
        known = labels[~labels.isnan()]
        least, greatest = float(known.min()), float(known.max())
        return ((labels - least) / (greatest - least or 1.0)).nan_to_num().float()

    def loss(self, scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return squared_error(scores.prod(1).sum(1), targets, weights)[0]

    def soft_loss(self, scores: Tensor, soft: Tensor, weights: Tensor, temperature: float) -> Tensor:
        return self.loss(scores, soft[:, 0], weights)


class RetrievalHead(Head):
    """The cosines of a query's vector with those of all answers of the batch."""

    reads = "apart"

    def columns(self, task: Task) -> tuple[str, ...]:
        return ()

    def targets(self, labels: Tensor) -> Tensor:
        """Returns the group of each pair."""
        return labels.long()

    def loss(self, scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        queries, *answers = scores.unbind(1)
        return in_batch(queries, torch.cat(answers), targets, weights)[0]

    def soft_loss(self, scores: Tensor, soft: Tensor, weights: Tensor, temperature: float) -> Tensor:
        raise NotImplementedError


HEADS: dict[str, Head] = {
    "classification": ClassificationHead(),
    "multilabel": MultilabelHead(),
    "regression": RegressionHead(),
    "similarity": SimilarityHead(),
    "retrieval": RetrievalHead(),
    "tagging": TaggingHead(),
    "joint": JointHead(),
}
"""The heads by the kinds of tasks."""
