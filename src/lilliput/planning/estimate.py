"""What a run is expected to take, the arithmetic of a stage, and how it is shown."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from lilliput.common.sheet import Sheet, duration, size
from lilliput.config import Recipe, StageConfig
from lilliput.planning.footprint import TextSize
from lilliput.planning.probes import WARM_START_ROWS, Pace, starts_warm
from lilliput.training.data import stage_budget
from lilliput.training.loop import PROBE_ROWS, PROBES, ROWS
from lilliput.training.sentences.taught import less_reading

_NOTICED = 0.05
"""Share of the processor that others may take unmentioned."""


@dataclass(frozen=True)
class StageEstimate:
    """What one training stage is expected to take."""

    name: str
    """Its name in the recipe."""
    words: int
    """Words it reads."""
    words_per_second: float
    """While steps run."""
    seconds: float
    """What it will report: steps, and the evaluations and checkpoints among them."""
    other_seconds: float
    """Before and after that: first weights, the last evaluation, saving."""
    memory_bytes: int
    """Memory of the process at its peak, or of the GPU."""


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take."""

    machine: str
    """Where."""
    text: TextSize
    """What it reads."""
    preparation_seconds: float
    """Time for corpus and lexicon; 0 where they are there."""
    stages: tuple[StageEstimate, ...]
    """The training stages in their order."""
    disk_bytes: int
    """The run's folder when it is largest."""
    notes: tuple[str, ...]
    """What was not measured, and what will not fit, in sentences."""
    taken: float | None = None
    """Share of the processor that other programs took while this was measured; None where nothing was."""
    texts: int = 0
    """Texts that the teacher reads before stages that learn vectors."""
    reading_seconds: float = 0.0
    """While it reads them."""

    @property
    def seconds(self) -> float:
        """Everything together."""
        before = self.preparation_seconds + self.reading_seconds
        return before + sum(stage.seconds + stage.other_seconds for stage in self.stages)

    @property
    def memory_bytes(self) -> int:
        """The most that a stage takes."""
        return max(stage.memory_bytes for stage in self.stages)


def estimate_stage(
    recipe: Recipe,
    stage: StageConfig,
    *,
    step_words: float,
    pace: Pace,
    checkpoint_seconds: float,
    checkpoint_minutes: float,
    memory_bytes: Callable[[int], int],
    reading_seconds: float = 0.0,
) -> StageEstimate:
    """Returns what a stage takes: its steps, and the evaluations and checkpoints among them.

    Args:
        recipe: The recipe, which gives the budget.
        stage: The stage.
        step_words: Words per step.
        pace: How fast it goes.
        checkpoint_seconds: Time for one checkpoint.
        checkpoint_minutes: Minutes between checkpoints.
        memory_bytes: Gives its memory for a number of steps.
        reading_seconds: While the teacher reads texts for it first; of a budget of minutes that is a part.
    """
    weights, budget = stage.objectives, stage_budget(recipe, stage)
    student = pace.row_seconds["student"] if weights.trains_student else 0.0
    teacher = pace.row_seconds["teacher"] if weights.trains_teacher else 0.0
    evaluation = ROWS * (student + teacher)
    fixed = evaluation + (PROBES - 1) * PROBE_ROWS * student  # the last one comes when the clock has stopped
    warm_start = WARM_START_ROWS * pace.row_seconds["teacher"] if starts_warm(recipe, stage) else 0.0
    interval = 60 * checkpoint_minutes
    if "words" in budget:
        steps = math.ceil(budget["words"] / step_words)
        seconds = fixed + steps * pace.step_seconds
        seconds += seconds // interval * checkpoint_seconds
    else:
        seconds = 60 * less_reading(budget["minutes"], reading_seconds, stage)
        steps = math.ceil((seconds * (1 - checkpoint_seconds / interval) - fixed) / pace.step_seconds)
    steps = max(steps, 1)
    return StageEstimate(
        name=stage.name,
        words=round(steps * step_words),
        words_per_second=step_words / pace.step_seconds,
        seconds=seconds,
        other_seconds=warm_start + evaluation + checkpoint_seconds,
        memory_bytes=memory_bytes(steps),
    )


def render(estimate: Estimate) -> Sheet:
    """Returns the estimate as a table."""
    rows = []
    if estimate.preparation_seconds:
        pace = estimate.text.words / estimate.preparation_seconds
        words, time = f"{estimate.text.words:,}", duration(estimate.preparation_seconds)
        rows.append(("preparation", f"{pace:,.0f}", words, time, ""))
    if estimate.texts:
        texts = f"the teacher reads {estimate.texts:,} texts"
        rows.append((texts, "", "", duration(estimate.reading_seconds), ""))
    for stage in estimate.stages:
        pace, words = stage.words_per_second, f"{stage.words:,}"
        rows.append((stage.name, f"{pace:,.0f}", words, duration(stage.seconds), size(stage.memory_bytes)))
    others = sum(stage.other_seconds for stage in estimate.stages)
    rows.append(("first weights, last evaluations", "", "", duration(others), ""))
    words = f"{sum(stage.words for stage in estimate.stages):,}"
    rows.append(("in all", "", words, duration(estimate.seconds), size(estimate.memory_bytes)))
    return Sheet(
        ("", "words/s", "words", "time", "memory"),
        rows,
        title=f"Expected on {estimate.machine}",
        caption="\n".join(_small_print(estimate)),
    )


def _small_print(estimate: Estimate) -> list[str]:
    passes = sum(stage.words for stage in estimate.stages) / estimate.text.words
    found = [
        f"{size(estimate.disk_bytes)} on disk at most; the corpus of {estimate.text.words:,} words is read "
        f"{passes:.2g} times"
    ]
    if estimate.taken is not None:
        found.append(_assumption(estimate.taken))
    return [*found, *estimate.notes]


def _assumption(taken: float) -> str:
    """Returns what the words per second hang on, when others took that share of the processor.

    >>> _assumption(0.45)
    'other programs took 45% of the processor while this was measured; without them it is 1.8 times as fast'
    """
    if taken < _NOTICED:
        return "no other program took the processor while this was measured; any that does makes it slower"
    return (
        f"other programs took {taken:.0%} of the processor while this was measured; without them it is "
        f"{1 / (1 - taken):.1f} times as fast"
    )
