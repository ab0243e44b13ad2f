"""Stage 6: one training stage of a run, from its first models to its saved ones.

Teacher-only, dual and student-only training are this one loop with different objectives. It counts steps,
never epochs. What has to survive a kill is in the checkpoint: weights, optimiser, and the position, which
with the seed gives the next batch; so a resumed run ends with the same bits as one that was never
interrupted.
"""

import contextlib
import ctypes
import dataclasses
import importlib.util
import platform
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError

from lilliput.batches import BatchSource
from lilliput.checkpoint import Position, checkpoints, load_checkpoint, save_checkpoint
from lilliput.config import Recipe, StageConfig
from lilliput.errors import Interrupted, StorageError
from lilliput.evaluation import evaluate_masked_lm, evaluation_source
from lilliput.models.student import save_student
from lilliput.progress import bar
from lilliput.run import MetricsLog, RunDir, StageDir
from lilliput.stages import Data, first_models, stage_budget, stage_inputs
from lilliput.step import Stepper

_PROBES = 10
"""Times the student is evaluated on few rows while a stage runs."""
_PROBE_ROWS, _ROWS = 128, 512

Values = dict[str, Any]


def train(
    run: RunDir,
    recipe: Recipe,
    stage: str,
    teacher: str,
    *,
    overwrite: bool = False,
    checkpoint_minutes: float = 5.0,
) -> Values:
    """Trains one stage of a run and returns what it reports.

    A finished stage is not trained again; an interrupted one goes on from its last checkpoint.

    Args:
        run: Holds the corpus, the lexicon and the stages before this one; takes this one.
        recipe: Says what to do; every stage of a run takes the same one.
        stage: Name of the stage in the recipe.
        teacher: Folder or hub name of the teacher's checkpoint.
        overwrite: Whether a stage made from anything else is trained anew.
        checkpoint_minutes: Minutes between checkpoints.

    Returns:
        Words, steps, seconds, and the quality of the models on held-out text before and after.

    Raises:
        StorageError: If an earlier stage is missing, or this one was made from anything else.
        TrainingError: If a loss is not finite.
        Interrupted: If SIGTERM or SIGINT came; the state is saved.
    """
    config = recipe.stage(stage)
    folder = StageDir(run.training(stage), stage_inputs(run, recipe, config, teacher))
    if folder.is_finished(overwrite):
        return folder.results()
    keep_freed_memory()
    data = Data.open(run, config.batch.length, recipe.student.positions)
    source = BatchSource(data.train, data.lexicon, config.batch, (recipe.seed, recipe.stages.index(config)))
    saved = folder.path / "checkpoints"
    fit = folder.other() is not None or not checkpoints(saved)
    trainees = first_models(run, recipe, config, teacher, data.lexicon, source, fit)
    stepper = Stepper(trainees, config.optimizer, Accelerator())
    held_out = evaluation_source(data.held_out, data.held_out_lexicon, recipe.student.positions)
    folder.begin()  # only now, so that a refusal of the inputs leaves nothing behind and takes nothing away
    position = load_checkpoint(saved, trainees, stepper.optimizer)
    loop = _Loop(folder.path, config, stage_budget(recipe, config), source, held_out, stepper)
    position = loop.run(position, saved, checkpoint_minutes * 60)
    try:
        if trainees.teacher is not None and config.objectives.trains_teacher:
            trainees.teacher.save(folder.path / "teacher")
        if trainees.student is not None:
            save_student(trainees.student, data.lexicon.student_tokenizer(), folder.path / "student")
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"the models cannot be saved in {folder.path}: {error}; the state before is kept"
        ) from error
    results: Values = folder.finish(loop.results(position))["results"]
    shutil.rmtree(saved, ignore_errors=True)
    return results


