"""The settings of every stage as frozen dataclasses, nested in `Recipe`, with strict loading and saving.

A recipe is complete: with a teacher, a corpus and a recipe a run is determined. TOML and JSON files are read,
JSON is written. Unknown keys and wrong types are refused with the nearest known name.
"""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from lilliput.common.arguments import PathLike, path_of
from lilliput.common.files import parse_json
from lilliput.common.names import folder_name
from lilliput.common.settings import Within, build, check_bounds, replaced, require
from lilliput.errors import ConfigError, nearest
from lilliput.objectives import ObjectiveWeights

LEAST_PIECES, MOST_PIECES = 100, 1_000_000
"""Of a student's vocabulary."""
MOST_WIDTH, MOST_WORDS, MOST_MINUTES = 16_384, 10**15, 10.0 * 365 * 24 * 60
_RATE = Within(0.0, 10.0, (0.0,))
_PIECES_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class LexiconConfig:
    """How the student's vocabulary comes about."""

    size: Annotated[int, Within(LEAST_PIECES, MOST_PIECES)] = 4928
    """Pieces in the student's vocabulary, special pieces included."""
    tokenizer: str | None = None
    """A tokenizer folder or hub name to take instead of learning one; `size` is then ignored."""
    cased: bool = False
    """Whether the student tells capitals apart. Of a BERT's tokenizer it does as the teacher, whatever this
    says."""

    def __post_init__(self) -> None:
        check_bounds(self, "lexicon.")


@dataclass(frozen=True)
class StudentConfig:
    """The student's shape. Everything else (activation, tied head) is plain BERT."""

    layers: Annotated[int, Within(1, 256)] = 6
    """Encoder layers."""
    width: Annotated[int, Within(1, MOST_WIDTH)] = 120
    """Hidden size."""
    heads: Annotated[int, Within(1, 1024)] = 12
    """Attention heads; must divide `width`."""
    feed_forward: Annotated[int, Within(1, 131_072)] = 480
    """Inner size of the feed-forward blocks."""
    positions: Annotated[int, Within(8, 65_536)] = 128
    """Longest input in pieces, special pieces included."""

    def __post_init__(self) -> None:
        check_bounds(self, "student.")
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
class BatchConfig:
    """What one step reads."""

    rows: Annotated[int, Within(1, 1_000_000)] = 64
    """Sequences per step, over all accumulated parts and processes."""
    length: Annotated[int, Within(8, 65_536)] = 128
    """Pieces per sequence, special pieces included."""
    masked: Annotated[float, Within(0.0, 1.0, (0.0, 1.0))] = 0.15
    """Share of the words that are masked, whole."""
    mixing: Annotated[float, Within(0.0, 1.0)] = 0.5
    """Probability that the teacher reads a word in the student's segmentation (the paper's p_dt)."""
    accumulation: Annotated[int, Within(1, 1_000_000)] = 1
    """Parts into which a step's rows are split to save memory; the loss stays the same."""

    def __post_init__(self) -> None:
        check_bounds(self, "batch.")
        require(
            self.rows % self.accumulation == 0,
            f"batch.accumulation must divide batch.rows, found {self.accumulation} and {self.rows}",
        )
        at_once = self.rows // self.accumulation * self.length
        require(
            at_once <= _PIECES_AT_ONCE,
            f"batch.rows of batch.length make {at_once:,} pieces at once, {_PIECES_AT_ONCE:,} are the most; "
            "lower one of them or raise batch.accumulation",
        )


@dataclass(frozen=True)
class SentencesConfig:
    """The texts of stages that learn vectors: which are cut from the corpus, and what the teacher reads."""

    count: Annotated[int, Within(2, 1_000_000_000)] = 400_000
    """Texts at most. Three fifths are single sentences, the others neighbours, fragments, and paragraphs."""
    share: Annotated[float, Within(0.0, 1.0, (0.0, 1.0))] = 0.35
    """Share of a budget of minutes in which the teacher reads at most; training has the rest."""
    prompt: str | None = None
    """What the teacher reads before each text: the name of one of its prompts, or else the text itself. The
    student needs none. Without it the teacher's default prompt, where it has one."""

    def __post_init__(self) -> None:
        check_bounds(self, "sentences.")


