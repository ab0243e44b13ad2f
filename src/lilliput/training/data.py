"""What a training stage begins with: its data, its budget, models from earlier stages or first weights."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lilliput.common.folders import MANIFEST, content, read_manifest
from lilliput.common.stage_dir import StageDir
from lilliput.config import Recipe, StageConfig
from lilliput.errors import ConfigError, ModelError, StorageError
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.pretrained import checkpoint_digest, load_config, load_masked_lm
from lilliput.models.shape import EncoderShape
from lilliput.models.student import load_student, random_student, student_config
from lilliput.models.teacher import AffineTable, Teacher, build_teacher
from lilliput.models.warm_start import warm_start
from lilliput.pieces.lexicon import Lexicon
from lilliput.pieces.teacher_tokenizer import spell
from lilliput.run import TRAIN_AGAIN, RunDir
from lilliput.text.corpus import Corpus
from lilliput.training.batches import BatchSource
from lilliput.training.rows import Rows, cut_rows
from lilliput.training.step import Trainees

_SAMPLE_ROWS = 128
"""Rows of text on which a warm start measures the teacher."""
_SAMPLE_SLACK = 8
"""A sample's rows are cut to one length, this much below the longest possible."""


@dataclass(frozen=True)
class Data:
    """What a stage trains on and is evaluated on."""

    lexicon: Lexicon
    train: Rows
    held_out_lexicon: Lexicon
    held_out: Rows

    @classmethod
    def open(cls, run: RunDir, length: int, positions: int) -> "Data":
        """Opens a run's corpus and lexicon.

        Held out is the run's separate text, or else documents of the corpus. It is cut into rows of all the
        student's `positions`, so that stages of different `length` are evaluated on the same.
        """
        lexicon = Lexicon.open(run.lexicon)
        if run.held_out("lexicon").exists():
            train, _ = cut_rows(Corpus.open(run.corpus), lexicon, length, hold_out=False)
            other = Lexicon.open(run.held_out("lexicon"))
            held_out, _ = cut_rows(Corpus.open(run.held_out("corpus")), other, positions, hold_out=False)
            return cls(lexicon, train, other, held_out)
        train, held_out = cut_rows(Corpus.open(run.corpus), lexicon, length, hold_out=True)
        if length != positions:
            _, held_out = cut_rows(Corpus.open(run.corpus), lexicon, positions, hold_out=True)
        return cls(lexicon, train, lexicon, held_out)

    def source(self, stage: StageConfig, seed: tuple[int, ...]) -> BatchSource:
        """Returns a stage's batches, for the models that its objectives let read."""
        teacher, student = stage.objectives.reads_teacher, stage.objectives.trains_student
        return BatchSource(self.train, self.lexicon, stage.batch, seed, teacher=teacher, student=student)


def stage_inputs(run: RunDir, recipe: Recipe, stage: StageConfig, teacher: str) -> dict[str, Any]:
    """Returns what determines a stage's result: settings, and digests of what it reads."""
    check_student(recipe, EncoderShape.of_config(load_config(teacher)))
    lexicons = {"lexicon": run.lexicon, "held_out": run.held_out("lexicon")}
    earlier = {name: _earlier(run, recipe, stage, name) for name in ("teacher", "student")}
    inputs: dict[str, Any] = {
        "stage": {key: value for key, value in dataclasses.asdict(stage).items() if key != "share"},
        "budget": stage_budget(recipe, stage),
        "seed": recipe.seed,
        "teacher": checkpoint_digest(teacher),
        **{name: _digest(path) for name, path in lexicons.items() if path.exists()},
        **{
            f"earlier_{name}": content(path.parent, name)
            for name, path in earlier.items()
            if path is not None
        },
    }
    if stage.objectives.uses_teacher:
        inputs["second_table"] = recipe.start.second_table
    if stage.objectives.trains_student:
        inputs["start"] = recipe.start.student
    if stage.objectives.trains_student or recipe.start.second_table == "affine":
        inputs["student"] = dataclasses.asdict(recipe.student)
    return inputs


def check_sources(run: RunDir, recipe: Recipe, stage: StageConfig) -> None:
    """Raises StorageError where something that a stage begins with is not what was saved, bit by bit."""
    for corpus in (run.corpus, run.held_out("corpus")):
        if corpus.exists():
            Corpus.open(corpus, whole=True)
    for lexicon in (run.lexicon, run.held_out("lexicon")):
        if lexicon.exists():
            Lexicon.open(lexicon)
    for name in ("teacher", "student"):
        earlier = _earlier(run, recipe, stage, name)
        if earlier is not None:
            StageDir(earlier.parent, {}).require_whole(TRAIN_AGAIN, name)


def stage_budget(recipe: Recipe, stage: StageConfig) -> dict[str, float]:
    """Returns the stage's own budget, in words or in minutes."""
    budgets = {"words": recipe.budget.words, "minutes": recipe.budget.minutes}
    return {unit: amount * stage.share for unit, amount in budgets.items() if amount is not None}


def check_student(recipe: Recipe, teacher: EncoderShape) -> None:
    """Raises ConfigError when the recipe's student is larger than the teacher along any axis."""
    ours = recipe.student
    for name, mine, limit in (
        ("width", ours.width, teacher.width),
        ("layers", ours.layers, teacher.layers),
        ("feed_forward", ours.feed_forward, teacher.feed_forward),
        ("positions", ours.positions, teacher.positions),
    ):
        if mine > limit:
            raise ConfigError(
                f"the student is larger than its teacher: student.{name} is {mine}, the teacher has {limit}; "
                f"set student.{name} to {limit} or less, or take a larger teacher"
            )


