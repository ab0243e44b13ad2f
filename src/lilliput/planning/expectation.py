"""The estimate of a run's training: printed before it begins, and compared with the result afterwards.

The command line shows both beside `compress`, which knows nothing of estimates.
"""

from typing import TYPE_CHECKING

from lilliput.common.progress import console
from lilliput.common.settings import build
from lilliput.common.sheet import size
from lilliput.common.stage_dir import StageDir
from lilliput.config import Recipe
from lilliput.errors import first_line
from lilliput.planning.estimate import Estimate, render
from lilliput.planning.plan import expect
from lilliput.run import RunDir
from lilliput.training.data import stage_inputs

if TYPE_CHECKING:
    from lilliput.compression import Summary


def announce(run: RunDir, recipe: Recipe, teacher: str, checkpoint_minutes: float) -> Estimate | None:
    """Returns the estimate of a run's training, measured before the first step, and prints it.

    For a run that has begun, only returns the recorded estimate. An error here does not stop the run: a
    message says so, and training starts without an estimate.

    Args:
        run: Holds the corpus and the lexicon.
        recipe: What to do.
        teacher: Folder or hub name of the teacher.
        checkpoint_minutes: Minutes between checkpoints.
    """
    begun = _has_begun(run, recipe, teacher)
    try:
        found = expect(run, recipe, teacher, checkpoint_minutes, measure=not begun)
    except Exception as error:  # whatever it is, a run can do without the estimate
        reason = first_line(error) or type(error).__name__
        console.print(
            f"no estimate of the training ({reason}); it starts without one",
            highlight=False,
            markup=False,
        )
        return None
    if found is not None and not begun:
        console.print(render(found))
    return found


def _has_begun(run: RunDir, recipe: Recipe, teacher: str) -> bool:
    """Whether the first stage has been trained from the same inputs as now, in whole or in part."""
    first = recipe.stages[0]
    recorded = StageDir(run.training(first.name), {})
    if not (recorded.manifest_path.exists() or recorded.begun_path.exists()):
        return False
    return StageDir(recorded.path, stage_inputs(run, recipe, first, teacher)).other() is None


def compared(summary: "Summary") -> list[tuple[str, str, str, str]]:
    """Returns rows for the table of a summary: the estimates of its run, and how far they were off.

    Rows are for what the budget left open (words or minutes) and for memory; none without an estimate.
    """
    if summary.estimate is None:
        return []
    estimate: Estimate = build(Estimate, summary.estimate, "")
    if summary.recipe["budget"]["words"] is None:
        words = sum(stage.words for stage in estimate.stages)
        found = [("words read", f"{words:,}", words / summary.words)]
    else:
        seconds = sum(stage.seconds for stage in estimate.stages)
        found = [("minutes of training", f"{seconds / 60:.1f}", seconds / summary.training_seconds)]
    memory = estimate.memory_bytes
    found.append(("memory", size(memory), memory / summary.memory_bytes))
    return [(f"{name}, expected", f"{shown} ({share - 1:+.0%})", "", "") for name, shown, share in found]
