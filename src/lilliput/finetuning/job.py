"""What all seeds of a fine-tuning share: its model, and its examples as that model reads them."""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from accelerate import Accelerator
from tokenizers import Tokenizer

from lilliput.common.progress import bar, console
from lilliput.errors import InputError
from lilliput.finetuning.columns import together
from lilliput.finetuning.config import LEAST_STEPS, USUAL_EPOCHS, FinetuningConfig
from lilliput.finetuning.encoded import Encoded, encode, label_array
from lilliput.finetuning.fit import SeedResult, fit
from lilliput.finetuning.heads import HEADS
from lilliput.finetuning.model import TaskModel, find_head, load_encoder
from lilliput.finetuning.reader import reader_of
from lilliput.finetuning.sets import DevSet, Floats, States, TrainSet
from lilliput.finetuning.targets import teacher_targets
from lilliput.finetuning.teacher import TaskTeacher
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.metrics import first_tags
from lilliput.tasks.task import Examples, Labels, Task, TaskData


@dataclass(frozen=True)
class Job:
    """What all seeds share."""

    encoder: str
    """Folder or hub name of the encoder."""
    data: TaskData
    """The task with its labelled examples."""
    config: FinetuningConfig
    """How to train."""
    teachers: tuple[TaskTeacher, ...]
    """What teaches it."""
    tokenizer: Tokenizer
    """The encoder's."""
    positions: int
    """Pieces of its longest input."""
    train: TrainSet
    """What is learnt: the labelled examples, then those that teachers alone label."""
    dev: DevSet
    """What decides."""
    unlabelled: int
    """Examples that teachers alone label."""
    test: DevSet | None = None
    """What scores the finished model once."""

    @property
    def task(self) -> Task:
        """The task."""
        return self.data.task


def prepare(
    encoder: str,
    data: TaskData,
    config: FinetuningConfig,
    teachers: Sequence[TaskTeacher],
    targets: Path,
    more: Examples | None,
) -> Job:
    """Returns a fine-tuning ready to begin; teachers read all texts for it, unless they have read them.

    States of words are those of the first teacher: those of several have nothing in common to be averaged.
    Where the dev set has no labels, what teachers say of it counts as right.

    Args:
        encoder: Folder or hub name of the encoder.
        data: The task with its examples.
        config: How to train.
        teachers: What teaches the task.
        targets: Folder of what teachers said.
        more: Examples without labels.

    Raises:
        InputError: If there is nothing to learn from what teachers say.
    """
    task, reader = data.task, reader_of(encoder, data.task)
    examples = data.train if more is None else _together(data.train, more)
    encoded = reader.encode(examples, task)
    assert data.train.labels is not None
    labels = _slot_labels(task, data.train.labels, encoded)
    soft = states = None
    if teachers:
        is_apart, of_words = KINDS[task.kind].is_two_tower, config.distillation
        wanted = not is_apart and bool(of_words.hidden or of_words.relations)
        soft, states = _said(teachers, examples, encoded, task, targets, states=wanted)
        if not (is_apart or task.classes or task.tags) and data.train.labels.values:
            _tell_scales(data.train.labels, soft)
        if is_apart:
            _require_order(soft)
    train = TrainSet(encoded, labels, soft, states)
    read = reader.encode(data.dev, task)
    if data.dev.labels is None:
        scores, _ = _said(teachers, data.dev, read, task, targets, states=False)
        data = dataclasses.replace(data, dev=_labelled(data.dev, read, task, scores))
    assert data.dev.labels is not None
    dev = DevSet(task, read, data.dev.labels)
    unlabelled = len(examples) - (0 if np.isnan(labels).all() else len(data.train))
    test = None
    if data.test is not None and data.test.labels is not None:
        test = DevSet(task, reader.encode(data.test, task), data.test.labels)
    job = Job(
        encoder,
        data,
        config,
        tuple(teachers),
        reader.tokenizer,
        reader.positions,
        train,
        dev,
        unlabelled,
        test,
    )
    _announce(job)
    return job


def _slot_labels(task: Task, labels: Labels, encoded: Encoded) -> npt.NDArray[np.float64]:
    """Returns the label of every slot, or its group where answers are told apart; NaN where there is none."""
    if encoded.groups is not None:
        return encoded.groups.astype(np.float64)
    found = label_array(task, labels, encoded.given)
    rest = len(encoded.slots.values) - len(found)
    return np.concatenate([found, np.full((rest, *found.shape[1:]), np.nan)])


def _said(
    teachers: Sequence[TaskTeacher],
    examples: Examples,
    encoded: Encoded,
    task: Task,
    targets: Path,
    *,
    states: bool,
) -> tuple[Floats, States | None]:
    """Returns what teachers say together of all slots [K, C], and the first one's states of words [W, D]."""
    every, first = [], None
    for number, teacher in enumerate(teachers):
        wanted = states and number == 0
        scores, found = teacher_targets(teacher, examples, encoded, task, targets, states=wanted)
        every.append(teacher.in_order(scores, encoded.slots, task))
        first = found if wanted else first
    return together(every, HEADS[task.kind].averages), first


