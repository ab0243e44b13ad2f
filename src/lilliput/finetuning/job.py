"""What all seeds of a fine-tuning share: its model, and its examples as that model reads them."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from tokenizers import Tokenizer

from lilliput.common.progress import bar, console
from lilliput.errors import InputError
from lilliput.finetuning.config import FinetuningConfig
from lilliput.finetuning.encoded import encode, label_array, task_tokenizer
from lilliput.finetuning.fit import SeedResult, fit
from lilliput.finetuning.model import TaskModel, find_head, load_encoder
from lilliput.finetuning.sets import DevSet, TrainSet
from lilliput.finetuning.targets import in_order, teacher_targets
from lilliput.models.pretrained import load_config, longest_input
from lilliput.tasks.task import Examples, Task, TaskData


@dataclass(frozen=True)
class Job:
    """What all seeds share."""

    encoder: str
    """Folder or hub name of the encoder."""
    data: TaskData
    """The task with its labelled examples."""
    config: FinetuningConfig
    """How to train."""
    teacher: Path | None
    """The fine-tuned teacher."""
    tokenizer: Tokenizer
    """The encoder's."""
    positions: int
    """Pieces of its longest input."""
    train: TrainSet
    """What is learnt: the labelled examples, then those that the teacher alone labels."""
    dev: DevSet
    """What decides."""
    unlabelled: int
    """Examples that the teacher alone labels."""

    @property
    def task(self) -> Task:
        """The task."""
        return self.data.task


def prepare(
    encoder: str,
    data: TaskData,
    config: FinetuningConfig,
    teacher: Path | None,
    targets: Path,
    more: Examples | None,
) -> Job:
    """Returns a fine-tuning ready to begin; the teacher reads all texts for it, unless it has read them.

    Args:
        encoder: Folder or hub name of the encoder.
        data: The task with its examples.
        config: How to train.
        teacher: Folder of the fine-tuned teacher.
        targets: Folder of what teachers said.
        more: Examples without labels.

    Raises:
        InputError: If the tokenizers of encoder and teacher find other words in the texts.
    """
    task, tokenizer = data.task, task_tokenizer(encoder)
    positions = longest_input(load_config(encoder))
    examples = data.train if more is None else _together(data.train, more)
    encoded = encode(examples, task, tokenizer, positions)
    assert data.train.labels is not None
    assert data.dev.labels is not None
    labels = label_array(task, data.train.labels, encoded.given)
    missing = np.full(len(encoded.slots.values) - len(labels), np.nan)
    soft = states = None
    if teacher is not None:
        wanted = bool(config.distillation.hidden or config.distillation.relations)
        soft, states = teacher_targets(teacher, examples, targets, states=wanted)
        is_same = states is None or len(states) == len(encoded.words.values)
        if len(soft) != len(encoded.slots.values) or not is_same:
            raise InputError(
                f"the tokenizers of {encoder} and {teacher} make other words of the texts; give a "
                "teacher with the same normaliser"
            )
        soft = in_order(soft, teacher, task)
    train = TrainSet(encoded, np.concatenate([labels, missing]), soft, states)
    dev = DevSet(task, encode(data.dev, task, tokenizer, positions), data.dev.labels)
    unlabelled = 0 if more is None else len(more)
    job = Job(encoder, data, config, teacher, tokenizer, positions, train, dev, unlabelled)
    _announce(job)
    return job


def train_seed(
    job: Job, title: str, rate: float, seed: int, seconds: float = math.inf
) -> tuple[TaskModel, SeedResult]:
    """Returns a model that has learnt the task from one seed, and how that went.

    Args:
        job: What all seeds share.
        title: What the progress bar says.
        rate: Peak learning rate.
        seed: Seeds the head's first weights and all that `fit` draws.
        seconds: Time that it takes at most.
    """
    model = load_encoder(job.encoder, job.task, job.config.dropout, seed).to(Accelerator().device)
    with bar(title, 1.0, counted=False) as progress:
        result = fit(
            model, job.train, job.dev, job.config, rate=rate, seed=seed, progress=progress, seconds=seconds
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


def _together(labelled: Examples, more: Examples) -> Examples:
    """Returns the texts of both, one after the other."""
    return Examples(labelled.texts + more.texts, labelled.pairs + more.pairs)
