"""The settings of every stage as frozen dataclasses, nested in `Recipe`, with strict loading and saving.

A recipe is complete: with a teacher, a corpus and a recipe a run is determined. TOML and JSON files are read,
JSON is written. Unknown keys and wrong types are refused with the nearest known name.
"""

import dataclasses
import json
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from lilliput.errors import ConfigError, nearest


@dataclass(frozen=True)
class LexiconConfig:
    """How the student's vocabulary comes about."""

    size: int = 4928
    """Pieces in the student's vocabulary, special pieces included."""
    tokenizer: str | None = None
    """A tokenizer folder or hub name to take instead of learning one; `size` is then ignored."""

    def __post_init__(self) -> None:
        _require(self.size >= 100, f"lexicon.size must be at least 100, found {self.size}")


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
            _require(getattr(self, name) > 0, f"student.{name} must be positive, found {getattr(self, name)}")
        _require(
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
            _require(weight >= 0, f"objectives.{name} must not be negative, found {weight}")
        _require(any(weights.values()), "every objective of a stage has weight 0; give at least one a weight")

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
    def uses_teacher(self) -> bool:
        """Whether an objective reads the teacher."""
        return self.trains_teacher or self.soft_labels > 0 or self.uses_projections


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
        _require(
            self.rows > 0 and self.accumulation > 0, "batch.rows and batch.accumulation must be positive"
        )
        _require(
            self.rows % self.accumulation == 0,
            f"batch.accumulation must divide batch.rows, found {self.accumulation} and {self.rows}",
        )
        _require(self.length >= 8, f"batch.length must be at least 8, found {self.length}")
        _require(0 < self.masked < 1, f"batch.masked must lie between 0 and 1, found {self.masked}")
        _require(0 <= self.mixing <= 1, f"batch.mixing must lie between 0 and 1, found {self.mixing}")


@dataclass(frozen=True)
class OptimizerConfig:
    """How gradients become steps."""

    name: Literal["adamw", "lamb"] = "adamw"
    """AdamW of torch, or LAMB of pytorch-optimizer."""
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
        _require(0 <= self.warm_up < 1, f"optimizer.warm_up must lie in [0, 1), found {self.warm_up}")
        for name in ("student_rate", "teacher_rate", "clip"):
            _require(
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
        _require(self.name.isidentifier(), f"a stage's name must be a plain word, found '{self.name}'")
        _require(0 < self.share <= 1, f"share of stage '{self.name}' must lie in (0, 1], found {self.share}")


@dataclass(frozen=True)
class Budget:
    """How long all training stages last together: words or minutes, exactly one of them."""

    words: int | None = None
    """Words read, counted once per step however many models read them."""
    minutes: float | None = None
    """Minutes of training, evaluation and checkpoints included, corpus and lexicon not."""

    def __post_init__(self) -> None:
        _require(
            (self.words is None) != (self.minutes is None),
            "a budget is either budget.words or budget.minutes",
        )
        _require((self.words or self.minutes or 0) > 0, "a budget must be positive")


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
        _require(bool(names), "a recipe needs at least one stage")
        _require(len(set(names)) == len(names), f"two stages share a name: {', '.join(names)}")
        total = sum(stage.share for stage in self.stages)
        _require(abs(total - 1) < 1e-6, f"the shares of the stages must add up to 1, found {total:g}")
        for stage in self.stages:
            _require(
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
        recipe: Self = _build(cls, values, "")
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
        return cls.from_dict(values)

    def replace(self, settings: dict[str, str]) -> "Recipe":
        """Returns a copy with settings replaced, as `--set` gives them.

        Keys are dotted paths, a stage is addressed by its name, values are JSON (a bare word is a string):
        `{"student.width": "96", "stages.dual.optimizer.name": "lamb"}`. Setting one kind of budget unsets the
        other.
        """
        values = self.to_dict()
        for key, text in settings.items():
            _assign(values, key, text)
        return Recipe.from_dict(values)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _assign(values: dict[str, Any], key: str, text: str) -> None:
    """Puts one `--set` value into the nested values of a recipe."""
    *parents, last = key.split(".")
    node: Any = values
    for depth, part in enumerate(parents):
        if isinstance(node, (list, tuple)):
            node = {stage["name"]: stage for stage in node}
        if not isinstance(node, dict) or part not in node:
            known = node if isinstance(node, dict) else ()
            raise ConfigError(f"unknown setting '{'.'.join(parents[: depth + 1])}'; {nearest(part, known)}")
        node = node[part]
    if not isinstance(node, dict) or last not in node:
        known = node if isinstance(node, dict) else ()
        raise ConfigError(f"unknown setting '{key}'; {nearest(last, known)}")
    try:
        node[last] = json.loads(text)
    except json.JSONDecodeError:
        node[last] = text
    if parents == ["budget"]:
        node["minutes" if last == "words" else "words"] = None


def _build(kind: type[Any], values: Any, where: str) -> Any:
    """Builds dataclass `kind` from JSON values; `where` is the dotted path for messages."""
    if not isinstance(values, dict):
        raise ConfigError(f"'{where or 'recipe'}' must be a table of settings, found {values!r}")
    fields = {item.name: item for item in dataclasses.fields(kind)}
    prefix = f"{where}." if where else ""
    for name in values:
        if name not in fields:
            raise ConfigError(f"unknown recipe key '{prefix}{name}'; {nearest(name, fields)}")
    hints = typing.get_type_hints(kind)
    for name, item in fields.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"recipe key '{prefix}{name}' is missing")
    return kind(**{name: _value(hints[name], value, f"{prefix}{name}") for name, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    """Checks one JSON value against a type hint and returns it as that type."""
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        (item_hint, _) = typing.get_args(hint)
        return tuple(_value(item_hint, item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is Literal:
        choices = typing.get_args(hint)
        if value in choices:
            return value
        raise ConfigError(f"'{where}' must be one of {', '.join(choices)}, found {value!r}")
    accepted = typing.get_args(hint) if origin is types.UnionType else (hint,)
    if isinstance(value, bool):
        pass
    elif isinstance(value, int) and float in accepted and int not in accepted:
        return float(value)
    elif isinstance(value, accepted):
        return value
    names = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in accepted)
    raise ConfigError(f"'{where}' must be {names}, found {value!r}")
