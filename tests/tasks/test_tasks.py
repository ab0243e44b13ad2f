"""Files and names of labelled sets become tasks with examples; what cannot be used is refused."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, strategies as st
from rich.console import Console

from lilliput.errors import InputError
from lilliput.tasks.columns import Columns, recognise
from lilliput.tasks.known import KNOWN
from lilliput.tasks.loading import load_task
from lilliput.tasks.metrics import score
from lilliput.tasks.preview import preview
from lilliput.tasks.tables import find_table
from lilliput.tasks.task import Labels, Task, TaskData

REVIEWS = [("a fine film", "good"), ('awful, "just" awful', "bad"), ("NA", "good"), ("null\nnan", "bad")]
SENTENCES = [
    (("play", "La", "La", "Land"), ("O", "B-title", "I-title", "I-title"), "PlayMusic"),
    (("rain", "in", "Bonn"), ("O", "O", "B-city"), "GetWeather"),
]

Write = Callable[[str, str | bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file and returns its name."""

    def write_file(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write_file


def quoted(rows: list[tuple[str, ...]], delimiter: str) -> str:
    lines = (delimiter.join('"' + field.replace('"', '""') + '"' for field in row) for row in rows)
    return "".join(f"{line}\n" for line in lines)


def rows_of(data: TaskData) -> list[tuple[Any, ...]]:
    """Returns what was learnt from as a user would write it."""
    task, examples = data.task, data.train
    assert examples.labels is not None
    columns: list[Any] = [examples.texts]
    if examples.pairs:
        columns.append(examples.pairs)
    if task.tags:
        columns.append([tuple(task.tags[tag] for tag in tags) for tags in examples.labels.tags])
    if task.classes:
        columns.append([task.classes[int(value)] for value in examples.labels.values])
    elif task.kind == "regression":
        columns.append(examples.labels.values)
    return list(zip(*columns, strict=True))


def parquet(path: str, columns: dict[str, Any]) -> str:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


# Formats


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "ndjson", "json", "parquet", "csv.gz"])
def test_every_format_gives_the_same_examples(ending: str, tmp_path: Path, write: Write) -> None:
    name = f"reviews.{ending}"
    if ending == "parquet":
        path = parquet(
            str(tmp_path / name), {"text": [row[0] for row in REVIEWS], "label": [row[1] for row in REVIEWS]}
        )
    elif ending.startswith(("csv", "tsv")):
        table = quoted([("text", "label"), *REVIEWS], "\t" if ending == "tsv" else ",").encode()
        path = write(name, gzip.compress(table) if ending.endswith("gz") else table)
    else:
        path = write(name, "\n\n".join(json.dumps({"text": text, "label": label}) for text, label in REVIEWS))
    data = load_task(train=path, dev=path)
    assert rows_of(data) == REVIEWS
    assert data.task == Task("reviews", "classification", classes=("bad", "good"))


@pytest.mark.parametrize("ending", ["conll", "iob", "bio.gz"])
def test_word_columns_are_words_and_tags(ending: str, write: Write) -> None:
    lines = ["-DOCSTART- -X- O", ""]
    for words, tags, _ in SENTENCES:
        lines += [*(f"{word} _ {tag}" for word, tag in zip(words, tags, strict=True)), "", ""]
    content = "\r\n".join(lines).encode()
    path = write(f"ner.{ending}", gzip.compress(content) if ending.endswith("gz") else content)
    data = load_task(train=path, dev=path)
    assert rows_of(data) == [sentence[:2] for sentence in SENTENCES]
    assert data.task == Task("ner", "tagging", tags=("O", "B-city", "B-title", "I-title"), metric="f1")


def test_words_with_spaces_are_kept_where_tabs_separate_columns(write: Write) -> None:
    path = write("x.conll", "New York\tB-city\nis\tO\n")
    assert load_task(train=path, dev=path).train.texts == (("New York", "is"),)


def test_quotes_of_a_tsv_that_quotes_nothing_are_text(write: Write) -> None:
    content = 'sentence\tlabel\n" The pie \tgood\nhe said "\tbad\n"quoted"\tgood\n'
    path = write("x.tsv", content)
    assert rows_of(load_task(train=path, dev=path)) == [
        ('" The pie ', "good"),
        ('he said "', "bad"),
        ('"quoted"', "good"),
    ]


# Tags


def conll(*sentences: str) -> str:
    """Returns sentences of words with tags, word|tag, as CoNLL columns."""
    return (
        "\n\n".join("\n".join(item.replace("|", " ") for item in text.split()) for text in sentences) + "\n"
    )


