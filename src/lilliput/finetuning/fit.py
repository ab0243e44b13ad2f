"""One model learns one task: the loop, its predictions, and the best state by the dev metric."""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import parametrize

from lilliput.common.progress import Bar
from lilliput.errors import Interrupted
from lilliput.finetuning.config import FinetuningConfig
from lilliput.finetuning.encoded import Encoded, TaskBatch, batches, labels_from
from lilliput.finetuning.log import step_log
from lilliput.finetuning.loss import TaskLoss
from lilliput.finetuning.model import TaskModel, scores_shape, task_kernels, task_scores
from lilliput.finetuning.sets import DevSet, Floats, States, TrainSet
from lilliput.finetuning.state import Keeper, State
from lilliput.finetuning.used_pieces import used_pieces
from lilliput.models.any_classifier import AnyClassifier
from lilliput.models.any_sentence_encoder import AnySentenceEncoder
from lilliput.models.classifier import leaves_out
from lilliput.models.fake_quantization import quantization_aware
from lilliput.tasks.metrics import of_all, score
from lilliput.tasks.task import Labels
from lilliput.training.optimizers import clip_gradients, learning_rate, parameter_groups, require_finite
from lilliput.training.processes import signals

_ROWS_TO_PREDICT = 64
_REMEDY = "lower the rate (--set rate=...)"


@dataclass(frozen=True)
class SeedResult:
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

    Of texts that are read apart, scores are vectors [K, texts, E] (`model.task_scores`). What was cut off is
    NaN. The model is in evaluation mode afterwards.
    """
    scores = np.full(scores_shape(model, encoded), np.nan, np.float32)
    words = (
        np.full((len(encoded.words.values), model.config.hidden_size), np.nan, np.float16) if states else None
    )
    predict_rest(model, encoded, scores, words)
    return scores, words


def predict_rest(
    model: TaskModel | AnyClassifier | AnySentenceEncoder,
    encoded: Encoded,
    scores: Floats,
    states: States | None = None,
    *,
    progress: Bar | None = None,
) -> None:
    """Fills in a model's scores of slots, and its states of words, where these are NaN.

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
    kernels = None
    if not isinstance(model, AnyClassifier | AnySentenceEncoder):
        kernels = task_kernels(model, encoded, learns=False)
    with torch.inference_mode(), parametrize.cached():  # weights are rounded once
        for batch in batches(encoded, _ROWS_TO_PREDICT, seed=None):
            done += len(batch.words)
            if progress is not None:
                progress.update(done)
            if not np.isnan(scores[batch.slots.numpy()]).any():
                continue
            moved = batch.to(model.device)
            if isinstance(model, AnyClassifier | AnySentenceEncoder):
                found, hidden = model.scores(moved.inputs, moved.positions, states=states is not None)
            else:
                assert kernels is not None
                found, hidden = task_scores(model, moved, kernels, states=states is not None)
            if states is not None and hidden is not None:
                there = batch.words >= 0
                of_words = hidden.flatten(0, 1)[moved.word_positions[there.to(model.device)]]
                states[batch.words[there].numpy()] = of_words.half().cpu().numpy()
            scores[batch.slots.numpy()] = found.cpu().numpy()


def answers(model: TaskModel, dev: DevSet) -> Labels:
    """Returns what a model says of examples, tags of the words of texts."""
    scores, _ = predict(model, dev.encoded)
    return labels_from(dev.task, scores, dev.encoded.slots, dev.encoded.groups)


def examine(model: TaskModel, dev: DevSet) -> dict[str, float]:
    """Returns the metrics of a model on the dev examples, of texts as a user types them."""
    return score(dev.task, dev.text_labels, answers(model, dev), dev.given)


