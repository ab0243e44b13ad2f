"""The settings of every stage as frozen dataclasses, nested in `Recipe`, with strict loading and saving.

A recipe is complete: with a teacher, a corpus and a recipe a run is determined. TOML and JSON files are read,
JSON is written. Unknown keys and wrong types are refused with the nearest known name.
"""

import dataclasses
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from lilliput.errors import ConfigError, nearest
from lilliput.names import folder_name
from lilliput.settings import assign, build, require


@dataclass(frozen=True)
class LexiconConfig:
    """How the student's vocabulary comes about."""

    size: int = 4928
    """Pieces in the student's vocabulary, special pieces included."""
    tokenizer: str | None = None
    """A tokenizer folder or hub name to take instead of learning one; `size` is then ignored."""

    def __post_init__(self) -> None:
        require(self.size >= 100, f"lexicon.size must be at least 100, found {self.size}")


@dataclass(frozen=True)
class StudentConfig:
    """The student's shape. Everything else (activation, tied head) is plain BERT."""

    layers: int = 6
    """Encoder layers."""
    width: int = 120
    """Hidden size."""
    heads: int = 12
    """Attention heads; must divide `width`."""
    feed_forward: int = 480
    """Inner size of the feed-forward blocks."""
    positions: int = 128
    """Longest input in pieces, special pieces included."""

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "feed_forward", "positions"):
            require(getattr(self, name) > 0, f"student.{name} must be positive, found {getattr(self, name)}")
        require(
            self.width % self.heads == 0,
            f"student.width must be divisible by student.heads, found width {self.width} and {self.heads} "
            f"heads; with {self.heads} heads try width {self.width // self.heads * self.heads or self.heads}",
        )


@dataclass(frozen=True)
class StartConfig:
    """The first weights of everything that no checkpoint brings."""

    student: Literal["teacher", "random"] = "teacher"
    """`teacher`: warm start by projection of the teacher's weights. `random`: normal with deviation 0.02."""
    second_table: Literal["pieces", "random", "affine"] = "pieces"
    """The teacher's embeddings of the student's vocabulary. `pieces`: copied where the teacher has the piece,
    else the mean of its teacher pieces. `random`: normal. `affine`: an affine map of embeddings as narrow as
    the student's, which the student takes over (mixed-vocabulary training)."""


@dataclass(frozen=True)
class ObjectiveWeights:
    """Weight of each objective in the loss; an objective of weight 0 is not computed.

    A model that no objective reaches is not trained: without `teacher_masked_lm` the teacher stays as it is.
    """

    teacher_masked_lm: float = 0.0
    """Masked LM of the teacher on mixed segmentations, one softmax per vocabulary."""
    student_masked_lm: float = 0.0
    """Masked LM of the student."""
    projection_down: float = 0.0
    """Squared distance between the student's variables and the teacher's, projected down."""
    projection_up: float = 0.0
    """Squared distance between the teacher's variables and the student's, projected up."""
    soft_labels: float = 0.0
    """Cross-entropy of the student to the teacher's distribution, on words both models segment alike."""

    def __post_init__(self) -> None:
        weights = dataclasses.asdict(self)
        for name, weight in weights.items():
            require(weight >= 0, f"objectives.{name} must not be negative, found {weight}")
        require(any(weights.values()), "every objective of a stage has weight 0; give at least one a weight")

    @property
    def trains_teacher(self) -> bool:
        """Whether an objective changes the teacher."""
        return self.teacher_masked_lm > 0

    @property
    def trains_student(self) -> bool:
        """Whether an objective changes the student."""
        return self.student_masked_lm > 0 or self.soft_labels > 0 or self.uses_projections

    @property
    def uses_projections(self) -> bool:
        """Whether an objective compares the models' variables."""
        return self.projection_down > 0 or self.projection_up > 0

    @property
    def reads_teacher(self) -> bool:
        """Whether an objective needs what the teacher says of a text."""
        return self.trains_teacher or self.soft_labels > 0

    @property
    def uses_teacher(self) -> bool:
        """Whether an objective needs the teacher, for its words or its weights."""
        return self.reads_teacher or self.uses_projections


@dataclass(frozen=True)
class BatchConfig:
    """What one step reads."""

    rows: int = 64
    """Sequences per step, over all accumulated parts and processes."""
    length: int = 128
    """Pieces per sequence, special pieces included."""
    masked: float = 0.15
    """Share of the words that are masked, whole."""
    mixing: float = 0.5
    """Probability that the teacher reads a word in the student's segmentation (the paper's p_dt)."""
    accumulation: int = 1
    """Parts into which a step's rows are split to save memory; the loss stays the same."""

    def __post_init__(self) -> None:
        require(self.rows > 0 and self.accumulation > 0, "batch.rows and batch.accumulation must be positive")
        require(
            self.rows % self.accumulation == 0,
            f"batch.accumulation must divide batch.rows, found {self.accumulation} and {self.rows}",
        )
        require(self.length >= 8, f"batch.length must be at least 8, found {self.length}")
        require(0 < self.masked < 1, f"batch.masked must lie between 0 and 1, found {self.masked}")
        require(0 <= self.mixing <= 1, f"batch.mixing must lie between 0 and 1, found {self.mixing}")


