"""Short measurements of this machine that say how long a run will take: a few real steps of every stage.

Models have the run's shapes and random weights, which take as long as trained ones. What is too long to be
done once is extrapolated: a step of many rows from one of fewer, as all but the optimiser's work grows with
them; preparation from that of a sample. Where other programs take the processor, the time that is taken from
this one is told apart: how long a step works is known from a few, how much is taken only from all together.
"""

import dataclasses
import functools
import itertools
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from lilliput.common.workers import keep_freed_memory
from lilliput.config import BatchConfig, LexiconConfig, Recipe, StageConfig
from lilliput.models.kernels import DualKernels
from lilliput.models.pretrained import config_of, random_masked_lm
from lilliput.models.shape import EncoderShape
from lilliput.models.student import random_student, student_config
from lilliput.models.teacher import Teacher, build_teacher
from lilliput.pieces.bert_tokenizer import save_tokenizer
from lilliput.pieces.corpus import build_corpus
from lilliput.pieces.family import TeacherTokenizer
from lilliput.pieces.lexicon import build_lexicon, learn_student
from lilliput.pieces.wordpiece import WORDS_LEARNT_FROM
from lilliput.planning.stopwatch import Stopwatch, repeated
from lilliput.planning.texts import MadeUpTexts, TimedTexts, time_reading
from lilliput.run import RunDir
from lilliput.text.corpus import FIRST_WORD, Corpus
from lilliput.training.batches import Batch, BatchSource
from lilliput.training.checkpoint import Progress, save_checkpoint
from lilliput.training.data import Data
from lilliput.training.evaluation import evaluate_masked_lm, evaluation_source
from lilliput.training.kernels import fastest_kernels
from lilliput.training.prefetch import prefetched
from lilliput.training.sentences.source import SentenceSource
from lilliput.training.step import DualModel, Stepper

_SECONDS_PER_STEP = 8.0
"""Rows are left out of a step that would take longer if all took as long as a step of a single one."""
_SECONDS_OF_STEPS, _STEPS_AT_LEAST, PROBE_STEPS = 4.0, 3, 8
_SECONDS_OF_READING, _READINGS_AT_LEAST, _READINGS_AT_MOST = 1.0, 3, 8
_TRIAL_BYTES = 16_000_000
WARM_START_ROWS = 128 * 3.6
"""A warm start takes as long as the teacher's reading so many rows. Measured as processor time: 3.8 times its
sample with MiniLM of 6 layers, 3.5 with 12 layers, 3.4 with BERT_BASE."""


def starts_warm(recipe: Recipe, stage: StageConfig) -> bool:
    """Returns whether a stage begins with a student that is projected from the teacher."""
    first = next((other for other in recipe.stages if other.objectives.trains_student), None)
    return recipe.start.student == "teacher" and stage == first


@dataclass(frozen=True)
class Load:
    """What one step of a stage reads, and keeps in memory."""

    words: float
    """Words."""
    rows: int
    """Rows of one part of it."""
    kept_bytes: float
    """What one part of it keeps for the backward pass."""


@dataclass(frozen=True)
class Pace:
    """How fast a stage goes."""

    step_seconds: float
    """Seconds per step, its batch included."""
    row_seconds: dict[str, float]
    """Seconds per held-out row that "teacher" and "student" read, where the stage has or begins with them."""

    def stretched(self, factor: float) -> "Pace":
        """Returns the pace if everything takes this many times as long."""
        rows = {name: factor * seconds for name, seconds in self.row_seconds.items()}
        return Pace(factor * self.step_seconds, rows)


