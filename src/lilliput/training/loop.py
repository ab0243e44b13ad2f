"""One training stage of a run, from its first models to its saved ones.

Training of the teacher alone, of both models and of the student alone is this one loop with different
objectives. It counts steps, never epochs. A checkpoint holds what has to survive a kill: weights, optimiser,
and the progress, which with the seed gives the next batch; so a resumed run ends with the same bits as one
that was never interrupted. With another number of processes sums round differently, and nothing else differs.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lilliput.common.arguments import PathLike, path_of, text_of
from lilliput.common.metrics_log import MetricsLog
from lilliput.common.progress import bar
from lilliput.common.stage_dir import StageDir
from lilliput.common.stored import intact, require_fields
from lilliput.common.workers import give_back_memory, keep_freed_memory
from lilliput.config import Recipe, StageConfig
from lilliput.errors import Interrupted, StorageError
from lilliput.models.student import save_student
from lilliput.pieces.lexicon import Lexicon
from lilliput.recipes import find_recipe
from lilliput.run import RunDir
from lilliput.training.batches import Batch, BatchSource
from lilliput.training.checkpoint import (
    Progress,
    checkpoints,
    load_checkpoint,
    minutes_between,
    save_checkpoint,
)
from lilliput.training.data import Data, check_earlier, stage_budget, stage_inputs
from lilliput.training.evaluation import evaluate_masked_lm, evaluation_source
from lilliput.training.first_models import first_models
from lilliput.training.kernels import fastest_kernels, stage_kernels
from lilliput.training.prefetch import prefetched
from lilliput.training.processes import accelerator, launch, parts_each, signals
from lilliput.training.sentences.likeness import evaluate_texts
from lilliput.training.sentences.source import SentenceSource
from lilliput.training.sentences.student import save_modules, write_card
from lilliput.training.sentences.taught import sentence_sources, without_reading
from lilliput.training.step import DualModel, Stepper
from lilliput.training.tensorboard import event_writer

PROBES = 10
"""Times the student is evaluated on few rows while a stage runs."""
PROBE_ROWS, ROWS = 128, 512
"""Held-out rows of such an evaluation, and of those at the beginning and the end."""

_SAMPLE_BATCHES = 8
"""Batches of texts to which maps from the student's states are fitted."""

Values = dict[str, Any]


def train(
    run: PathLike,
    recipe: PathLike | Recipe,
    stage: str,
    teacher: PathLike,
    *,
    overwrite: bool = False,
    checkpoint_minutes: float = 5.0,
) -> Values:
    """Trains one stage of a run and returns what it reports.

    A finished stage is not trained again; an interrupted one goes on from its last checkpoint. Processes of
    one launch train it together, however many: they share the rows of each batch, and the main one writes.

    Args:
        run: The run's folder: it has the corpus, the lexicon and the stages before, and takes this one.
        recipe: Name of a recipe, a .toml or .json file, or a Recipe; every stage of a run takes the same one.
        stage: Name of the stage in the recipe.
        teacher: Folder or hub name of the teacher's checkpoint.
        overwrite: Whether a stage made from anything else is trained anew.
        checkpoint_minutes: Minutes between checkpoints.

    Returns:
        Words, steps, seconds, and the quality of the models on held-out text before and after.

    Raises:
        StorageError: If an earlier stage is missing, or this one was made from anything else.
        TrainingError: If a loss is not finite.
        LaunchError: If the processes of a launch differ, or one has ended.
        Interrupted: If SIGTERM or SIGINT came; the state is saved.
    """
    run, recipe = RunDir(path_of("run", run)), find_recipe(recipe)
    teacher = text_of("teacher", teacher, "the folder or hub name of a teacher")
    config, processes = recipe.stage(text_of("stage", stage, "the name of a stage")), launch()
    checkpoint_minutes = minutes_between(checkpoint_minutes)
    with processes.together():
        inputs = stage_inputs(run, recipe, config, teacher)
    processes.require_same(inputs, "give every process the same command, run and teacher")
    folder = StageDir(run.training(stage), inputs)

    def finished() -> Values | None:
        if not folder.is_whole(overwrite):
            return None
        folder.tidy()
        return _reported(folder)

    done: Values | None = processes.on_main(finished)
    if done is not None:
        return done
    with contextlib.ExitStack() as held:
        with processes.together():
            if processes.is_main:
                held.enter_context(run.locked())
        done = processes.on_main(finished)  # by a process that held the lock before
        if done is None:
            done = _train(run, recipe, config, teacher, folder, checkpoint_minutes)
    return done


