"""The learning rate of a fine-tuning: the one that suits encoder and task, or the best of some."""

import math
from pathlib import Path

from lilliput.common.files import write_json
from lilliput.common.progress import console
from lilliput.common.settings import require
from lilliput.common.stored import intact, stored
from lilliput.finetuning.job import Job, train_seed
from lilliput.models.pretrained import load_config
from lilliput.tasks.kinds import KINDS

_SEARCHED = (1.0, 0.4, 2.5)
"""Learning rates that are tried, times the one that suits."""
_STUDENT_WIDTH, _BASE_WIDTH, _BASE_RATE = 120, 768, 2.4e-5


def suitable_rate(width: int, *, tags: bool, taught: bool, is_two_tower: bool = False) -> float:
    """Returns the peak learning rate that suits an encoder of some width.

    It was measured for students of width 120 (experiments/LOG.md): 1e-3 for tags; for classes and scores of
    texts 7e-4 from a teacher and 3e-4 from labels alone, as they forget at more what they knew; for vectors
    of a two-tower student, which has them before, 1e-4. For BERT_BASE it is 2.4e-5 (Devlin et al. 2019: 2e-5
    to 5e-5), and a power of the width between and beyond.

    >>> f"{suitable_rate(384, tags=True, taught=False):.1e}"
    '9.7e-05'
    """
    ours = 1e-4 if is_two_tower else 1e-3 if tags else 7e-4 if taught else 3e-4
    way = math.log(_BASE_WIDTH / width) / math.log(_BASE_WIDTH / _STUDENT_WIDTH)
    return float(_BASE_RATE * (ours / _BASE_RATE) ** way)


def find_rate(job: Job, folder: Path, minutes: float) -> float:
    """Returns the peak learning rate: the one that is set, else the best one tried, else the one that suits.

    Args:
        job: What all seeds share.
        folder: Takes the scores of the rates that are tried.
        minutes: Time to try rates; 0 tries none.
    """
    if job.config.rate is not None:
        return job.config.rate
    width = load_config(job.encoder).hidden_size
    suits = suitable_rate(
        width,
        tags=bool(job.task.tags),
        taught=bool(job.teachers),
        is_two_tower=KINDS[job.task.kind].is_two_tower,
    )
    if not minutes:
        return suits
    place = folder / "search.json"
    if not place.exists():
        found = {}
        for times in _SEARCHED:
            rate, seconds = suits * times, minutes * 60 / len(_SEARCHED)
            _, result = train_seed(job, f"Trying rate {rate:.2g}", rate, seed=0, seconds=seconds)
            found[str(rate)] = result.scores[job.task.metric]
        write_json(place, found)
    remedy = f"remove {place} to search again"
    tried: dict[str, float] = stored(dict[str, float], place, remedy)
    with intact(place, remedy):
        best = max(tried, key=tried.__getitem__)
        require(0 < float(best) < 1, f"a rate cannot be {best}")
    shown = ", ".join(f"{float(rate):.2g}: {value:.1%}" for rate, value in tried.items())
    console.print(f"Learning rate {float(best):.2g} of {shown}", highlight=False)
    return float(best)
