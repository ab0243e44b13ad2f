"""Texts with several classes, or none: how they may be written, what is refused, and how they are scored."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilliput.errors import InputError
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.loading import load_task
from lilliput.tasks.metrics import always_the_same, confusion, score
from lilliput.tasks.preview import preview
from lilliput.tasks.task import Labels, Task, TaskData

KIND = KINDS["multilabel"]
TASK = Task("m", "multilabel", classes=("a", "b", "c"), metric="micro_f1")
WRITTEN = {
    "lists": (
        "x.jsonl",
        '{"text":"p","labels":["b","a"]}\n{"text":"q","labels":[]}\n{"text":"r","labels":["c"]}',
        {},
    ),
    "lists as text": ("x.csv", "text,labels\np,\"['b', 'a']\"\nq,[]\nr,\"['c']\"\n", {}),
    "bars": ("x.csv", "text,label\np,b|a\nq,\nr,c\n", {"kind": "multilabel"}),
    "named flags": ("x.csv", "text,a,b,c\np,1,1,0\nq,0,0,0\nr,0,0,1\n", {"label": "a, b,c"}),
    "flags": ("x.csv", "text,a,id,b,c\np,1,9,1,0\nq,0,8,0,0\nr,0,7,0,1.0\n", {"kind": "multilabel"}),
    "true and false": (
        "x.jsonl",
        "\n".join(
            f'{{"text":"{text}","a":{a},"b":{a},"c":{c}}}'
            for text, a, c in (("p", "true", "false"), ("q", "false", "false"), ("r", "false", "true"))
        ),
        {"label": "a,b,c"},
    ),
}  # fmt: skip


def load(folder: Path, name: str, content: str, **options: Any) -> TaskData:
    path = folder / name
    path.write_text(content)
    return load_task("m", train=str(path), dev=str(path), **options)


@pytest.mark.parametrize("case", WRITTEN)
def test_several_classes_may_be_written_in_many_ways(case: str, tmp_path: Path) -> None:
    name, content, options = WRITTEN[case]
    data = load(tmp_path, name, content, **options)
    assert data.task == TASK
    assert data.train.texts == ("p", "q", "r")
    assert data.train.labels == Labels(several=((0, 1), (), (2,)))
    assert data.dev.labels == data.train.labels
    shown = "".join(str(cell) for column in preview(data).columns for cell in column.cells)
    assert "1 classes on average, 1 texts have none" in shown
    assert "p -> a, b" in shown
    assert "q -> no class" in shown


def of(first: str, second: str) -> str:
    """Returns two rows with these labels, as JSON."""
    return f'{{"text":"p","labels":{first}}}\n{{"text":"q","labels":{second}}}'


FLAGS = "text,toxic,b\np,1,0\nq,0,1\n"
REFUSED = {
    "no labels": ("x.jsonl", of('["a"]', "null"), {}, "line 2 of .* no labels"),
    "flags in a list": ("x.jsonl", of("[1,0,1]", "[0,0,1]"), {}, "class '1' twice .*a column of its own"),
    "values": ("x.jsonl", of("[1.5]", "[]"), {}, "has 1.5 among the labels"),
    "all the same": ("x.jsonl", of('["a"]', '["a"]'), {}, "same classes"),
    "none": ("x.jsonl", of("[]", "[]"), {}, "no text of .* has a class"),
    "no flag": ("x.csv", "text,a,b\np,1,0\nq,2,1\n", {"label": "a,b"}, "line 3 of .* has '2' in column 'a'"),
    "a class twice": ("x.csv", FLAGS, {"label": "b,b"}, "names a column twice"),
    "a nearly right column": ("x.csv", FLAGS, {"label": "txic,b"}, "did you mean 'toxic'"),
    "one column of flags": ("x.csv", "text,a\np,1\nq,0\n", {"kind": "multilabel"}, "known to hold a label"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_labels_that_cannot_be_read_are_refused(case: str, tmp_path: Path) -> None:
    name, content, options, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        load(tmp_path, name, content, **options)


def test_a_class_that_no_text_has_is_left_out_and_one_of_dev_alone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,a,b,c\np,1,1,0\nq,0,1,0\n")
    (tmp_path / "y.csv").write_text("text,a,b,c\nr,1,0,0\ns,0,1,1\n")
    data = load_task("m", train=str(tmp_path / "x.csv"), dev=str(tmp_path / "y.csv"), label="a,b,c")
    assert data.task.classes == ("a", "b", "c")
    assert any("have a class that train lacks ('c')" in note for note in data.warnings)
    data = load(tmp_path, "x.csv", "text,a,b,c\np,1,1,0\nq,0,1,0\n", label="a,b,c")
    assert data.task.classes == ("a", "b")
    assert any("no example of" in note and "has the classes c, so" in note for note in data.warnings)
    (tmp_path / "z.csv").write_text("text,a,b\nr,1,0\n")
    with pytest.raises(InputError, match="has no column 'c' of 0 and 1, which train has"):
        load_task("m", train=str(tmp_path / "x.csv"), dev=str(tmp_path / "z.csv"), label="a,b,c")


def test_texts_of_each_class_and_of_none_are_held_out(tmp_path: Path) -> None:
    rows = [f"text {row},{int(row % 2 == 0)},{int(row % 5 == 0)}" for row in range(200)]
    (tmp_path / "x.csv").write_text("\n".join(["text,a,b", *rows]))
    data = load_task("m", train=str(tmp_path / "x.csv"), label="a,b")
    assert data.dev.labels is not None
    several = data.dev.labels.several
    assert 10 <= sum(0 in row for row in several) <= 12
    assert sum(not row for row in several) == 8
    assert 20 <= len(several) <= 24


GOLD, SAID = Labels(several=((0, 1), (), (2,), (0,))), Labels(several=((0,), (1,), (2,), (0,)))


def test_scores_are_those_of_sklearn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    gold, said = KIND.array(TASK, GOLD), KIND.array(TASK, SAID)
    assert score(TASK, GOLD, SAID) == pytest.approx(
        {
            "micro_f1": metrics.f1_score(gold, said, average="micro"),
            "macro_f1": metrics.f1_score(gold, said, average="macro"),
            "exact_match": metrics.accuracy_score(gold, said),
        }
    )
    assert confusion(TASK, GOLD, SAID) == {
        "a": {"a": 2},
        "b": {"no class": 1},
        "c": {"c": 1},
        "no class": {"b": 1},
    }


def test_labels_survive_their_names_and_scores() -> None:
    named = [KIND.named(TASK, GOLD, index) for index in range(4)]
    assert named[:2] == [{"labels": ["a", "b"]}, {"labels": []}]
    assert KIND.unnamed(TASK, named) == GOLD
    scores = 4 * KIND.array(TASK, GOLD) - 2
    assert KIND.labels(TASK, scores, np.arange(5)) == GOLD
    assert KIND.labels(TASK, KIND.targets(TASK, GOLD), np.arange(5)) == GOLD


def test_a_model_that_always_says_nothing_is_warned_of() -> None:
    warning = always_the_same(TASK, GOLD, Labels(several=((),) * 4))
    assert warning is not None
    assert "says 'no class' of all 4" in warning
    assert always_the_same(TASK, GOLD, SAID) is None


@pytest.mark.parametrize(("metric", "found"), [("Macro-F1", "macro_f1"), ("accuracy", "exact_match")])
def test_the_metric_is_chosen_by_name(metric: str, found: str, tmp_path: Path) -> None:
    name, content, options = WRITTEN["lists"]
    assert load(tmp_path, name, content, metric=metric, **options).task.metric == found