def _train(
    run: RunDir,
    recipe: Recipe,
    config: StageConfig,
    teacher: str,
    folder: StageDir,
    checkpoint_minutes: float,
) -> Values:
    """Trains a stage that is not finished, under the run's lock, and returns what it reports."""
    processes = launch()
    processes.on_main(check_earlier, run, recipe, config)
    parts = processes.on_main(parts_each, config.batch, processes.count)
    give_back_memory()  # what the stage before had
    saved = folder.path / "checkpoints"
    with processes.together():
        data = Data.open(run, config.batch.length, recipe.student.positions, whole=processes.is_main)
        seed = (recipe.seed, recipe.stages.index(config))
        masked = data.source(config, seed)
        anew = folder.other() is not None or folder.manifest_path.exists()  # begin removes it
        fit = processes.is_main and (anew or not checkpoints(saved))
    budget, sample = stage_budget(recipe, config), list[Batch]()
    source: BatchSource | SentenceSource = masked
    held_out: BatchSource | SentenceSource = evaluation_source(
        data.held_out, data.held_out_lexicon, recipe.student.positions
    )
    if config.objectives.reads_sentences:
        parts_of_data = {
            "train": (data.train, data.lexicon),
            "held_out": (data.held_out, data.held_out_lexicon),
        }
        source, held_out = sentence_sources(run, recipe, config, teacher, parts_of_data, processes)
        budget = without_reading(budget, run, config)
        sample = [source.batch(step) for step in range(_SAMPLE_BATCHES)]
    with processes.together():
        models = first_models(run, recipe, config, teacher, data.lexicon, masked, fit, sample)
    # Only now, so that a refusal of the inputs leaves nothing behind and takes nothing away.
    processes.on_main(folder.begin)
    place = accelerator()
    fastest = fastest_kernels(models, config.batch.length, place.device)
    kernels = stage_kernels(saved / "kernels.json", fastest, processes)
    keep_freed_memory()
    stepper = Stepper(models, config.optimizer, place, kernels, processes)
    with processes.together():
        progress = load_checkpoint(saved, models, stepper.optimizer)
    processes.require_same(dataclasses.asdict(progress), "let all machines share the run's folder")
    own = range(processes.index * parts, (processes.index + 1) * parts)
    with prefetched(source.stream(progress.step, own, processes.count * parts)) as batches:
        loop = _Loop(folder.path, saved, config, budget, batches, held_out, stepper)
        progress = loop.run(progress, checkpoint_minutes * 60)
    return processes.on_main(lambda: _finish(folder, data.lexicon, models, teacher, loop.results(progress)))


def _reported(folder: StageDir) -> Values:
    """Returns what a finished stage reported; raises StorageError where its manifest is damaged."""
    fields = {"words": int, "seconds": float, "before": dict[str, float], "after": dict[str, float]}
    with intact(folder.manifest_path):
        require_fields(fields, folder.results(), "it")
    return folder.results()


def _finish(folder: StageDir, lexicon: Lexicon, models: DualModel, teacher: str, results: Values) -> Values:
    """Saves the models and returns what the stage reports."""
    try:
        if models.teacher is not None and models.weights.trains_teacher:
            models.teacher.save(folder.path / "teacher")
        if models.student is not None:
            save_student(models.student, lexicon.student_tokenizer(), folder.path / "student")
            if models.weights.vectors:
                save_modules(models, folder.path / "student")
                corpus = lexicon.path.with_name("corpus")
                write_card(folder.path / "student", teacher, results, corpus)
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"the models cannot be saved in {folder.path}: {error}; the state before is kept"
        ) from error
    finished: Values = folder.finish(results)["results"]
    return finished