IN_BIO = (
    "new|B-city york|I-city city|I-city to|O boston|B-city rome|B-city",
    "at|O 12|B-time 30|I-time",
)
NOTATIONS = {
    "IOB1": ("new|I-city york|I-city city|I-city to|O boston|I-city rome|B-city", "at|O 12|I-time 30|I-time"),
    "BIOES": (
        "new|B-city york|I-city city|E-city to|O boston|S-city rome|S-city",
        "at|O 12|B-time 30|E-time",
    ),
    "BILOU": (
        "new|B-city york|I-city city|L-city to|O boston|U-city rome|U-city",
        "at|O 12|B-time 30|L-time",
    ),
    "BMES": ("new|B-city york|M-city city|E-city to|O boston|S-city rome|S-city", "at|O 12|B-time 30|E-time"),
}


@pytest.mark.parametrize("notation", NOTATIONS)
def test_other_notations_are_read_as_b_and_i(notation: str, write: Write) -> None:
    path = write("x.conll", conll(*NOTATIONS[notation]))
    data = load_task(train=path, dev=path)
    same = load_task(train=write("y.conll", conll(*IN_BIO)), dev=path)
    assert data.task.tags == ("O", "B-city", "B-time", "I-city", "I-time")
    assert data.train == data.dev == same.train == same.dev
    assert f"tags in {notation} read as B- and I-" in data.origin
    assert "read as" not in same.origin


def test_a_dev_set_is_read_by_the_notation_of_train(write: Write) -> None:
    train = write("x.conll", conll("new|B-city york|E-city", "to|O rome|S-city"))
    data = load_task(train=train, dev=write("dev.conll", conll("rome|S-city")))
    assert data.dev.labels == Labels(tags=((data.task.tags.index("B-city"),),))


@pytest.mark.parametrize("name", ["iob2", "conll2003"])
def test_tags_that_break_their_notation_stay_as_they_are(name: str, write: Write) -> None:
    path = write(f"{name}.conll", conll("in|O new|I-LOC york|I-LOC", "to|O rome|B-LOC", "to|O rome|B-LOC"))
    data = load_task(name, train=path, dev=path)
    assert rows_of(data)[0][1] == ("O", "I-LOC", "I-LOC")


@pytest.mark.parametrize(
    ("sentences", "tags"),
    [
        (["the|DET dog|NOUN runs|VERB"], ("O", "DET", "NOUN", "VERB")),
        (["the|O mail|E-mail tram|S-Bahn"], ("O", "E-mail", "S-Bahn")),
        (["the|O mail|B-E-mail x|I-E-mail tram|B-S-Bahn"], ("O", "B-E-mail", "B-S-Bahn", "I-E-mail")),
        (["a|U-Bahn b|L-Theanin c|M-Klasse d|O"], ("O", "L-Theanin", "M-Klasse", "U-Bahn")),
    ],
    ids=["parts of speech", "names that look like letters", "such names behind B and I", "more such names"],
)
def test_plain_tags_and_names_stay_as_they_are(
    sentences: list[str], tags: tuple[str, ...], write: Write
) -> None:
    path = write("x.conll", conll(*sentences))
    data = load_task(train=path, dev=path)
    assert data.task.tags == tags
    assert rows_of(data)[0][1] == tuple(item.split("|")[1] for item in sentences[0].split())
    assert data.task.metric == ("f1" if "B-E-mail" in tags else "accuracy")


MIXED = {
    "a plain tag": ("a|B-x b|I-x c|y", "'y' does not fit together with 'B-x', 'I-x'"),
    "a name like E": ("a|B-x b|I-x c|E-mail", "'E-mail' does not fit together with 'B-x', 'I-x'"),
    "a name like S": ("a|B-x b|I-x c|S-Bahn d|S-Bahn", "'S-Bahn' does not fit"),
    "a name like I": ("a|NOUN b|VERB c|I-95", "'I-95' does not fit together with 'NOUN', 'VERB'"),
    "two notations": ("a|B-x b|I-x c|E-x d|S-x e|L-x", "'L-x' does not fit together with 'B-x'"),
    "no names": ("a|B b|I c|O", "'B', 'I' do not fit together with O"),
    "small letters": ("a|b-x b|i-x c|O", "'b-x', 'i-x' do not fit"),
    "other marks": ("a|B_x b|I_x c|O", "'B_x', 'I_x' do not fit"),
    "letters behind": ("a|x-B b|x-I c|O", "'x-B', 'x-I' do not fit"),
    "another outside": ("a|B-x b|I-x c|o", "'o' does not fit"),
    "numbers": ("a|3 b|O", "has the tag '3' .* write names instead of numbers"),
    "numbers with a point": ("a|3.0 b|O", "has the tag '3.0' .* but tags are names"),
}


@pytest.mark.parametrize("case", MIXED)
def test_tags_without_one_reading_are_named(case: str, write: Write) -> None:
    sentence, message = MIXED[case]
    path = write("x.conll", conll(sentence))
    with pytest.raises(InputError, match=message):
        load_task(train=path, dev=path)


