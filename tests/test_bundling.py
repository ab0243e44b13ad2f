import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import pipeline

import lilliput
from conftest import World
from lilliput.bundling import _named, bundle
from lilliput.errors import StorageError
from lilliput.export.export import export
from lilliput.inference.answers import Tagging, Word
from lilliput.models.student import random_student, save_student, student_config
from lilliput.recipes import tiny
from lilliput.run import RunDir
from lilliput.tasks.task import Labels, Task
from test_comparison import finished

CLASSES = Task("c", "classification", classes=("no", "yes"))
JOINT = Task("j", "joint", classes=("ask", "tell"), tags=("O", "B-x"), metric="frame_accuracy")
SCORES = Task("r", "regression", metric="pearson")


@pytest.fixture(scope="module")
def tuned(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with models of three tasks."""
    folder = tmp_path_factory.mktemp("tuned")
    finished(world, folder, CLASSES, Labels((0, 1, 1, 1)), 0.8)
    finished(world, folder, SCORES, Labels((1.0, 2.0, 3.0, 5.0)), 0.9)
    finished(world, folder, JOINT, Labels((0, 1), ((0, 1), (0,))), 1.0)
    return folder


def test_a_bundle_is_scored_by_its_own_answers(tuned: Path, tmp_path: Path) -> None:
    made = bundle(tuned, tmp_path / "b", task="c", quantization="float32")
    said = pipeline("text-classification", model=str(RunDir(tuned).finetuned("c")))(["a b", "c", "d", "e"])
    right = [one["label"] == gold for one, gold in zip(said, ["no", "yes", "yes", "no"], strict=True)]
    assert made.scores["accuracy"] == pytest.approx(sum(right) / 4)
    assert made.files.keys() == {"README.md", "config.json", "manifest.json", "model.onnx", "tokenizer.json"}
    assert made.total == sum(file.stat().st_size for file in (tmp_path / "b").iterdir())
    card = (tmp_path / "b" / "README.md").read_text()
    assert f"| c dev | accuracy | {made.scores['accuracy']:g} |" in card


@pytest.mark.parametrize(("task", "metric"), [("r", "pearson"), ("j", "slot_f1")])
def test_every_kind_of_task_is_bundled_and_scored(
    tuned: Path, tmp_path: Path, task: str, metric: str
) -> None:
    made = bundle(tuned, tmp_path / "b", task=task)
    assert metric in made.scores
    assert lilliput.load(tmp_path / "b").config.task == task


def test_tags_are_those_of_the_words_that_were_given() -> None:
    task = Task("t", "tagging", tags=("O", "B-x"), metric="f1")
    words = (
        Word("don", 0, 3, "B-x", 1.0),
        Word("'", 3, 4, "O", 1.0),
        Word("t", 4, 5, "O", 1.0),
        Word("go", 8, 10, "B-x", 1.0),
    )
    answer = Tagging(words, (), None, False)
    assert _named(task, answer, ["don't", "…", "go"]) == {"tags": ["B-x", "O", "B-x"]}


def test_a_student_becomes_a_bundle_that_fills_in(world: World, tmp_path: Path) -> None:
    lexicon = world.lexicon
    config = student_config(tiny().student, lexicon.student_size, lexicon.student_special)
    save_student(random_student(config, 0), lexicon.student_tokenizer(), tmp_path / "run" / "student")
    made = bundle(tmp_path / "run", tmp_path / "b")
    assert (made.exported.kind, made.scores) == ("fill", {})
    command = [sys.executable, "-m", "lilliput", "run", str(tmp_path / "b"), "--top", "2", "--json"]
    said = subprocess.run(command, input=b"the [MASK] was in\n", capture_output=True, check=True).stdout
    assert len(json.loads(said)["guesses"][0]) == 2


def test_no_model_is_a_sentence(tuned: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist; make it first with `lilliput finetune`"):
        bundle(tuned, tmp_path / "b", task="nothing")


def test_exporting_alone_makes_no_bundle(tuned: Path, tmp_path: Path) -> None:
    with torch.no_grad():
        export(RunDir(tuned).finetuned("c"), tmp_path / "b")
    with pytest.raises(lilliput.LilliputError):
        lilliput.load(tmp_path / "b")
