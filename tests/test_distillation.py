"""A classifier of transformers and a pile of texts become a bundle, by one call that goes on where it was."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification

import lilliput
from any_checkpoints import save_any
from classifiers import classifier, even
from conftest import World, small_text
from lilliput import cli, distillation
from lilliput.config import LexiconConfig, StudentConfig
from lilliput.distillation import Distillation, DistillConfig, distill, render
from lilliput.errors import ConfigError, ModelError, StorageError
from lilliput.finetuning.config import FinetuningConfig
from lilliput.pieces.teacher_tokenizer import load_tokenizer
from lilliput.tasks.task import Examples, Labels, Task, TaskData

SMALL = DistillConfig(
    LexiconConfig(size=300),
    StudentConfig(layers=2, width=16, heads=2, feed_forward=32, positions=32),
    FinetuningConfig(epochs=4, rows=16, evaluations=4, patience=9, rate=5e-3),
)


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pile") / "texts.txt"
    sentences = small_text(5, 90, odd=True).replace("\n\n", " ").replace(". ", ".\n").replace("! ", "!\n")
    path.write_text("\n".join(sentences.splitlines()[:400]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(world: World, pile: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Distillation]:
    folder = tmp_path_factory.mktemp("distilled")
    teacher = classifier(world, folder / "teacher")
    return teacher, distill(teacher, str(pile), folder / "run", minutes=2, config=SMALL)


def test_the_bundle_answers_as_its_teacher(finished: tuple[str, Distillation], pile: Path) -> None:
    _, found = finished
    assert found.agreement == found.bundle.scores
    assert 0 < found.agreement["agreement"] <= 1
    assert {answer.label for answer in lilliput.load(found.folder).stream(pile.read_text().splitlines()[:99])}
    record = json.loads((found.folder.parent / "distillation.json").read_text())
    assert record["bundle_bytes"] == sum(file.stat().st_size for file in found.folder.iterdir())
    assert "held-out texts" in (found.folder / "README.md").read_text()
    assert "where student and teacher differ" in (found.folder.parent / "differences.md").read_text()
    rows = dict(render(found).rows)
    assert rows["bundle, bytes"] == f"{found.bundle.total:,}"
    assert rows["texts held out"] == f"{found.model.examples['dev']:,}"


def test_what_is_finished_is_not_done_again(
    finished: tuple[str, Distillation], pile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, found = finished
    run = found.folder.parent
    before = {path: path.stat().st_mtime_ns for path in run.glob("*/**/manifest.json")}

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(distillation, "started_student", never)
    monkeypatch.setattr("lilliput.finetuning.job.fit", never)
    again = distill(teacher, str(pile), run, minutes=2, config=SMALL)
    assert again.bundle.scores == found.bundle.scores
    after = {path: path.stat().st_mtime_ns for path in run.glob("*/**/manifest.json")}
    assert {path for path in before if before[path] != after[path]} <= {run / "bundle" / "manifest.json"}
    with pytest.raises(StorageError, match="made from something else"):
        distill(teacher, str(pile), run, minutes=2, config=SMALL.replace({"student.width": "8"}))


def test_more_texts_than_there_is_time_for_are_drawn(
    world: World, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distillation, "_pace", lambda *_: 4.0)
    teacher = classifier(world, tmp_path / "teacher")
    found = distill(teacher, str(pile), tmp_path / "run", minutes=2, config=SMALL)
    sizes = found.model.examples
    assert sizes["train"] + sizes["unlabelled"] + sizes["dev"] == 0.4 * 120 * 4
    read = (tmp_path / "run" / "drawn" / "texts.txt").read_text().splitlines()
    assert set(read) < set(pile.read_text().splitlines())


def test_words_with_tags_are_taught_too(world: World, pile: Path, tmp_path: Path) -> None:
    teacher = classifier(world, tmp_path / "teacher", "words")
    found = distill(teacher, str(pile), tmp_path / "run", minutes=2, config=SMALL)
    assert found.model.task.kind == "tagging"
    assert found.agreement["agreement_f1"] >= 0


def test_labels_are_used_where_there_are_some(world: World, pile: Path, tmp_path: Path) -> None:
    teacher = classifier(world, tmp_path / "teacher")
    texts = tuple(pile.read_text().splitlines()[:80])
    labels = Labels(tuple(float(len(text) % 2) for text in texts))
    task = Task("odd", "classification", classes=("bad", "good"))
    train, dev = (
        Examples(texts[part], labels=Labels(labels.values[part])) for part in (slice(50), slice(50, 80))
    )
    data = TaskData(task, train, dev)
    found = distill(teacher, str(pile), tmp_path / "run", minutes=2, config=SMALL, task=data)
    assert found.model.examples["train"] == 50
    assert "accuracy" in found.bundle.scores
    assert 0 <= found.agreement["agreement"] <= 1
    assert "accuracy, by labels" in dict(render(found).rows)


def test_a_student_larger_than_its_teacher_is_refused(world: World, pile: Path, tmp_path: Path) -> None:
    teacher = classifier(world, tmp_path / "teacher")
    large = dataclasses.replace(SMALL, student=StudentConfig(width=120, heads=6))
    with pytest.raises(lilliput.LilliputError, match="the student is larger than its teacher"):
        distill(teacher, str(pile), tmp_path / "run", config=large)


def test_a_classifier_has_to_be_named(pile: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no classifier was named"):
        distill((), str(pile), tmp_path / "run")


def test_time_is_said_once() -> None:
    with pytest.raises(ConfigError, match=r"finetuning\.minutes follows from --minutes"):
        SMALL.replace({"finetuning.minutes": "3"})


def test_a_teacher_that_gives_no_start_is_refused(pile: Path, tmp_path: Path) -> None:
    from any_checkpoints import save_any

    folder = save_any(tmp_path / "teacher", "roberta", ("bad", "good"), positions=90)
    layout = json.loads((folder / "tokenizer.json").read_text())
    layout["model"]["dropout"] = 0.1
    (folder / "tokenizer.json").write_text(json.dumps(layout))
    with pytest.raises(ModelError, match=r"cannot begin with the weights .* lilliput finetune RUN --teacher"):
        distill(str(folder), str(pile), tmp_path / "run", config=SMALL)


def test_the_command_does_all_of_it(
    world: World,
    pile: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    teacher = classifier(world, tmp_path / "teacher")
    arguments = ["distill", teacher, "--texts", str(pile), "--out", str(tmp_path / "run"), "--minutes", "1"]
    for part, values in {"student": vars(SMALL.student), "lexicon": {"size": 300}}.items():
        for name, value in values.items():
            arguments += ["--set", f"{part}.{name}={value}"]
    monkeypatch.setattr("sys.argv", ["lilliput", *arguments, "--set", "finetuning.epochs=1"])
    cli.run_command()
    assert "lilliput run" in capsys.readouterr().out


def test_a_distilbert_is_distilled(pile: Path, tmp_path: Path) -> None:
    teacher = save_any(tmp_path / "teacher", "distilbert", ("bad", "good"))
    model = AutoModelForSequenceClassification.from_pretrained(teacher).eval()
    even(model, load_tokenizer(str(teacher)))
    model.save_pretrained(teacher)
    found = distill(str(teacher), str(pile), tmp_path / "run", minutes=1, config=SMALL)
    assert 0 < found.agreement["agreement"] <= 1