def first_models(
    run: RunDir,
    recipe: Recipe,
    stage: StageConfig,
    teacher: str,
    lexicon: Lexicon,
    source: BatchSource,
    fit: bool,
) -> Trainees:
    """Returns the models a stage begins with.

    Args:
        run: Where earlier stages saved theirs.
        recipe: The recipe of the run.
        stage: The stage to begin.
        teacher: Folder or hub name of the original teacher.
        lexicon: The run's lexicon.
        source: The stage's batches, of which a warm start takes a sample.
        fit: Whether to compute first weights; not needed where a checkpoint will replace them.
    """
    weights = stage.objectives
    earlier_student = _earlier(run, recipe, stage, "student")
    starts_student = weights.trains_student and earlier_student is None
    starts_from_teacher = recipe.start.student == "teacher" or recipe.start.second_table == "affine"
    with_tables = (
        _first_teacher(run, recipe, stage, teacher, lexicon)
        if weights.uses_teacher or (starts_student and starts_from_teacher)
        else None
    )
    student: PreTrainedModel | None = None
    if earlier_student is not None and weights.trains_student:
        student = load_student(earlier_student)
    elif weights.trains_student:
        student = _first_student(
            recipe, with_tables, lexicon, source, warm=fit and recipe.start.student == "teacher"
        )
    trainees = Trainees(with_tables if weights.uses_teacher else None, student, weights)
    if fit and recipe.start.student == "teacher":
        trainees.fit_projections()
    return trainees


def _earlier(run: RunDir, recipe: Recipe, stage: StageConfig, model: str) -> Path | None:
    """Returns the folder of the model from the last stage before this one that trained it, if any did."""
    found = None
    for before in recipe.stages[: recipe.stages.index(stage)]:
        if not (run.training(before.name) / "manifest.json").exists():
            raise StorageError(
                f"stage '{before.name}' comes before '{stage.name}' and is not finished in {run.path}; train "
                f"it first with `lilliput train --stage {before.name}`"
            )
        trained = before.objectives.trains_teacher if model == "teacher" else before.objectives.trains_student
        found = run.training(before.name) / model if trained else found
    return found


def _digest(folder: Path) -> str:
    """Returns the digest in a finished stage's manifest."""
    digest: str = read_manifest(folder / MANIFEST)["digest"]
    return digest


def _first_teacher(
    run: RunDir, recipe: Recipe, stage: StageConfig, teacher: str, lexicon: Lexicon
) -> Teacher:
    """Returns the teacher of the last stage that trained it, or the original one with a new second table."""
    earlier = _earlier(run, recipe, stage, "teacher")
    if earlier is not None:
        return Teacher.load(earlier)
    model, has_head = load_masked_lm(teacher)
    if lexicon.teacher_size > model.config.vocab_size:
        raise ModelError(
            f"the teacher's tokenizer has {lexicon.teacher_size} pieces but its model embeds "
            f"{model.config.vocab_size}; give a checkpoint whose tokenizer and model belong together"
        )
    model.resize_token_embeddings(lexicon.teacher_size)  # takes off rows that pad a table and are no pieces
    if not has_head and not recipe.stages[0].objectives.trains_teacher:
        raise ConfigError(
            f"the teacher '{teacher}' has no masked-LM head and the first stage of recipe '{recipe.name}' "
            "does not train it; begin with a stage that has objectives.teacher_masked_lm"
        )
    pieces = spell(lexicon.student_tokenizer().get_vocab(), lexicon.teacher_tokenizer())
    return build_teacher(model, pieces, recipe.start.second_table, recipe.student.width, recipe.seed)


def _first_student(
    recipe: Recipe, teacher: Teacher | None, lexicon: Lexicon, source: BatchSource, warm: bool
) -> PreTrainedModel:
    """Returns a student with its first weights; random ones need no teacher but for its affine table."""
    config = student_config(recipe.student, lexicon.student_size, lexicon.student_special)
    if warm:
        assert teacher is not None
        return warm_start(teacher, config, _sample(source), mask=lexicon.student_special.mask)
    student = random_student(config, recipe.seed)
    if teacher is not None and isinstance(teacher.second, AffineTable):
        with torch.no_grad():
            MaskedLM(student).table.copy_(teacher.second.weight)
    return student


def _sample(source: BatchSource) -> Tensor:
    """Returns masked text in the student's segmentation, [128, L] or as much as there is, without padding."""
    length = source.config.length - _SAMPLE_SLACK
    rows: list[Tensor] = []
    for step in range(-(-4 * _SAMPLE_ROWS // source.config.rows)):
        reading = source.batch(step).student
        pieces, padding = reading.pieces, reading.padding
        full = torch.ones(len(pieces), dtype=torch.bool) if padding is None else (~padding).sum(1) >= length
        if pieces.shape[1] >= length:
            rows.append(pieces[full, :length])
    if not sum(map(len, rows)):
        raise ConfigError(
            f"no stretch of the corpus fills {length} pieces, so the warm start has nothing to measure on; "
            "lower batch.length"
        )
    return torch.cat(rows)[:_SAMPLE_ROWS]