class StageProbe:
    """A stage with models of random weights."""

    def __init__(self, run: RunDir, recipe: Recipe, stage: StageConfig, teacher: EncoderShape) -> None:
        """Makes the models.

        Args:
            run: Holds the corpus and the lexicon, or those of a sample.
            recipe: The recipe of the stage.
            stage: The stage.
            teacher: The teacher's shape.
        """
        self._recipe, self._stage, weights = recipe, stage, stage.objectives
        self._data = Data.open(run, stage.batch.length, recipe.student.positions)
        size, special = self._data.lexicon.student_size, self._data.lexicon.student_special
        self._teacher: Teacher | None = None
        self._shape, self._texts, student = teacher, None, None
        if weights.reads_sentences:
            corpus = Corpus.open(run.corpus)
            self._texts = MadeUpTexts.of(self._data.train, corpus, teacher.width, recipe.seed)
        sample = [self._source(8).batch(0)] if self._texts is not None else []
        with torch.random.fork_rng(devices=[]):
            if weights.uses_teacher or starts_warm(recipe, stage):
                table, width = recipe.start.second_table, recipe.student.width
                model = random_masked_lm(config_of(teacher))
                self._teacher = build_teacher(model, [[0]] * size, table, width, recipe.seed)
            if weights.trains_student:
                student = random_student(student_config(recipe.student, size, special), recipe.seed)
        self._models = DualModel(self._teacher if weights.uses_teacher else None, student, weights, sample)
        self._kernels = fastest_kernels(self._models, stage.batch.length, Accelerator().device)

    def load(self) -> Load:
        """Returns what one step reads and keeps."""
        batch = self._stage.batch
        one, four = (self._kept(rows) for rows in (1, 4))
        kept = one + (four - one) / 3 * (batch.rows / batch.accumulation - 1)
        return Load(self._words(batch.rows), -(-batch.rows // batch.accumulation), kept)

    def _words(self, rows: int) -> float:
        """Returns how many words are in a batch of some rows."""
        return self._source(rows).batch(0).words if self._texts is None else rows * self._texts.words_each

    def _heaviest(self, rows: int) -> Batch:
        """Returns the batch of some rows that takes most memory."""
        if self._texts is not None:
            return self._of_texts(self._texts.longest(rows), rows).batch(0)
        return self._source(rows).batch(0)

    def timed_texts(self, watch: Stopwatch) -> TimedTexts | None:
        """Times how long the teacher reads texts, for a stage whose texts it has to read first."""
        if self._texts is None:
            return None
        with torch.random.fork_rng(devices=[]):
            model = random_masked_lm(config_of(self._shape))
        return time_reading(self._texts, self._data.train, self._data.lexicon, model, watch)

    def _kept(self, rows: int) -> int:
        """Returns the bytes that a forward pass keeps for the backward pass.

        Only memory is kept here: a step that keeps what it has itself made holds itself, for ever.
        """
        own = {parameter.untyped_storage().data_ptr() for parameter in self._models.parameters()}
        kept: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: Tensor) -> None:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage

        with saved_tensors_hooks(keep, _never_unpacked):
            self._models(self._heaviest(rows), self._kernels, True)
        return sum(storage.nbytes() for storage in kept.values())

    def _source(self, rows: int) -> BatchSource | SentenceSource:
        """Returns the stage's batches with other rows."""
        if self._texts is not None:
            return self._of_texts(self._texts, rows)
        stage = dataclasses.replace(self._stage, batch=self._batch(rows))
        return self._data.source(stage, (self._recipe.seed,))

    def _of_texts(self, texts: MadeUpTexts, rows: int) -> SentenceSource:
        """Returns batches of some texts."""
        return SentenceSource(texts, self._data.lexicon, self._batch(rows), (self._recipe.seed,))

    def _batch(self, rows: int) -> BatchConfig:
        """Returns what the stage reads at once, with other rows."""
        return dataclasses.replace(self._stage.batch, rows=rows, accumulation=1)

    def pace(self, watch: Stopwatch, most_rows: int | None = None) -> Pace:
        """Returns how fast the stage goes on this machine, from a few seconds of steps.

        Args:
            watch: Times the steps.
            most_rows: Rows of a step that there is memory for, if not for all.
        """
        keep_freed_memory()
        stepper = Stepper(self._models, self._stage.optimizer, Accelerator(), self._kernels)
        one = seconds = self._step_seconds(stepper, 1, watch)
        rows, whole = 1, self._stage.batch.rows
        part = -(-whole // self._stage.batch.accumulation)
        most = min(part, max(2, most_rows or part))
        # More than once, as a busy machine can make the step of one row look long.
        while rows < most and (rows == 1 or 2 * seconds < _SECONDS_PER_STEP):
            rows = min(max(2, int(rows * _SECONDS_PER_STEP / seconds)), most)
            seconds = self._step_seconds(stepper, rows, watch)
        if rows < whole:
            seconds += (whole - rows) * max(seconds - one, 0.0) / max(rows - 1, 1)
        return Pace(seconds, self._row_seconds(watch))

    def _step_seconds(self, stepper: Stepper, rows: int, watch: Stopwatch) -> float:
        """Returns the seconds of a step of some rows: the median of some steps, without the first.

        Batches of texts differ in length, so there it is the mean, for as many words as a batch has.
        """
        read, numbers = list[int](), itertools.count(1)
        with prefetched(self._source(rows).stream(0, range(1), 1)) as batches:

            def step() -> None:
                batch = next(batches)
                stepper.step(batch, next(numbers), 0.5)
                read.append(batch[0].words)

            seconds = repeated(step, watch, (_STEPS_AT_LEAST, PROBE_STEPS, _SECONDS_OF_STEPS))
        if self._texts is not None:
            return sum(seconds) / sum(read[1:]) * self._words(rows)
        return statistics.median(seconds)

    def _row_seconds(self, watch: Stopwatch) -> dict[str, float]:
        """Returns the seconds in which each model reads a held-out row."""
        data, found = self._data, dict[str, float]()
        source = evaluation_source(data.held_out, data.held_out_lexicon, self._recipe.student.positions)
        for name, model in (("teacher", self._teacher), ("student", self._models.student)):
            if model is not None:
                read = functools.partial(_evaluate, source, self._kernels, {name: model})
                limits = _READINGS_AT_LEAST, _READINGS_AT_MOST, _SECONDS_OF_READING
                found[name] = statistics.median(repeated(read, watch, limits)) / source.config.rows
        return found


def _never_unpacked(_: None) -> Tensor:
    raise AssertionError("nothing goes backward here")


def _evaluate(source: BatchSource, kernels: DualKernels, reader: dict[str, Any]) -> None:
    """Evaluates a model on one batch."""
    for _ in evaluate_masked_lm(source, kernels=kernels, rows=1, **reader):
        pass


def measure_writing(folder: Path, size: int) -> float:
    """Returns the bytes per second at which checkpoints are written below a folder, which is removed again.

    Raises StorageError where the disk does not take one.

    Args:
        folder: Is not there, or was left by a kill.
        size: Of the largest checkpoint of the run; no more is written.
    """
    models = nn.Linear(min(_TRIAL_BYTES, size) // 4, 1, bias=False)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        started = time.perf_counter()
        save_checkpoint(folder, models, torch.optim.SGD(models.parameters()), Progress())
        return models.weight.nbytes / (time.perf_counter() - started)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Preparation:
    """How long it takes to prepare a text on this machine, from that of a sample."""

    word_seconds: float
    """Of the corpus, per word and process."""
    learnt_seconds: float
    """Of learning the vocabulary, per word learnt from; 0 where it is given."""
    type_seconds: float
    """Of the lexicon, per word type."""

    def seconds(self, words: int, types: int, workers: int) -> float:
        """Returns the time that a text of so many words and word types takes with so many processes."""
        learnt = min(words, WORDS_LEARNT_FROM) * self.learnt_seconds
        return words / workers * self.word_seconds + learnt + types * self.type_seconds


def measure_preparation(
    text: Path, tokenizer: TeacherTokenizer, config: LexiconConfig, run: RunDir
) -> tuple[Corpus, Preparation]:
    """Builds corpus and lexicon of a sample in `run`, and returns the corpus and how long that took.

    Args:
        text: The sample.
        tokenizer: The teacher's.
        config: How the student's vocabulary comes about.
        run: Takes both.
    """
    moments = [time.perf_counter()]
    corpus = build_corpus([str(text)], tokenizer, run.corpus, workers=1)
    moments.append(time.perf_counter())
    if config.tokenizer is None:
        words, counts = corpus.word_types()[FIRST_WORD:], corpus.counts[FIRST_WORD:]
        learnt = learn_student(words, counts, config.size, tokenizer, config.cased)
        save_tokenizer(learnt, run.path / "learnt")
        config = LexiconConfig(tokenizer=str(run.path / "learnt"))
    moments.append(time.perf_counter())
    build_lexicon(corpus, tokenizer, config, run.lexicon)
    moments.append(time.perf_counter())
    corpus_seconds, learning, lexicon = (end - begin for begin, end in itertools.pairwise(moments))
    return corpus, Preparation(
        corpus_seconds / corpus.words, learning / corpus.words, lexicon / len(corpus.counts)
    )
