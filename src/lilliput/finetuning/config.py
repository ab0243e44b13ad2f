"""The settings of fine-tuning as frozen dataclasses, changed by `--set` as those of a recipe are."""

from dataclasses import dataclass, field
from typing import Annotated

from lilliput.common.settings import Within, check_bounds, replaced
from lilliput.config import MOST_MINUTES
from lilliput.models.quantization import QuantizationScheme, find_scheme

USUAL_EPOCHS, LEAST_STEPS = 5.0, 500
"""Passes over all examples where a user names none, and the fewest steps then. Of 360 examples 5 passes are
56 steps, which were measured to be far too few for a student (experiments/LOG.md)."""


@dataclass(frozen=True)
class DistillationConfig:
    """What a student learns of a fine-tuned teacher, and on which texts besides the labelled ones."""

    weight: Annotated[float | None, Within(0.0, 1.0)] = None
    """Weight of the teacher's soft targets in the loss of a labelled example; its labels have the rest.
    Without it 0.9, and 0.3 where vectors of texts are compared, as scores say most there."""
    temperature: Annotated[float, Within(0.0, 1000.0, (0.0,))] = 1.0
    """Divides scores before they become distributions; scores of regression are taken as they are."""
    near: Annotated[int, Within(0, 100_000_000)] = 0
    """Sentences of the run's corpus, those most like the task's texts, that the teacher labels."""
    recombined: Annotated[int, Within(0, 100_000_000)] = 0
    """New pairs made of texts of different examples, where the task has pairs; where it has tags, new texts
    in which spans of tagged words come from other examples."""
    hidden: Annotated[float, Within(0.0, 1e6)] = 1.0
    """Weight of the squared distance between the words' last states, the student's mapped linearly."""
    relations: Annotated[float, Within(0.0, 1e6)] = 1.0
    """Weight of the divergence between the words' relations to each other in the last states."""

    def __post_init__(self) -> None:
        check_bounds(self, "distillation.")

    def soft_weight(self, *, is_two_tower: bool) -> float:
        """Returns the weight of soft targets, for a task that compares vectors of texts or another one."""
        return self.weight if self.weight is not None else 0.3 if is_two_tower else 0.9


@dataclass(frozen=True)
class FinetuningConfig:
    """How an encoder learns a task."""

    epochs: Annotated[float | None, Within(0.0, 1e6, (0.0,))] = None
    """Passes over all examples at most; training ends before where the dev metric no longer rises. Without it
    5, or of few examples as many as make 500 steps."""
    minutes: Annotated[float | None, Within(0.0, MOST_MINUTES, (0.0,))] = None
    """Minutes of a seed's training at most, evaluations included; without it `epochs` alone decides."""
    rows: Annotated[int, Within(1, 100_000)] = 32
    """Examples per step."""
    rate: Annotated[float | None, Within(0.0, 10.0, (0.0,))] = None
    """Peak learning rate; without it one that suits the encoder's width and the task."""
    warm_up: Annotated[float, Within(0.0, 1.0, (1.0,))] = 0.1
    """Share of the steps over which the rate climbs from 0; afterwards it falls linearly to 0."""
    weight_decay: Annotated[float, Within(0.0, 100.0)] = 0.01
    """Decoupled decay of matrices."""
    clip: Annotated[float, Within(0.0, 1e6, (0.0,))] = 1.0
    """Largest norm of the gradient."""
    dropout: Annotated[float | None, Within(0.0, 1.0, (1.0,))] = None
    """Dropout of states, attention and head; without it the checkpoint's own, which for a student is none."""
    balance: Annotated[float, Within(0.0, 10.0)] = 0.0
    """Weighs a class by its frequency to minus this power, so that 1 makes rare classes count as much as
    frequent ones."""
    evaluations: Annotated[int, Within(1, 10_000)] = 10
    """Evaluations on the dev set, spread evenly over the steps; the best of them is kept."""
    patience: Annotated[int, Within(1, 10_000)] = 4
    """Evaluations in a row without a better one after which training ends."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """What is learnt of a fine-tuned teacher, if there is one."""
    quantization: str | None = None
    """The bundle that the model is for, such as int4: it learns, and is scored, with weights rounded as that
    bundle will hold them. Without it they are not rounded."""

    precision: Annotated[float | None, Within(0.0, 1.0, (0.0,))] = None
    """The share of its answers that should be right, of a task with classes: a text whose class is less
    probable than the lowest threshold with this precision on dev has none. Without it each text has one."""

    def __post_init__(self) -> None:
        check_bounds(self)
        find_scheme(self.quantization or "float32")

    def steps(self, examples: int) -> int:
        """Returns the steps at most that so many examples are learnt in.

        >>> [FinetuningConfig().steps(count) for count in (360, 32_000)]
        [500, 5000]
        >>> FinetuningConfig(epochs=1).steps(360)
        11
        """
        steps = max(1, round((self.epochs or USUAL_EPOCHS) * examples / self.rows))
        return steps if self.epochs is not None else max(steps, LEAST_STEPS)

    @property
    def plan(self) -> QuantizationScheme:
        """How weights are rounded in training; float32 rounds nothing."""
        return find_scheme(self.quantization or "float32")

    def replace(self, settings: dict[str, str]) -> "FinetuningConfig":
        """Returns a copy with settings replaced, as `--set` gives them."""
        changed: FinetuningConfig = replaced(self, settings)
        return changed