class _Loop:
    """The loop of one stage; its metrics and events go to `folder`, its checkpoints to `saved`."""

    def __init__(
        self,
        folder: Path,
        saved: Path,
        config: StageConfig,
        budget: Mapping[str, float],
        batches: Iterator[list[Batch]],
        held_out: BatchSource | SentenceSource,
        stepper: Stepper,
    ) -> None:
        self._folder, self._saved, self._config, self._budget = folder, saved, config, budget
        self._batches, self._held_out, self._stepper = batches, held_out, stepper
        self._processes = stepper.processes
        self._metrics = MetricsLog(folder / "metrics.jsonl")

    def run(self, progress: Progress, checkpoint_seconds: float) -> Progress:
        """Trains on from `progress` until the budget is spent and returns how far it came."""
        self._processes.on_main(self._metrics.rewind, progress.step or -1)  # a beginning is evaluated anew
        started, saved_at = time.monotonic() - progress.seconds, progress.seconds
        events_folder = self._folder / "tensorboard" if self._processes.is_main else None
        with signals() as asked, event_writer(events_folder, progress.step) as events:
            if progress.step == 0:
                self._log(progress, self._evaluate("held_out", ROWS), events)
            with bar(f"Training {self._config.name}", 1.0, counted=False) as shown:
                while (done := self._done(progress)) < 1:
                    progress, values, stop = self._step(progress, done, started, asked)
                    self._log(progress, values, events)
                    shown.update(self._done(progress), _note(values))
                    spent = self._done(progress) >= 1  # saved too, as the models may find the disk full
                    if stop or spent or progress.seconds - saved_at > checkpoint_seconds:
                        self._save(progress)
                        saved_at = progress.seconds
                    if stop:
                        raise Interrupted(
                            f"{asked[0] if asked else 'a signal to another process'} stopped stage "
                            f"'{self._config.name}' after step {progress.step}; its state is saved, and the "
                            "same command goes on from there"
                        )
            evaluated = self._processes.on_main(lambda: len(self._evaluated()))
            if evaluated < 2:  # else it is logged already, and saving the models failed
                self._log(progress, self._evaluate("held_out", ROWS), events)
        return progress

    def _save(self, progress: Progress) -> None:
        """Saves a checkpoint."""
        stepper = self._stepper
        self._processes.on_main(save_checkpoint, self._saved, stepper.models, stepper.optimizer, progress)
        keep_freed_memory()

    def results(self, progress: Progress) -> Values:
        """Returns what the stage reports."""
        evaluated = self._evaluated()
        prefix = "held_out/"
        before, after = (
            {key.removeprefix(prefix): value for key, value in line.items() if key.startswith(prefix)}
            for line in (evaluated[0], evaluated[-1])
        )
        if evaluated[0]["step"] > 0:  # the log of the beginning was lost
            before = {}
        kernels = dataclasses.asdict(self._stepper.kernels)
        return {**dataclasses.asdict(progress), "before": before, "after": after, "kernels": kernels}

    def _evaluated(self) -> list[Values]:
        """Returns what is logged of the models' quality: at the beginning and, when there, at the end."""
        return [line for line in self._metrics.read() if any(key.startswith("held_out/") for key in line)]

    def _step(
        self, progress: Progress, done: float, started: float, asked: list[str]
    ) -> tuple[Progress, Values, bool]:
        """Takes one step; returns the new progress, what there is to log, and whether a signal said stop."""
        step_started = time.monotonic()
        batches = next(self._batches)
        values: Values = dict(self._stepper.step(batches, progress.step + 1, done))
        now = time.monotonic()
        told = self._processes.add_up(
            {
                "words": sum(batch.words for batch in batches),
                "seconds": now - started if self._processes.is_main else 0.0,  # one clock for all
                "asked": bool(asked),
            }
        )
        values["words_per_second"] = told["words"] / (now - step_started)
        progress = Progress(progress.step + 1, progress.words + int(told["words"]), told["seconds"])
        if int(self._done(progress) * PROBES) > int(done * PROBES):
            values |= self._evaluate("probe", PROBE_ROWS)
        return progress, values, told["asked"] > 0

    def _done(self, progress: Progress) -> float:
        """Returns the share of the budget that is spent."""
        if "words" in self._budget:
            return progress.words / self._budget["words"]
        return progress.seconds / (self._budget["minutes"] * 60)

    def _evaluate(self, name: str, rows: int) -> Values:
        """Evaluates what is trained; the teacher, which costs most, only at the beginning and the end."""
        models = self._stepper.models
        if isinstance(self._held_out, SentenceSource):
            likeness = evaluate_texts(self._held_out, models, self._stepper.kernels.student, rows)
            keep_freed_memory()
            return {f"{name}/student/{key}": value for key, value in dataclasses.asdict(likeness).items()}
        found = dict(
            evaluate_masked_lm(
                self._held_out,
                teacher=models.teacher if models.weights.trains_teacher and name == "held_out" else None,
                student=models.student,
                kernels=self._stepper.kernels,
                rows=rows,
                processes=self._processes,
            )
        )
        keep_freed_memory()
        return {
            f"{name}/{model}/{key}": value
            for model, quality in found.items()
            for key, value in dataclasses.asdict(quality).items()
        }

    def _log(self, progress: Progress, values: Values, events: Callable[[Values, int], None]) -> None:
        if self._processes.is_main:
            self._metrics.append(dataclasses.asdict(progress) | values)
            events(values, progress.step)


def _note(values: Mapping[str, float]) -> str:
    """Returns the live line: losses, and words per second."""
    losses = [
        f"{name} {value:.3f}"
        for name, value in values.items()
        if "/" not in name and name != "words_per_second"
    ]
    return " · ".join([*losses, f"{values['words_per_second']:,.0f} words/s"])
