"""From a fine-tuned classifier and a pile of texts to a bundle that answers as the classifier does.

The pile gives the vocabulary, the classifier's own encoder the student's first weights, and its answers to
the pile all the rest; labels are used where there are some.
"""

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lilliput.common.arguments import PathLike, Texts, path_of, texts_of as sources_of, wrong_type
from lilliput.common.files import digest_value, write_json
from lilliput.common.progress import console
from lilliput.common.settings import replaced, require
from lilliput.common.sheet import Sheet
from lilliput.common.stage_dir import StageDir
from lilliput.comparison.differences import write_differences
from lilliput.config import MOST_MINUTES, LexiconConfig, StudentConfig
from lilliput.errors import ConfigError, ModelError, bounded
from lilliput.export.bundling import BundleResult, bundle
from lilliput.export.scoring import scores_of
from lilliput.finetuning.config import FinetuningConfig
from lilliput.finetuning.encoded import encode, task_tokenizer
from lilliput.finetuning.finetune import finetune
from lilliput.finetuning.job import answered
from lilliput.finetuning.results import FinetuneResult, read_predictions
from lilliput.finetuning.targets import teacher_targets
from lilliput.finetuning.taught import held_out
from lilliput.finetuning.teacher import TaskTeacher
from lilliput.finetuning.teachers import find_teacher, find_teachers
from lilliput.finetuning.texts import as_examples
from lilliput.finetuning.unlabelled.pile import TEXTS, draw, gather, texts_of
from lilliput.inference.bundle import load
from lilliput.models.any_masked_lm import outline
from lilliput.models.student import save_student
from lilliput.models.weights import weight_bytes
from lilliput.pieces.teacher_tokenizer import load_teacher_tokenizer
from lilliput.preparation import build_corpus, build_lexicon
from lilliput.run import RunDir
from lilliput.tasks.loading import task_of
from lilliput.tasks.metrics import agreement_metric, is_agreement, of_all
from lilliput.tasks.task import Task, TaskData
from lilliput.training.first_models import started_student

_MOST_READING = 0.4
"""Of the time the part in which teachers read."""
_LEAST_TRAINING = 0.2
"""Of the time the part that is left for training, whatever the rest takes."""
_PACED = 32, 256
"""Texts that the teacher reads so that its pace is known: to begin with, and to be timed."""


@dataclass(frozen=True)
class DistillConfig:
    """The student's vocabulary and shape, and how it learns."""

    lexicon: LexiconConfig = field(default_factory=LexiconConfig)
    """Its vocabulary."""
    student: StudentConfig = field(default_factory=lambda: StudentConfig(heads=6))
    """Its shape."""
    finetuning: FinetuningConfig = field(
        default_factory=lambda: FinetuningConfig(epochs=40.0, evaluations=10, patience=10)
    )
    """How it learns of its teachers; its `minutes` follow from those of the whole."""

    def __post_init__(self) -> None:
        require(self.finetuning.minutes is None, "finetuning.minutes follows from --minutes; leave it out")

    def replace(self, settings: dict[str, str]) -> "DistillConfig":
        """Returns a copy with settings replaced, as `--set` gives them: `{"student.width": "96"}`."""
        changed: DistillConfig = replaced(self, settings)
        return changed


@dataclass(frozen=True)
class Distillation:
    """What came of a distillation."""

    folder: Path
    """The bundle's folder."""
    bundle: BundleResult
    """Its files, and its scores: on the labels, or without labels its agreement with the teachers."""
    model: FinetuneResult
    """What the student learnt, before it was bundled."""
    agreement: dict[str, float]
    """How often the bundle answers as its teachers do."""
    teacher_bytes: int
    """Size of the first teacher's weights on disk."""
    seconds: float
    """Time this call took."""

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.1%}" for name, value in of_all(self.agreement).items())
        return f"<Distillation in {self.folder}: {self.bundle.total:,} bytes, {scores}>"


