"""One model learns one task: the loop, its loss, and the best state by the dev metric."""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lilliput.common.progress import Bar
from lilliput.errors import Interrupted
from lilliput.finetuning.config import FinetuningConfig
from lilliput.finetuning.encoded import Encoded, TaskBatch, batches, labels_from
from lilliput.finetuning.lesson import Exam, Floats, Lesson, States
from lilliput.finetuning.model import TaskModel, task_scores
from lilliput.models.blocks import classifier_of
from lilliput.models.fake_quantization import quantization_aware
from lilliput.tasks.metrics import score
from lilliput.tasks.task import Task
from lilliput.training.objectives import classification, hidden_states, relations, soft_labels, squared_error
from lilliput.training.optimizers import (
    clip_gradients,
    learning_rate,
    parameter_groups,
    require_finite,
    training_dtype,
)
from lilliput.training.processes import signals

_ROWS_TO_PREDICT = 64
_RELATION_HEADS = 12
_REMEDY = "lower the rate (--set rate=...)"


@dataclass(frozen=True)
class Fitted:
    """What came of one fine-tuning."""

    scores: dict[str, float]
    """Metrics on the dev set, of the best state."""
    history: tuple[float, ...]
    """The deciding metric at every evaluation."""
    steps: int
    """Steps taken."""
    seconds: float
    """Time they took, evaluations included."""


def predict(model: TaskModel, encoded: Encoded, *, states: bool = False) -> tuple[Floats, States | None]:
    """Returns a model's scores of all slots [K, C] and, if asked for, its states of all words [W, D].

    What was cut off is not a number. The model is in evaluation mode afterwards.
    """
    scores = np.full((len(encoded.slots.values), classifier_of(model).out_features), np.nan, np.float32)
    words = (
        np.full((len(encoded.words.values), model.config.hidden_size), np.nan, np.float16) if states else None
    )
    predict_rest(model, encoded, scores, words)
    return scores, words


def predict_rest(
    model: TaskModel,
    encoded: Encoded,
    scores: Floats,
    states: States | None = None,
    *,
    progress: Bar | None = None,
) -> None:
    """Fills in a model's scores of slots, and its states of words, where these are not numbers yet.

    The model is in evaluation mode afterwards.

    Args:
        model: What predicts.
        encoded: What it reads.
        scores: The scores of all slots [K, C].
        states: The last states at every word's first piece [W, D].
        progress: Shows examples.
    """
    model.train(False)
    done = 0
    with torch.inference_mode(), parametrize.cached(), _precision(model):  # weights are rounded once
        for batch in batches(encoded, _ROWS_TO_PREDICT, seed=None):
            done += len(batch.words)
            if progress is not None:
                progress.update(done)
            if not np.isnan(scores[batch.slots.numpy()]).any():
                continue
            moved = batch.to(model.device)
            found, hidden = task_scores(model, moved.inputs, moved.positions)
            if states is not None:
                there = batch.words >= 0
                of_words = hidden.flatten(0, 1)[moved.word_positions[there.to(model.device)]]
                states[batch.words[there].numpy()] = of_words.half().cpu().numpy()
            scores[batch.slots.numpy()] = found.cpu().numpy()


def examine(model: TaskModel, exam: Exam) -> dict[str, float]:
    """Returns the metrics of a model on the examples of an exam, of texts as a user types them."""
    scores, _ = predict(model, exam.encoded)
    said = labels_from(exam.task, scores, exam.encoded.slots)
    return score(exam.task, exam.text_labels, said, exam.given)


