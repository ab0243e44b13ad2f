"""The settings of fine-tuning as frozen dataclasses, changed by `--set` as those of a recipe are."""

import dataclasses
from dataclasses import dataclass, field

from lilliput.quantization import QuantizationPlan, find_plan
from lilliput.settings import assign, build, require


@dataclass(frozen=True)
class DistillationConfig:
    """What a student learns of a fine-tuned teacher, and on which texts besides the labelled ones."""

    weight: float = 0.9
    """Weight of the teacher's soft targets in the loss of a labelled example; its labels have the rest."""
    temperature: float = 1.0
    """Divides scores before they become distributions; scores of regression are taken as they are."""
    near: int = 0
    """Sentences of the run's corpus, those most like the task's texts, that the teacher labels."""
    substitutions: int = 0
    """Copies of each example with some words replaced by guesses of the run's masked-LM teacher."""
    recombined: int = 0
    """New pairs made of texts of different examples, where the task has pairs; where it has tags, new texts
    in which spans of tagged words come from other examples."""
    hidden: float = 1.0
    """Weight of the squared distance between the words' last states, the student's mapped linearly."""
    relations: float = 1.0
    """Weight of the divergence between the words' relations to each other in the last states."""

    def __post_init__(self) -> None:
        require(0 <= self.weight <= 1, f"distillation.weight must lie in [0, 1], found {self.weight}")
        require(self.temperature > 0, f"distillation.temperature must be positive, found {self.temperature}")
        for name in ("near", "substitutions", "recombined", "hidden", "relations"):
            require(
                getattr(self, name) >= 0,
                f"distillation.{name} must not be negative, found {getattr(self, name)}",
            )


@dataclass(frozen=True)
class FinetuningConfig:
    """How an encoder learns a task."""

    epochs: float = 5.0
    """Passes over all examples at most; training ends before where the dev metric no longer rises."""
    rows: int = 32
    """Examples per step."""
    rate: float | None = None
    """Peak learning rate; without it one that suits the encoder's width and the task."""
    warm_up: float = 0.1
    """Share of the steps over which the rate climbs from 0; afterwards it falls linearly to 0."""
    weight_decay: float = 0.01
    """Decoupled decay of matrices."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    dropout: float | None = None
    """Dropout of states, attention and head; without it the checkpoint's own, which for a student is none."""
    balance: float = 0.0
    """Weighs a class by its frequency to minus this power, so that 1 makes rare classes count as much as
    frequent ones."""
    evaluations: int = 10
    """Evaluations on the dev set, spread evenly over the steps; the best of them is kept."""
    patience: int = 4
    """Evaluations in a row without a better one after which training ends."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """What is learnt of a fine-tuned teacher, if there is one."""
    quantization: str | None = None
    """The bundle that the model is for, such as int4: it learns, and is scored, with weights rounded as that
    bundle will hold them. Without it they are not rounded."""

    def __post_init__(self) -> None:
        for name in ("epochs", "rows", "clip", "evaluations", "patience"):
            require(getattr(self, name) > 0, f"{name} must be positive, found {getattr(self, name)}")
        require(self.rate is None or self.rate > 0, f"rate must be positive, found {self.rate}")
        require(0 <= self.warm_up < 1, f"warm_up must lie in [0, 1), found {self.warm_up}")
        require(0 <= (self.dropout or 0) < 1, f"dropout must lie in [0, 1), found {self.dropout}")
        for name in ("weight_decay", "balance"):
            require(getattr(self, name) >= 0, f"{name} must not be negative, found {getattr(self, name)}")
        find_plan(self.quantization or "float32")

    @property
    def plan(self) -> QuantizationPlan:
        """How weights are rounded in training; float32 rounds nothing."""
        return find_plan(self.quantization or "float32")

    def replace(self, settings: dict[str, str]) -> "FinetuningConfig":
        """Returns a copy with settings replaced, as `--set` gives them."""
        values = dataclasses.asdict(self)
        for key, text in settings.items():
            assign(values, key, text)
        changed: FinetuningConfig = build(FinetuningConfig, values, "")
        return changed