def answered(
    teachers: Sequence[TaskTeacher],
    examples: Examples,
    task: Task,
    tokenizer: Tokenizer,
    positions: int,
    targets: Path,
) -> Examples:
    """Returns examples with what teachers say as their labels.

    Args:
        teachers: What teaches the task.
        examples: Their own labels do not matter.
        task: The task.
        tokenizer: The student's.
        positions: Pieces of the student's longest input.
        targets: Folder of what teachers said.
    """
    encoded = encode(examples, task, tokenizer, positions)
    scores, _ = _said(teachers, examples, encoded, task, targets, states=False)
    return dataclasses.replace(examples, labels=_answers(encoded, task, scores))


def _answers(encoded: Encoded, task: Task, scores: Floats) -> Labels:
    """Returns what scores [K, C] say, tags by given words."""
    said = KINDS[task.kind].labels(task, scores, encoded.slots.offsets)
    return first_tags(said, encoded.given.rows()) if task.tags else said


def _labelled(examples: Examples, encoded: Encoded, task: Task, scores: Floats) -> Examples:
    """Returns examples with what teachers say as labels; raises InputError where it is always the same."""
    labels = _answers(encoded, task, scores)
    if len({*labels.values, *labels.several, *(tag for row in labels.tags for tag in row)}) < 2:
        raise InputError(
            f"teachers say the same of all {len(examples):,} texts that were held out, so there is nothing "
            "to learn; give other texts, or check which task the teacher knows"
        )
    for name, counts in KINDS[task.kind].summary(task, labels).items():
        told = counts if isinstance(counts, str) else _shares(counts)
        console.print(
            f"What is said of {len(examples):,} held-out texts, {name}: {told}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    return dataclasses.replace(examples, labels=labels)


def _shares(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count / counts.total():.1%}" for name, count in counts.most_common(12))


def train_seed(
    job: Job,
    title: str,
    rate: float,
    seed: int,
    seconds: float = math.inf,
    kept: Path | None = None,
    logged: Path | None = None,
) -> tuple[TaskModel, SeedResult]:
    """Returns a model that has learnt the task from one seed, and how that went.

    Args:
        job: What all seeds share.
        title: What the progress bar says.
        rate: Peak learning rate.
        seed: Seeds the head's first weights and all that `fit` draws.
        seconds: Time that it takes at most; `FinetuningConfig.minutes` may be less.
        kept: Folder of checkpoints, from which an interrupted call goes on.
        logged: Folder of the fine-tuned model, which takes the log of all steps.
    """
    if job.config.minutes is not None:
        seconds = min(seconds, 60 * job.config.minutes)
    model = load_encoder(job.encoder, job.task, job.config.dropout, seed).to(Accelerator().device)
    with bar(title, 1.0, counted=False) as progress:
        result = fit(
            model,
            job.train,
            job.dev,
            job.config,
            rate=rate,
            seed=seed,
            progress=progress,
            seconds=seconds,
            kept=kept,
            logged=logged,
        )
    return model, result


def _announce(job: Job) -> None:
    """Says which columns of the checkpoint's head are kept, and how many examples were cut."""
    if (head := find_head(job.encoder, job.task)) is not None:
        console.print(f"{job.encoder}: {head}", highlight=False, markup=False)
    of_train, of_dev = job.train.encoded.cut, job.dev.encoded.cut
    if longer := of_train + of_dev:
        console.print(
            f"{longer:,} examples ({of_train:,} to learn from, {of_dev:,} to be scored on) are longer than "
            f"the encoder's {job.positions} positions; what is behind was cut off",
            highlight=False,
        )
    if job.config.epochs is None:
        _tell_steps(job.config, len(job.train.encoded))


def _tell_steps(config: FinetuningConfig, examples: int) -> None:
    """Says how long is learnt, where the user does not."""
    steps, usual = config.steps(examples), USUAL_EPOCHS * examples / config.rows
    passes = f"{USUAL_EPOCHS:g} passes over {examples:,} examples"
    why = passes if steps > LEAST_STEPS else f"{passes} would be {usual:,.0f}, too few to learn from"
    console.print(
        f"Training takes {steps:,} steps of {config.rows} examples at most: {why}; set epochs to choose",
        highlight=False,
        soft_wrap=True,
    )


def _require_order(soft: Floats) -> None:
    """Raises InputError where teachers give all pairs the same score, which is no order to learn."""
    said = soft[~np.isnan(soft)]
    if not len(said) or float(np.ptp(said)) == 0.0:
        raise InputError(
            f"teachers give all {len(soft):,} pairs the same score, so there is nothing to learn from them; "
            "take another teacher, or leave it out"
        )


def _tell_scales(labels: Labels, soft: Floats) -> None:
    """Says where the scores of teachers have another range than the labels: both are learnt as they are."""
    known, said = np.array(labels.values), soft[: len(labels.values), 0]
    if (
        abs(np.nanmean(said) - known.mean()) > known.std()
        or not 0.5 < np.nanstd(said) / (known.std() or 1) < 2
    ):
        console.print(
            f"Teachers give scores from {np.nanmin(said):.3g} to {np.nanmax(said):.3g}, and the labels of "
            f"these texts go from {known.min():.3g} to {known.max():.3g}; both are learnt as they are, so "
            "bring the labels to the teachers' range, or leave the labels out",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _together(labelled: Examples, more: Examples) -> Examples:
    """Returns the texts of both, one after the other."""
    return Examples(labelled.texts + more.texts, labelled.pairs + more.pairs)
