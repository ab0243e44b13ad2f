"""What training minimises: one class for each objective, which recipes, steps and plans read alike.

A class says everything about its objective: its name in a recipe, the models that it reads and trains, the
module that it adds to them, its sum and count over a batch, and what it costs. A new objective is a class
here, named in `OBJECTIVES`: recipes then have its weight, steps compute it, plans count it.

This file is read without torch: an objective works on what it is given (`training.outputs.Outputs`).
"""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from lilliput.common.settings import Within, check_bounds, require

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lilliput.planning.cost import BatchShape, ModelShapes
    from lilliput.training.batches import Batch
    from lilliput.training.outputs import Outputs
    from lilliput.training.step import DualModel

_T = TypeVar("_T")
Models = frozenset[Literal["teacher", "student"]]
_TEACHER: Models = frozenset({"teacher"})
_STUDENT: Models = frozenset({"student"})
DIRECTIONS = 120
"""Of a word's state that are kept of what a teacher says of a text."""


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


class Objective(ABC):
    """One term of the loss."""

    name: ClassVar[str]
    """Its key in a recipe and in the metrics."""
    meaning: ClassVar[str]
    """What it is, in a line."""
    trains: ClassVar[Models]
    """The models that it changes."""
    reads: ClassVar[Models] = frozenset()
    """The models whose scores and states it needs; where there are none it is computed once per step."""
    reads_sentences: ClassVar[bool] = False
    """Whether it is of whole texts that a teacher has read before (`training.sentences`), not of masked
    words."""
    compares_variables: ClassVar[bool] = False
    """Whether it needs the variables that both models have."""
    module_name: ClassVar[str] = ""
    """The name of the module that it adds to the models and trains with them, if it adds one."""

    @abstractmethod
    def sum(self, outputs: "Outputs") -> "Tensor":
        """Returns its sum over a batch, or over the variables of the models."""

    def count(self, batch: "Batch") -> int:
        """Returns the number of terms in the sum over a batch."""
        return 1

    def module(self, models: "DualModel") -> "nn.Module | None":
        """Returns the module that it adds, if it adds one."""
        return None

    def fit(self, module: Any, models: "DualModel") -> None:
        """Sets its module to suit the first weights of the models."""
        return

    def operations(self, models: "ModelShapes", batch: "BatchShape") -> dict[str, Operations]:
        """Returns its operations by part of a step, without the models' states and scores."""
        return {}

    def parameters(self, models: "ModelShapes") -> int:
        """Returns the number of parameters in its module."""
        return 0


class TeacherMaskedLM(Objective):
    """Masked LM of the teacher."""

    name = "teacher_masked_lm"
    meaning = "Masked LM of the teacher on mixed segmentations, one softmax per vocabulary."
    trains = _TEACHER
    reads = _TEACHER

    def sum(self, outputs: "Outputs") -> "Tensor":
        """Returns the cross-entropy over both vocabularies."""
        return outputs.predictions["teacher_own"].masked_lm() + outputs.predictions["teacher"].masked_lm()

    def count(self, batch: "Batch") -> int:
        """Returns the number of pieces that the teacher predicts."""
        return len(batch.teacher.targets)


class StudentMaskedLM(Objective):
    """Masked LM of the student."""

    name = "student_masked_lm"
    meaning = "Masked LM of the student."
    trains = _STUDENT
    reads = _STUDENT

    def sum(self, outputs: "Outputs") -> "Tensor":
        """Returns the cross-entropy over the student's vocabulary."""
        return outputs.predictions["student"].masked_lm()

    def count(self, batch: "Batch") -> int:
        """Returns the number of pieces that the student predicts."""
        return len(batch.student.targets)


class SoftLabels(Objective):
    """Cross-entropy of the student to the teacher."""

    name = "soft_labels"
    meaning = (
        "Cross-entropy of the student to the teacher's distribution, on words both models segment alike."
    )
    trains = _STUDENT
    reads = _TEACHER | _STUDENT

    def sum(self, outputs: "Outputs") -> "Tensor":
        """Returns the cross-entropy at the pieces that both models predict."""
        student, teacher = outputs.predictions["student"], outputs.predictions["teacher"]
        return student.soft_labels(outputs.batch.aligned, teacher)

    def count(self, batch: "Batch") -> int:
        """Returns the number of pieces that both models predict."""
        return int(batch.aligned.sum())


