"""An encoder and a task -> a fine-tuned folder: all seeds, of which the best is kept."""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lilliput.common.arguments import PathLike, Texts, renamed, text_of, texts_of as sources_of, wrong_type
from lilliput.common.files import read_json, write_json
from lilliput.common.folders import damage, is_record, record as recorded_of, replacing
from lilliput.common.progress import console
from lilliput.common.settings import require
from lilliput.common.stage_dir import StageDir
from lilliput.common.stored import intact, stored
from lilliput.common.workers import keep_freed_memory
from lilliput.config import MOST_MINUTES
from lilliput.errors import ConfigError, StorageError, bounded
from lilliput.finetuning.abstention import abstention
from lilliput.finetuning.config import FinetuningConfig
from lilliput.finetuning.encoded import labels_from, task_tokenizer
from lilliput.finetuning.fit import SeedResult, examine, predict
from lilliput.finetuning.inputs import inputs_of, own_sources, require_whole_encoder, result_run
from lilliput.finetuning.job import Job, prepare, train_seed
from lilliput.finetuning.model import find_head, load_task_model, save_task_model, write_threshold
from lilliput.finetuning.rates import find_rate
from lilliput.finetuning.reader import reader_of
from lilliput.finetuning.results import PREDICTIONS, FinetuneResult, write_predictions
from lilliput.finetuning.taught import is_taught, taught_data, unread
from lilliput.finetuning.teacher import TaskTeacher
from lilliput.finetuning.teachers import find_teacher, find_teachers
from lilliput.finetuning.texts import more_texts, texts_from
from lilliput.finetuning.words import shortened, text_words
from lilliput.models.any_sentence_encoder import modules_digest
from lilliput.models.fake_quantization import quantization_aware
from lilliput.models.pretrained import checkpoint_digest
from lilliput.models.sentence_modules import read_modules
from lilliput.models.student import parameter_count
from lilliput.run import RunDir
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.loading import task_of
from lilliput.tasks.metrics import always_the_same, of_all
from lilliput.tasks.tagged import in_bio
from lilliput.tasks.task import Task, TaskData

_MOST_SEEDS = 1000

_FITTED, _FILES = "fitted.json", "files.json"
"""In the folder of a seed: how it went, and bytes and digests of the other files."""


@renamed(data="task", out="run")
def finetune(
    model: PathLike,
    task: PathLike | TaskData | None = None,
    run: PathLike | None = None,
    config: FinetuningConfig | None = None,
    *,
    teacher: Texts | None = None,
    teacher_labels: Mapping[str, str] | None = None,
    unlabelled: Texts = (),
    seeds: int = 1,
    search_minutes: float = 0.0,
    overwrite: bool = False,
) -> FinetuneResult:
    """Fine-tunes an encoder for a task, once for each seed, and keeps the best in `run`/finetuned/TASK.

    What is finished from the same inputs is not done again; an interrupted call goes on where it was. The
    folder is a plain transformers checkpoint.

    Args:
        model: A run with a finished student, or folder or hub name of a BERT encoder. The run's corpus gives
            more texts where `config.distillation` asks for them; without one `run` has to hold it.
        task: The task with its examples: a name or files, as `load_task` takes them, or what it returns.
            Without one, or with a name that stands for no examples, the task is to say what the teacher says
            of `unlabelled`; some of these texts are held out, and agreement with the teacher is the score.
        run: The run's folder, which takes the model; by default `model`, if that is a run.
        config: How to train; by default as the command line does.
        teacher: What teaches the task: the folder of a model fine-tuned for it, a run that holds one, or the
            folder or hub name of any fine-tuned encoder for texts or words that transformers holds. Of
            several the probabilities are averaged; states are those of the first.
        teacher_labels: For names of a teacher's labels those that the task has, where they differ; an empty
            one leaves a label out, and several with the same name are taken together.
        unlabelled: Text files, folders or data sets whose documents the teacher labels too.
        seeds: Times to train, with seeds from 0 on.
        search_minutes: Minutes to try learning rates before; 0 takes the one that suits width and task.
        overwrite: Whether what was made from other inputs is made anew.

    Raises:
        ModelError: If encoder or teacher cannot be used.
        StorageError: If `run` holds something else or cannot be written.
        ConfigError: If no run is named and `model` is none, or an argument has a wrong type.
        Interrupted: If SIGTERM or SIGINT came.
    """
    seeds = bounded("--seeds", seeds, 1, _MOST_SEEDS)
    search_minutes = bounded("--search-minutes", search_minutes, 0.0, MOST_MINUTES)
    if unlabelled and not teacher:
        raise ConfigError("unlabelled text is of use only with a teacher that labels it; give --teacher")
    config = FinetuningConfig() if config is None else config
    if not isinstance(config, FinetuningConfig):
        raise wrong_type("config", "a FinetuningConfig", config)
    model = text_of("model", model, "a run, or the folder or hub name of an encoder")
    source, out = RunDir(Path(model)), result_run(model, run)
    names, unlabelled = sources_of("teacher", teacher or ()), sources_of("unlabelled", unlabelled)
    named = _named(teacher_labels, names)
    keep_freed_memory()
    data, teachers = _lesson(task, names, named, unlabelled, config)
    is_taught_alone = data.dev.labels is None
    if config.precision is not None and not KINDS[data.task.kind].may_be_unsure:
        raise ConfigError(
            f"precision is for texts with one class each, not for {data.task.kind}; leave it out"
        )
    is_run = source.student.is_dir()
    encoder = str(source.student) if is_run else model
    require_whole_encoder(source, model)
    place = out.finetuned(data.task.name)
    own, texts_of = own_sources(unlabelled, StageDir(place, {})), source if is_run else out
    inputs = inputs_of(encoder, data, config, teachers, seeds, search_minutes) | _rules(encoder, data.task)
    if teachers:
        inputs |= texts_from(config.distillation, texts_of, own)
        inputs |= {"teacher_labels": named} if named else {}
    folder = StageDir(place, inputs)
    if not folder.is_whole(overwrite):
        with folder.locked():
            if not folder.is_whole(overwrite):  # by a process that held the lock before
                own_positions = reader_of(encoder, data.task).positions
                positions = min([own_positions, *(teacher.positions for teacher in teachers)])
                if is_taught_alone:
                    data, own = taught_data(data.task, own, task_tokenizer(encoder)), []
                data = dataclasses.replace(data, train=shortened(data.train, positions))
                more = None
                if teachers:
                    more = more_texts(data, config.distillation, texts_of, own)
                    more = None if more is None else shortened(more, positions)
                job = prepare(encoder, data, config, teachers, out.targets, more)
                _finetune(job, folder, seeds, search_minutes)
    folder.tidy()
    done: FinetuneResult = folder.read(FinetuneResult)
    return done


