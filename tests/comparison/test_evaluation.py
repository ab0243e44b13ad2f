import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest
from rich.console import Console

import lilliput
from bundles import CLASSES, Tiny, make_bundle
from lilliput.comparison.evaluation import evaluate
from lilliput.comparison.evaluation_report import Evaluation, render
from lilliput.errors import BundleError, ConfigError, InputError
from lilliput.tasks.calibration import calibration
from lilliput.tasks.columns import Columns

TEXTS = (
    "a good film",
    "the bad film",
    "miles davis in new york",
    "play jazz",
    "the film is bad",
    "don't play",
)


def on(folder: Path, file: Path, columns: Columns | None = None) -> Evaluation:
    found = evaluate(folder, file, columns=columns)
    assert isinstance(found, Evaluation)
    return found


@pytest.fixture
def classifier(tmp_path: Path) -> Tiny:
    return make_bundle(tmp_path / "c", "classification")


def said(tiny: Tiny, *text: str) -> str:
    """What the model's twin in numpy says."""
    return CLASSES[int(tiny.probabilities(*text).argmax())]


def written(path: Path, heading: str, *rows: str) -> Path:
    path.write_text("\n".join([heading, *rows]) + "\n")
    return path


def test_classes_are_scored_as_counted_by_hand(classifier: Tiny, tmp_path: Path) -> None:
    answers = [said(classifier, text) for text in TEXTS]
    labels = [answers[0], *("good" if one != "good" else "bad" for one in answers[1:3]), *answers[3:]]
    file = written(tmp_path / "dev.csv", "text,label", *map(",".join, zip(TEXTS, labels, strict=True)))
    found = on(classifier.folder, file)
    assert found.scores["accuracy"] == pytest.approx(4 / 6)
    for name, one in found.classes.items():
        hits = sum(a == b == name for a, b in zip(answers, labels, strict=True))
        assert one.support == labels.count(name)
        assert one.precision == pytest.approx(hits / answers.count(name) if name in answers else 0)
        assert one.recall == pytest.approx(hits / labels.count(name) if name in labels else 0)
    every = [one.f1 for one in found.classes.values()]
    assert found.scores["macro_f1"] == pytest.approx(sum(every) / len(every))
    assert sum(count for row in found.confusion.values() for count in row.values()) == 6
    worst = found.worst()
    assert [one.text for one in worst] == sorted(
        TEXTS[1:3], key=lambda text: -float(classifier.probabilities(text).max())
    )
    shown = [float(classifier.probabilities(text).max()) for text in TEXTS]
    assert [one.probability for one in found.predictions] == pytest.approx(shown)
    assert found.calibration is not None
    right = [a == b for a, b in zip(answers, labels, strict=True)]
    assert found.calibration.error == pytest.approx(calibration(shown, right).error)


@pytest.mark.parametrize("form", ["list", "bar"])
def test_several_classes_of_a_text_are_scored_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """The first text is right, the second lacks a class that is said, the third has one that is not."""
    tiny = make_bundle(tmp_path / "b", "multilabel")
    answers = [set(one.labels) for one in lilliput.load(tiny.folder).label(TEXTS[:3])]
    right = [answers[0], answers[1] - {max(answers[1])}, answers[2] ^ {"bad"}]
    spell = {"list": json.dumps, "bar": lambda names: json.dumps("|".join(names))}[form]
    rows = [f'{{"text": "{text}", "labels": {spell(sorted(names))}}}'
            for text, names in zip(TEXTS, right, strict=False)]  # fmt: skip
    (tmp_path / "dev.jsonl").write_text("\n".join(rows))
    found = on(tiny.folder, tmp_path / "dev.jsonl")
    assert found.scores["exact_match"] == pytest.approx(1 / 3)
    for name in CLASSES:
        there, told = ([name in one for one in many] for many in (right, answers))
        both = sum(a and b for a, b in zip(there, told, strict=True))
        assert found.classes[name].f1 == pytest.approx(2 * both / (sum(there) + sum(told)))
    assert found.calibration is not None
    assert sum(one.answers for one in found.calibration.bins) == 3 * len(CLASSES)
    assert [set(filter(None, str(one.answer).split("|"))) for one in found.predictions] == answers
    Console().print(render(found))
    assert "no class" in capsys.readouterr().out
    (tmp_path / "dev.jsonl").write_text('{"text": "a", "labels": ["goood"]}')
    with pytest.raises(InputError, match=r"has the label 'goood', which .*did you mean 'good'"):
        on(tiny.folder, tmp_path / "dev.jsonl")


def test_pairs_are_read_together(tmp_path: Path) -> None:
    tiny = make_bundle(tmp_path / "p", "classification", pairs=True)
    rows = [f"{text},a film,{said(tiny, text, 'a film')}" for text in TEXTS]
    found = on(tiny.folder, written(tmp_path / "dev.csv", "sentence1,sentence2,label", *rows))
    assert found.scores["accuracy"] == 1.0
    assert found.worst() == []
    with pytest.raises(InputError, match=r"no column known to hold the second; name it with --pair"):
        evaluate(tiny.folder, written(tmp_path / "one.csv", "text,label", *(f"{text},bad" for text in TEXTS)))
    other = written(tmp_path / "other.csv", "a,b,c", *rows)
    assert on(tiny.folder, other, Columns("a", "b", "c")).scores == found.scores


