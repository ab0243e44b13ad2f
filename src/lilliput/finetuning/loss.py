"""What one step of fine-tuning lowers: the loss against labels, a teacher's scores and its states."""

import numpy as np
import torch
from torch import Tensor, nn

from lilliput.finetuning.config import FinetuningConfig
from lilliput.finetuning.encoded import TaskBatch
from lilliput.finetuning.heads import HEADS
from lilliput.finetuning.model import TaskModel, task_kernels, task_scores
from lilliput.finetuning.sets import TrainSet
from lilliput.models.blocks import classifier_of
from lilliput.models.sentence_encoder import SentenceEncoder
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.task import Task
from lilliput.training.objectives import hidden_states, relations

_RELATION_HEADS = 12


class TaskLoss(nn.Module):
    """A batch -> the loss of a model: the mean over its texts and, in a joint task, that over its words.

    Its parameters are those of the model and of the map to the teacher's width.
    """

    def __init__(self, model: TaskModel, train: TrainSet, task: Task, config: FinetuningConfig) -> None:
        super().__init__()
        self.model = model
        self._head, self._config, self._train = HEADS[task.kind], config.distillation, train
        self._kernels = task_kernels(model, train.encoded, learns=True)
        device, labels = model.device, torch.from_numpy(train.labels)
        known = ~labels.reshape(len(labels), -1).isnan().any(1)
        self._hard_weights = known.float().to(device)
        self._soft_weights = torch.zeros_like(self._hard_weights)
        if train.soft is not None:
            self._soft = torch.from_numpy(train.soft).nan_to_num().to(device)
            # A text without a label has nothing but what the teacher says.
            taught = torch.from_numpy(~np.isnan(train.soft).any(1)).float().to(device)
            weight = self._config.soft_weight(is_two_tower=KINDS[task.kind].is_two_tower)
            self._soft_weights = taught * torch.where(self._hard_weights > 0, weight, 1.0)
            self._hard_weights *= 1 - self._soft_weights
        self._labels = self._head.targets(labels).to(device)
        learnt = labels[known]
        if not len(learnt) and train.soft is not None:  # nothing but what a teacher says
            learnt = self._head.as_labels(self._soft[self._soft_weights > 0]).double().cpu()
        self._scale = self._head.scale(learnt)
        if not isinstance(model, SentenceEncoder):
            own = classifier_of(model).bias
            with torch.no_grad():
                own.copy_(self._head.first_bias(learnt, own))
        columns = len(self._head.columns(task))
        rare = self._head.weights(self._labels, known.to(device), columns, config.balance)
        if rare is not None:
            self._hard_weights *= rare
        if self._config.hidden and train.states is not None:
            self.map = nn.Linear(model.config.hidden_size, train.states.shape[1]).to(device)

    def forward(self, batch: TaskBatch) -> Tensor:
        """Returns the loss of a batch."""
        batch = batch.to(self.model.device)
        wanted = self._train.states is not None
        scores, states = task_scores(self.model, batch, self._kernels, states=wanted)
        slots, share = batch.slots, self._head.shares(batch)
        loss = self._head.loss(scores, self._labels[slots], self._hard_weights[slots] * share)
        if self._train.soft is not None:
            soft, weights = self._soft[slots], self._soft_weights[slots] * share
            loss = loss + self._head.soft_loss(scores, soft, weights, self._config.temperature)
        loss = loss / self._scale
        return loss if states is None else loss + self._states_loss(batch, states.float())

    def _states_loss(self, batch: TaskBatch, states: Tensor) -> Tensor:
        """Returns the weighted distance of the words' states, or of their relations, to the teacher's."""
        assert self._train.states is not None
        theirs = torch.from_numpy(self._train.states[batch.words.clamp(min=0).cpu().numpy()])
        theirs = theirs.float().to(states.device)
        there = (batch.words >= 0) & ~theirs.isnan().any(-1)
        theirs, ours = theirs.nan_to_num(), states.flatten(0, 1)[batch.word_positions]
        total = states.new_zeros(())
        if self._config.hidden:
            distance, count = hidden_states(self.map(ours[there]), theirs[there])
            total = total + self._config.hidden * distance / max(count, 1)
        if self._config.relations:
            divergence, found = relations(ours, theirs, there, _RELATION_HEADS)
            total = total + self._config.relations * divergence / max(found, 1)
        return total
