"""The texts of a run, cut from its corpus and read by the teacher: to train on, and held out."""

import math
from collections.abc import Mapping
from typing import Any

from lilliput.common.folders import MANIFEST, read_manifest
from lilliput.common.progress import console
from lilliput.common.stage_dir import StageDir
from lilliput.config import Recipe, StageConfig
from lilliput.errors import ConfigError
from lilliput.models.any_masked_lm import outline
from lilliput.models.pretrained import checkpoint_digest
from lilliput.models.sentence_modules import SentenceModules, read_modules
from lilliput.pieces.lexicon import Lexicon
from lilliput.run import RunDir
from lilliput.text.corpus import Corpus
from lilliput.training.processes import Processes
from lilliput.training.rows import Rows
from lilliput.training.sentences.cut import cut_texts, sentence_ends
from lilliput.training.sentences.reading import TaughtTexts, read_texts
from lilliput.training.sentences.source import SentenceSource

HELD_OUT = 1_000
"""Texts held out."""
_LEAST_TRAINING = 0.1
"""Share of a stage's minutes that is left for training, however long the teacher read."""
_CUT = 1
"""Raised when the same corpus is cut into other texts."""


def taught_texts(
    run: RunDir, recipe: Recipe, teacher: str, parts: Mapping[str, tuple[Rows, Lexicon]], processes: Processes
) -> dict[str, TaughtTexts]:
    """Returns the texts of each part, after the teacher has read them.

    Args:
        run: Has the corpus, and takes what the teacher says.
        recipe: Says how many texts, and what the teacher reads before each.
        teacher: Folder or hub name.
        parts: Rows and segmentations of "train" and "held_out".
        processes: Of them the main one lets the teacher read.

    Raises:
        ConfigError: If the teacher has no such prompt, or reads less than the student.
        ModelError: If the teacher cannot be used.
        InputError: If there are too few texts.
    """
    modules = read_modules(teacher)
    _require_positions(recipe, teacher, modules)
    prompt = _prompt(recipe, modules)
    if not modules.is_stated:
        console.print(
            f"{teacher} does not say how it makes a vector of a text; the mean of its last states is taken",
            highlight=False,
            soft_wrap=True,
        )
    found, digest = {}, checkpoint_digest(teacher)
    for part, (rows, lexicon) in parts.items():
        is_held_out = part == "held_out"
        corpus = run.held_out("corpus") if is_held_out and run.held_out("corpus").exists() else run.corpus
        count = min(HELD_OUT, recipe.sentences.count) if is_held_out else recipe.sentences.count
        ends = sentence_ends(Corpus.open(corpus))
        texts = cut_texts(rows, ends, count, (recipe.seed, int(is_held_out)))
        seconds = (
            math.inf if is_held_out else 60 * (recipe.budget.minutes or math.inf) * recipe.sentences.share
        )
        made_from: dict[str, Any] = {
            "teacher": digest,
            "lexicon": read_manifest(lexicon.path / MANIFEST)["digest"],
            "prompt": prompt,
            "count": count,
            "positions": recipe.student.positions,
            "seed": recipe.seed,
            "seconds": None if seconds == math.inf else seconds,
            "cut": _CUT,
        }
        stage = StageDir(run.sentences(part), made_from)
        with processes.together():
            if processes.is_main:
                read_texts(stage, texts, lexicon, teacher, prompt, seconds)
        found[part] = TaughtTexts.open(stage, texts)
    return found


def sentence_sources(
    run: RunDir,
    recipe: Recipe,
    stage: StageConfig,
    teacher: str,
    parts: Mapping[str, tuple[Rows, Lexicon]],
    processes: Processes,
) -> tuple[SentenceSource, SentenceSource]:
    """Returns a stage's batches of texts to train on, and of those held out (`taught_texts`)."""
    found, seed = (
        taught_texts(run, recipe, teacher, parts, processes),
        (recipe.seed, recipe.stages.index(stage)),
    )
    train, held_out = (
        SentenceSource(found[part], parts[part][1], stage.batch, seed) for part in ("train", "held_out")
    )
    return train, held_out


def without_reading(budget: Mapping[str, float], run: RunDir, stage: StageConfig) -> dict[str, float]:
    """Returns a stage's budget without its share of the minutes in which the teacher read texts."""
    if "minutes" not in budget:
        return dict(budget)
    seconds = float(StageDir(run.sentences("train"), {}).results()["seconds"])
    return {"minutes": less_reading(budget["minutes"], seconds, stage)}


def less_reading(minutes: float, seconds: float, stage: StageConfig) -> float:
    """Returns the minutes of a stage that are left for training once the teacher has read for `seconds`."""
    return max(minutes - seconds / 60 * stage.share, minutes * _LEAST_TRAINING)


def _prompt(recipe: Recipe, modules: SentenceModules) -> str:
    """Returns what the teacher reads before each text."""
    asked = recipe.sentences.prompt
    return asked if asked is not None and asked not in modules.prompts else modules.prompt(asked)


def _require_positions(recipe: Recipe, teacher: str, modules: SentenceModules) -> None:
    """Raises ConfigError where the teacher would read less of a text than the student."""
    longest = modules.positions(outline(teacher).shape.positions)
    if longest < recipe.student.positions:
        raise ConfigError(
            f"the teacher reads {longest} pieces of a text at most and the student "
            f"{recipe.student.positions}; add --set student.positions={longest} and --set "
            f"stages.NAME.batch.length={longest}"
        )