def _lesson(
    task: PathLike | TaskData | None,
    names: Sequence[str],
    named: Mapping[str, str],
    unlabelled: Sequence[str],
    config: FinetuningConfig,
) -> tuple[TaskData, tuple[TaskTeacher, ...]]:
    """Returns a task and what teaches it; without labelled examples a task whose texts are not read yet."""
    if not isinstance(task, TaskData | None):
        task = text_of("task", task, "a task's name, what its files are called, or a TaskData")
    if not isinstance(task, TaskData) and is_taught(task, teacher=names, unlabelled=unlabelled):
        _require_teachable(config)
        first = find_teacher(names[0], task, named, taught=True)
        data = unread(first.taught_task(task))
    elif task is None:
        raise ConfigError("no task was named; name one, or give a teacher and unlabelled texts")
    else:
        data = in_bio(task_of(task))
        if not isinstance(task, TaskData):
            for warning in data.warnings:
                console.print(warning, style="yellow", highlight=False, markup=False, soft_wrap=True)
    return data, find_teachers(names, data, named)


def _finetune(job: Job, folder: StageDir, seeds: int, search_minutes: float) -> None:
    """Fine-tunes with all seeds and keeps the best."""
    folder.begin()
    rate = find_rate(job, folder.path, search_minutes)
    fitted = {str(seed): _seed_result(job, folder, rate, seed) for seed in range(seeds)}
    results = _keep_best(job, folder, fitted, rate)
    if checkpoint_digest(job.encoder) != folder.made_from["encoder"]:
        raise StorageError(
            f"{job.encoder} was changed meanwhile, so seeds may have begun with different ones; add "
            "--overwrite to fine-tune again"
        )
    folder.finish(dataclasses.asdict(results))


def _rules(encoder: str, task: Task) -> dict[str, Any]:
    """Returns what else determines the result, where an earlier version did otherwise."""
    head = find_head(encoder, task)
    kept: dict[str, Any] = {} if head is None or head.is_whole else {"head": sorted(head.kept)}
    if KINDS[task.kind].is_two_tower:
        kept["vectors"] = modules_digest(read_modules(encoder))
    return kept | ({"tags": "of every word of a text"} if task.tags else {})


def _named(labels: Mapping[str, str] | None, teachers: Sequence[str]) -> dict[str, str]:
    """Returns what the names of a teacher's labels stand for; raises ConfigError where that is no mapping."""
    if labels is None:
        return {}
    if not isinstance(labels, Mapping) or not all(
        isinstance(x, str) for item in labels.items() for x in item
    ):
        raise wrong_type("teacher_labels", "a dict of names", labels)
    if labels and not teachers:
        raise ConfigError("names of a teacher's labels are of use only with a teacher; give --teacher")
    return dict(labels)


