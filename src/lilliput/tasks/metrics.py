"""Labels and predictions -> scores, as GLUE and CoNLL define them, and what was taken for what.

Scores are fractions. One that is undefined (a correlation with what is all the same, an F1 of nothing) is 0.

Tags are those of a text's words as a model reads them, where one word of a data set may be several (o'hare):
so scores are of the text as a user types it. What they would be by the words of the data set, each with the
tag of its first word in the text, as the literature has it, stands beside them where there are such words.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from lilliput.inference.tags import Notation
from lilliput.tasks.task import Labels, Task

GIVEN_WORDS = "_given_words"
"""The end of the names of scores by the words of the data set."""
_OF_ONE_TAG = "f1 of "
"""How the names of the scores of single tags begin."""

_Value = TypeVar("_Value")


def score(
    task: Task, gold: Labels, predicted: Labels, given: Sequence[Sequence[int]] = ()
) -> dict[str, float]:
    """Returns the scores of predictions by name.

    Classification has `accuracy`, `f1` (of the positive class where the task names one, else the mean over
    classes) and `matthews`; regression `pearson` and `spearman`; tagging `f1`, `precision` and `recall` of
    spans, of which kind, first and last word must be right; joint `frame_accuracy` (class and all tags
    right), `intent_accuracy` and `slot_f1`. Plain tags (NOUN) make no spans: they have `accuracy`, `f1` (the
    mean over tags) and the F1 of each tag, in a joint task `tag_accuracy` and so on.

    Args:
        task: What is scored.
        gold: What is right.
        predicted: What was said.
        given: For each word of each text the number of the given word that it stands in; without it words
            are those given.
    """
    found = _scores(task, gold, predicted)
    if all(len(set(row)) == len(row) for row in given):
        return found
    return found | by_given_words(task, first_tags(gold, given), first_tags(predicted, given))


def by_given_words(task: Task, gold: Labels, predicted: Labels) -> dict[str, float]:
    """Returns the scores of predictions for given words, by names that say so."""
    found = of_all(_scores(task, gold, predicted))
    return {f"{name}{GIVEN_WORDS}": value for name, value in found.items() if name != "intent_accuracy"}


def of_all(scores: Mapping[str, _Value]) -> dict[str, _Value]:
    """Returns the scores without those of single tags, which are many."""
    return {name: value for name, value in scores.items() if not name.startswith(_OF_ONE_TAG)}


def first_tags(labels: Labels, given: Sequence[Sequence[int]]) -> Labels:
    """Returns the tags of given words: of each, that of its first word in the text.

    >>> first_tags(Labels(tags=((1, 2, 2, 0),)), [[0, 0, 0, 1]])
    Labels(values=(), tags=((1, 0),))
    """
    return Labels(labels.values, tuple(map(first_of, labels.tags, given)))


def first_of(row: Sequence[_Value], given: Sequence[int]) -> tuple[_Value, ...]:
    """Returns what stands in a row at the first word of each given word."""
    found = dict(zip(reversed(given), reversed(row), strict=True))
    return tuple(found[number] for number in sorted(found))


def _scores(task: Task, gold: Labels, predicted: Labels) -> dict[str, float]:
    if task.kind == "regression":
        return _correlations(gold.values, predicted.values)
    if task.kind == "classification":
        return _classification(task, gold.values, predicted.values)
    is_plain = Notation.of(task.tags).is_plain
    tags = (_plain if is_plain else _spans)(task, gold, predicted)
    if task.kind == "tagging":
        return tags
    intents = [a == b for a, b in zip(gold.values, predicted.values, strict=True)]
    right = [a == b for a, b in zip(gold.tags, predicted.tags, strict=True)]
    of_texts = {
        "frame_accuracy": _share(a and b for a, b in zip(intents, right, strict=True)),
        "intent_accuracy": _share(intents),
    }
    if not is_plain:
        return of_texts | {"slot_f1": tags["f1"]}
    named = {"accuracy": "tag_accuracy", "f1": "tag_f1"}
    return of_texts | {named.get(name, name): value for name, value in tags.items()}


def confusion(task: Task, gold: Labels, predicted: Labels) -> dict[str, dict[str, int]]:
    """Returns how often each class (joint: intent) was predicted for each, as counts[gold][predicted].

    For tagging these are kinds of spans with the same first and last word, and O where the other side has
    no such span, or plain tags of words. Only what occurs is in it; for regression nothing is.
    """
    if task.kind == "regression":
        return {}
    if task.kind != "tagging":
        both = zip(gold.values, predicted.values, strict=True)
        pairs = Counter((task.classes[int(a)], task.classes[int(b)]) for a, b in both)
    elif Notation.of(task.tags).is_plain:
        pairs = Counter((task.tags[a], task.tags[b]) for a, b in _tag_pairs(gold, predicted))
    else:
        pairs = _span_pairs(task, gold, predicted)
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


def _plain(task: Task, gold: Labels, predicted: Labels) -> dict[str, float]:
    """Returns the share of words with the right tag, and the F1 of tags; O counts for the share alone."""
    pairs = list(_tag_pairs(gold, predicted))
    right = Counter(a for a, b in pairs if a == b)
    counts = Counter(tag for pair in pairs for tag in pair)
    occur = sorted({a for a, _ in pairs})
    each = {task.tags[tag]: 2 * right[tag] / counts[tag] for tag in occur if task.tags[tag] != "O"}
    mean = sum(each.values()) / len(each) if each else 0.0
    accuracy = right.total() / len(pairs) if pairs else 0.0
    return {"accuracy": accuracy, "f1": mean} | {f"{_OF_ONE_TAG}{tag}": f1 for tag, f1 in each.items()}


def _spans(task: Task, gold: Labels, predicted: Labels) -> dict[str, float]:
    pairs = list(zip(_span_sets(task, gold), _span_sets(task, predicted), strict=True))
    right = sum(len(a & b) for a, b in pairs)
    there, said = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    return {
        "f1": 2 * right / (there + said) if there + said else 0.0,
        "precision": right / said if said else 0.0,
        "recall": right / there if there else 0.0,
    }


def _span_pairs(task: Task, gold: Labels, predicted: Labels) -> Counter[tuple[str, str]]:
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


def _tag_pairs(gold: Labels, predicted: Labels) -> Iterable[tuple[int, int]]:
    for a, b in zip(gold.tags, predicted.tags, strict=True):
        yield from zip(a, b, strict=True)


def _share(right: Iterable[bool]) -> float:
    flags = list(right)
    return sum(flags) / len(flags)
