"""Learning rates that suit an encoder and a task."""

import math

_STUDENT_WIDTH, _BASE_WIDTH, _BASE_RATE = 120, 768, 2.4e-5


def suitable_rate(width: int, *, tags: bool, taught: bool) -> float:
    """Returns the peak learning rate that suits an encoder of some width.

    It was measured for students of width 120 (experiments/LOG.md): 1e-3 for tags; for classes and scores of
    texts 7e-4 from a teacher and 3e-4 from labels alone, as they forget at more what they knew. For BERT_BASE
    it is 2.4e-5 (Devlin et al. 2019: 2e-5 to 5e-5), and a power of the width between and beyond.

    >>> f"{suitable_rate(384, tags=True, taught=False):.1e}"
    '9.7e-05'
    """
    ours = 1e-3 if tags else 7e-4 if taught else 3e-4
    way = math.log(_BASE_WIDTH / width) / math.log(_BASE_WIDTH / _STUDENT_WIDTH)
    return float(_BASE_RATE * (ours / _BASE_RATE) ** way)
