"""The models a training stage begins with: from the stages before it, from a checkpoint, or first weights."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from lilliput.config import BatchConfig, Recipe, StageConfig, StudentConfig
from lilliput.errors import ConfigError, ModelError
from lilliput.models.any_masked_lm import open_masked_lm, outline
from lilliput.models.blocks import has_blocks
from lilliput.models.fitted_start import fitted_start
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.student import load_student, random_student, student_config
from lilliput.models.teacher import AffineTable, Teacher, build_teacher
from lilliput.models.warm_start import warm_start
from lilliput.pieces.lexicon import Lexicon
from lilliput.run import RunDir
from lilliput.text.corpus import Corpus
from lilliput.training.batches import Batch, BatchSource
from lilliput.training.data import check_student, earlier_model
from lilliput.training.rows import cut_rows
from lilliput.training.step import DualModel

_SAMPLE_ROWS = 128
"""Rows of text on which a warm start measures the teacher."""
_SAMPLE_SLACK = 8
"""A sample's rows are cut to one length, this much below the longest possible."""


def first_models(
    run: RunDir,
    recipe: Recipe,
    stage: StageConfig,
    teacher: str,
    lexicon: Lexicon,
    source: BatchSource,
    fit: bool,
    texts: Sequence[Batch] = (),
) -> DualModel:
    """Returns the models a stage begins with.

    Args:
        run: Where earlier stages saved theirs.
        recipe: The recipe of the run.
        stage: The stage to begin.
        teacher: Folder or hub name of the original teacher.
        lexicon: The run's lexicon.
        source: The stage's batches, of which a warm start takes a sample.
        fit: Whether to compute first weights; not needed where a checkpoint will replace them.
        texts: Some batches of the texts that the teacher has read, for a stage that learns of these.
    """
    weights = stage.objectives
    earlier_student = earlier_model(run, recipe, stage, "student")
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
    models = DualModel(with_tables if weights.uses_teacher else None, student, weights, texts)
    if fit and recipe.start.student == "teacher":
        models.fit_modules()
    return models


def _first_teacher(
    run: RunDir, recipe: Recipe, stage: StageConfig, teacher: str, lexicon: Lexicon
) -> Teacher:
    """Returns the teacher of the last stage that trained it, or the original one with a new second table."""
    earlier = earlier_model(run, recipe, stage, "teacher")
    if earlier is not None:
        return Teacher.load(earlier)
    model, has_head = _original(teacher, lexicon)
    first = recipe.stages[0].objectives
    if not (has_head or first.trains_teacher or first.reads_sentences):
        raise ConfigError(
            f"the teacher '{teacher}' has no masked-LM head and the first stage of recipe '{recipe.name}' "
            "does not train it; begin with a stage that has objectives.teacher_masked_lm"
        )
    second_table, width = recipe.start.second_table, recipe.student.width
    return build_teacher(model, _second_pieces(lexicon), second_table, width, recipe.seed)


def _original(teacher: str, lexicon: Lexicon) -> tuple[PreTrainedModel, bool]:
    """Loads a teacher that nothing has trained yet, and says whether it came with its masked-LM head."""
    model, has_head = open_masked_lm(teacher)
    if lexicon.teacher_size > model.config.vocab_size:
        raise ModelError(
            f"the teacher's tokenizer has {lexicon.teacher_size} pieces but its model embeds "
            f"{model.config.vocab_size}; give a checkpoint whose tokenizer and model belong together"
        )
    model.resize_token_embeddings(lexicon.teacher_size)  # takes off rows that pad a table and are no pieces
    return model, has_head


def _second_pieces(lexicon: Lexicon) -> list[list[int]]:
    """Returns each of the student's pieces as the teacher's."""
    return lexicon.teacher_tokenizer().spell(lexicon.student_tokenizer())


def started_student(run: RunDir, encoder: str, shape: StudentConfig) -> PreTrainedModel:
    """Returns a student as the warm start makes it of an encoder, without any training.

    Args:
        run: Has the corpus, a sample of which is measured on, and its lexicon.
        encoder: Folder or hub name of an encoder, whatever head it has.
        shape: The student's.

    Raises:
        ConfigError: If the student is larger than the encoder, or the corpus is too short.
    """
    check_student(shape, outline(encoder).shape)
    lexicon, corpus = Lexicon.open(run.lexicon), Corpus.open(run.corpus, whole=True)
    rows, _ = cut_rows(corpus, lexicon, shape.positions, hold_out=False)
    reading = BatchConfig(length=shape.positions)
    source = BatchSource(rows, lexicon, reading, (0,), teacher=False, student=True)
    model, _ = _original(encoder, lexicon)
    teacher = build_teacher(model, _second_pieces(lexicon), "pieces", shape.width, seed=0)
    config = student_config(shape, lexicon.student_size, lexicon.student_special)
    return _started(teacher, config, _sample(source), lexicon.student_special.mask)


def _started(teacher: Teacher, config: PreTrainedConfig, sample: Tensor, mask: int) -> PreTrainedModel:
    """Returns a student that starts from its teacher: from its matrices, or from what it computes alone."""
    start = warm_start if has_blocks(teacher.config) else fitted_start
    return start(teacher, config, sample, mask=mask)


def _first_student(
    recipe: Recipe, teacher: Teacher | None, lexicon: Lexicon, source: BatchSource, warm: bool
) -> PreTrainedModel:
    """Returns a student with its first weights; random ones need no teacher but for its affine table."""
    config = student_config(recipe.student, lexicon.student_size, lexicon.student_special)
    if warm:
        assert teacher is not None
        return _started(teacher, config, _sample(source), lexicon.student_special.mask)
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
