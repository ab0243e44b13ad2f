"""The whole way from an encoder and a task to a fine-tuned folder: seeds, learning rates, what is kept."""

import contextlib
import dataclasses
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from tokenizers import Tokenizer

from lilliput.common.arguments import PathLike, Texts, renamed, text_of, texts_of as sources_of, wrong_type
from lilliput.common.files import read_json, write_json
from lilliput.common.folders import damage, is_record, record as recorded_of, replacing
from lilliput.common.progress import bar, console
from lilliput.common.settings import require
from lilliput.common.stage_dir import StageDir
from lilliput.common.stored import intact, stored
from lilliput.common.workers import keep_freed_memory
from lilliput.config import MOST_MINUTES
from lilliput.errors import ConfigError, InputError, StorageError, bounded
from lilliput.finetuning.config import FinetuningConfig
from lilliput.finetuning.encoded import Encoded, encode, label_array, labels_from, task_tokenizer
from lilliput.finetuning.fit import Fitted, fit, predict
from lilliput.finetuning.inputs import inputs_of, own_sources, require_whole_encoder, result_run
from lilliput.finetuning.lesson import Exam, Lesson
from lilliput.finetuning.model import TaskModel, find_head, load_encoder, load_task_model, save_task_model
from lilliput.finetuning.rates import suitable_rate
from lilliput.finetuning.results import PREDICTIONS, Finetuned, write_predictions
from lilliput.finetuning.targets import find_teacher, in_order, teacher_targets
from lilliput.finetuning.texts import more_texts, texts_from
from lilliput.finetuning.words import shortened, text_words
from lilliput.models.fake_quantization import quantization_aware
from lilliput.models.pretrained import checkpoint_digest, load_config, longest_input
from lilliput.models.student import parameter_count
from lilliput.run import RunDir
from lilliput.tasks.loading import task_of
from lilliput.tasks.metrics import of_all
from lilliput.tasks.tagged import in_bio
from lilliput.tasks.task import Examples, Task, TaskData

_MOST_SEEDS = 1000

_SEARCHED = (1.0, 0.4, 2.5)
"""Learning rates that are tried, times the one that suits."""
_FITTED, _FILES = "fitted.json", "files.json"
"""In the folder of a seed: how it went, and bytes and digests of the other files."""


