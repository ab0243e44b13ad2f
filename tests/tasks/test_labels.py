"""Labels: what is missing, what may be classes or scores, and columns that hold neither."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from lilliput.errors import InputError
from lilliput.tasks.loading import load_task
from lilliput.tasks.task import TaskData


def load(path: Path, content: str | list[dict[str, Any]], **options: Any) -> TaskData:
    text = content if isinstance(content, str) else "\n".join(map(json.dumps, content))
    path.write_bytes(text.encode())
    return load_task(train=str(path), dev=str(path), **options)


def rows(labels: list[Any], **more: Any) -> list[dict[str, Any]]:
    return [{"text": f"text {index}", "label": label, **more} for index, label in enumerate(labels)]


# Missing values


@pytest.mark.parametrize("label", [None, float("nan"), "", "  "])
@pytest.mark.parametrize("others", [["x", "y"], [0, 1], [0.5, 1.5]])
def test_a_missing_label_is_refused_with_its_line(label: Any, others: list[Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 3 of .* has no label in column 'label'"):
        load(tmp_path / "x.jsonl", rows([*others, label]))


@pytest.mark.parametrize("kind", [pyarrow.float64(), pyarrow.float32(), pyarrow.string(), pyarrow.int64()])
def test_a_missing_label_in_parquet_is_refused(kind: pyarrow.DataType, tmp_path: Path) -> None:
    missing = float("nan") if pyarrow.types.is_floating(kind) else None
    labels = pyarrow.array([*pyarrow.array([1, 2]).cast(kind).to_pylist(), missing], kind)
    table = pyarrow.table({"text": ["a", "b", "c"], "label": labels})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"row 3 of .* has no label"):
        load_task(train=str(tmp_path / "x.parquet"), dev=str(tmp_path / "x.parquet"))


@pytest.mark.parametrize("name", ["nan", "NaN", "NA", "null", "None", "N/A", "<NA>"])
def test_classes_written_as_missing_values_are_learnt_and_warned_of(name: str, tmp_path: Path) -> None:
    data = load(tmp_path / "x.csv", f"text,label\na,US\nb,{name}\nc,DE\nd,{name}\n")
    assert set(data.task.classes) == {"US", "DE", name}
    assert f"line 3 of {tmp_path / 'x.csv'}: '{name}' (2) of 4" in data.warnings[0]


def test_a_missing_value_among_numbers_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 4 of .* has 'NA'.*without a label are to be left out"):
        load(tmp_path / "x.csv", "text,label\na,0\nb,1\nc,NA\n")


@pytest.mark.parametrize("value", [None, float("nan")])
def test_missing_texts_and_tags_are_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1 of .* has an empty text in column 'text'"):
        load(tmp_path / "x.jsonl", [{"text": value, "label": "a"}])
    with pytest.raises(InputError, match=r"line 1 of .* has no tags in column 'tags'"):
        load(tmp_path / "x.jsonl", [{"tokens": ["a"], "tags": value}])


# Classes or scores


def test_whole_numbers_with_a_fraction_are_classes_and_said_to_be(tmp_path: Path) -> None:
    data = load(tmp_path / "x.jsonl", rows([0.0, 1.0, 2.0, 1.0]))
    assert (data.task.kind, data.task.classes) == ("classification", ("0", "1", "2"))
    assert "whole numbers (such as 0.0) and taken for classes" in data.warnings[0]
    assert "say --kind regression" in data.warnings[0]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_kind_can_be_said(ending: str, tmp_path: Path) -> None:
    content = rows([0.0, 1.0, 2.0]) if ending == "jsonl" else "text,label\na,0.0\nb,1.0\nc,2.0\n"
    data = load(tmp_path / f"x.{ending}", content, kind="regression")
    assert data.task.kind == "regression"
    assert data.train.labels is not None
    assert data.train.labels.values == (0.0, 1.0, 2.0)
    assert data.warnings[:1] == () or "whole numbers" not in data.warnings[0]


def test_a_score_of_whole_numbers_is_a_score_and_said_to_be(tmp_path: Path) -> None:
    data = load(tmp_path / "x.csv", "text,score\na,1.0\nb,2.0\n")
    assert data.task.kind == "regression"
    assert "say --kind classification" in data.warnings[0]
    integers = load(tmp_path / "x.csv", "text,score\na,1\nb,2\n")
    assert integers.task.kind == "classification"
    assert "say --kind regression" in integers.warnings[0]


def test_many_whole_numbers_with_a_fraction_are_scores(tmp_path: Path) -> None:
    data = load(tmp_path / "x.jsonl", rows([float(index % 30) for index in range(60)]))
    assert data.task.kind == "regression"
    assert "taken for scores" in data.warnings[0]


def test_numbers_with_fractions_can_be_classes(tmp_path: Path) -> None:
    data = load(tmp_path / "x.csv", "text,label\na,1.5\nb,2.0\nc,1.5\n", kind="classification")
    assert data.task.classes == ("1.5", "2.0")


def test_names_and_numbers_can_be_classes_together(tmp_path: Path) -> None:
    content = "text,label\na,1\nb,good\nc,1\n"
    with pytest.raises(InputError, match=r"mixes numbers and text.* say --kind classification"):
        load(tmp_path / "x.csv", content)
    assert load(tmp_path / "x.csv", content, kind="classification").task.classes == ("1", "good")


def test_classes_of_dev_may_be_written_with_a_fraction(tmp_path: Path) -> None:
    (tmp_path / "dev.csv").write_text("text,label\nc,1.0\nd,0.0\n")
    (tmp_path / "x.csv").write_text("text,label\na,0\nb,1\n")
    data = load_task(train=str(tmp_path / "x.csv"), dev=str(tmp_path / "dev.csv"))
    assert data.dev.labels is not None
    assert data.dev.labels.values == (1, 0)


def test_numbers_of_a_known_task_may_have_a_fraction(tmp_path: Path) -> None:
    data = load(tmp_path / "x.csv", "text,label\na,0.0\nb,1.0\n", name="sst2")
    assert data.task.classes == ("negative", "positive")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("text,label\na,0\nb,1\n", {"kind": "tagging"}, "known to hold tags"),
        ("text,label\na,0\nb,1\n", {"kind": "joint"}, "known to hold tags"),
        ("text,tags\na b,O B-x\n", {"kind": "classification"}, "known to hold a label"),
        ("text,label\na,0\nb,1\n", {"kind": "tagging", "label": "label"}, "tagging task has no --label"),
        ("text,tags,label\na,O,1\n", {"kind": "regression", "tags": "tags"}, "regression task has no --tags"),
        ("text,label\na,0\nb,1\n", {"kind": "regression", "name": "sst2"}, "'sst2' is one of classification"),
        ("text,label\na,x\nb,y\n", {"kind": "regression"}, "line 2 of .* expected is a number"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused(
    content: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path / "x.csv", content, **options)


@pytest.mark.parametrize(
    ("kind", "found"),
    [("classification", ((), 2)), ("tagging", (("O", "B-x"), 0)), (None, (("O", "B-x"), 2))],
)
def test_a_kind_leaves_out_columns_of_others(kind: Any, found: tuple[Any, int], tmp_path: Path) -> None:
    content = "text,tags,label\na b,O B-x,x\nc,O,y\n"
    task = load(tmp_path / "x.csv", content, kind=kind).task
    assert (task.tags, len(task.classes)) == found


def test_decimal_commas_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2 of .* label '0,5' .* decimal comma; write points"):
        load(tmp_path / "x.csv", "text;label\na;0,5\nb;1,0\n")


# Columns that cannot be learnt from


@pytest.mark.parametrize("label", [["a", "b"], ["a"], []])
@pytest.mark.parametrize("column", ["label", "labels"])
def test_lists_among_classes_are_refused_by_name(label: Any, column: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=rf"line 1 of .* list for a label in column '{column}'.*--kind multilabel"
    ):
        load(tmp_path / "x.jsonl", [{"text": "a", column: label}, {"text": "b", column: "a"}])


def test_classes_in_square_brackets_are_no_lists(tmp_path: Path) -> None:
    data = load(tmp_path / "x.csv", "text,label\na,[UNK]\nb,[sic]\n")
    assert data.task.classes == ("[UNK]", "[sic]")


def test_the_column_labels_is_one_of_classes_or_of_tags(tmp_path: Path) -> None:
    assert load(tmp_path / "x.csv", "text,labels\na,x\nb,y\n").task.classes == ("x", "y")
    data = load(tmp_path / "x.jsonl", [{"tokens": ["a", "b"], "labels": ["O", "B-x"]}])
    assert data.task.kind == "tagging"


def test_a_class_for_each_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"each of the 9 examples of .* has a class of its own"):
        load(tmp_path / "x.jsonl", rows([f"name {index}" for index in range(9)]))


def test_many_classes_that_occur_once_are_warned_of(tmp_path: Path) -> None:
    data = load(tmp_path / "x.jsonl", rows([f"name {index}" for index in range(9)] + ["name 1"] * 3))
    assert "8 of the 9 classes in column 'label'" in data.warnings[0]


def test_texts_that_are_all_the_same_are_refused_or_warned_of(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="have the same text, so there is nothing to learn"):
        load(tmp_path / "x.csv", "text,label\na,0\na,1\na,0\n")
    content = "sentence1,sentence2,label\na,x,0\nb,x,1\nc,x,0\n"
    assert "column 'sentence2' of" in load(tmp_path / "x.csv", content).warnings[0]


def test_columns_that_differ_in_capitals_are_not_guessed(tmp_path: Path) -> None:
    content = "Text,text,label\na,b,0\nc,d,1\n"
    with pytest.raises(InputError, match=r"columns 'Text' and 'text', and either could be meant.*--text"):
        load(tmp_path / "x.csv", content)
    assert load(tmp_path / "x.csv", content, text="Text").train.texts == ("a", "c")


# Lists and tags


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        ("['New', \"o'hare\"]", "['B-x', 'O']"),
        ('["New", "o\'hare"]', '["B-x", "O"]'),
        ("New o'hare", "['B-x', 'O']"),
        ("['New', \"o'hare\"]", "B-x O"),
    ],
)
def test_lists_written_as_text_are_read_as_lists(words: str, tags: str, tmp_path: Path) -> None:
    quoted = [f'"{value}"'.replace('"', '""')[1:-1] for value in (words, tags)]
    data = load(tmp_path / "x.csv", "tokens,tags\n{},{}\n".format(*quoted))
    assert data.train.texts == (("New", "o'hare"),)
    assert data.task.tags == ("O", "B-x")
    assert any("lists written as text" in warning for warning in data.warnings)


@pytest.mark.parametrize("words", ["['a' 'b']", "[a, b]", "['a', ['b']]", "['a', 1]"])
def test_what_looks_like_a_list_and_is_none_is_refused(words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2 of .* which looks like a list but is neither"):
        load(tmp_path / "x.csv", f'tokens,tags\n"{words}",O B-x\n')


def test_square_brackets_are_words_where_not_all_rows_have_them(tmp_path: Path) -> None:
    data = load(tmp_path / "x.csv", "text,tags\n[ a ],O B-x O\nb,O\n")
    assert data.train.texts == (("[", "a", "]"), ("b",))


@pytest.mark.parametrize("tags", [[0, 3], ["0", "3"], "0 3", "[0, 3]"])
def test_tags_that_are_numbers_are_refused(tags: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1 of .* has the tag '?0'? .* names instead of numbers"):
        load(tmp_path / "x.jsonl", [{"tokens": ["a", "b"], "tags": tags}])


def test_numbers_have_the_names_that_a_parquet_file_notes(tmp_path: Path) -> None:
    def named(*names: str) -> dict[str, Any]:
        return {"names": names, "_type": "ClassLabel"}

    features = {"label": named("no", "yes"), "ner_tags": {"feature": named("O", "B-x"), "_type": "List"}}
    columns = {"tokens": [["a", "b"], ["c"]], "ner_tags": [[0, 1], [0]], "label": [1, 0]}
    noted = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pyarrow.table(columns).replace_schema_metadata(noted)
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    task = load_task(train=str(tmp_path / "x.parquet"), dev=str(tmp_path / "x.parquet")).task
    assert (task.classes, task.tags) == (("no", "yes"), ("O", "B-x"))
    table = table.set_column(2, "label", [[1, -1]]).replace_schema_metadata(noted)
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"row 2 of .* has no label"):
        load_task(train=str(tmp_path / "x.parquet"), dev=str(tmp_path / "x.parquet"))


@pytest.mark.parametrize("space", ["\u00a0", "\u0085", "\u2028"])
def test_words_are_parted_at_spaces_alone(space: str, tmp_path: Path) -> None:
    data = load(tmp_path / "x.csv", f"text,tags,label\n10{space}000 b,O B-x,good{space}\nc,O,good\n")
    assert data.train.texts == ((f"10{space}000", "b"), ("c",))
    assert len(data.task.classes) == 2


def test_words_and_tags_of_different_number_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1 of .* has 3 words but 2 tags in column 'tags'"):
        load(tmp_path / "x.jsonl", [{"tokens": ["a", "b", "c"], "tags": ["O", "O"]}])
