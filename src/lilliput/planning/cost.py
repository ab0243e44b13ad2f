"""What training costs, counted from shapes alone: operations, and parameters (`footprint`: bytes).

Operations are those of matrix products, a multiplication and an addition counted as two; tests hold them
equal to what torch's FlopCounterMode counts in `step.DualModel`. The rest of a step only moves bytes.

Shape letters: B rows, L length, D width, N predicted pieces, V vocabulary, K variables of one shape,
R rows and C columns of a projection's source, r rows and c columns of its target.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lilliput.models.shape import EncoderShape, filled_up
from lilliput.objectives import ObjectiveWeights, Operations

if TYPE_CHECKING:
    from lilliput.training.batches import Batch

SHAPES = {
    "bert-base": EncoderShape(12, 768, 12, 3072, 512, 30522),
    "bert-large": EncoderShape(24, 1024, 16, 4096, 512, 30522),
    "minilm-6": EncoderShape(6, 384, 12, 1536, 512, 30522),
    "minilm-12": EncoderShape(12, 384, 12, 1536, 512, 30522),
}
"""Teachers that can be planned with by their shape alone."""


@dataclass(frozen=True)
class BatchShape:
    """The sizes of one part of a step."""

    rows: int
    """Sequences."""
    teacher_length: int
    """Pieces per sequence as the teacher reads it, padding included."""
    student_length: int
    """Pieces per sequence as the student reads it, padding included."""
    predicted_own: int
    """Pieces that the teacher predicts over its own vocabulary."""
    predicted_second: int
    """Pieces that the teacher predicts over the student's vocabulary."""
    predicted_student: int
    """Pieces that the student predicts."""

    @classmethod
    def of(cls, batch: "Batch") -> "BatchShape":
        """Returns the sizes of a batch that both models read."""
        rows, teacher_length = batch.teacher.pieces.shape
        second = int(batch.aligned.sum())
        return cls(
            rows=rows,
            teacher_length=teacher_length,
            student_length=batch.student.pieces.shape[1],
            predicted_own=len(batch.teacher.targets) - second,
            predicted_second=second,
            predicted_student=len(batch.student.targets),
        )


@dataclass(frozen=True)
class ModelShapes:
    """The models of a stage, of which objectives count what they cost."""

    teacher: EncoderShape
    """The teacher, with its own vocabulary."""
    student: EncoderShape
    """The student."""
    trains_teacher: bool
    """Whether gradients flow into the teacher."""

    def variables(self) -> Counter[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Returns how many variables the models share of each pair of shapes, the teacher's first."""
        ours = self.student
        cut = dataclasses.replace(
            self.teacher, layers=ours.layers, positions=ours.positions, vocabulary=ours.vocabulary
        )
        return Counter(zip(cut.variables(), ours.variables(), strict=True))


def _product(operations: int, trained: bool) -> Operations:
    """Returns the operations of a product of that many; backward it comes twice, once for either factor."""
    return Operations(operations, 2 * operations if trained else 0)


def encoder_operations(
    shape: EncoderShape, rows: int, length: int, predicted: int, trained: bool = True
) -> Operations:
    """Returns the operations of an encoder.

    Args:
        shape: The encoder's.
        rows: Sequences that it reads.
        length: Pieces of each.
        predicted: Pieces whose last states are wanted: the last layer computes no others after attention.
        trained: Whether gradients flow.
    """
    inputs, attention = 3 * shape.width**2, 2 * length * shape.width
    outputs = shape.width**2 + 2 * shape.width * shape.feed_forward
    of_all = shape.layers * (inputs + attention) + (shape.layers - 1) * outputs
    return _product(2 * (rows * length * of_all + filled_up(predicted) * outputs), trained)


def head_operations(
    width: int, predicted: int, scored: Sequence[tuple[int, int]], trained: bool = True
) -> Operations:
    """Returns the operations of a masked-LM head.

    Args:
        width: The model's.
        predicted: Pieces that go through the transform.
        scored: Pieces that are scored over a vocabulary, and the size of that, for each vocabulary.
        trained: Whether gradients flow.
    """
    columns = filled_up(predicted) * width + sum(filled_up(pieces) * size for pieces, size in scored)
    return _product(2 * width * columns, trained)


def teacher_operations(models: ModelShapes, batch: BatchShape) -> dict[str, Operations]:
    """Returns the operations of the teacher's reading, encoder and heads."""
    trained, width = models.trains_teacher, models.teacher.width
    scored = [(batch.predicted_second, models.student.vocabulary)]
    if trained:
        scored.append((batch.predicted_own, models.teacher.vocabulary))
    predicted = batch.predicted_own + batch.predicted_second
    return {
        "teacher": encoder_operations(models.teacher, batch.rows, batch.teacher_length, predicted, trained),
        "teacher_heads": head_operations(width, predicted, scored, trained),
    }


def student_operations(student: EncoderShape, batch: BatchShape) -> dict[str, Operations]:
    """Returns the operations of the student's reading, encoder and head."""
    scored = [(batch.predicted_student, student.vocabulary)]
    return {
        "student": encoder_operations(student, batch.rows, batch.student_length, batch.predicted_student),
        "student_head": head_operations(student.width, batch.predicted_student, scored),
    }


def step_operations(
    weights: ObjectiveWeights,
    teacher: EncoderShape,
    student: EncoderShape,
    batch: BatchShape,
    *,
    affine: bool = False,
    parts: int = 1,
    muon: bool = False,
) -> dict[str, Operations]:
    """Returns the operations of one training step by part, those of the parts that the stage has.

    Args:
        weights: Which objectives the stage has.
        teacher: The teacher, with its own vocabulary.
        student: The student.
        batch: What one part of a step reads.
        affine: Whether the teacher's second table is affine.
        parts: Parts of a step (`batch.accumulation`).
        muon: Whether the optimiser is Muon.
    """
    models = ModelShapes(teacher, student, weights.trains_teacher)
    table = _product(2 * student.vocabulary * student.width * teacher.width, weights.trains_teacher)
    found: dict[str, Operations] = {}
    if weights.reads_teacher:
        found |= teacher_operations(models, batch)
        if affine:
            found["second_table"] = table * 2  # made for the input, and again for the head
    if weights.reads_student:
        found |= student_operations(student, batch)
    found = {name: operations * parts for name, operations in found.items()}
    for one in weights.active:
        for name, operations in one.operations(models, batch).items():
            found[name] = found.get(name, Operations(0)) + operations * (parts if one.reads else 1)
    if affine and any(one.compares_variables for one in weights.active):
        found["projections"] = found.get("projections", Operations(0)) + table
    if muon:
        found["update"] = muon_operations(trained_matrices(weights, teacher, student, affine))
    return found


def muon_operations(matrices: Sequence[tuple[int, ...]]) -> Operations:
    """Returns the operations of making the steps of some matrices orthogonal, as part of no pass.

    Five Newton-Schulz iterations (Jordan et al. 2024): a product with the transpose, one of that with itself,
    and one with the matrix.
    """
    sizes = [sorted(shape) for shape in matrices]
    return Operations(sum(5 * 2 * (2 * short**2 * long + short**3) for short, long in sizes))


def trained_matrices(
    weights: ObjectiveWeights, teacher: EncoderShape, student: EncoderShape, affine: bool = False
) -> list[tuple[int, ...]]:
    """Returns the shapes of the matrices that a stage trains with Muon where that is chosen."""
    theirs = teacher.matrices() + [(teacher.width, student.width)] * affine
    return theirs * weights.trains_teacher + student.matrices() * weights.trains_student