def distill(
    classifier: Texts,
    texts: Texts,
    run: PathLike,
    *,
    minutes: float = 15.0,
    corpus: Texts = (),
    task: PathLike | TaskData | None = None,
    teacher_labels: Mapping[str, str] | None = None,
    config: DistillConfig | None = None,
    text_column: str = "text",
    overwrite: bool = False,
) -> Distillation:
    """Makes a bundle that answers as a classifier does, in `run`/bundle.

    What is finished from the same inputs is not done again; an interrupted call goes on where it was.

    Args:
        classifier: Folder or hub name of a fine-tuned encoder with a head for texts or words. Of several the
            answers are averaged; the first one's encoder gives the student's first weights.
        texts: Texts such as those that will be asked, without labels: files with one to a line, tables, data
            sets. At most a million are read.
        run: The run's folder.
        minutes: Minutes of all of it, about. Where reading all texts would take more than 40 % of them, some
            are drawn; training has the rest.
        corpus: More text to learn the vocabulary from.
        task: Labelled examples of the same task, where there are some.
        teacher_labels: For names of the classifier's labels those of the task, where they differ.
        config: Vocabulary, shape, and how to train.
        text_column: Which column of tables and data sets holds the text.
        overwrite: Whether what was made from other inputs is made anew.

    Raises:
        ModelError: If the classifier cannot be used.
        InputError: If there are too few texts.
        StorageError: If `run` holds something else or cannot be written.
    """
    started, place = time.monotonic(), RunDir(path_of("run", run))
    minutes = bounded("--minutes", minutes, 0.0, MOST_MINUTES, 0.0)
    config = DistillConfig() if config is None else config
    if not isinstance(config, DistillConfig):
        raise wrong_type("config", "a DistillConfig", config)
    names, more = sources_of("classifier", classifier), sources_of("corpus", corpus)
    if not names:
        raise ConfigError("no classifier was named; give the folder or hub name of one")
    data = None if task is None else task_of(task)
    teacher = find_teacher(names[0], None if data is None else data.task.name, teacher_labels)
    _require_start(teacher)
    pile = gather(place.path / "texts", sources_of("texts", texts), text_column, overwrite=overwrite)
    if data is None:
        held_out(texts_of(pile))  # refuses too few before anything is made of them
    build_corpus(
        [str(pile.path / TEXTS), *more], teacher.name, place, text_column=text_column, overwrite=overwrite
    )
    lexicon = build_lexicon(place, teacher.name, config.lexicon, overwrite=overwrite)
    console.print(lexicon.report.describe(config.student.width), highlight=False)
    learnt = teacher.taught_task(None) if data is None else data.task
    start = _start(place, teacher, learnt, config.student, pile, overwrite)
    chosen, left = _within(minutes, start, pile, len(names), overwrite)
    tuned = finetune(
        start.path / "student",
        data,
        place,
        dataclasses.replace(config.finetuning, minutes=left),
        teacher=names,
        teacher_labels=teacher_labels,
        unlabelled=str(chosen),
        overwrite=overwrite,
    )
    out = place.path / "bundle"
    made = bundle(place, out, task=tuned.task.name)
    agreed = made.scores if data is None else _agreement(out, place, data, names, teacher_labels)
    if data is None:
        _write_differences(place, tuned.task, teacher.name)
    result = Distillation(out, made, tuned, agreed, weight_bytes(teacher.name), time.monotonic() - started)
    write_json(place.path / "distillation.json", _record(result))
    return result


def _require_start(teacher: TaskTeacher) -> None:
    """Raises ModelError where a student cannot begin with the weights of a teacher's encoder."""
    try:
        outline(teacher.name)
        load_teacher_tokenizer(teacher.name)
    except ModelError as error:
        raise ModelError(
            f"a student cannot begin with the weights of {teacher.name}: {error}. It can teach one that "
            "begins elsewhere: make that of any BERT with `lilliput compress`, then lilliput finetune RUN "
            f"--teacher {teacher.name} --unlabelled TEXTS"
        ) from error


def _start(
    run: RunDir, teacher: TaskTeacher, task: Task, shape: StudentConfig, pile: StageDir, overwrite: bool
) -> StageDir:
    """Makes the student that begins to learn, unless it is there; records the time and the teacher's pace."""
    made_from = {
        "teacher": teacher.digest,
        "lexicon": digest_value(StageDir(run.lexicon, {}).files()),
        "student": dataclasses.asdict(shape),
    }
    stage = StageDir(run.training("start"), made_from)

    def build() -> dict[str, float]:
        started, folder = time.monotonic(), stage.path / "student"
        console.print(f"The student begins with the weights of {teacher.name}", highlight=False)
        model = started_student(run, teacher.name, shape)
        save_student(model, task_tokenizer(str(run.lexicon / "tokenizer")), folder)
        pace = _pace(teacher, task, folder, texts_of(pile))
        return {"seconds": time.monotonic() - started, "texts_per_second": pace}

    return stage.make(build, overwrite)