def test_scores_are_correlated_and_the_furthest_off_come_first(tmp_path: Path) -> None:
    tiny = make_bundle(tmp_path / "r", "regression")
    scores = [float(tiny.scores(text).mean()) for text in TEXTS]
    labels = [2 * score + 1 for score in scores]
    rows = (f"{text},{label}" for text, label in zip(TEXTS, labels, strict=True))
    found = on(tiny.folder, written(tmp_path / "dev.csv", "text,score", *rows))
    assert found.scores == pytest.approx({"pearson": 1.0, "spearman": 1.0})
    assert not (found.classes)
    assert not (found.confusion)
    assert not (found.calibration)
    far = [abs(a - b) for a, b in zip(scores, labels, strict=True)]
    assert found.worst(1)[0].text == TEXTS[far.index(max(far))]


def test_tags_are_scored_by_spans_and_by_each_kind(tmp_path: Path) -> None:
    tiny = make_bundle(tmp_path / "t", "tagging")
    lines = []
    for text in TEXTS[:-1]:
        words = lilliput.load(tiny.folder).tag([text])[0].words
        lines.append({"words": [word.text for word in words], "tags": [word.tag for word in words]})
    lines[0]["tags"] = ["O"] * 3
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = on(tiny.folder, tmp_path / "dev.jsonl")
    assert {"f1", "precision", "recall"} <= found.scores.keys()
    assert found.scores["recall"] == 1.0
    assert set(found.classes) <= {"city", "artist"}
    assert [one.is_right for one in found.predictions][1:] == [True] * 4
    whole = (one.probability for one in found.predictions)
    assert all(share is not None and 0 < share <= 1 for share in whole)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_predictions_are_written_as_they_are(classifier: Tiny, tmp_path: Path, ending: str) -> None:
    file = written(tmp_path / "dev.csv", "text,label", *(f'"{text}",bad' for text in TEXTS))
    out = tmp_path / f"p.{ending}"
    evaluate(classifier.folder, file, predictions=out)
    if ending == "csv":
        with out.open(newline="") as lines:
            rows = [
                {**row, "probabilities": {name: float(row[f"probability of {name}"]) for name in CLASSES}}
                for row in csv.DictReader(lines)
            ]
    elif ending == "jsonl":
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [row["text"] for row in rows] == list(TEXTS)
    assert [row["answer"] for row in rows] == [said(classifier, text) for text in TEXTS]
    for row, text in zip(rows, TEXTS, strict=True):
        assert list(row["probabilities"].values()) == pytest.approx(list(classifier.probabilities(text)))


def test_everything_is_shown(classifier: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lilliput.common.progress import Plain

    file = written(tmp_path / "dev.csv", "text,label", *(f"{text},bad" for text in TEXTS))
    Plain(width=200).print(render(on(classifier.folder, file)))
    out = capsys.readouterr().out
    for part in (
        "6 examples of",
        "accuracy",
        "macro_f1",
        "expected calibration error",
        "support",
        "they say",
    ):
        assert part in out


@pytest.mark.parametrize(
    ("heading", "row", "message"),
    [
        (
            "text,label",
            "a film,superb",
            "line 2 of .* has the label 'superb', which .* does not have; .*known: bad",
        ),
        ("text,label", "a film,goood", "line 2 of .* did you mean 'good'"),
        ("text,label", "a film,", "line 2 of .* has no label in column 'label'"),
        ("text,label", ",bad", "line 2 of .* has an empty text"),
        ("text,label", "\u200d,bad", r"text 1 has no words.* \(line 2 of "),
        ("text,mark", "a film,bad", "no column of .* is known to hold a label: it has 'text', 'mark'"),
        ("words,label", "", "holds no examples"),
    ],
)
def test_what_does_not_fit_is_a_sentence(
    classifier: Tiny, tmp_path: Path, heading: str, row: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(classifier.folder, written(tmp_path / "dev.csv", heading, *([row] if row else [])))


def test_tags_that_the_bundle_has_not_are_a_sentence(tmp_path: Path) -> None:
    tiny = make_bundle(tmp_path / "t", "tagging")
    (tmp_path / "dev.jsonl").write_text('{"words": ["new", "york"], "tags": ["B-town", "I-town"]}\n')
    with pytest.raises(InputError, match=r"line 1 of .* has the tag 'B-town', which .* does not have"):
        evaluate(tiny.folder, tmp_path / "dev.jsonl")


@pytest.mark.parametrize(("kind", "does"), [("fill", "fills in pieces"), ("encode", "makes vectors")])
def test_a_bundle_without_a_task_is_a_sentence(tmp_path: Path, kind: str, does: str) -> None:
    tiny = make_bundle(tmp_path / "b", kind)
    file = written(tmp_path / "dev.csv", "text,label", "a film,bad")
    with pytest.raises(BundleError, match=f"{does}.*, and has no classes, scores or tags"):
        evaluate(tiny.folder, file)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder, file: evaluate(folder), "one labelled file, found 0"),
        (
            lambda folder, file: evaluate(folder, file, predictions="p.txt"),
            r"one of \.csv, \.jsonl, \.parquet",
        ),
        (lambda folder, file: evaluate(file, predictions="p.csv"), "is no bundle"),
    ],
)
def test_arguments_that_do_not_fit_are_a_sentence(
    classifier: Tiny, tmp_path: Path, call: Callable[[Path, Path], object], message: str
) -> None:
    file = written(tmp_path / "dev.csv", "text,label", "a film,bad")
    with pytest.raises(ConfigError, match=message):
        call(classifier.folder, file)
