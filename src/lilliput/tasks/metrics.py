"""Labels and predictions -> scores, as GLUE and CoNLL define them, and what was taken for what.

Scores are fractions. One that is undefined (a correlation with what is all the same, an F1 of nothing) is 0.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from lilliput.tasks.task import Labels, Task


def score(task: Task, gold: Labels, predicted: Labels) -> dict[str, float]:
    """Returns the scores of predictions by name.

    Classification has `accuracy`, `f1` (of the positive class where the task names one, else the mean over
    classes) and `matthews`; regression `pearson` and `spearman`; tagging `f1`, `precision` and `recall` of
    spans, of which kind, first and last word must be right; joint `frame_accuracy` (class and all tags
    right), `intent_accuracy` and `slot_f1`.
    """
    if task.kind == "regression":
        return _correlations(gold.values, predicted.values)
    if task.kind == "classification":
        return _classification(task, gold.values, predicted.values)
    spans = _spans(_tag_names(task, gold), _tag_names(task, predicted))
    if task.kind == "tagging":
        return spans
    intents = [a == b for a, b in zip(gold.values, predicted.values, strict=True)]
    slots = [a == b for a, b in zip(gold.tags, predicted.tags, strict=True)]
    return {
        "frame_accuracy": _share(a and b for a, b in zip(intents, slots, strict=True)),
        "intent_accuracy": _share(intents),
        "slot_f1": spans["f1"],
    }


def confusion(task: Task, gold: Labels, predicted: Labels) -> dict[str, dict[str, int]]:
    """Returns how often each class (joint: intent) was predicted for each, as counts[gold][predicted].

    For tagging these are kinds of spans with the same first and last word, and O where the other side has
    no such span. Only what occurs is in it; for regression nothing is.
    """
    if task.kind == "regression":
        return {}
    if task.kind == "tagging":
        pairs = _span_pairs(_tag_names(task, gold), _tag_names(task, predicted))
    else:
        both = zip(gold.values, predicted.values, strict=True)
        pairs = Counter((task.classes[int(a)], task.classes[int(b)]) for a, b in both)
    counts: dict[str, dict[str, int]] = {}
    for (a, b), count in sorted(pairs.items()):
        counts.setdefault(a, {})[b] = count
    return counts


def _correlations(gold: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    if min(len(set(gold)), len(set(predicted))) < 2:
        return {"pearson": 0.0, "spearman": 0.0}
    from scipy import stats

    return {
        "pearson": float(stats.pearsonr(gold, predicted).statistic),
        "spearman": float(stats.spearmanr(gold, predicted).statistic),
    }


def _classification(task: Task, gold: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    from sklearn import metrics

    found = {*gold, *predicted}
    counted = None if task.positive is None else [task.classes.index(task.positive)]
    f1 = metrics.f1_score(gold, predicted, labels=counted, average="macro", zero_division=0.0)
    return {
        "accuracy": float(metrics.accuracy_score(gold, predicted)),
        "f1": float(f1),
        "matthews": float(metrics.matthews_corrcoef(gold, predicted)) if len(found) > 1 else 0.0,
    }


def _spans(gold: list[list[str]], predicted: list[list[str]]) -> dict[str, float]:
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        gold, predicted, average="micro", zero_division=0
    )
    return {"f1": float(f1), "precision": float(precision), "recall": float(recall)}


def _span_pairs(gold: list[list[str]], predicted: list[list[str]]) -> Counter[tuple[str, str]]:
    """Counts kinds of spans that stand at the same words; they are read as the score reads them."""
    from seqeval.metrics.sequence_labeling import get_entities

    pairs: Counter[tuple[str, str]] = Counter()
    for gold_tags, predicted_tags in zip(gold, predicted, strict=True):
        kinds = [
            {(first, last): kind for kind, first, last in get_entities(tags)}
            for tags in (gold_tags, predicted_tags)
        ]
        pairs.update(
            (kinds[0].get(at, "O"), kinds[1].get(at, "O")) for at in kinds[0].keys() | kinds[1].keys()
        )
    return pairs


def _tag_names(task: Task, labels: Labels) -> list[list[str]]:
    return [[task.tags[tag] for tag in tags] for tags in labels.tags]


def _share(right: Iterable[bool]) -> float:
    flags = list(right)
    return sum(flags) / len(flags)