@renamed(data="task", out="run")
def finetune(
    model: PathLike,
    task: PathLike | TaskData,
    run: PathLike | None = None,
    config: FinetuningConfig | None = None,
    *,
    teacher: PathLike | None = None,
    unlabelled: Texts = (),
    seeds: int = 1,
    search_minutes: float = 0.0,
    overwrite: bool = False,
) -> Finetuned:
    """Fine-tunes an encoder for a task, once for each seed, and keeps the best in `run`/finetuned/TASK.

    What is finished from the same inputs is not done again; an interrupted call goes on after the last
    finished seed. The folder is a plain transformers checkpoint.

    Args:
        model: A run with a finished student, or folder or hub name of a BERT encoder. The run's corpus gives
            more texts where `config.distillation` asks for them; without one `run` has to hold it.
        task: The task with its examples: a name or files, as `load_task` takes them, or what it returns.
        run: The run's folder, which takes the model; by default `model`, if that is a run.
        config: How to train; by default as the command line does.
        teacher: Folder of a teacher fine-tuned for the same task, or of a run that holds one.
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
    if unlabelled and teacher is None:
        raise ConfigError("unlabelled text is of use only with a teacher that labels it; give --teacher")
    config = FinetuningConfig() if config is None else config
    if not isinstance(config, FinetuningConfig):
        raise wrong_type("config", "a FinetuningConfig", config)
    model = text_of("model", model, "a run, or the folder or hub name of an encoder")
    source, out = RunDir(Path(model)), result_run(model, run)
    teacher = None if teacher is None else text_of("teacher", teacher, "the folder of a teacher or a run")
    unlabelled = sources_of("unlabelled", unlabelled)
    keep_freed_memory()
    data = in_bio(task_of(task))
    is_run = source.student.is_dir()
    encoder = str(source.student) if is_run else model
    require_whole_encoder(source, model)
    place = out.finetuned(data.task.name)
    taught_by = None if teacher is None else find_teacher(teacher, data.task)
    own, texts_of = own_sources(unlabelled, StageDir(place, {})), source if is_run else out
    inputs = inputs_of(encoder, data, config, taught_by, seeds, search_minutes) | _rules(encoder, data.task)
    if taught_by is not None:
        inputs |= texts_from(config.distillation, texts_of, own)
    folder = StageDir(place, inputs)
    if not folder.is_whole(overwrite):
        with folder.locked():
            if not folder.is_whole(overwrite):  # by a process that held the lock before
                positions = _positions(encoder, taught_by)
                data = dataclasses.replace(data, train=shortened(data.train, positions))
                more = None
                if taught_by is not None:
                    more = more_texts(data, config.distillation, texts_of, own, out.targets)
                    more = None if more is None else shortened(more, positions)
                work = _Work(encoder, data, config, taught_by, out.targets, more)
                _finetune(work, folder, seeds, search_minutes)
    folder.tidy()
    done: Finetuned = folder.read(Finetuned)
    return done


def _finetune(work: "_Work", folder: StageDir, seeds: int, search_minutes: float) -> None:
    """Fine-tunes with all seeds and keeps the best."""
    folder.begin()
    rate = _rate(work, folder, search_minutes)
    fitted = {str(seed): _fitted(work, folder, rate, seed) for seed in range(seeds)}
    results = _keep_best(work, folder, fitted, rate)
    if checkpoint_digest(work.encoder) != folder.made_from["encoder"]:
        raise StorageError(
            f"{work.encoder} was changed meanwhile, so seeds may have begun with different ones; add "
            "--overwrite to fine-tune again"
        )
    folder.finish(dataclasses.asdict(results))


def _rules(encoder: str, task: Task) -> dict[str, Any]:
    """Returns what else determines the result, where an earlier version did otherwise."""
    head = find_head(encoder, task)
    kept = {} if head is None or head.is_whole else {"head": sorted(head.kept)}
    return kept | ({"tags": "of every word of a text"} if task.tags else {})


def _positions(encoder: str, teacher: Path | None) -> int:
    """Returns the pieces that encoder and teacher both read: both are given the same of long texts."""
    names = [encoder, *([] if teacher is None else [str(teacher)])]
    return min(longest_input(load_config(name)) for name in names)


class _Work:
    """What all seeds share: the encoder's name, and the examples as it reads them."""

    def __init__(
        self,
        encoder: str,
        data: TaskData,
        config: FinetuningConfig,
        teacher: Path | None,
        targets: Path,
        more: Examples | None,
    ) -> None:
        self.encoder, self.data, self.config, self.teacher = encoder, data, config, teacher
        self.tokenizer: Tokenizer = task_tokenizer(encoder)
        self.positions = longest_input(load_config(encoder))
        self.task: Task = data.task
        self.unlabelled = 0 if more is None else len(more)
        examples = data.train if more is None else _together(data.train, more)
        encoded = self._encoded(examples)
        assert data.train.labels is not None
        assert data.dev.labels is not None
        labels = label_array(self.task, data.train.labels, encoded.given)
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
            soft = in_order(soft, teacher, self.task)
        self.lesson = Lesson(encoded, np.concatenate([labels, missing]), soft, states)
        self.exam = Exam(self.task, self._encoded(data.dev), data.dev.labels)
        if (head := find_head(encoder, self.task)) is not None:
            console.print(f"{encoder}: {head}", highlight=False, markup=False)
        if longer := encoded.cut + self.exam.encoded.cut:
            console.print(
                f"{longer:,} examples ({encoded.cut:,} to learn from, {self.exam.encoded.cut:,} to be scored "
                f"on) are longer than the encoder's {self.positions} positions; what is behind was cut off",
                highlight=False,
            )

    def _encoded(self, examples: Examples) -> Encoded:
        return encode(examples, self.task, self.tokenizer, self.positions)

    def train(self, name: str, rate: float, seed: int, seconds: float = math.inf) -> tuple[TaskModel, Fitted]:
        """Returns a model that has learnt the lesson, and how that went."""
        device = Accelerator().device
        model = load_encoder(self.encoder, self.task, self.config.dropout, seed).to(device)
        with bar(name, 1.0, counted=False) as progress:
            found = fit(
                model,
                self.lesson,
                self.exam,
                self.config,
                rate=rate,
                seed=seed,
                progress=progress,
                seconds=seconds,
            )
        return model, found


def _together(labelled: Examples, more: Examples) -> Examples:
    """Returns the texts of both, one after the other."""
    return Examples(labelled.texts + more.texts, labelled.pairs + more.pairs)


