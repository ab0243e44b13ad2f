"""How far the fine-tuning of one seed has come, kept on disk so that it goes on where it was interrupted."""

import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lilliput.finetuning.loss import TaskLoss
from lilliput.training.checkpoint import Progress, load_checkpoint, save_checkpoint

_MINUTES_BETWEEN = 1.0
"""Between checkpoints; what takes less is begun again."""


class State(nn.Module):
    """What learns, its best state, and the deciding metric so far."""

    history: Tensor
    """The deciding metric at every evaluation, then NaN [evaluations]."""
    decay: Tensor
    """What `used_pieces` multiplies rows with that are not used: now, and in the best state [2]."""

    def __init__(self, learner: TaskLoss, evaluations: int) -> None:
        super().__init__()
        self.learner, self.best = learner, copy.deepcopy(learner.model)
        self.register_buffer("history", torch.full((evaluations,), math.nan, dtype=torch.float64))
        self.register_buffer("decay", torch.ones(2, dtype=torch.float64))

    def scores(self) -> list[float]:
        """Returns the deciding metric at every evaluation."""
        found: list[float] = self.history[~self.history.isnan()].tolist()
        return found

    def take(self, value: float) -> bool:
        """Takes the metric of an evaluation; returns whether it is the best, whose weights are then kept."""
        before = self.scores()
        self.history[len(before)] = value
        if before and value <= max(before):
            return False
        self.best.load_state_dict(self.learner.model.state_dict())
        self.decay[1] = self.decay[0]
        return True


@dataclass
class Keeper:
    """Writes checkpoints of a fine-tuning below a folder, and reads them."""

    folder: Path | None
    """Takes checkpoints; None keeps nothing."""
    state: State
    """What is kept."""
    optimizer: torch.optim.Optimizer
    """Kept too."""

    def __post_init__(self) -> None:
        found = Progress()
        if self.folder is not None:
            found = load_checkpoint(self.folder, self.state, self.optimizer)
        self.step, self._before = found.step, found.seconds
        self._started = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent, over all interruptions."""
        return self._before + time.monotonic() - self._started

    def save(self, *, at_once: bool = False) -> None:
        """Saves a checkpoint if the last one is a minute old, or at once."""
        is_due = at_once or time.monotonic() - self._saved > 60 * _MINUTES_BETWEEN
        if self.folder is not None and is_due:
            progress = Progress(self.step, 0, self.seconds)
            save_checkpoint(self.folder, self.state, self.optimizer, progress)
            self._saved = time.monotonic()