# Kinds and columns


@pytest.mark.parametrize(
    ("columns", "kind", "pairs"),
    [
        ({"sentence": ["a", "b"], "label": [0, 1]}, "classification", False),
        ({"Text": ["a", "b"], "Label": ["x", "y"]}, "classification", False),
        ({"premise": ["a", "b"], "hypothesis": ["c", "d"], "gold_label": ["x", "y"]}, "classification", True),
        ({"question": ["a", "b"], "sentence": ["c", "d"], "label": [True, False]}, "classification", True),
        ({"sentence_A": ["a", "b"], "sentence_B": ["c", "d"], "score": [0.5, 1.0]}, "regression", True),
        ({"text": ["a", "b"], "score": [1, 2.5]}, "regression", False),
        ({"tokens": [["a"], ["b"]], "ner_tags": [["O"], ["B-x"]]}, "tagging", False),
        ({"text": ["a", "b c"], "slots": ["O", "B-x I-x"], "intent": ["x", "y"]}, "joint", False),
        ({"tokens": [["a"], ["b", "c"]], "label": ["x", "y"]}, "classification", False),
    ],
)
def test_kinds_are_inferred_from_usual_columns(
    columns: dict[str, list[Any]], kind: str, pairs: bool, write: Write
) -> None:
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    path = write("x.jsonl", "\n".join(map(json.dumps, rows)))
    task = load_task(train=path, dev=path).task
    assert (task.kind, task.pairs) == (kind, pairs)


def test_columns_can_be_named(write: Write) -> None:
    path = write("x.csv", "id,said,reply,kind,text\n1,hello,hi,greeting,x\n2,bye,see you,parting,x\n")
    data = load_task(train=path, dev=path, text="said", pair="reply", label="kind")
    assert rows_of(data) == [("hello", "hi", "greeting"), ("bye", "see you", "parting")]
    assert "text from 'said', pair from 'reply', label from 'kind'" in data.origin


def test_classes_that_are_numbers_are_sorted_by_size(write: Write) -> None:
    path = write("x.csv", "text,label\na,10\nb,9\nc,-1\n")
    assert load_task(train=path, dev=path).task.classes == ("-1", "9", "10")


def test_words_of_missing_values_are_classes_too(write: Write) -> None:
    path = write("x.csv", "text,label\na,nan\nb,null\nc,NA\n")
    assert load_task(train=path, dev=path).task.classes == ("NA", "nan", "null")


def test_train_and_dev_may_be_of_different_formats(tmp_path: Path, write: Write) -> None:
    dev = parquet(str(tmp_path / "x.parquet"), {"text": ["c", "d"], "label": [1, 0]})
    data = load_task(train=write("x.csv", "text,label\na,0\nb,1\n"), dev=dev)
    assert data.dev.labels is not None
    assert data.dev.labels.values == (1, 0)


# Names


@pytest.mark.parametrize(
    ("train", "dev"),
    [
        ("sst2_train.csv", "sst2_dev.csv"),
        ("sst2-train.csv", "sst2-validation.csv"),
        ("sst2.train.csv", "sst2.valid.csv"),
        ("sst2/train.csv", "sst2/dev.csv"),
    ],
)
def test_a_stem_or_folder_stands_for_its_files(train: str, dev: str, tmp_path: Path, write: Write) -> None:
    write(train, "text,label\na,1\nb,0\n")
    write(dev, "text,label\nc,negative\n")
    write("sst2_train.notes", "not a table")
    data = load_task(str(tmp_path / "sst2"))
    assert data.task == Task("sst2", "classification", classes=("negative", "positive"))
    assert data.train.labels is not None
    assert data.dev.labels is not None
    assert (data.train.labels.values, data.dev.labels.values) == ((1, 0), (0,))


def test_another_label_than_the_known_one_is_another_task(tmp_path: Path, write: Write) -> None:
    write("sick_train.csv", "text,text_pair,label,relatedness\na,b,0,1.5\nc,d,1,4\ne,f,0,2\n")
    entailment = load_task(str(tmp_path / "sick"), label="label")
    assert entailment.task.classes == ("entailment", "neutral", "contradiction")
    task = load_task(str(tmp_path / "sick"), label="relatedness").task
    assert task == Task("sick_relatedness", "regression", pairs=True, metric="pearson")


def test_known_names_bring_metrics_to_named_files(write: Write) -> None:
    path = write("x.csv", "sentence1,sentence2,label\na,b,1\nc,d,not_equivalent\n")
    task = load_task("MRPC", train=path, dev=path).task
    assert (task.name, task.metric, task.positive) == ("mrpc", "f1", "equivalent")


def test_a_score_of_a_known_regression_may_be_whole(write: Write) -> None:
    path = write("x.csv", "sentence1,sentence2,label\na,b,1\nc,d,2\n")
    assert load_task("stsb", train=path, dev=path).task == Task("stsb", "regression", True, metric="pearson")


