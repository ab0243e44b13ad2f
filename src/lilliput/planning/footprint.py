"""What a run takes of memory and of the disk, counted from shapes and the size of its text."""

import math
from dataclasses import dataclass

from lilliput.config import StageConfig
from lilliput.objectives import ObjectiveWeights
from lilliput.planning.cost import BertShape, ModelShapes, trained_matrices

_CORPUS_BYTES = 4
"""Per word: its id."""
_TYPE_BYTES = 60
"""Per word type: 17 in the corpus, spelling and count, 43 in the lexicon, both segmentations."""
_TYPE_TABLE_BYTES = 75
"""Per word type, what batches are made with, apart from what is on disk."""
_WORDS_PER_ROW, _ROW_BYTES = 90, 24
_GPU_STEP_COPIES = 2.0
"""Memory grows by what a step keeps for the backward pass, times this: gradients of the same size, and
gaps."""
_STEP_COPIES, _COPIES_PER_DOUBLING = 0.6, 0.28
"""The same for a process: gaps grow with the steps, as no two are of quite the same sizes. Measured as
resident memory in float32, for teacher and student of 4 to 64 rows: 1.3 times after 5 steps, 1.8 after 20,
2.2 after 60, 2.7 after 200; the same batch again and again leaves no gaps. So it is 0.6 + 0.28 log2(steps),
and beyond `_STEPS_MEASURED` no more."""
_STEPS_MEASURED = 1000
_WARM_START_WIDTHS = 21
"""Floats of the teacher's width that a warm start takes for each position of its sample, at its peak.
Measured: 19 to 22 for MiniLM's width and BERT_BASE's, with two to six layers."""
_WARM_START_ROWS = 128
_CHECKPOINTS = 3
"""Two are kept, one is being written."""


@dataclass(frozen=True)
class TextSize:
    """How large a text is."""

    words: int
    """Running words."""
    types: int
    """Different words."""

    @property
    def disk_bytes(self) -> int:
        """Its corpus and its lexicon on disk."""
        return _CORPUS_BYTES * self.words + _TYPE_BYTES * self.types

    @property
    def memory_bytes(self) -> int:
        """What a stage keeps of it in memory, most of it pages of the corpus, given back if need be."""
        rows = self.words // _WORDS_PER_ROW
        return self.disk_bytes + _TYPE_TABLE_BYTES * self.types + _ROW_BYTES * rows


@dataclass(frozen=True)
class Footprint:
    """Parameters and files of one stage."""

    stage: StageConfig
    """Says what is trained, and how."""
    teacher: BertShape
    """The teacher, with its own vocabulary."""
    student: BertShape
    """The student."""
    affine: bool
    """Whether the teacher's second table is affine."""

    @property
    def trained(self) -> int:
        """Parameters that are trained."""
        shapes = self.teacher, self.student
        return sum(trained_parameters(self.stage.objectives, *shapes, self.affine).values())

    @property
    def parameters(self) -> int:
        """Parameters in memory."""
        weights = self.stage.objectives
        frozen = weights.uses_teacher and not weights.trains_teacher
        return self.trained + frozen * teacher_parameters(self.teacher, self.student, self.affine)

    @property
    def moment_bytes(self) -> int:
        """The optimiser's state: two moments of every trained parameter, with Muon one of a matrix."""
        shapes = trained_matrices(self.stage.objectives, self.teacher, self.student, self.affine)
        matrices = sum(map(math.prod, shapes)) if self.stage.optimizer.name == "muon" else 0
        return 8 * self.trained - 4 * matrices

    @property
    def state_bytes(self) -> int:
        """Weights, gradients and the optimiser's state, all in float32."""
        return 4 * (self.parameters + self.trained) + self.moment_bytes

    @property
    def checkpoint_bytes(self) -> int:
        """One checkpoint; tied tables and head biases are in it twice, as they are in the models' state."""
        weights = self.stage.objectives
        tied = [self.teacher] * weights.uses_teacher + [self.student] * weights.trains_student
        twice = sum(shape.vocabulary * (shape.width + 1) for shape in tied)
        return 4 * (self.parameters + twice) + self.moment_bytes

    @property
    def model_bytes(self) -> int:
        """The models that the stage leaves."""
        weights = self.stage.objectives
        taught = weights.trains_teacher * teacher_parameters(self.teacher, self.student, self.affine)
        return 4 * (taught + weights.trains_student * self.student.parameters)

    @property
    def second_gradient_bytes(self) -> int:
        """Another gradient of the tables: one comes from the input and one from the head."""
        weights = self.stage.objectives
        trained = [self.teacher] * weights.trains_teacher + [self.student] * weights.trains_student
        return sum(4 * shape.vocabulary * shape.width for shape in trained)

    @property
    def warm_start_bytes(self) -> int:
        """What it takes to project the teacher to a student, the student's own weights left out."""
        positions = _WARM_START_ROWS * self.stage.batch.length
        table = teacher_parameters(self.teacher, self.student, self.affine)
        return 4 * (table + _WARM_START_WIDTHS * positions * self.teacher.width)

    def process_bytes(
        self, libraries: int, text: TextSize, kept_bytes: float, steps: int, warm_start: bool = False
    ) -> int:
        """Returns the memory of the process at its peak.

        Args:
            libraries: What it takes before the stage begins.
            text: What it reads.
            kept_bytes: What one part of a step keeps for the backward pass.
            steps: Steps that it takes.
            warm_start: Whether it begins with a student that is projected from the teacher.
        """
        doublings = math.log2(min(max(steps, 4), _STEPS_MEASURED))
        copies = _STEP_COPIES + _COPIES_PER_DOUBLING * doublings
        training = self.state_bytes + self.second_gradient_bytes + round(copies * kept_bytes)
        return libraries + text.memory_bytes + max(training, warm_start * self.warm_start_bytes)

    def gpu_bytes(self, kept_bytes: float) -> int:
        """Returns the memory of a GPU at its peak."""
        return self.state_bytes + round(_GPU_STEP_COPIES * kept_bytes)


def trained_parameters(
    weights: ObjectiveWeights, teacher: BertShape, student: BertShape, affine: bool = False
) -> dict[str, int]:
    """Returns the parameters that a stage trains, of "teacher", "student" and the "modules" of objectives."""
    found = {}
    if weights.trains_teacher:
        found["teacher"] = teacher_parameters(teacher, student, affine)
    if weights.trains_student:
        found["student"] = student.parameters
    models = ModelShapes(teacher, student, weights.trains_teacher)
    if added := sum(one.parameters(models) for one in weights.active):
        found["modules"] = added
    return found


def teacher_parameters(teacher: BertShape, student: BertShape, affine: bool = False) -> int:
    """Returns the parameters of a teacher with both vocabularies."""
    size, wide = student.vocabulary, teacher.width
    table = size * student.width + (student.width + 1) * wide if affine else size * wide
    return teacher.parameters + table + size


def run_disk_bytes(text: TextSize, stages: list[Footprint]) -> int:
    """Returns the size of a run's folder when it is largest."""
    there = text.disk_bytes
    largest = there + _CORPUS_BYTES * text.words  # each word also in the parts of which a corpus is merged
    for stage in stages:
        largest = max(largest, there + _CHECKPOINTS * stage.checkpoint_bytes + stage.model_bytes)
        there += stage.model_bytes
    return max(largest, there + 4 * stages[0].student.parameters)
