"""What training costs, counted from shapes alone: operations, and parameters (`footprint`: bytes).

Operations are those of matrix products, a multiplication and an addition counted as two; tests hold them
equal to what torch's FlopCounterMode counts in `step.Trainees`. The rest of a step only moves bytes.

Shape letters: B rows, L length, D width, N predicted pieces, V vocabulary, K variables of one shape,
R rows and C columns of a projection's source, r rows and c columns of its target.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lilliput.config import ObjectiveWeights
from lilliput.models.shape import EncoderShape

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
class Operations:
    """Floating-point operations of one part of a step."""

    forward: int
    """From inputs to the loss."""
    backward: int = 0
    """From the loss to the gradients."""

    @property
    def total(self) -> int:
        """Both together."""
        return self.forward + self.backward

    def __add__(self, other: "Operations") -> "Operations":
        return Operations(self.forward + other.forward, self.backward + other.backward)

    def __mul__(self, times: int) -> "Operations":
        return Operations(self.forward * times, self.backward * times)


def _product(operations: int, trained: bool) -> Operations:
    """Returns the operations of a product of that many; backward it comes twice, once for either factor."""
    return Operations(operations, 2 * operations if trained else 0)


def encoder_operations(shape: EncoderShape, rows: int, length: int, trained: bool = True) -> Operations:
    """Returns the operations of an encoder that reads `rows` sequences of `length` pieces."""
    dense = 4 * shape.width**2 + 2 * shape.width * shape.feed_forward
    attention = 2 * length * shape.width
    return _product(2 * rows * length * shape.layers * (dense + attention), trained)


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
    columns = predicted * width + sum(pieces * size for pieces, size in scored)
    return _product(2 * width * columns, trained)


def teacher_operations(
    weights: ObjectiveWeights, teacher: EncoderShape, student: EncoderShape, batch: BatchShape
) -> dict[str, Operations]:
    """Returns the operations of the teacher's reading, encoder and heads; empty where it is not read."""
    if not (weights.trains_teacher or weights.soft_labels):
        return {}
    trained = weights.trains_teacher
    scored = [(batch.predicted_second, student.vocabulary)]
    if trained:
        scored.append((batch.predicted_own, teacher.vocabulary))
    predicted = batch.predicted_own + batch.predicted_second
    return {
        "teacher": encoder_operations(teacher, batch.rows, batch.teacher_length, trained),
        "teacher_heads": head_operations(teacher.width, predicted, scored, trained),
    }


def student_operations(
    weights: ObjectiveWeights, student: EncoderShape, batch: BatchShape
) -> dict[str, Operations]:
    """Returns the operations of the student's reading, encoder and head; empty where it is not read."""
    if not (weights.student_masked_lm or weights.soft_labels):
        return {}
    return {
        "student": encoder_operations(student, batch.rows, batch.student_length),
        "student_head": head_operations(
            student.width, batch.predicted_student, [(batch.predicted_student, student.vocabulary)]
        ),
    }


def shared_shapes(
    teacher: EncoderShape, student: EncoderShape
) -> Counter[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Returns how many variables the models share of each pair of shapes, the teacher's first."""
    cut = dataclasses.replace(
        teacher, layers=student.layers, positions=student.positions, vocabulary=student.vocabulary
    )
    return Counter(zip(cut.variables(), student.variables(), strict=True))


def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns rows and columns; a vector is one row."""
    return (shape[0], shape[1]) if len(shape) == 2 else (1, shape[0])


def projection_operations(
    weights: ObjectiveWeights, teacher: EncoderShape, student: EncoderShape
) -> Operations:
    """Returns the operations of the shared projections of one step, which do not depend on its batch."""
    forward = backward = 0
    for shapes, count in shared_shapes(teacher, student).items():
        theirs, ours = map(as_matrix, shapes)
        for weight, (rows, columns), (to_rows, to_columns), trained in (
            (weights.projection_down, theirs, ours, weights.trains_teacher),
            (weights.projection_up, ours, theirs, True),
        ):
            if not weight:
                continue
            left = 2 * count * to_rows * rows * columns if to_rows != rows else 0
            right = 2 * count * to_rows * columns * to_columns if to_columns != columns else 0
            forward += left + right
            # Of each product the projection takes one gradient, and what it projects another where trained.
            backward += left * (1 + trained) + right * (1 + (trained or left > 0))
    return Operations(forward, backward)


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
    found = teacher_operations(weights, teacher, student, batch)
    table = _product(2 * student.vocabulary * student.width * teacher.width, weights.trains_teacher)
    if affine and found:
        found["second_table"] = table * 2  # made for the input, and again for the head
    found |= student_operations(weights, student, batch)
    found = {name: operations * parts for name, operations in found.items()}
    if weights.uses_projections:
        found["projections"] = projection_operations(weights, teacher, student)
        if affine:
            found["projections"] += table
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
