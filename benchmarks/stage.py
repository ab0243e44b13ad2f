"""What a benchmark of training measures: a stage, with the same batches for every way to take its steps."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedConfig

from lilliput.config import Recipe, StageConfig
from lilliput.errors import ConfigError, nearest
from lilliput.models.pretrained import config_of, load_config
from lilliput.models.shape import EncoderShape
from lilliput.models.student import student_config
from lilliput.planning.cost import SHAPES
from lilliput.run import RunDir
from lilliput.training.batches import Batch, BatchSource
from lilliput.training.data import Data, check_student


@dataclass(frozen=True)
class BenchmarkStage:
    """One stage of a recipe, on a run's text, with models of the right shapes.

    The models have random weights, as the time that a step takes does not depend on them.
    """

    run: RunDir
    """Where corpus and lexicon are."""
    recipe: Recipe
    """Gives the student's shape."""
    stage: StageConfig
    """Gives objectives, batches and optimiser."""
    teacher: str
    """Folder or hub name of the teacher."""
    shape: str | None = None
    """Name of another shape for the teacher, one of `cost.SHAPES`."""

    def data(self) -> Data:
        """Opens corpus and lexicon."""
        return Data.open(self.run, self.stage.batch.length, self.recipe.student.positions)

    def source(self, data: Data) -> BatchSource:
        """Returns the stage's batches."""
        return data.source(self.stage, (self.recipe.seed,))

    def configs(self, data: Data) -> tuple[PreTrainedConfig, PreTrainedConfig]:
        """Returns the teacher's and the student's config; raises ConfigError where they do not fit."""
        teacher = load_config(self.teacher)
        if self.shape is not None:
            if self.shape not in SHAPES:
                raise ConfigError(f"no shape is called '{self.shape}'; {nearest(self.shape, SHAPES)}")
            teacher = config_of(SHAPES[self.shape])
        check_student(self.recipe.student, EncoderShape.of_config(teacher))
        lexicon = data.lexicon
        teacher.vocab_size = lexicon.teacher_size
        return teacher, student_config(self.recipe.student, lexicon.student_size, lexicon.student_special)


def parts_of(source: BatchSource, index: int) -> list[Batch]:
    """Returns all parts of a batch."""
    parts = source.config.accumulation
    return [source.batch(index, part, parts) for part in range(parts)]


def words_of(batches: Sequence[Batch]) -> int:
    """Returns the running words of some batches."""
    return sum(batch.words for batch in batches)