def _pace(teacher: TaskTeacher, task: Task, encoder: Path, texts: Sequence[str]) -> float:
    """Returns how many texts a second a teacher reads."""
    seconds = []
    for count in _PACED:
        examples = as_examples(texts[:count], task)
        encoded = encode(examples, task, task_tokenizer(str(encoder)), teacher.positions)
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            teacher_targets(teacher, examples, encoded, task, Path(folder), states=True)
            seconds.append(time.monotonic() - started)
    first, last = (min(count, len(texts)) for count in _PACED)
    return (last - first or last) / max(seconds[1] - (seconds[0] if last > first else 0), 1e-3)


def _within(
    minutes: float, start: StageDir, pile: StageDir, teachers: int, overwrite: bool
) -> tuple[Path, float]:
    """Returns the file of the texts that teachers read, and the minutes left for training."""
    told, count = start.results(), pile.results()["texts"]
    pace = told["texts_per_second"] / teachers
    most = int(_MOST_READING * 60 * minutes * pace)
    if count <= most:
        return pile.path / TEXTS, _left(minutes, told["seconds"] + count / pace)
    console.print(
        f"Teachers read some {pace:,.0f} texts a second, so in this time they read {most:,} of {count:,}, "
        "drawn at random; with more minutes they read more",
        highlight=False,
        soft_wrap=True,
    )
    drawn = draw(pile, pile.path.with_name("drawn"), most, overwrite=overwrite)
    return drawn.path / TEXTS, _left(minutes, told["seconds"] + most / pace)


def _left(minutes: float, seconds: float) -> float:
    """Returns the minutes for training, where the rest takes some seconds."""
    return max(minutes - seconds / 60, _LEAST_TRAINING * minutes)


def _agreement(
    bundle_folder: Path,
    run: RunDir,
    data: TaskData,
    names: Sequence[str],
    named: Mapping[str, str] | None,
) -> dict[str, float]:
    """Returns how often a bundle answers the dev examples as the teachers do."""
    opened, teachers = load(bundle_folder), find_teachers(names, data, named or {})
    tokenizer = task_tokenizer(str(bundle_folder))
    examples = answered(teachers, data.dev, data.task, tokenizer, opened.config.positions, run.targets)
    task = dataclasses.replace(data.task, metric=agreement_metric(data.task.metric))
    return scores_of(opened, task, examples)


def _write_differences(run: RunDir, task: Task, teacher: str) -> None:
    """Writes the held-out texts on which student and teacher differ."""
    lines = read_predictions(run.finetuned(task.name), task)
    theirs = [{**line, "predicted": line["gold"]} for line in lines]
    write_differences(run.path / "differences.md", task, ("student", lines), (Path(teacher).name, theirs))


def _record(result: Distillation) -> dict[str, Any]:
    """Returns what is kept of a result, as JSON values."""
    return {
        "task": dataclasses.asdict(result.model.task),
        "bundle_bytes": result.bundle.total,
        "teacher_bytes": result.teacher_bytes,
        "scores": result.bundle.scores,
        "agreement": result.agreement,
        "examples": result.model.examples,
        "seconds": result.seconds,
    }


def render(result: Distillation) -> Sheet:
    """Returns the result as a table."""
    made, tuned = result.bundle, result.model
    rows = [
        ("bundle, bytes", f"{made.total:,}"),
        ("teacher's weights, bytes", f"{result.teacher_bytes:,}"),
        ("  smaller", f"{result.teacher_bytes / made.total:.1f}x"),
        ("texts learnt from", f"{tuned.examples['train'] + tuned.examples['unlabelled']:,}"),
        ("texts held out", f"{tuned.examples['dev']:,}"),
        *((f"{name}, as the teacher", f"{value:.1%}") for name, value in of_all(result.agreement).items()),
    ]
    if not is_agreement(tuned.task):
        rows += [(f"{name}, by labels", f"{value:.1%}") for name, value in of_all(made.scores).items()]
    rows.append(("minutes, this call", f"{result.seconds / 60:.1f}"))
    title = f"{tuned.task.name}: scores are of the bundle's own file"
    return Sheet(("", "student"), rows, title=title, caption=str(tuned.abstention or ""))