class _Projection(Objective):
    """Distance between the variables of one model, projected, and those of the other (Zhao et al. 2019)."""

    trains = _STUDENT
    compares_variables = True
    upward: ClassVar[bool]
    """Whether the student's variables are projected, and not the teacher's."""

    def sum(self, outputs: "Outputs") -> "Tensor":
        """Returns the squared distance over all variables."""
        return outputs.distance(outputs.module(self.module_name)(*self._ends(outputs.variables)))

    def module(self, models: "DualModel") -> "nn.Module":
        """Returns the matrices that project."""
        return models.projections(*self._ends(models.variables()))

    def fit(self, module: Any, models: "DualModel") -> None:
        """Sets the matrices by least squares."""
        module.fit(*self._ends(models.variables()))

    def operations(self, models: "ModelShapes", batch: "BatchShape") -> dict[str, Operations]:
        """Returns those of the products with the matrices."""
        forward = backward = 0
        trained = self.upward or models.trains_teacher  # what is projected
        for (theirs, ours), count in models.variables().items():
            (rows, columns), (to_rows, to_columns) = self._ends((_matrix(theirs), _matrix(ours)))
            left = 2 * count * to_rows * rows * columns if to_rows != rows else 0
            right = 2 * count * to_rows * columns * to_columns if to_columns != columns else 0
            forward += left + right
            # Of each product the matrix takes one gradient, and what is projected another where trained.
            backward += left * (1 + trained) + right * (1 + (trained or left > 0))
        return {"projections": Operations(forward, backward)}

    def parameters(self, models: "ModelShapes") -> int:
        """Returns the number of numbers in the matrices, of which an axis of equal size needs none."""
        axes = (zip(_matrix(theirs), _matrix(ours), strict=True) for theirs, ours in models.variables())
        return sum(one * other for pair in axes for one, other in pair if one != other)

    def _ends(self, pair: tuple[_T, _T]) -> tuple[_T, _T]:
        """Returns what is projected and what that is compared with, of the teacher's and the student's."""
        theirs, ours = pair
        return (ours, theirs) if self.upward else (theirs, ours)


class ProjectionDown(_Projection):
    """Of the teacher's variables to the student's width."""

    name = "projection_down"
    meaning = "Squared distance between the student's variables and the teacher's, projected down."
    module_name = "down"
    upward = False


class ProjectionUp(_Projection):
    """Of the student's variables to the teacher's width."""

    name = "projection_up"
    meaning = "Squared distance between the teacher's variables and the student's, projected up."
    module_name = "up"
    upward = True


class _OfSentences(Objective):
    """An objective of texts that the teacher has read before; only the student reads them in training."""

    trains = _STUDENT
    reads = _STUDENT
    reads_sentences = True

    def count(self, batch: "Batch") -> int:
        """Returns the number of texts."""
        assert batch.taught is not None
        return batch.taught.rows


class Vectors(_OfSentences):
    """Distance of texts' vectors."""

    name = "vectors"
    meaning = "Squared distance between a text's vector and the teacher's, both of length 1."
    module_name = "dense"

    def sum(self, outputs: "Outputs") -> "Tensor":
        """Returns the squared distance over all texts (LEAF, arXiv 2509.12539)."""
        return outputs.vector_distance()

    def module(self, models: "DualModel") -> "nn.Module":
        """Returns the linear map from pooled states to the teacher's vectors."""
        return models.map_to("vectors")

    def parameters(self, models: "ModelShapes") -> int:
        """Returns the number of parameters in the map, for a teacher without dense layers."""
        return (models.student.width + 1) * models.teacher.width

    def fit(self, module: Any, models: "DualModel") -> None:
        """Sets the map by least squares."""
        models.fit_map(module, "vectors")