def fit(
    model: TaskModel,
    lesson: Lesson,
    exam: Exam,
    config: FinetuningConfig,
    *,
    rate: float,
    seed: int,
    progress: Bar,
    seconds: float = math.inf,
) -> Fitted:
    """Trains a model on a lesson and leaves it in its best state.

    Where the config has a quantization, everything is computed with rounded weights, the scores too; the
    model that is left has the weights that were rounded.

    Args:
        model: Has its first weights; on the device to train on.
        lesson: What to learn from.
        exam: What decides which state is the best, and when to end.
        config: How to train.
        rate: Peak learning rate.
        seed: Seeds the order of the examples, dropout, and the map to the teacher's width.
        progress: Told the share of the steps that is done.
        seconds: Time after which training ends at the latest; the rate has then fallen to 0.

    Raises:
        TrainingError: If the loss is not finite.
        Interrupted: If SIGTERM or SIGINT came.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # the map to the teacher's width begins at random
        learner = _Learner(model, lesson, exam.task, config)
    steps = max(1, round(config.epochs * len(lesson.encoded) / config.rows))
    marks = {round((index + 1) * steps / config.evaluations) for index in range(config.evaluations)} | {steps}
    optimizer = torch.optim.AdamW(parameter_groups(learner.parameters(), config.weight_decay), fused=True)
    started, history = time.monotonic(), list[float]()
    best: tuple[float, dict[str, float], dict[str, Tensor]] = (-math.inf, {}, {})
    with quantization_aware(model, config.plan), torch.random.fork_rng(), signals() as asked:
        torch.manual_seed(seed)
        for step, batch in zip(
            range(1, steps + 1), _endless(lesson.encoded, config.rows, seed), strict=False
        ):
            done = max(step / (steps + 1), (time.monotonic() - started) / seconds)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(rate, done, config.warm_up)
            loss = _step(learner, optimizer, batch, config.clip, step)
            is_late = done >= 1
            if step in marks or is_late:
                scores = examine(model, exam)
                history.append(scores[exam.task.metric])
                if history[-1] > best[0]:
                    best = history[-1], scores, copy.deepcopy(model.state_dict())
            if asked:
                raise Interrupted(
                    f"{asked[0]} stopped fine-tuning; finished parts are kept, run it again to go on"
                )
            so_far = f" · {exam.task.metric} {max(history):.1%}" if history else ""
            progress.update(step / steps, f"loss {loss:.3f}{so_far}")
            if is_late or _rests(history, config.patience):
                break
        model.load_state_dict(best[2])
    model.train(False)
    return Fitted(best[1], tuple(history), step, time.monotonic() - started)


def _rests(history: list[float], patience: int) -> bool:
    """Whether the last so many evaluations brought nothing better than one before them."""
    return len(history) > patience and max(history[-patience:]) <= max(history[:-patience])


def _endless(encoded: Encoded, rows: int, seed: int) -> Iterator[TaskBatch]:
    """Yields batches of one pass after the other."""
    number = 0
    while True:
        yield from batches(encoded, rows, (seed, number))
        number += 1


def _step(
    learner: "_Learner", optimizer: torch.optim.Optimizer, batch: TaskBatch, clip: float, step: int
) -> float:
    """Takes a step and returns the loss."""
    learner.train()
    optimizer.zero_grad(set_to_none=True)
    loss = learner(batch)
    value = float(loss.detach())
    require_finite("the loss", value, step, _REMEDY)
    loss.backward()
    clip_gradients(learner.parameters(), clip, "the loss", step, _REMEDY)
    optimizer.step()
    return value


def _precision(model: TaskModel) -> torch.autocast:
    """Returns the context in which a model computes in the faster precision of its device."""
    dtype = training_dtype(model.device)
    return torch.autocast(model.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


class _Learner(nn.Module):
    """A model with its lesson: gives the loss of a batch."""

    def __init__(self, model: TaskModel, lesson: Lesson, task: Task, config: FinetuningConfig) -> None:
        super().__init__()
        self.model = model
        self._task, self._config, self._lesson = task, config.distillation, lesson
        device, labels = model.device, torch.from_numpy(lesson.labels)
        known = ~labels.isnan()
        self._hard_weights = known.float().to(device)
        self._soft_weights = torch.zeros_like(self._hard_weights)
        if lesson.soft is not None:
            self._soft = torch.from_numpy(lesson.soft).nan_to_num().to(device)
            # A text without a label has nothing but what the teacher says.
            taught = torch.from_numpy(~np.isnan(lesson.soft).any(1)).float().to(device)
            self._soft_weights = taught * torch.where(self._hard_weights > 0, self._config.weight, 1.0)
            self._hard_weights *= 1 - self._soft_weights
        if task.kind == "regression":
            self._labels = labels.nan_to_num().float().to(device)
            self._variance = float(labels[known].var()) or 1.0
            with torch.no_grad():  # scores keep their own range, so the head begins in its middle
                classifier_of(model).bias.fill_(float(labels[known].mean()))
        else:
            self._labels = labels.nan_to_num().long().to(device)
            if config.balance:
                counts = self._labels[known.to(device)].bincount(minlength=classifier_of(model).out_features)
                by_class = counts.clamp(min=1).float() ** -config.balance
                by_class *= counts.sum() / (by_class * counts).sum()  # the mean example weighs 1
                self._hard_weights *= by_class[self._labels]
        if self._config.hidden and lesson.states is not None:
            self.map = nn.Linear(model.config.hidden_size, lesson.states.shape[1]).to(device)

    def forward(self, batch: TaskBatch) -> Tensor:
        """Returns the loss of a batch: the mean over its texts and, in a joint task, that over its words."""
        batch = batch.to(self.model.device)
        with _precision(self.model):
            scores, states = task_scores(self.model, batch.inputs, batch.positions)
        slots, share = batch.slots, self._shares(batch)
        hard, soft = self._hard_weights[slots] * share, self._soft_weights[slots] * share
        if self._task.kind == "regression":
            loss = squared_error(scores[:, 0], self._labels[slots], hard)[0]
            if self._lesson.soft is not None:
                loss = loss + squared_error(scores[:, 0], self._soft[slots, 0], soft)[0]
            loss = loss / self._variance
        else:
            loss = classification(scores, self._labels[slots], hard)[0]
            if self._lesson.soft is not None:
                loss = loss + soft_labels(scores, self._soft[slots], self._config.temperature, soft)[0]
        return loss + self._states_loss(batch, states.float()) if self._lesson.states is not None else loss

    def _shares(self, batch: TaskBatch) -> Tensor:
        """Returns what part each slot has in the mean over the texts, or over their words [K]."""
        if self._task.kind != "joint":
            return torch.full_like(self._hard_weights[batch.slots], 1 / max(len(batch.slots), 1))
        of_text = batch.positions % batch.inputs["input_ids"].shape[1] == 0  # [CLS]
        return torch.where(of_text, 1 / of_text.sum().clamp(min=1), 1 / (~of_text).sum().clamp(min=1))

    def _states_loss(self, batch: TaskBatch, states: Tensor) -> Tensor:
        """Returns the weighted distance of the words' states, or of their relations, to the teacher's."""
        assert self._lesson.states is not None
        theirs = torch.from_numpy(self._lesson.states[batch.words.clamp(min=0).cpu().numpy()])
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
