"""Complete recipes, each headed by its command, its cost and what to expect of it.

A recipe is a function that returns a `Recipe`. Anything in it can be changed on the command line with
`--set KEY=VALUE`, and its whole cost with `--minutes` or `--words`.
"""

from collections.abc import Callable
from pathlib import Path

from lilliput.common.arguments import PathLike, text_of
from lilliput.config import (
    BatchConfig,
    Budget,
    LexiconConfig,
    OptimizerConfig,
    Recipe,
    StageConfig,
    StartConfig,
    StudentConfig,
)
from lilliput.errors import ConfigError, nearest
from lilliput.objectives import ObjectiveWeights

_BILLION = 1_000_000_000


def lilliput() -> Recipe:
    """Our own, for a processor and an hour: a lesson for the teacher, a warm start, the student alone.

    lilliput compress TEACHER --corpus TEXT --out runs/x

    From a MiniLM of 6 x 384 and 70,000 Wikipedia articles on two cores: 28.7 % of the masked pieces right,
    1.92 bits per character.
    """
    return Recipe(
        name="lilliput",
        budget=Budget(minutes=56),
        student=StudentConfig(heads=6),
        stages=(
            StageConfig(
                "teacher",
                0.1,
                ObjectiveWeights(teacher_masked_lm=1.0),
                BatchConfig(rows=16),
                OptimizerConfig(teacher_rate=3e-4),
            ),
            StageConfig(
                "student",
                0.9,
                ObjectiveWeights(student_masked_lm=1.0),
                BatchConfig(rows=64),
                OptimizerConfig("muon", student_rate=3e-3),
            ),
        ),
    )


def sentence() -> Recipe:
    """A sentence encoder whose vectors are those of its teacher, for a processor and an hour.

    lilliput compress all-MiniLM-L6-v2 --corpus TEXT --recipe sentence --out runs/s

    The teacher reads texts once; the student starts from its weights and learns its vectors and the states of
    words. There is no masked LM: it takes away what the start knows of similarity.

    From a MiniLM of 6 x 384 and 60,000 Wikipedia articles with novels, 27 minutes of reading and 68 of
    training on one core: Spearman 83.1 on STS-B dev and 75.4 on SICK dev (teacher 86.7 and 79.8) by a bundle
    of 1.97 MB.
    """
    return Recipe(
        name="sentence",
        budget=Budget(minutes=56),
        lexicon=LexiconConfig(size=9000),
        student=StudentConfig(layers=3, width=160, heads=8, feed_forward=640),
        stages=(
            StageConfig(
                "student",
                1.0,
                ObjectiveWeights(vectors=1.0, word_states=0.5, similarities=0.1),
                BatchConfig(rows=256),
                OptimizerConfig("muon", student_rate=3e-3),
            ),
        ),
    )


def paper48() -> Recipe:
    """Zhao et al. 2019, width 48: dual training with projection down, everything from the paper.

    lilliput compress bert-base-uncased --corpus wikimedia/wikipedia:20231101.en --recipe paper48
        --out runs/paper48
    """
    return _paper(48, positions=128)


def paper96() -> Recipe:
    """Zhao et al. 2019, width 96, 512 positions.

    lilliput compress bert-base-uncased --corpus wikimedia/wikipedia:20231101.en --recipe paper96
        --out runs/paper96
    """
    return _paper(96, positions=512)


def paper192() -> Recipe:
    """Zhao et al. 2019, width 192.

    lilliput compress bert-base-uncased --corpus wikimedia/wikipedia:20231101.en --recipe paper192
        --out runs/paper192
    """
    return _paper(192, positions=128)


def mixed_vocabulary() -> Recipe:
    """Zhao et al. 2021: the teacher learns narrow student embeddings, then the student trains alone.

    lilliput compress bert-large-uncased --corpus wikimedia/wikipedia:20231101.en
        --recipe mixed_vocabulary --out runs/v2
    """
    batch = BatchConfig(rows=256)
    return Recipe(
        name="mixed_vocabulary",
        budget=Budget(words=6 * _BILLION),
        lexicon=LexiconConfig(size=5000),
        student=StudentConfig(layers=12, width=256, heads=4, feed_forward=1024, positions=128),
        start=StartConfig(student="random", second_table="affine"),
        stages=(
            StageConfig(
                "teacher", 0.5, ObjectiveWeights(teacher_masked_lm=1.0), batch, OptimizerConfig("lamb")
            ),
            StageConfig(
                "student", 0.5, ObjectiveWeights(student_masked_lm=1.0), batch, OptimizerConfig("lamb")
            ),
        ),
    )


def tiny() -> Recipe:
    """A whole run in seconds, for tests and for trying things out; its student is worth nothing.

    lilliput compress TEACHER --corpus TEXT --recipe tiny --out runs/tiny
    """
    batch = BatchConfig(rows=8, length=32)
    return Recipe(
        name="tiny",
        budget=Budget(words=6_000),
        lexicon=LexiconConfig(size=300),
        student=StudentConfig(layers=2, width=16, heads=2, feed_forward=32, positions=32),
        stages=(
            StageConfig("teacher", 0.3, ObjectiveWeights(teacher_masked_lm=1.0), batch),
            StageConfig(
                "dual",
                0.4,
                ObjectiveWeights(
                    teacher_masked_lm=1.0, student_masked_lm=1.0, soft_labels=1.0, projection_down=1e-3
                ),
                batch,
            ),
            StageConfig("student", 0.3, ObjectiveWeights(student_masked_lm=1.0), batch),
        ),
    )


def _paper(width: int, positions: int) -> Recipe:
    """The paper's method; p_dt and LAMB as recalled of it, rate, weight and steps chosen by us."""
    return Recipe(
        name=f"paper{width}",
        budget=Budget(words=3 * _BILLION),
        student=StudentConfig(layers=12, width=width, heads=12, feed_forward=4 * width, positions=positions),
        start=StartConfig(student="random", second_table="random"),
        stages=(
            StageConfig(
                "dual",
                1.0,
                ObjectiveWeights(teacher_masked_lm=1.0, student_masked_lm=1.0, projection_down=1e-4),
                BatchConfig(rows=256),
                OptimizerConfig("lamb", student_rate=5e-3, teacher_rate=5e-4),
            ),
        ),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (lilliput, sentence, paper48, paper96, paper192, mixed_vocabulary, tiny)
}
"""All recipes by name."""


def find_recipe(recipe: PathLike | Recipe) -> Recipe:
    """Returns the recipe of that name, the one in that .toml or .json file, or the one that is given.

    Raises ConfigError naming the nearest when there is none.
    """
    if isinstance(recipe, Recipe):
        return recipe
    name = text_of("recipe", recipe, "a recipe's name, a .toml or .json file, or a Recipe")
    if name in RECIPES:
        return RECIPES[name]()
    if Path(name).suffix in (".toml", ".json"):
        return Recipe.load(Path(name))
    raise ConfigError(
        f"no recipe is called '{name}' and it is no .toml or .json file; {nearest(name, RECIPES)}"
    )