def _rate(work: _Work, folder: StageDir, minutes: float) -> float:
    """Returns the peak learning rate: the one that was set or, if there is time, found, or else suits."""
    if work.config.rate is not None:
        return work.config.rate
    width = load_config(work.encoder).hidden_size
    suits = suitable_rate(width, tags=bool(work.task.tags), taught=work.teacher is not None)
    if not minutes:
        return suits
    place = folder.path / "search.json"
    if not place.exists():
        found = {}
        for times in _SEARCHED:
            rate, seconds = suits * times, minutes * 60 / len(_SEARCHED)
            _, fitted = work.train(f"Trying rate {rate:.2g}", rate, seed=0, seconds=seconds)
            found[str(rate)] = fitted.scores[work.task.metric]
        write_json(place, found)
    remedy = f"remove {place} to search again"
    tried: dict[str, float] = stored(dict[str, float], place, remedy)
    with intact(place, remedy):
        best = max(tried, key=tried.__getitem__)
        require(0 < float(best) < 1, f"a rate cannot be {best}")
    shown = ", ".join(f"{float(rate):.2g}: {value:.1%}" for rate, value in tried.items())
    console.print(f"Learning rate {float(best):.2g} of {shown}", highlight=False)
    return float(best)


def _fitted(work: _Work, folder: StageDir, rate: float, seed: int) -> Fitted:
    """Trains with one seed, unless an earlier call has finished that, and saves its model."""
    place = folder.path / "seeds" / str(seed)
    record = place / _FITTED
    if not _is_whole(place):
        model, found = work.train(f"Fine-tuning {work.task.name}, seed {seed}", rate, seed)
        with _saving(place), replacing(place) as new:
            save_task_model(model, work.tokenizer, work.task, new)
            write_json(new / _FITTED, dataclasses.asdict(found))
            write_json(new / _FILES, recorded_of(new))
        metrics = ", ".join(f"{name} {value:.1%}" for name, value in of_all(found.scores).items())
        console.print(
            f"seed {seed}: {metrics} after {found.steps:,} steps, {found.seconds:.0f} s", highlight=False
        )
    remedy = f"remove {record} to train this seed again"
    fitted: Fitted = stored(Fitted, record, remedy)
    with intact(record, remedy):
        require(work.task.metric in fitted.scores, f"it has no {work.task.metric}")
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


def _keep_best(work: _Work, folder: StageDir, fitted: dict[str, Fitted], rate: float) -> Finetuned:
    """Copies the best seed's model to the folder itself, writes its predictions, and returns the results."""
    metric = work.task.metric
    best = max(fitted, key=lambda seed: fitted[seed].scores[metric])
    leave_out = shutil.ignore_patterns(_FITTED, _FILES)
    with _saving(folder.path):
        shutil.copytree(folder.path / "seeds" / best, folder.path, ignore=leave_out, dirs_exist_ok=True)
    model, _ = load_task_model(folder.path)
    with quantization_aware(model, work.config.plan):
        scores, _ = predict(model, work.exam.encoded)
    said = labels_from(work.task, scores, work.exam.encoded.slots)
    words = text_words(work.data.dev.texts, work.tokenizer, work.positions) if work.task.tags else []
    write_predictions(folder.path / PREDICTIONS, work.exam, work.data.dev, words, said)
    shutil.rmtree(folder.path / "seeds")
    names = fitted[best].scores
    values = {name: [one.scores[name] for one in fitted.values()] for name in names}
    train, dev = len(work.data.train), len(work.data.dev)
    return Finetuned(
        task=work.task,
        encoder=work.encoder,
        teacher=None if work.teacher is None else str(work.teacher),
        scores={seed: one.scores for seed, one in fitted.items()},
        mean={name: float(np.mean(found)) for name, found in values.items()},
        deviation={
            name: float(np.std(found, ddof=1)) if len(found) > 1 else 0.0 for name, found in values.items()
        },
        best_seed=best,
        rate=rate,
        parameters=parameter_count(model),
        weight_bytes=(folder.path / "model.safetensors").stat().st_size,
        examples={"train": train, "dev": dev, "unlabelled": work.unlabelled},
        cut={"train": work.lesson.encoded.cut, "dev": work.exam.encoded.cut},
        seconds=sum(one.seconds for one in fitted.values()),
        quantization=work.config.quantization,
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
