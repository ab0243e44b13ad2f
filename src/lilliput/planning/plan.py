"""The plan of a run that is to be, and what to expect of one that is about to train."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import psutil
import torch
from accelerate import PartialState

from lilliput.common.arguments import PathLike, Texts, text_of, texts_of
from lilliput.common.folders import MANIFEST, read_manifest
from lilliput.common.sheet import size
from lilliput.common.stage_dir import StageDir
from lilliput.common.workers import give_back_memory, worker_count
from lilliput.config import MOST_WORDS, Recipe
from lilliput.errors import StorageError, bounded, first_line
from lilliput.models.any_masked_lm import outline
from lilliput.models.shape import EncoderShape
from lilliput.pieces.corpus import build_corpus
from lilliput.pieces.lexicon import Lexicon
from lilliput.pieces.report import LexiconReport
from lilliput.pieces.teacher_tokenizer import load_teacher_tokenizer, teachers
from lilliput.planning.cost import SHAPES
from lilliput.planning.estimate import Estimate, estimate_stage
from lilliput.planning.footprint import Footprint, TextSize, run_disk_bytes
from lilliput.planning.probes import (
    PROBE_STEPS,
    Load,
    Pace,
    Preparation,
    StageProbe,
    measure_preparation,
    measure_writing,
    starts_warm,
)
from lilliput.planning.samples import made_up_sample, sample_text, stand_in_tokenizer
from lilliput.planning.scratch import scratch_folder
from lilliput.planning.stopwatch import Stopwatch
from lilliput.planning.texts import Reading, TimedTexts
from lilliput.recipes import find_recipe
from lilliput.run import RunDir
from lilliput.text.corpus import FIRST_WORD, Corpus
from lilliput.training.checkpoint import minutes_between
from lilliput.training.data import check_student, check_teacher

_SAMPLE_BYTES = 8_000_000
_TYPES_FACTOR, _TYPES_EXPONENT = 13.1, 0.6
"""Heaps' law for the word types of n words, 13.1 n^0.6: fits the English Wikipedia, in which we counted 47 k
types in 0.8 M words and 414 k in 32 M."""


def plan(
    teacher: PathLike,
    corpus: Texts | int,
    recipe: PathLike | Recipe = "lilliput",
    *,
    text_column: str = "text",
    workers: int | None = None,
    checkpoint_minutes: float = 5.0,
) -> Estimate:
    """Returns what a run will take on this machine, which is measured for half a minute; nothing is kept.

    Args:
        teacher: Folder or hub name of a checkpoint, whose config and tokenizer are read; or a name of
            `cost.SHAPES`, for which nothing is. Measured is a BERT of its sizes.
        corpus: The text, of which a sample is read, or the number of its words, for which a text is made up.
        recipe: Name of a recipe, a .toml or .json file, or a Recipe.
        text_column: Which column of tables holds the text.
        workers: Processes that will read the corpus; as many as there are cores by default.
        checkpoint_minutes: Minutes between checkpoints.

    Raises:
        InputError: If teacher, corpus or recipe cannot be used.
        StorageError: If the disk for temporary files does not take the sample.
    """
    checkpoint_minutes = minutes_between(checkpoint_minutes)
    processes = worker_count(workers)
    teacher, recipe = text_of("teacher", teacher, "the folder or hub name of a teacher"), find_recipe(recipe)
    text = (
        bounded("the corpus's number of words", corpus, 1, MOST_WORDS)
        if isinstance(corpus, Real)
        else texts_of("corpus", corpus)
    )
    if teacher in SHAPES:
        shape = SHAPES[teacher]
        check_student(recipe.student, shape)
    else:
        shape = check_teacher(recipe, teacher).shape
    with scratch_folder("lilliput-plan") as folder:
        run = RunDir(folder)
        whole, preparation, notes = _prepared_sample(teacher, text, recipe, text_column, run)
        found = estimate_training(run, recipe, shape, whole, checkpoint_minutes)
    seconds = preparation.seconds(whole.words, whole.types, processes)
    return dataclasses.replace(found, preparation_seconds=seconds, notes=(*notes, *found.notes))


def _prepared_sample(
    teacher: str, corpus: Sequence[str] | int, recipe: Recipe, text_column: str, run: RunDir
) -> tuple[TextSize, Preparation, list[str]]:
    """Prepares a sample in `run`; returns the size of the whole text, how long that takes, and notes."""
    is_shape = teacher in SHAPES
    tokenizer = (
        teachers(stand_in_tokenizer(SHAPES[teacher].vocabulary))
        if is_shape
        else load_teacher_tokenizer(teacher)
    )
    text, share, path = None, 1.0, run.path / "sample.jsonl"
    if isinstance(corpus, int):
        text = TextSize(corpus, round(_TYPES_FACTOR * corpus**_TYPES_EXPONENT))
    else:
        share = sample_text(corpus, text_column, _SAMPLE_BYTES, path)
        if is_shape:
            text = _whole(build_corpus([str(path)], tokenizer, run.held_out("corpus"), workers=1), share)
    notes = []
    if text is not None:
        path = made_up_sample(tokenizer, run.path)
        notes.append("steps are those on a made-up text, with about as many pieces per word as English")
    sampled, preparation = measure_preparation(path, tokenizer, recipe.lexicon, run)
    return text or _whole(sampled, share), preparation, notes


def _whole(sample: Corpus, share: float) -> TextSize:
    """Returns the size of the text of which a sample holds this share, its word types by Heaps' law."""
    types = len(sample.counts) - FIRST_WORD
    half = len(np.unique(np.concatenate(sample.shards)[: sample.words // 2 + 1]))
    return TextSize(round(sample.words / share), round(types * share ** -math.log2(types / half)))


def expect(
    run: RunDir, recipe: Recipe, teacher: str, checkpoint_minutes: float, *, measure: bool = True
) -> Estimate | None:
    """Returns what the training of a run will take on this machine; measured once, kept in the run's folder.

    Args:
        run: Holds the corpus and the lexicon.
        recipe: What to do.
        teacher: Folder or hub name of the teacher.
        checkpoint_minutes: Minutes between checkpoints.
        measure: Whether to measure what was not measured; if not, None is returned.
    """
    shape = outline(teacher).shape
    lexicon = read_manifest(run.lexicon / MANIFEST)
    made_from = {
        "recipe": recipe.to_dict(),
        "teacher": dataclasses.asdict(shape),
        "lexicon": lexicon["digest"],
    }
    folder = StageDir(run.estimate, made_from)
    if not folder.is_finished(overwrite=True):
        if not measure:
            return None
        folder.begin()  # first, as what is written to measure the disk lies in there
        size: LexiconReport = StageDir(run.lexicon, {}).read(LexiconReport)
        text = TextSize(size.words, size.types)
        found = estimate_training(run, recipe, shape, text, checkpoint_minutes)
        folder.finish(dataclasses.asdict(found))
    expected: Estimate = folder.read(Estimate)
    return expected


def estimate_training(
    run: RunDir, recipe: Recipe, teacher: EncoderShape, text: TextSize, checkpoint_minutes: float
) -> Estimate:
    """Returns what the training stages of a run will take, without what comes before them.

    Args:
        run: Holds the corpus and the lexicon, or those of a sample.
        recipe: What to do.
        teacher: The teacher's shape.
        text: How large the whole text is.
        checkpoint_minutes: Minutes between checkpoints.
    """
    give_back_memory()  # so that what is counted as there stays there
    machine = _machine()
    lexicon, affine = Lexicon.open(run.lexicon), recipe.start.second_table == "affine"
    teacher = dataclasses.replace(teacher, vocabulary=lexicon.teacher_size)
    student = EncoderShape.of_student(recipe.student, lexicon.student_size)
    footprints = [Footprint(stage, teacher, student, affine) for stage in recipe.stages]
    probed = [_probed(run, recipe, footprint, machine, text) for footprint in footprints]
    stretch = 1 / (1 - machine.watch.taken)
    timed = next((found for *_, found in probed if found is not None), None)
    reading = timed.expected(recipe, text, stretch) if timed is not None else Reading(0, 0.0, 0)
    bytes_per_second, notes = _writing(run, footprints)
    stages = tuple(
        estimate_stage(
            recipe,
            footprint.stage,
            step_words=load.words,
            pace=pace.stretched(stretch),
            checkpoint_seconds=footprint.checkpoint_bytes / bytes_per_second,
            checkpoint_minutes=checkpoint_minutes,
            reading_seconds=reading.seconds if footprint.stage.objectives.reads_sentences else 0.0,
            memory_bytes=functools.partial(machine.needed, recipe, footprint, text, load.kept_bytes),
        )
        for footprint, (load, pace, _) in zip(footprints, probed, strict=True)
    )
    lacking = "stage '{}' needs {} of memory but there are {}; raise batch.accumulation, or lower batch.rows"
    notes += [
        lacking.format(stage.name, size(stage.memory_bytes), size(machine.memory))
        for stage in stages
        if stage.memory_bytes > machine.memory
    ]
    return Estimate(
        machine=machine.name,
        text=text,
        preparation_seconds=0.0,
        stages=stages,
        disk_bytes=run_disk_bytes(text, footprints) + reading.disk_bytes,
        notes=tuple(notes),
        taken=machine.watch.taken if machine.libraries is not None else None,
        texts=reading.texts,
        reading_seconds=reading.seconds,
    )


def _probed(
    run: RunDir, recipe: Recipe, footprint: Footprint, machine: "_Machine", text: TextSize
) -> tuple[Load, Pace, TimedTexts | None]:
    """Returns what a step of a stage reads, how fast it goes, and texts that its teacher reads before.

    Times are those if nobody else has the processor.
    """
    probe = StageProbe(run, recipe, footprint.stage, footprint.teacher)
    load = probe.load()
    fixed, needed = (
        machine.needed(recipe, footprint, text, kept, PROBE_STEPS) for kept in (0.0, load.kept_bytes)
    )
    room = (machine.memory - fixed) / max(needed - fixed, 1)
    pace = probe.pace(machine.watch, int(room * load.rows) if room < 1 else None)
    timed = probe.timed_texts(machine.watch)
    del probe
    give_back_memory()
    return load, pace, timed


def _writing(run: RunDir, stages: list[Footprint]) -> tuple[float, list[str]]:
    """Returns at how many bytes per second checkpoints are written, and what there is to say of it."""
    try:
        return measure_writing(run.estimate / "trial", max(stage.checkpoint_bytes for stage in stages)), []
    except StorageError as error:
        return math.inf, [f"the time for checkpoints is left out: {first_line(error)}"]


@dataclass(frozen=True)
class _Machine:
    """Where a run will be."""

    name: str
    memory: float
    """Bytes of memory that this process may have, for a GPU its own."""
    watch: Stopwatch
    """Times what is done on it."""
    libraries: int | None = None
    """Bytes that this process takes already, where it trains in them."""

    def needed(
        self, recipe: Recipe, footprint: Footprint, text: TextSize, kept_bytes: float, steps: int
    ) -> int:
        """Returns the bytes of memory that a stage takes, by its number of steps."""
        if self.libraries is None:
            return footprint.gpu_bytes(kept_bytes)
        warm = starts_warm(recipe, footprint.stage)
        return footprint.process_bytes(self.libraries, text, kept_bytes, steps, warm)


def _machine() -> _Machine:
    """Returns the processor or the GPU that trains here."""
    device = PartialState().device
    watch = Stopwatch(device)
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        return _Machine(found.name, found.total_memory, watch)
    name = f"this machine, {torch.get_num_threads()} threads"
    libraries = psutil.Process().memory_info().rss
    return _Machine(name, libraries + psutil.virtual_memory().available, watch, libraries)