class WordStates(_OfSentences):
    """Distance of words' states."""

    name = "word_states"
    meaning = "Mean squared distance between words' last states, mapped, and the teacher's leading ones."
    module_name = "state_map"

    def sum(self, outputs: "Outputs") -> "Tensor":
        """Returns the distance over all words (states and vectors together, as in SimTDE)."""
        return outputs.state_distance()

    def count(self, batch: "Batch") -> int:
        """Returns the number of words."""
        assert batch.taught is not None
        return batch.taught.words

    def module(self, models: "DualModel") -> "nn.Module":
        """Returns the linear map from the student's states to the teacher's leading directions."""
        return models.map_to("states")

    def parameters(self, models: "ModelShapes") -> int:
        """Returns the number of parameters in the map."""
        return (models.student.width + 1) * min(DIRECTIONS, models.teacher.width)

    def fit(self, module: Any, models: "DualModel") -> None:
        """Sets the map by least squares."""
        models.fit_map(module, "states")


class Similarities(_OfSentences):
    """Divergence of the texts' similarities."""

    name = "similarities"
    meaning = "Divergence of each text's similarities to the others of its batch from the teacher's."

    def sum(self, outputs: "Outputs") -> "Tensor":
        """Returns the divergence over all texts."""
        return outputs.similarity_divergence()


OBJECTIVES: tuple[Objective, ...] = (
    TeacherMaskedLM(),
    StudentMaskedLM(),
    ProjectionDown(),
    ProjectionUp(),
    SoftLabels(),
    Vectors(),
    WordStates(),
    Similarities(),
)
"""All objectives, in the order in which recipes are written."""


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns rows and columns; a vector is one row."""
    return (shape[0], shape[1]) if len(shape) == 2 else (1, shape[0])


class _Weights:
    """Weight of each objective in the loss; an objective of weight 0 is not computed.

    A model that no objective trains stays as it is.
    """

    known: ClassVar[tuple[Objective, ...]]
    """The objectives that have a weight, in the order in which recipes are written."""

    def __post_init__(self) -> None:
        check_bounds(self, "objectives.")
        require(bool(self.active), "every objective of a stage has weight 0; give at least one a weight")
        whole = ", ".join(sorted(one.name for one in self.active if one.reads_sentences))
        masked = ", ".join(sorted(one.name for one in self.active if not one.reads_sentences))
        require(
            not (masked and whole),
            f"{masked} is of masked words, and {whole} of whole texts; give each a stage of its own",
        )
        require(
            not whole or Vectors.name in {one.name for one in self.active},
            f"{whole} needs objectives.{Vectors.name}, by which a text has a vector; give that a weight too",
        )

    @property
    def active(self) -> tuple[Objective, ...]:
        """The objectives that are computed."""
        return tuple(one for one in self.known if getattr(self, one.name) > 0)

    @property
    def trains_teacher(self) -> bool:
        """Whether an objective changes the teacher."""
        return any("teacher" in one.trains for one in self.active)

    @property
    def trains_student(self) -> bool:
        """Whether an objective changes the student."""
        return any("student" in one.trains for one in self.active)

    @property
    def reads_sentences(self) -> bool:
        """Whether objectives are of whole texts that the teacher has read before."""
        return any(one.reads_sentences for one in self.active)

    @property
    def reads_teacher(self) -> bool:
        """Whether an objective needs what the teacher says of a text."""
        return any("teacher" in one.reads for one in self.active)

    @property
    def reads_student(self) -> bool:
        """Whether an objective needs what the student says of a text."""
        return any("student" in one.reads for one in self.active)

    @property
    def uses_teacher(self) -> bool:
        """Whether an objective needs the teacher, for its words or its weights."""
        return any("teacher" in one.reads or one.compares_variables for one in self.active)


def objective_weights(known: tuple[Objective, ...]) -> type["ObjectiveWeights"]:
    """Returns the frozen dataclass of the weights of some objectives, a field for each."""
    fields = [(one.name, Annotated[float, Within(0.0, 1e6)], 0.0) for one in known]
    own = {"known": known, "__doc__": _Weights.__doc__, "__module__": __name__}
    return dataclasses.make_dataclass(
        "ObjectiveWeights", fields, bases=(_Weights,), namespace=own, frozen=True
    )


if TYPE_CHECKING:

    class ObjectiveWeights(_Weights):
        """What `objective_weights` makes; a type checker cannot know its fields."""

        def __init__(self, *weights: float, **named: float) -> None: ...

        def __getattr__(self, name: str) -> float: ...
else:
    ObjectiveWeights = objective_weights(OBJECTIVES)