def _require_teachable(config: FinetuningConfig) -> None:
    """Raises ConfigError where a setting needs labels, and there are none."""
    for name, value in (
        ("balance", config.balance),
        ("distillation.recombined", config.distillation.recombined),
    ):
        if value:
            raise ConfigError(f"{name} needs labelled examples, and there are none; leave it at 0")


def _seed_result(job: Job, folder: StageDir, rate: float, seed: int) -> SeedResult:
    """Trains with one seed, unless an earlier call has finished that, and saves its model."""
    place = folder.path / "seeds" / str(seed)
    record = place / _FITTED
    if not _is_whole(place):
        title, kept = f"Fine-tuning {job.task.name}, seed {seed}", folder.path / "checkpoints" / str(seed)
        model, found = train_seed(job, title, rate, seed, kept=kept, logged=folder.path)
        with _saving(place), replacing(place) as new:
            save_task_model(model, job.tokenizer, job.task, new)
            write_json(new / _FITTED, dataclasses.asdict(found))
            write_json(new / _FILES, recorded_of(new))
        metrics = ", ".join(f"{name} {value:.1%}" for name, value in of_all(found.scores).items())
        console.print(
            f"seed {seed}: {metrics} after {found.steps:,} steps, {found.seconds:.0f} s", highlight=False
        )
    remedy = f"remove {record} to train this seed again"
    fitted: SeedResult = stored(SeedResult, record, remedy)
    with intact(record, remedy):
        require(job.task.metric in fitted.scores, f"it has no {job.task.metric}")
    return fitted


def _is_whole(place: Path) -> bool:
    """Returns whether the folder of a seed holds what was saved; one that is damaged is trained again."""
    if not (place / _FILES).exists():
        return False
    files = read_json(place / _FILES)
    fault = damage(place, files) if is_record(files) else f"{place / _FILES} was altered"
    if fault is not None:
        console.print(f"{fault}; this seed is trained again", highlight=False, markup=False, soft_wrap=True)
    return fault is None


def _keep_best(job: Job, folder: StageDir, fitted: dict[str, SeedResult], rate: float) -> FinetuneResult:
    """Copies the best seed's model to the folder itself, writes its predictions, and returns the results."""
    metric = job.task.metric
    best = max(fitted, key=lambda seed: fitted[seed].scores[metric])
    leave_out = shutil.ignore_patterns(_FITTED, _FILES)
    with _saving(folder.path):
        shutil.copytree(folder.path / "seeds" / best, folder.path, ignore=leave_out, dirs_exist_ok=True)
    model, _ = load_task_model(folder.path)
    with quantization_aware(model, job.config.plan):
        scores, _ = predict(model, job.dev.encoded)
        test = {} if job.test is None else examine(model, job.test)
    wanted = job.config.precision
    found = None if wanted is None else abstention(scores, job.dev, wanted)
    if found is not None:
        write_threshold(folder.path, found.min_probability)
    said = labels_from(job.task, scores, job.dev.encoded.slots, job.dev.encoded.groups)
    warning = always_the_same(job.task, job.dev.text_labels, said)
    words = text_words(job.data.dev.texts, job.tokenizer, job.positions) if job.task.tags else []
    write_predictions(folder.path / PREDICTIONS, job.dev, job.data.dev, words, said)
    shutil.rmtree(folder.path / "seeds")
    names = fitted[best].scores
    values = {name: [one.scores[name] for one in fitted.values()] for name in names}
    train, dev = len(job.train.encoded) - job.unlabelled, len(job.data.dev)
    return FinetuneResult(
        task=job.task,
        encoder=job.encoder,
        teacher=", ".join(teacher.name for teacher in job.teachers) or None,
        scores={seed: one.scores for seed, one in fitted.items()},
        mean={name: float(np.mean(found)) for name, found in values.items()},
        deviation={
            name: float(np.std(found, ddof=1)) if len(found) > 1 else 0.0 for name, found in values.items()
        },
        best_seed=best,
        rate=rate,
        parameters=parameter_count(model),
        weight_bytes=(folder.path / "model.safetensors").stat().st_size,
        examples={"train": train, "dev": dev, "unlabelled": job.unlabelled}
        | ({} if job.test is None else {"test": len(job.test.encoded)}),
        cut={"train": job.train.encoded.cut, "dev": job.dev.encoded.cut},
        seconds=sum(one.seconds for one in fitted.values()),
        quantization=job.config.quantization,
        origin=job.data.origin,
        test=test,
        warnings=(warning,) if warning else (),
        abstention=found,
    )


@contextlib.contextmanager
def _saving(folder: Path) -> Iterator[None]:
    """Turns a disk that does not take a model into one sentence."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the model cannot be saved in {folder} ({error}); make room, then run the same command again"
        ) from error