def fit(
    model: TaskModel,
    train: TrainSet,
    dev: DevSet,
    config: FinetuningConfig,
    *,
    rate: float,
    seed: int,
    progress: Bar,
    seconds: float = math.inf,
    kept: Path | None = None,
    logged: Path | None = None,
) -> SeedResult:
    """Trains a model on examples and leaves it in its best state.

    Where the config has a quantization, everything is computed with rounded weights, the scores too; the
    model that is left has the weights that were rounded.

    Args:
        model: Has its first weights; on the device to train on.
        train: What to learn from.
        dev: What decides which state is the best, and when to end.
        config: How to train.
        rate: Peak learning rate.
        seed: Seeds the order of the examples, dropout, and the map to the teacher's width.
        progress: Told the share of the steps that is done.
        seconds: Time after which training ends at the latest; the rate has then fallen to 0.
        kept: Folder of checkpoints, from which an interrupted call goes on; without one nothing is kept.
        logged: Folder of the fine-tuned model, which takes the log of all steps.

    Raises:
        TrainingError: If the loss is not finite.
        Interrupted: If SIGTERM or SIGINT came.
        StorageError: If a checkpoint is damaged or cannot be written.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # the map to the teacher's width begins at random
        learner = TaskLoss(model, train, dev.task, config)
    steps = config.steps(len(train.encoded))
    marks = {round((index + 1) * steps / config.evaluations) for index in range(config.evaluations)} | {steps}
    best, is_random = dict[str, float](), leaves_out(model)
    with contextlib.ExitStack() as held:
        used = held.enter_context(used_pieces(model, (train.encoded, dev.encoded)))
        read, read_dev = used.encoded[0], dataclasses.replace(dev, encoded=used.encoded[1])
        optimizer = torch.optim.AdamW(parameter_groups(learner.parameters(), config.weight_decay), fused=True)
        held.enter_context(quantization_aware(model, config.plan))
        held.enter_context(torch.random.fork_rng())
        asked = held.enter_context(signals())
        state = State(learner, 2 * config.evaluations + 1)
        keeper = Keeper(kept, state, optimizer)
        log = held.enter_context(step_log(logged, seed, keeper.step))
        for batch in itertools.islice(_endless(read, config.rows, seed), keeper.step, steps):
            keeper.step += 1
            step, before = keeper.step, _share(keeper, steps, seconds)
            now = learning_rate(rate, before, config.warm_up)
            for group in optimizer.param_groups:
                group["lr"] = now
            if is_random:  # seeding takes 1 % of a small model's step
                torch.manual_seed(_seed_of(seed, step))
            loss = _step(learner, optimizer, batch, config.clip, step)
            state.decay[0] *= 1 - now * config.weight_decay
            share = _share(keeper, steps, seconds)
            is_late = share >= 1
            values = {"seconds": keeper.seconds, "loss": loss, "rate": now}
            by_time = seconds < math.inf and share * config.evaluations > len(state.scores()) + 1
            if step in marks or by_time or is_late:
                scores = examine(model, read_dev)
                values |= {f"dev/{name}": value for name, value in of_all(scores).items()}
                if state.take(scores[dev.task.metric]):
                    best = scores
            log(step, values)
            history = state.scores()
            keeper.save(at_once=bool(asked))
            if asked:
                raise Interrupted(
                    f"{asked[0]} stopped fine-tuning; what was learnt is kept, run it again to go on"
                )
            so_far = f" · {dev.task.metric} {max(history):.1%}" if history else ""
            progress.update(min(share, 1.0), f"loss {loss:.3f}{so_far}")
            if is_late or _rests(history, config.patience):
                break
        model.load_state_dict(state.best.state_dict())
        best = best or examine(model, read_dev)  # the best state is of before an interruption
        used.decay = float(state.decay[1])
    model.train(False)
    return SeedResult(best, tuple(history), keeper.step, keeper.seconds)


def _share(keeper: Keeper, steps: int, seconds: float) -> float:
    """Returns the share of steps or of time that is over."""
    return max(keeper.step / (steps + 1), keeper.seconds / seconds)


def _seed_of(seed: int, step: int) -> int:
    """Returns the seed of a step, which so is the same after an interruption."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def _rests(history: list[float], patience: int) -> bool:
    """Whether the last `patience` evaluations brought nothing better than one before them.

    Those with the very score of the first one, below 1, do not count: until it changes, the model may say the
    same of all examples.
    """
    same = len(list(itertools.takewhile(lambda score: score == history[0] < 1, history)))
    counted = history[max(same - 1, 0) :]
    return len(counted) > patience and max(counted[-patience:]) <= max(counted[:-patience])


def _endless(encoded: Encoded, rows: int, seed: int) -> Iterator[TaskBatch]:
    """Yields batches of one pass after the other."""
    number = 0
    while True:
        yield from batches(encoded, rows, (seed, number))
        number += 1


def _step(
    learner: TaskLoss, optimizer: torch.optim.Optimizer, batch: TaskBatch, clip: float, step: int
) -> float:
    """Takes a step and returns the loss."""
    if not learner.model.training:  # after an evaluation; else going over all modules takes 1 % of a step
        learner.train()
    optimizer.zero_grad(set_to_none=True)
    loss = learner(batch)
    value = float(loss.detach())
    require_finite("the loss", value, step, _REMEDY)
    loss.backward()
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    clip_gradients(trained, clip, "the loss", step, _REMEDY)
    optimizer.step()
    return value