class _Loop:
    """The loop of one stage."""

    def __init__(
        self,
        folder: Path,
        config: StageConfig,
        budget: Mapping[str, float],
        source: BatchSource,
        held_out: BatchSource,
        stepper: Stepper,
    ) -> None:
        self._folder, self._config, self._budget = folder, config, budget
        self._source, self._held_out, self._stepper = source, held_out, stepper
        self._metrics = MetricsLog(folder / "metrics.jsonl")

    def run(self, position: Position, folder: Path, checkpoint_seconds: float) -> Position:
        """Trains on from `position` until the budget is spent and returns the last position."""
        self._metrics.rewind(position.step if position.step else -1)  # a beginning is evaluated anew
        started = time.monotonic() - position.seconds
        saved = time.monotonic()
        with _signals() as asked, _events(self._folder, position.step) as events:
            if position.step == 0:
                self._log(position, self._evaluate("held_out", _ROWS), events)
            with bar(f"Training {self._config.name}", 1.0, counted=False) as progress:
                while (done := self._done(position)) < 1:
                    position, values = self._step(position, done, started)
                    self._log(position, values, events)
                    progress.update(self._done(position), _note(values))
                    spent = self._done(position) >= 1  # saved too, as the models may find the disk full
                    if asked or spent or time.monotonic() - saved > checkpoint_seconds:
                        save_checkpoint(folder, self._stepper.trainees, self._stepper.optimizer, position)
                        saved = time.monotonic()
                    if asked:
                        raise Interrupted(
                            f"{asked[0]} stopped stage '{self._config.name}' after step {position.step}; its "
                            "state is saved, and the same command goes on from there"
                        )
            if len(self._evaluated()) < 2:  # else it is logged already, and saving the models failed
                self._log(position, self._evaluate("held_out", _ROWS), events)
        return position

    def results(self, position: Position) -> Values:
        """Returns what the stage reports."""
        evaluated = self._evaluated()
        before, after = (
            {
                key.removeprefix("held_out/"): value
                for key, value in line.items()
                if key.startswith("held_out/")
            }
            for line in (evaluated[0], evaluated[-1])
        )
        return {**dataclasses.asdict(position), "before": before, "after": after}

    def _evaluated(self) -> list[Values]:
        """Returns what is logged of the models' quality: at the beginning and, when there, at the end."""
        return [line for line in self._metrics.read() if any(key.startswith("held_out/") for key in line)]

    def _step(self, position: Position, done: float, started: float) -> tuple[Position, Values]:
        """Takes one step and returns the new position with what there is to log."""
        device, step_started = self._stepper.device, time.monotonic()
        parts = self._config.batch.accumulation
        batches = [self._source.batch(position.step, part, parts).to(device) for part in range(parts)]
        values: Values = dict(self._stepper.step(batches, position.step + 1, done))
        words = sum(batch.words for batch in batches)
        now = time.monotonic()
        values["words_per_second"] = words / (now - step_started)
        position = Position(position.step + 1, position.words + words, now - started)
        if int(self._done(position) * _PROBES) > int(done * _PROBES):
            values |= self._evaluate("probe", _PROBE_ROWS)
        return position, values

    def _done(self, position: Position) -> float:
        """Returns the share of the budget that is spent."""
        if "words" in self._budget:
            return position.words / self._budget["words"]
        return position.seconds / (self._budget["minutes"] * 60)

    def _evaluate(self, name: str, rows: int) -> Values:
        """Evaluates what is trained; the teacher, which costs most, only at the beginning and the end."""
        trainees = self._stepper.trainees
        found = evaluate_masked_lm(
            self._held_out,
            teacher=trainees.teacher if trainees.weights.trains_teacher and name == "held_out" else None,
            student=trainees.student,
            dtype=self._stepper.dtype,
            rows=rows,
        )
        return {
            f"{name}/{model}/{key}": value
            for model, quality in found
            for key, value in dataclasses.asdict(quality).items()
        }

    def _log(self, position: Position, values: Values, events: Callable[[Values, int], None]) -> None:
        self._metrics.append(dataclasses.asdict(position) | values)
        events(values, position.step)


def keep_freed_memory() -> None:
    """Tells glibc to keep what is freed; elsewhere does nothing.

    Every step frees and asks again for the same large tensors. By default each goes back to the system and
    comes again as pages to be zeroed: 250,000 page faults in a student's step of 64 x 128 pieces. On one core
    that was 0.37 s of 1.5 s, now 0.01 s; two threads, which wait for each other there, went from 5,500 to
    9,000 words/s.
    """
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_max, 0)


def _note(values: Mapping[str, float]) -> str:
    """Returns the live line: losses, and words per second."""
    losses = [
        f"{name} {value:.3f}"
        for name, value in values.items()
        if "/" not in name and name != "words_per_second"
    ]
    return " · ".join([*losses, f"{values['words_per_second']:,.0f} words/s"])


@contextlib.contextmanager
def _signals() -> Iterator[list[str]]:
    """Collects the names of SIGTERM and SIGINT instead of dying of them; a second one works as ever."""
    asked: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def remember(number: int, _: Any) -> None:
        asked.append(signal.Signals(number).name)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, remember)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _events(folder: Path, step: int) -> Iterator[Callable[[Values, int], None]]:
    """Gives a function that writes values for TensorBoard, or nothing where that is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        yield lambda values, step: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard"), purge_step=step) as writer:

        def write(values: Values, step: int) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield write
