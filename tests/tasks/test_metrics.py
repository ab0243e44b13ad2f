"""Scores are those that GLUE and the CoNLL shared tasks define; each is counted here once more by hand."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, strategies as st
from seqeval.metrics import f1_score

from lilliput.tasks.metrics import confusion, of_all, score
from lilliput.tasks.task import Labels, Task

TAGS = ("O", "B-x", "I-x", "B-y", "I-y")
TAGGING = Task("ner", "tagging", tags=TAGS, metric="f1")
classes = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=30)
sentences = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6), min_size=1, max_size=6
)


def spans(tags: tuple[int, ...]) -> set[tuple[str, int, int]]:
    """Returns the spans of a sentence as conlleval counts them: I- after another kind begins one too."""
    found, begun = set(), -1
    names = [*(TAGS[tag] for tag in tags), "O"]
    for index, name in enumerate(names):
        goes_on = begun >= 0 and name == f"I-{names[begun][2:]}"
        if begun >= 0 and not goes_on:
            found.add((names[begun][2:], begun, index - 1))
            begun = -1
        if name != "O" and not goes_on:
            begun = index
    return found


def both(pairs: list[list[tuple[int, int]]]) -> tuple[Labels, Labels]:
    gold, predicted = (tuple(tuple(pair[side] for pair in row) for row in pairs) for side in (0, 1))
    return Labels(tags=gold), Labels(tags=predicted)


@given(sentences)
def test_spans_are_scored_as_counted_by_hand(pairs: list[list[tuple[int, int]]]) -> None:
    gold, predicted = both(pairs)
    right = there = said = 0
    for gold_tags, predicted_tags in zip(gold.tags, predicted.tags, strict=True):
        a, b = spans(gold_tags), spans(predicted_tags)
        right, there, said = right + len(a & b), there + len(a), said + len(b)
    assert score(TAGGING, gold, predicted) == pytest.approx(
        {
            "precision": right / said if said else 0,
            "recall": right / there if there else 0,
            "f1": 2 * right / (said + there) if said + there else 0,
        }
    )


@given(sentences)
def test_every_span_is_counted_once_in_the_confusion(pairs: list[list[tuple[int, int]]]) -> None:
    gold, predicted = both(pairs)
    counts = confusion(TAGGING, gold, predicted)
    there = sum(len(spans(tags)) for tags in gold.tags)
    assert sum(sum(row.values()) for kind, row in counts.items() if kind != "O") == there
    assert all(row.keys() != {"O"} for kind, row in counts.items() if kind == "O")


@given(classes)
def test_f1_is_of_the_positive_class(pairs: list[tuple[int, int]]) -> None:
    task = Task("mrpc", "classification", classes=("no", "yes"), positive="yes")
    gold, predicted = (tuple(pair[side] for pair in pairs) for side in (0, 1))
    right = pairs.count((1, 1))
    counted = gold.count(1) + predicted.count(1)
    found = score(task, Labels(gold), Labels(predicted))
    assert found["f1"] == pytest.approx(2 * right / counted if counted else 0)
    assert found["accuracy"] == pytest.approx((right + pairs.count((0, 0))) / len(pairs))


@given(classes)
def test_matthews_is_the_correlation_of_zeros_and_ones(pairs: list[tuple[int, int]]) -> None:
    gold, predicted = (tuple(pair[side] for pair in pairs) for side in (0, 1))
    found = score(Task("cola", "classification", classes=("no", "yes")), Labels(gold), Labels(predicted))
    varied = len(set(gold)) == len(set(predicted)) == 2
    assert found["matthews"] == pytest.approx(np.corrcoef(gold, predicted)[0, 1] if varied else 0)


def test_f1_is_the_mean_over_classes_where_none_is_positive() -> None:
    task = Task("x", "classification", classes=("a", "b", "c"))
    found = score(task, Labels((0, 0, 1, 2)), Labels((0, 1, 1, 1)))
    assert found["f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=30))
def test_correlations_are_of_scores_and_of_their_ranks(pairs: list[tuple[int, int]]) -> None:
    gold, predicted = (tuple(float(pair[side]) for pair in pairs) for side in (0, 1))
    found = score(Task("stsb", "regression"), Labels(gold), Labels(predicted))
    if min(len(set(gold)), len(set(predicted))) < 2:
        assert found == {"pearson": 0, "spearman": 0}
        return
    ranks = [
        [sum(b < a for b in side) + sum(b == a for b in side) / 2 for a in side] for side in (gold, predicted)
    ]
    assert found["pearson"] == pytest.approx(np.corrcoef(gold, predicted)[0, 1])
    assert found["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])


@pytest.mark.parametrize("predicted", [(), (2.5,) * 3])
def test_correlations_that_are_undefined_are_zero(predicted: tuple[float, ...]) -> None:
    gold = (1.0, 2.0, 3.0)[: len(predicted)]
    assert score(Task("x", "regression"), Labels(gold), Labels(predicted)) == {"pearson": 0, "spearman": 0}


def test_a_frame_is_right_if_its_intent_and_all_its_slots_are() -> None:
    task = Task("snips", "joint", classes=("play", "stop"), tags=TAGS)
    gold = Labels((0, 0, 1, 1), ((1, 2), (1, 0), (0, 0), (3, 4)))
    predicted = Labels((0, 1, 1, 1), ((1, 2), (1, 0), (0, 0), (3, 0)))
    found = score(task, gold, predicted)
    assert found == pytest.approx({"frame_accuracy": 0.5, "intent_accuracy": 0.75, "slot_f1": 2 / 3})
    assert confusion(task, gold, predicted) == {"play": {"play": 1, "stop": 1}, "stop": {"stop": 2}}


@given(sentences)
def test_spans_are_scored_as_seqeval_does(pairs: list[list[tuple[int, int]]]) -> None:
    gold, predicted = both(pairs)
    names = [[[TAGS[tag] for tag in row] for row in labels.tags] for labels in (gold, predicted)]
    assert score(TAGGING, gold, predicted)["f1"] == pytest.approx(f1_score(*names, zero_division=0))


def test_words_of_one_given_word_are_scored_beside_the_given_words() -> None:
    gold = Labels(tags=((0, 1, 2, 2), (3, 0)))
    predicted = Labels(tags=((0, 1, 0, 0), (3, 0)))
    found = score(TAGGING, gold, predicted, [[0, 1, 1, 1], [0, 1]])
    assert found == pytest.approx(
        {"f1": 0.5, "precision": 0.5, "recall": 0.5}
        | {"f1_given_words": 1, "precision_given_words": 1, "recall_given_words": 1}
    )
    assert score(TAGGING, gold, predicted, [[0, 1, 2, 3], [0, 1]]).keys() == {"f1", "precision", "recall"}


def test_a_frame_is_right_if_all_words_of_the_text_are() -> None:
    task = Task("snips", "joint", classes=("play", "stop"), tags=TAGS)
    gold, predicted = Labels((0, 1), ((1, 2), (0, 1))), Labels((0, 1), ((1, 0), (0, 1)))
    assert score(task, gold, predicted, [[0, 0], [0, 1]]) == pytest.approx(
        {"frame_accuracy": 0.5, "intent_accuracy": 1, "slot_f1": 0.5}
        | {"frame_accuracy_given_words": 1, "slot_f1_given_words": 1}
    )


UPOS = ("O", "NOUN", "VERB", "E-mail")


def test_plain_tags_are_scored_word_by_word() -> None:
    task = Task("pos", "tagging", tags=UPOS, metric="accuracy")
    gold, predicted = Labels(tags=((1, 1, 2, 0, 3),)), Labels(tags=((1, 2, 2, 0, 1),))
    each = {"f1 of NOUN": 2 / 4, "f1 of VERB": 2 / 3, "f1 of E-mail": 0}
    found = score(task, gold, predicted)
    assert found == pytest.approx({"accuracy": 3 / 5, "f1": sum(each.values()) / 3} | each)
    assert of_all(found).keys() == {"accuracy", "f1"}
    assert confusion(task, gold, predicted) == {
        "E-mail": {"NOUN": 1},
        "NOUN": {"NOUN": 1, "VERB": 1},
        "O": {"O": 1},
        "VERB": {"VERB": 1},
    }
    by_given = score(task, gold, predicted, [[0, 0, 1, 2, 3]])
    assert by_given["accuracy_given_words"] == pytest.approx(3 / 4)
    assert of_all(by_given).keys() == {"accuracy", "f1", "accuracy_given_words", "f1_given_words"}
    both = Task("pos", "joint", classes=("a", "b"), tags=UPOS)
    of_joint = score(both, Labels((0,), gold.tags), Labels((0,), predicted.tags))
    assert of_joint == pytest.approx(
        {"frame_accuracy": 0, "intent_accuracy": 1, "tag_accuracy": 3 / 5, "tag_f1": found["f1"]} | each
    )


def test_confusion_counts_predictions_for_each_class() -> None:
    task = Task("x", "classification", classes=("a", "b", "c"))
    counts = confusion(task, Labels((0, 0, 1)), Labels((2, 0, 1)))
    assert counts == {"a": {"a": 1, "c": 1}, "b": {"b": 1}}


def test_confusion_of_spans_tells_kinds_apart_from_misses() -> None:
    gold = Labels(tags=((1, 2, 0, 3), (0, 1, 0, 0)))
    predicted = Labels(tags=((3, 4, 0, 3), (1, 0, 0, 0)))
    assert confusion(TAGGING, gold, predicted) == {"O": {"x": 1}, "x": {"O": 1, "y": 1}, "y": {"y": 1}}


def test_scores_are_plain_floats() -> None:
    found = score(Task("x", "classification", classes=("a", "b")), Labels((0, 1)), Labels((1, 1)))
    assert all(type(value) is float and math.isfinite(value) for value in found.values())


def test_tasks_are_loaded_and_scored_without_torch() -> None:
    code = (
        "import sys; from lilliput.tasks import loading, preview, metrics, task;"
        "t = task.Task('x', 'tagging', tags=('O', 'B-x')); l = task.Labels(tags=((1,),));"
        "assert metrics.score(t, l, l)['f1'] == 1.0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
