"""The metrics of GLUE and CoNLL, as fractions.

One that is undefined is 0: a correlation with values that are all the same, an F1 of nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from lilliput.inference.tags import Notation
from lilliput.tasks.task import Labels, Task

OF_ONE_TAG = "f1 of "
"""How the names of the scores of single tags begin."""


def correlations(gold: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """Returns `pearson` and `spearman`."""
    if min(len(set(gold)), len(set(predicted))) < 2:
        return {"pearson": 0.0, "spearman": 0.0}
    from scipy import stats

    return {
        "pearson": float(stats.pearsonr(gold, predicted).statistic),
        "spearman": float(stats.spearmanr(gold, predicted).statistic),
    }


def classification(task: Task, gold: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """Returns `accuracy`, `f1` and `matthews`.

    The F1 is that of the positive class where the task names one, else the mean over classes.
    """
    from sklearn import metrics

    found = {*gold, *predicted}
    counted = None if task.positive is None else [task.classes.index(task.positive)]
    f1 = metrics.f1_score(gold, predicted, labels=counted, average="macro", zero_division=0.0)
    return {
        "accuracy": float(metrics.accuracy_score(gold, predicted)),
        "f1": float(f1),
        "matthews": float(metrics.matthews_corrcoef(gold, predicted)) if len(found) > 1 else 0.0,
    }


def plain_tags(task: Task, gold: Labels, predicted: Labels) -> dict[str, float]:
    """Returns `accuracy` of words, `f1` (the mean over tags but O), and the F1 of each of these tags."""
    pairs = list(tag_pairs(gold, predicted))
    right = Counter(a for a, b in pairs if a == b)
    counts = Counter(tag for pair in pairs for tag in pair)
    occur = sorted({a for a, _ in pairs})
    each = {task.tags[tag]: 2 * right[tag] / counts[tag] for tag in occur if task.tags[tag] != "O"}
    mean = sum(each.values()) / len(each) if each else 0.0
    accuracy = right.total() / len(pairs) if pairs else 0.0
    return {"accuracy": accuracy, "f1": mean} | {f"{OF_ONE_TAG}{tag}": f1 for tag, f1 in each.items()}


def spans(task: Task, gold: Labels, predicted: Labels) -> dict[str, float]:
    """Returns `f1`, `precision` and `recall` of spans, of which name, first and last word must be right."""
    pairs = list(zip(_span_sets(task, gold), _span_sets(task, predicted), strict=True))
    right = sum(len(a & b) for a, b in pairs)
    there, said = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    return {
        "f1": 2 * right / (there + said) if there + said else 0.0,
        "precision": right / said if said else 0.0,
        "recall": right / there if there else 0.0,
    }


def span_pairs(task: Task, gold: Labels, predicted: Labels) -> Counter[tuple[str, str]]:
    """Counts kinds of spans that stand at the same words."""
    pairs: Counter[tuple[str, str]] = Counter()
    for sides in zip(_span_sets(task, gold), _span_sets(task, predicted), strict=True):
        kinds = [{(first, after): kind for kind, first, after in spans} for spans in sides]
        pairs.update(
            (kinds[0].get(at, "O"), kinds[1].get(at, "O")) for at in kinds[0].keys() | kinds[1].keys()
        )
    return pairs


def _span_sets(task: Task, labels: Labels) -> list[set[tuple[str, int, int]]]:
    notation = Notation.of(task.tags)
    return [{*notation.spans([task.tags[tag] for tag in tags])} for tags in labels.tags]


def tag_pairs(gold: Labels, predicted: Labels) -> Iterable[tuple[int, int]]:
    """Yields the two tags of each word."""
    for a, b in zip(gold.tags, predicted.tags, strict=True):
        yield from zip(a, b, strict=True)