@dataclass(frozen=True)
class OptimizerConfig:
    """How gradients become steps."""

    name: Literal["adamw", "lamb", "muon"] = "adamw"
    """AdamW of torch, or LAMB or Muon of pytorch-optimizer. Muon makes the steps of the layers' matrices
    orthogonal (Jordan et al. 2024), as large as AdamW's at the same rate (Liu et al. 2025); embeddings and
    vectors stay with AdamW."""
    student_rate: float = 2e-3
    """Peak learning rate of the student and of the shared projections."""
    teacher_rate: float = 2e-4
    """Peak learning rate of the teacher."""
    warm_up: float = 0.05
    """Share of the stage over which the rate climbs from 0; afterwards it falls linearly to 0."""
    weight_decay: float = 0.01
    """Decoupled decay of matrices; vectors are not decayed."""
    beta2: float = 0.98
    """Decay of the second moment."""
    clip: float = 1.0
    """Largest norm of each model's gradient."""

    def __post_init__(self) -> None:
        require(0 <= self.warm_up < 1, f"optimizer.warm_up must lie in [0, 1), found {self.warm_up}")
        require(0 <= self.beta2 < 1, f"optimizer.beta2 must lie in [0, 1), found {self.beta2}")
        require(
            self.weight_decay >= 0, f"optimizer.weight_decay must not be negative, found {self.weight_decay}"
        )
        for name in ("student_rate", "teacher_rate", "clip"):
            require(
                getattr(self, name) > 0, f"optimizer.{name} must be positive, found {getattr(self, name)}"
            )


@dataclass(frozen=True)
class StageConfig:
    """One stage of training: the same loop with its own objectives."""

    name: str
    """Its name in the run's directory and on the command line."""
    share: float
    """Its share of the recipe's budget."""
    objectives: ObjectiveWeights
    """What is minimised."""
    batch: BatchConfig = field(default_factory=BatchConfig)
    """What one step reads."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """How gradients become steps."""

    def __post_init__(self) -> None:
        require(self.name.isidentifier(), f"a stage's name must be a plain word, found '{self.name}'")
        folder_name(self.name, "a stage's name", "give it another one in the recipe")
        require(0 < self.share <= 1, f"share of stage '{self.name}' must lie in (0, 1], found {self.share}")


@dataclass(frozen=True)
class Budget:
    """How long all training stages last together: words or minutes, exactly one of them."""

    words: int | None = None
    """Words read, counted once per step however many models read them."""
    minutes: float | None = None
    """Minutes of training, evaluation and checkpoints included, corpus and lexicon not."""

    def __post_init__(self) -> None:
        require(
            (self.words is None) != (self.minutes is None),
            "a budget is either budget.words or budget.minutes",
        )
        require((self.words or self.minutes or 0) > 0, "a budget must be positive")


@dataclass(frozen=True)
class Recipe:
    """A complete way from a teacher and a corpus to a student."""

    name: str
    """The name under which it is reported."""
    budget: Budget
    """How long all stages last together."""
    stages: tuple[StageConfig, ...]
    """The training stages in their order."""
    lexicon: LexiconConfig = field(default_factory=LexiconConfig)
    """The student's vocabulary."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """The student's shape."""
    start: StartConfig = field(default_factory=StartConfig)
    """First weights."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        require(bool(names), "a recipe needs at least one stage")
        require(len(set(names)) == len(names), f"two stages share a name: {', '.join(names)}")
        total = sum(stage.share for stage in self.stages)
        require(abs(total - 1) < 1e-6, f"the shares of the stages must add up to 1, found {total:g}")
        for stage in self.stages:
            require(
                stage.batch.length <= self.student.positions,
                f"stage '{stage.name}' reads {stage.batch.length} pieces but the student has "
                f"{self.student.positions} positions; lower batch.length or raise student.positions",
            )

    def stage(self, name: str) -> StageConfig:
        """Returns the stage of that name, or raises ConfigError naming the nearest."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise ConfigError(
            f"recipe '{self.name}' has no stage '{name}'; "
            f"{nearest(name, (stage.name for stage in self.stages))}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Builds a recipe from JSON values, strictly: unknown keys and wrong types raise ConfigError."""
        recipe: Self = build(cls, values, "")
        return recipe

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a recipe from a .toml or .json file."""
        try:
            text = path.read_text(encoding="utf-8")
            values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        except OSError as error:
            raise ConfigError(f"recipe file {path} cannot be read: {error.strerror}") from error
        except (ValueError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"recipe file {path} is not valid {path.suffix[1:] or 'JSON'}: {error}"
            ) from error
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"recipe file {path}: {error}") from error

    def replace(self, settings: dict[str, str]) -> "Recipe":
        """Returns a copy with settings replaced, as `--set` gives them.

        Keys are dotted paths, a stage is addressed by its name, values are JSON (a bare word is a string):
        `{"student.width": "96", "stages.dual.optimizer.name": "lamb"}`. Setting one kind of budget unsets the
        other.
        """
        values = self.to_dict()
        for key, text in settings.items():
            assign(values, key, text)
        return Recipe.from_dict(values)