HUB: dict[str, dict[str, Any]] = {
    "mrpc": {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [1, 0], "idx": [0, 1]},
    "mnli": {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [0, 2]},
    "stsb": {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [1.0, 5.0]},
    "sick": {
        "sentence_A": ["a", "b"],
        "sentence_B": ["c", "d"],
        "label": [0, 1],
        "relatedness_score": [1.0, 2.0],
    },
    "snips": {"input": ["a", "b c"] * 9, "intent": ["x", "y"] * 9, "slots": ["O", "B-x I-x"] * 9},
    "conll2003": {"id": ["0", "1"], "tokens": [["a"], ["b"]], "pos_tags": [[1], [2]], "ner_tags": [[0], [8]]},
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Data sets instead of those on the hub, and what was asked of it."""
    asked: list[tuple[Any, ...]] = []

    def local(name: str, config: str | None, *, split: str, revision: str | None) -> Any:
        asked.append((name, config, split, revision))
        found = [task for task, known in KNOWN.items() if (known.data_set, known.config) == (name, config)]
        if not HUB.get(found[0]):
            raise ConnectionError("no network")
        columns = dict(HUB[found[0]])
        if found[0] == "snips":
            columns["input"] = [f"{text} {index}" for index, text in enumerate(columns["input"])]
            columns["slots"] = [f"{tags} O" for tags in columns["slots"]]
        return datasets.Dataset.from_dict(columns)

    monkeypatch.setattr(datasets, "load_dataset", local)
    return asked


@pytest.mark.parametrize("name", HUB)
def test_known_tasks_are_read_from_the_hub(name: str, hub: list[tuple[Any, ...]]) -> None:
    known = KNOWN[name]
    data = load_task(name)
    assert (data.task.kind, data.task.pairs, data.task.metric) == (known.kind, known.pairs, known.metrics[0])
    splits = ["train", known.dev] if known.dev else ["train"]
    assert hub == [(known.data_set, known.config, split, known.revision) for split in splits]
    assert data.task.classes == known.classes or name == "snips"
    assert data.task.tags == known.tags or name == "snips"


def test_numbers_of_classes_are_taken_as_the_hub_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["positive", "negative"]  # not our order
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    data_set = datasets.Dataset.from_dict({"sentence": ["a", "b"], "label": [0, 1]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data_set)
    assert rows_of(load_task("sst2")) == [("a", "positive"), ("b", "negative")]


def test_rows_of_the_hub_without_text_are_left_out_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"sentence": ["a", " ", "b", None], "label": [0, 1, 1, 0]}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_dict(rows))
    data = load_task("sst2")
    assert data.train.texts == ("a", "b")
    assert "2 rows of data set nyu-mll/glue:sst2:train" in data.warnings[0]
    assert "row 2 of" in data.warnings[0]


def test_a_hub_out_of_reach_is_a_sentence(hub: list[tuple[Any, ...]]) -> None:
    with pytest.raises(InputError, match=r"nyu-mll/glue:rte:train cannot be read \(no network\); check the"):
        load_task("rte")


@pytest.mark.parametrize("name", KNOWN)
def test_the_deciding_metric_of_a_known_task_is_one_of_its_kind(name: str) -> None:
    known = KNOWN[name]
    data = {"classification": ((0, 1), ()), "regression": ((0.0, 1.0), ()), "tagging": ((), ((0,), (1,)))}
    values, tags = data.get(known.kind, ((0, 1), ((0,), (1,))))
    task = Task(name, known.kind, classes=known.classes or ("a", "b"), tags=known.tags or ("O", "B-x"))
    assert set(known.metrics) <= set(score(task, Labels(values, tags), Labels(values, tags)))


# Usual names of columns


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Body,Intent", ("Body", None, "Intent")),
        ("id,review,stars", ("review", None, "stars")),
        ("Tweet Text,target", ("Tweet Text", None, "target")),
        ("title,content,label,score", ("content", None, "label")),
        ("headline,category", ("headline", None, "category")),
        ("utterance,y", ("utterance", None, "y")),
        ("question,labels", ("question", None, "labels")),
        ("premise,hypothesis,gold_label", ("premise", "hypothesis", "gold_label")),
        ("sentence_1,sentence_2,rating", ("sentence_1", "sentence_2", "rating")),
        ("text,body,intent,label", ("text", None, "label")),
    ],
)
def test_usual_names_are_found(header: str, found: tuple[str | None, ...], write: Write) -> None:
    rows = "".join(",".join(f"{name}{row}" for name in header.split(",")) + "\n" for row in (1, 2, 1))
    source = find_table(Path(write("x.csv", f"{header}\n{rows}")))
    columns = recognise(source, Columns())
    assert (columns.text, columns.pair, columns.label) == found


@pytest.mark.parametrize(
    ("header", "named", "message"),
    [
        ("body,review,label", {"label": "label"}, "'body' and 'review', and .* could be meant; .* --text"),
        ("text,stars,rating", {}, "columns 'stars' and 'rating', and either .* name one with --label"),
        ("text,intent,labels", {}, "columns 'intent' and 'labels', and either"),
        ("tokens,ner_tags,tags", {}, "columns 'ner_tags' and 'tags', and either .* name one with --tags"),
    ],
)
def test_of_two_usual_names_neither_is_taken(
    header: str, named: dict[str, str], message: str, write: Write
) -> None:
    path = write("x.csv", f"{header}\na,b,c\n")
    with pytest.raises(InputError, match=message):
        load_task(train=path, **named)


def test_a_label_that_is_named_decides_where_there_are_two(write: Write) -> None:
    path = write("x.csv", "sentence,stars,rating\na,0,1\nb,1,0\n")
    task = load_task("sst2", train=path, dev=path, label="rating").task
    assert (task.name, task.classes) == ("sst2", ("negative", "positive"))
    with pytest.raises(InputError, match="'stars' and 'rating'"):
        load_task("sst2", train=path, dev=path)


def test_of_two_usual_names_one_may_be_something_else(write: Write) -> None:
    source = find_table(Path(write("x.csv", "body,review,stars,rating\na,b,1,2\n")))
    found = recognise(source, Columns(text="review", label="rating"))
    assert (found.text, found.label, found.tags) == ("review", "rating", None)
    words = find_table(Path(write("y.csv", "tokens,pos_tags,ner_tags\na,X,O\n")))
    assert recognise(words, Columns()).tags == "ner_tags"


# Held out


@given(
    texts=st.lists(st.sampled_from(["a", "A", "b ", "b", "c", "d", "e", "f", "g"]), min_size=12, max_size=40),
    seed=st.randoms(use_true_random=False),
)
def test_what_is_held_out_never_stands_in_train(
    texts: list[str], seed: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [f"{text},{index % 3}" for index, text in enumerate(texts)] + ["x,0", "y,1", "z,2", "p,0"]
    folder = tmp_path_factory.getbasetemp()
    (folder / "x.csv").write_text("\n".join(["text,label", *rows]))
    seed.shuffle(rows)
    (folder / "shuffled.csv").write_text("\n".join(["text,label", *rows]))
    data, again = (load_task(train=str(folder / name)) for name in ("x.csv", "shuffled.csv"))
    learnt = {str(text).casefold().strip() for text in data.train.texts}
    assert learnt.isdisjoint(str(text).casefold().strip() for text in data.dev.texts)
    assert len(data.train) + len(data.dev) == len(rows)
    assert len(data.dev) <= max(2, len(rows) // 4)
    assert sorted(map(str, data.dev.texts)) == sorted(map(str, again.dev.texts))
    assert data.train.labels is not None
    assert set(data.train.labels.values) == {0, 1, 2}


def test_a_tenth_is_held_out(write: Write) -> None:
    rows = "".join(f"text {number},{number % 2}\n" for number in range(200))
    data = load_task(train=write("x.csv", f"text,label\n{rows}"))
    assert (len(data.train), len(data.dev)) == (180, 20)
    assert "20 of its 200 examples held out" in data.origin


# What is refused


REFUSED = {
    "empty text": (
        "x.csv",
        "text,label\na,0\n  ,1\n",
        r"line 3 of \S+x.csv has an empty text in column 'text'",
    ),
    "empty text of a pair": ("x.csv", "text,text_pair,label\na,b,0\na,,1\n", r"line 3 of .* 'text_pair'"),
    "no text": (
        "x.jsonl",
        '{"text": "a", "label": 0}\n\n{"label": 1}',
        r"line 3 of \S+x.jsonl has an empty text",
    ),
    "text that is none": (
        "x.jsonl",
        '{"text": 7, "label": 0}',
        r"line 1 of \S+ has a value of type int in column 'text'",
    ),
    "too many fields": (
        "x.csv",
        'text,label\n"a\nb",0\nc,d,1\n',
        r"line 4 of \S+ has 3 fields, expected 2",
    ),
    "too few fields": ("x.tsv", "text\tlabel\na\t0\n\nb\n", r"line 4 of \S+ has 1 fields, expected 2"),
    "open quote": ("x.csv", 'text,label\na,0\n"b,1\nc,0\n', r"row that begins in line 3 of \S+ is malformed"),
    "a name twice": ("x.csv", "text,label,text\na,0,b\n", r"two columns with the name 'text'"),
    "broken JSON": ("x.jsonl", '{"text": "a", "label": 0}\n{"text"\n', r"line 2 of \S+ is not valid JSON"),
    "JSON array": ("x.json", '[{"text": "a"}]', r"line 1 of \S+ is not a JSON object but a list"),
    "no parquet": ("x.parquet", "PAR1 and no more", r"x.parquet is not a whole parquet file"),
    "no columns": ("x.conll", "a O\nb\n", r"line 2 of \S+ has 1 columns, expected 2"),
    "words alone": ("x.conll", "a\nb\n", r"line 1 of \S+ has 1 columns, expected at least 2"),
    "Latin-1": (
        "x.csv",
        "text,label\na,0\ncafé,1\n".encode("latin-1"),
        r"x.csv is not UTF-8 at byte 18 \(line 3",
    ),
    "no rows": ("x.csv", "text,label\n", r"x.csv holds no examples"),
    "nothing": ("x.csv", "", r"x.csv holds no examples"),
    "no header": ("x.csv", "great film,1\nbad film,0\n", r"it has 'great film', '1', usual names are text, "),
    "no label": ("x.csv", "text,grade\na,1\n", r"known to hold a label or tags.*--label or --tags"),
    "missing label": ("x.csv", "text,label\na,0\nb,\n", r"line 3 of \S+ has no label in column 'label'"),
    "missing number": (
        "x.jsonl",
        '{"text":"a","label":1}\n{"text":"b","label":null}',
        r"line 2 of \S+ has no la",
    ),
    "mixed": (
        "x.csv",
        "text,label\na,0\nb,good\n",
        r"mixes numbers and text: line 2 of .* line 3 of \S+ has 'good'",
    ),
    "mixed types": (
        "x.jsonl",
        '{"text":"a","label":"x"}\n{"text":"b","label":1}',
        r"mixes numbers and text: line 2",
    ),
    "label of several": (
        "x.jsonl",
        '{"text":"a","label":[1]}',
        r"all 1 examples of \S+ have the same classes \(1\)",
    ),
    "not finite": ("x.csv", "text,label\na,0.5\nb,nan\n", r"line 3 of \S+ has the label nan .*finite number"),
    "infinite": (
        "x.jsonl",
        '{"text":"a","label":0.5}\n{"text":"b","label":-Infinity}',
        r"line 2 of .*finite number",
    ),
    "one class": ("x.csv", "text,label\na,0\nb,0\n", r"all 2 examples of \S+ have the class '0'"),
    "one score": ("x.csv", "text,label\na,0.5\nb,0.5\n", r"all 2 examples of \S+ have the score 0.5"),
    "one tag": ("x.conll", "a O\nb O\n", r"no word of \S+ has a tag other than O"),
    "too few tags": ("x.csv", "text,tags\na b,O B-x\na b c,O O\n", r"line 3 of \S+ has 3 words but 2 tags"),
    "no tags": ("x.jsonl", '{"tokens":["a"],"tags":["B-x"]}\n{"tokens":["b"]}', r"line 2 of \S+ has no tags"),
    "a tag without B": (
        "x.conll",
        "a B-LOC\nb I-LOC\n\nb O\nc PER\n",
        r"line 5 of \S+ has the tag 'PER' .*'PER' does not fit together with 'B-LOC', 'I-LOC'; .*B-PER",
    ),
    "tags that are numbers": ("x.jsonl", '{"tokens":["a"],"tags":[3]}', r"line 1 of \S+ has the tag 3 "),
    "empty word": ("x.jsonl", '{"tokens":["a"," "],"tags":["B-x","O"]}', r"word 2 in column 'tokens' is ' '"),
    "unknown format": ("x.txt", "a 0\n", r"x.txt is of no format .* ends in .jsonl, "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_cannot_be_used_are_refused(case: str, write: Write) -> None:
    name, content, message = REFUSED[case]
    path = write(name, content)
    with pytest.raises(InputError, match=message):
        load_task(train=path, dev=path)


UNSEEN = {
    "class": (
        "x.csv",
        "text,label\na,bad\nb,good\n",
        "text,label\nc,awful\nd,goood\n",
        r"line 2 of .*'awful', which \S+ does not have, nor any other of its classes; give both",
    ),
    "tag": (
        "x.conll",
        "a B-x\nb O\n",
        "c O\nd B-y\n",
        r"line 1 of \S+ has the tag 'B-y', which \S+ does not have, nor any other of its tags; .*'B-x'\?",
    ),
    "one class": (
        "x.csv",
        "text,label\na,bad\nb,good\n",
        "text,label\nc,bad\nd,bad\n",
        r"all 2 examples of \S+ have the class 'bad', so a model .* another --dev, or leave it out",
    ),
    "one text": (
        "x.csv",
        "text,label\na,bad\nb,good\n",
        "text,label\nc,bad\nc,good\nc,bad\n",
        r"all 3 examples of \S+ have the same text, so nothing is scored",
    ),
    "type": (
        "x.csv",
        "text,label\na,0.5\nb,1.5\n",
        "text,label\na,1\nb,good\n",
        r"line 3 of .* expected is a number",
    ),
    "column": (
        "x.csv",
        "text,label\na,0\nb,1\n",
        "text,labels\na,0\n",
        r"no column 'label' but 'text', 'labels'.*'labels'\?",
    ),
}


@pytest.mark.parametrize("case", UNSEEN)
def test_what_train_does_not_have_is_refused_in_dev(case: str, write: Write) -> None:
    name, train, dev, message = UNSEEN[case]
    with pytest.raises(InputError, match=message):
        load_task(train=write(name, train), dev=write(f"dev/{name}", dev))


@pytest.mark.parametrize(
    ("train", "dev", "warning", "classes", "tags"),
    [
        (
            "text,label\na,bad\nb,good\n",
            "text,label\nc,bad\nd,goood\ne,good\n",
            r"1 of 3 dev examples have a class that train lacks \('goood'\), .* error; the first: "
            r"line 3 of \S+y.csv has the class 'goood', .*'good'\?",
            ("bad", "good", "goood"),
            (),
        ),
        (
            "text,tags\na b,O B-x\n",
            "text,tags\nc d,B-y B-x\ne f,O B-x\n",
            r"1 of 2 dev examples have a tag that train lacks \('B-y'\)",
            (),
            ("O", "B-x", "B-y"),
        ),
    ],
)
def test_what_train_does_not_have_counts_as_an_error(
    train: str, dev: str, warning: str, classes: Any, tags: Any, write: Write
) -> None:
    data = load_task("z", train=write("x.csv", train), dev=write("y.csv", dev))
    assert any(re.fullmatch(f"{warning}.*", note) for note in data.warnings)
    assert (data.task.classes, data.task.tags) == (classes, tags)
    assert data.dev.labels is not None
    said = Labels((0.0, 0.0, 1.0) if classes else (), ((1, 1), (0, 1)) if tags else ())
    assert 0 < next(iter(score(data.task, data.dev.labels, said).values())) < 1


def test_a_class_of_a_known_task_that_train_never_has_counts_as_an_error(write: Write) -> None:
    train = write("x.csv", "premise,hypothesis,label\na,b,0\nc,d,1\n")
    dev = write("y.csv", "premise,hypothesis,label\na,b,0\ne,f,2\n")
    warnings = load_task("mnli", train=train, dev=dev).warnings
    assert any("line 3 of" in note and "has the class 'contradiction'" in note for note in warnings)
    assert any("1 of 3 classes have no example in" in note and "('neutral')" in note for note in warnings)


def test_of_each_class_a_tenth_is_held_out_and_of_a_tiny_one_an_example(write: Write) -> None:
    sizes = {"common": 170, "rare": 20, "tiny": 3, "two": 2, "once": 1}
    rows = "".join(f"text {name} {row},{name}\n" for name, size in sizes.items() for row in range(size))
    data = load_task(train=write("x.csv", f"text,label\n{rows}"))
    assert Counter(row[1] for row in rows_of(replace(data, train=data.dev))) == {
        "common": 17,
        "rare": 2,
        "tiny": 1,
        "two": 1,
    }
    assert any("1 of 5 classes have no example in what was held out" in note for note in data.warnings)


def test_at_most_a_quarter_is_held_out_for_small_classes(write: Write) -> None:
    rows = "".join(f"text {row},{row % 60}\n" for row in range(120))
    data = load_task(train=write("x.csv", f"text,label\n{rows}"))
    assert (len(data.train), len(data.dev)) == (90, 30)


def test_a_test_set_is_read_beside_train_and_dev(write: Write) -> None:
    train = write("x.csv", "text,label\na,bad\nb,good\n")
    dev = write("y.csv", "text,label\nc,bad\nd,good\n")
    test = write("z.csv", "text,label\na,good\nf,bad\ng,worse\n")
    data = load_task(train=train, dev=dev, test=test)
    assert data.test is not None
    assert data.test.texts == ("a", "f", "g")
    assert data.task.classes == ("bad", "good", "worse")
    assert any("1 of 3 test examples have a class that train lacks ('worse')" in x for x in data.warnings)
    assert any("1 of 3 test examples (33.3%) are also in train" in note for note in data.warnings)
    assert data.origin.endswith("; 3 examples of " + test + " for the test at the end")
    with pytest.raises(InputError, match=r"there is no file .*zz.csv; did you mean 'z.csv'\?"):
        load_task(train=train, dev=dev, test=test.replace("z.csv", "zz.csv"))


@pytest.mark.parametrize(
    ("metric", "kind", "found"),
    [
        ("matthews", None, "matthews"),
        ("Macro-F1", None, "f1"),
        ("spearman", "regression", "spearman"),
        ("accuracy", "regression", "of regression has no such score but pearson, spearman"),
        ("spearman", None, "'spearman', and a task of classification has no such score but accuracy, f1, ma"),
    ],
)
def test_a_metric_is_chosen_by_name(metric: str, kind: str | None, found: str, write: Write) -> None:
    train, dev = (write(name, "text,label\na,0\nb,1\nc,0\n") for name in ("x.csv", "y.csv"))
    if " " not in found:
        assert load_task(train=train, dev=dev, kind=kind, metric=metric).task.metric == found
        return
    with pytest.raises(InputError, match=f"--metric names .*{found}"):
        load_task(train=train, dev=dev, kind=kind, metric=metric)


def test_the_f1_of_a_known_task_is_not_that_of_all_classes(write: Write) -> None:
    path = write("x.csv", "sentence1,sentence2,label\na,b,0\nc,d,1\n")
    with pytest.raises(InputError, match="names 'macro_f1'"):
        load_task("mrpc", train=path, dev=path, metric="macro_f1")


def test_a_label_that_is_no_class_of_a_known_task_is_refused(write: Write) -> None:
    path = write("x.csv", "text,label\na,0\nb,-1\n")
    with pytest.raises(InputError, match=r"line 3 of \S+x.csv has the label '-1', unknown to task 'sst2'"):
        load_task("sst2", train=path)


def test_a_known_task_needs_its_columns(write: Write) -> None:
    path = write("x.csv", "text,label\na,0\nb,1\n")
    with pytest.raises(InputError, match="no column known to hold second texts, which task 'mrpc' needs"):
        load_task("mrpc", train=path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"name": "sst3"},
            r"'sst3' is no known task \(did you mean 'sst2'\?\) and there is no file sst3_train",
        ),
        ({"name": "missing/x"}, r"there is no file missing/x_train"),
        ({}, r"no task was named; known are atis, cola, "),
        ({"dev": "x.csv"}, r"x.csv was named to be scored on, but nothing to learn from"),
        ({"train": "x.cvs"}, r"there is no file x.cvs; did you mean 'x.csv'\?"),
        ({"train": "x.csv", "dev": "y.csv"}, r"there is no file y.csv"),
        ({"train": "x.csv", "label": "lable"}, r"no column 'lable' but .*did you mean 'label'\?"),
        ({"train": "x.csv", "text": "txt"}, r"no column 'txt' but .*did you mean 'text'\?"),
        ({"train": "x.csv", "tags": "label", "pair": "text"}, r"leave out --pair"),
        ({"name": "two"}, r"two_train.csv and two_train.tsv could both be meant"),
        ({"name": "empty"}, r"in folder empty no file train"),
        ({"train": "x.csv"}, r"x.csv has too few examples \(2\) to hold out"),
    ],
)
def test_names_that_stand_for_nothing_are_refused(
    settings: dict[str, str], message: str, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x.csv", "two_train.csv", "two_train.tsv"):
        write(name, "text,label\na,0\nb,1\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        load_task(**settings)  # type: ignore[arg-type]


def test_a_dev_set_that_overlaps_train_is_warned_of(write: Write) -> None:
    train = write("x.csv", "text,label\nso it goes,0\nb,1\nc,1\n")
    dev = write("y.csv", "text,label\nnew,0\nSo  it goes,0\nb,1\n")
    (warning,) = load_task(train=train, dev=dev).warnings
    assert "2 of 3 dev examples (66.7%)" in warning
    assert f"line 3 of {dev} and line 2 of {train} ('So  it goes')" in warning


def test_pairs_overlap_only_if_both_texts_are_equal(write: Write) -> None:
    train = write("x.csv", "text,text_pair,label\na,b,0\na,c,1\n")
    dev = write("y.csv", "text,text_pair,label\na,d,0\nb,d,1\n")
    assert load_task(train=train, dev=dev).warnings == ()


# Preview


def test_a_preview_shows_texts_as_they_are(write: Write) -> None:
    path = write("x.csv", "text,label\n[red]not a colour[/red],a\nescape \x1b[31mred,b\nthree words here,b\n")
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(preview(load_task(train=path, dev=path)))
    shown = console.export_text()
    assert "[red]not a colour[/red] -> a" in shown
    assert "\x1b" not in shown
    assert "2: b 2 (66.7%), a 1 (33.3%)" in shown
    assert re.search(r"longest text +3 words", shown)
    assert "warning" in shown


def test_a_preview_shows_tags_with_their_words(write: Write) -> None:
    path = write("x.csv", "text,slots,intent\nplay it loud,O B-song O,play\nstop,O,stop\n")
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(preview(load_task(train=path, dev=path)))
    shown = console.export_text()
    assert "play it/B-song loud -> play" in shown
    assert "2: O 3 (75.0%), song 1 (25.0%)" in shown