@dataclass(frozen=True)
class OptimizerConfig:
    """How gradients become steps."""

    name: Literal["adamw", "lamb", "muon"] = "adamw"
    """AdamW of torch, or LAMB or Muon of pytorch-optimizer. Muon makes the steps of the layers' matrices
    orthogonal (Jordan et al. 2024), as large as AdamW's at the same rate (Liu et al. 2025); embeddings and
    vectors stay with AdamW."""
    student_rate: Annotated[float, _RATE] = 2e-3
    """Peak learning rate of the student and of the shared projections."""
    teacher_rate: Annotated[float, _RATE] = 2e-4
    """Peak learning rate of the teacher."""
    warm_up: Annotated[float, Within(0.0, 1.0, (1.0,))] = 0.05
    """Share of the stage over which the rate climbs from 0; afterwards it falls linearly to 0."""
    weight_decay: Annotated[float, Within(0.0, 100.0)] = 0.01
    """Decoupled decay of matrices; vectors are not decayed."""
    beta2: Annotated[float, Within(0.0, 1.0, (1.0,))] = 0.98
    """Decay of the second moment."""
    clip: Annotated[float, Within(0.0, 1e6, (0.0,))] = 1.0
    """Largest norm of each model's gradient."""

    def __post_init__(self) -> None:
        check_bounds(self, "optimizer.")


@dataclass(frozen=True)
class StageConfig:
    """One stage of training: the same loop with its own objectives."""

    name: str
    """Its name in the run's directory and on the command line."""
    share: Annotated[float, Within(0.0, 1.0, (0.0,))]
    """Its share of the recipe's budget."""
    objectives: ObjectiveWeights
    """What is minimised."""
    batch: BatchConfig = field(default_factory=BatchConfig)
    """What one step reads."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """How gradients become steps."""

    def __post_init__(self) -> None:
        named = self.name.isidentifier() and len(self.name.encode()) <= 100
        require(named, f"a stage's name must be a plain word of at most 100 bytes, found '{self.name[:100]}'")
        folder_name(self.name, "a stage's name", "give it another one in the recipe")
        check_bounds(self, f"stage '{self.name}': ")


@dataclass(frozen=True)
class Budget:
    """How long all training stages last together: words or minutes, exactly one of them."""

    words: Annotated[int | None, Within(1, MOST_WORDS)] = None
    """Words read, counted once per step however many models read them."""
    minutes: Annotated[float | None, Within(0.0, MOST_MINUTES, (0.0,))] = None
    """Minutes of training, evaluation and checkpoints included, corpus and lexicon not."""

    def __post_init__(self) -> None:
        require(
            (self.words is None) != (self.minutes is None),
            "a budget is either budget.words or budget.minutes",
        )
        check_bounds(self, "budget.")


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
    sentences: SentencesConfig = field(default_factory=SentencesConfig)
    """The texts of stages that learn vectors."""
    seed: Annotated[int, Within(0, 2**63 - 1)] = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_bounds(self)
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

    def __repr__(self) -> str:
        cost = f"{self.budget.words:,} words" if self.budget.words else f"{self.budget.minutes:g} minutes"
        stages = ", ".join(f"{stage.name} {stage.share:.0%}" for stage in self.stages)
        return f"<Recipe '{self.name}': {cost} ({stages}); student of width {self.student.width}>"

    def stage(self, name: str) -> StageConfig:
        """Returns the stage of that name, or raises ConfigError naming the nearest."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        known = [stage.name for stage in self.stages]
        raise ConfigError(f"recipe '{self.name}' has no stage '{name}'; {nearest(name, known)}")

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Builds a recipe from JSON values, strictly: unknown keys and wrong types raise ConfigError."""
        recipe: Self = build(cls, values, "")
        return recipe

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Reads a recipe from a .toml or .json file."""
        path = path_of("path", path)
        try:
            text = path.read_text(encoding="utf-8")
            values = tomllib.loads(text) if path.suffix == ".toml" else parse_json(text)
        except OSError as error:
            raise ConfigError(f"recipe file {path} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            kind = path.suffix[1:] or "JSON"
            raise ConfigError(f"recipe file {path} is not valid {kind}: {error}") from error
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
        changed: Recipe = replaced(self, settings)
        return changed
